/*
 * predict - POST /predict: for the form of the dashboard, whose page may not ask an api itself, as that is another origin. See monitor.h.
 *
 * The request goes to the public endpoint like that of any other client, on a connection of its own, and what comes back is passed on:
 * status, content type, body. The api's own limits and timeout count; here only what is kept is bounded, and how many there are at a
 * time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/log.h"
#include "monitor/monitor.h"

#define VALUE_MAX 256

struct prediction {
	TAILQ_ENTRY(prediction) in_list;
	struct monitor *monitor;
	struct http_conn *conn;
	struct bufferevent *pipe;
};

static struct http_conn *
end(struct prediction *prediction)
{
	struct http_conn *conn = prediction->conn;

	TAILQ_REMOVE(&prediction->monitor->predictions, prediction, in_list);
	prediction->monitor->n_predictions--;
	bufferevent_free(prediction->pipe);
	free(prediction);
	return conn;
}

bool
predict_forget(struct monitor *monitor, struct http_conn *conn)
{
	struct prediction *prediction;

	TAILQ_FOREACH (prediction, &monitor->predictions, in_list)
		if (prediction->conn == conn) {
			end(prediction);
			return true;
		}
	return false;
}

/* ---- the answer ---- */

/* The value of the first field of that name ("content-type:") in a head that ends with an empty line; "": none. */
static void
find_field(const char *head, const char *head_end, const char *name, char value[VALUE_MAX])
{
	const char *line = head;

	*value = '\0';
	while (line < head_end && (line = memchr(line, '\n', (size_t)(head_end - line)))) {
		size_t length = strcspn(++line, "\r\n");

		if (strncasecmp(line, name, strlen(name)) != 0 || length >= VALUE_MAX)
			continue;
		line += strlen(name);
		line += strspn(line, " \t");
		snprintf(value, VALUE_MAX, "%.*s", (int)strcspn(line, "\r\n"), line);
		return;
	}
}

/* Is the body as long as the head says? All answers of cortexd say it, but those without a body. */
static bool
is_whole(const char *head, const char *head_end, size_t body_length)
{
	char length[VALUE_MAX];

	find_field(head, head_end, "content-length:", length);
	return strtoull(length, NULL, 10) == body_length;
}

/* All of it is here: pass it on, without interim answers. */
static void
pass_on(struct prediction *prediction)
{
	struct evbuffer *input = bufferevent_get_input(prediction->pipe);
	struct evbuffer *kept;
	struct http_conn *conn;
	char type[VALUE_MAX];
	const char *head, *body, *all_end;
	int status = 0;

	kept = evbuffer_new();
	if (!kept || evbuffer_add_buffer(kept, input) < 0 || evbuffer_add(kept, "", 1) < 0) {
		if (kept)
			evbuffer_free(kept);
		answer_error(end(prediction), 503, "out of memory");
		return;
	}
	head = (const char *)evbuffer_pullup(kept, -1);
	all_end = head ? head + evbuffer_get_length(kept) - 1 : NULL;
	body = head ? strstr(head, "\r\n\r\n") : NULL;
	while (body && sscanf(head, "HTTP/1.%*1d %3d ", &status) == 1 && status < 200) {
		head = body + 4;
		body = strstr(head, "\r\n\r\n");
	}
	conn = end(prediction);
	if (!body || status < 200) {
		answer_error(conn, 502, "the api did not answer");
	} else if (!is_whole(head, body + 2, (size_t)(all_end - body) - 4)) {
		answer_error(conn, 502, "the answer of the api was cut short");
	} else {
		find_field(head, body + 2, "content-type:", type);
		http_conn_answer(conn,
		    &(struct http_answer){.status = status,
			.content_type = *type ? type : NULL,
			.body = body + 4,
			.body_length = (size_t)(all_end - body) - 4});
	}
	evbuffer_free(kept);
}

static void
on_read_cb(struct bufferevent *pipe, void *arg)
{
	if (evbuffer_get_length(bufferevent_get_input(pipe)) > MONITOR_ANSWER_MAX)
		answer_error(end(arg), 502, "the answer is too large to be shown");
}

static void
on_event_cb(UNUSED struct bufferevent *pipe, short what, void *arg)
{
	if (what & BEV_EVENT_EOF)
		pass_on(arg);
	else if (what & BEV_EVENT_ERROR)
		answer_error(end(arg), 502, "the api cannot be reached, or has closed the connection");
}

/* ---- the request ---- */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un un;
};

/* Where a client on this machine finds cortexd: "unix:/path", or "http://127.0.0.1:8888" or "http://[::1]:8888". */
static bool
find_address(const struct monitor *monitor, union address *ret_address, socklen_t *ret_length)
{
	const json_t *listener = json_array_get(json_object_get(monitor->view.status, "listeners"), 0);
	const char *text = json_string_value(json_object_get(listener, "text"));
	const char *url = json_string_value(json_object_get(listener, "url"));
	char host[INET6_ADDRSTRLEN];
	unsigned port;

	memset(ret_address, 0, sizeof(*ret_address));
	if (!text || !url)
		return false;
	if (!strncmp(text, "unix:", 5) && strlen(text + 5) < sizeof(ret_address->un.sun_path)) {
		ret_address->un.sun_family = AF_UNIX;
		strcpy(ret_address->un.sun_path, text + 5);
		*ret_length = sizeof(ret_address->un);
		return true;
	}
	if (sscanf(url, "http://[%45[0-9a-fA-F:.]]:%5u", host, &port) == 2 &&
	    inet_pton(AF_INET6, host, &ret_address->v6.sin6_addr) == 1) {
		ret_address->v6.sin6_family = AF_INET6;
		ret_address->v6.sin6_port = htons((uint16_t)port);
		*ret_length = sizeof(ret_address->v6);
		return true;
	}
	if (sscanf(url, "http://%45[0-9.]:%5u", host, &port) == 2 &&
	    inet_pton(AF_INET, host, &ret_address->v4.sin_addr) == 1) {
		ret_address->v4.sin_family = AF_INET;
		ret_address->v4.sin_port = htons((uint16_t)port);
		*ret_length = sizeof(ret_address->v4);
		return true;
	}
	return false;
}

/* The head was read by a strict parser: no field of it has a line end. */
static int
write_request(struct prediction *prediction, const char *endpoint, bool debug)
{
	struct evbuffer *output = bufferevent_get_output(prediction->pipe);
	const struct http_parser *request = http_conn_request(prediction->conn);
	const char *bytes = http_conn_bytes(prediction->conn);

	if (evbuffer_add_printf(output,
		"POST %s%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %.*s\r\nContent-Length: %zu\r\n"
		"Connection: close\r\n\r\n",
		endpoint, debug ? "?debug=true" : "",
		request->content_type.length > 0 ? (int)request->content_type.length : 16,
		request->content_type.length > 0 ? bytes + request->content_type.offset : "application/json",
		request->body_length) < 0)
		return -ENOMEM;
	return evbuffer_add(output, http_conn_body(prediction->conn), request->body_length) < 0 ? -ENOMEM : 0;
}

static void
begin(struct monitor *monitor, struct http_conn *conn, const char *endpoint, bool debug)
{
	struct prediction *prediction;
	union address address;
	socklen_t length;

	if (!find_address(monitor, &address, &length)) {
		answer_error(conn, 503, "cortexd does not listen anywhere");
		return;
	}
	prediction = xcalloc(1, sizeof(*prediction));
	*prediction = (struct prediction){.monitor = monitor, .conn = conn};
	prediction->pipe = bufferevent_socket_new(monitor->base, -1, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (!prediction->pipe) {
		free(prediction);
		answer_error(conn, 503, "out of memory");
		return;
	}
	TAILQ_INSERT_TAIL(&monitor->predictions, prediction, in_list);
	monitor->n_predictions++;
	bufferevent_setcb(prediction->pipe, on_read_cb, NULL, on_event_cb, prediction);
	if (write_request(prediction, endpoint, debug) < 0)
		answer_error(end(prediction), 503, "out of memory");
	else if (bufferevent_socket_connect(prediction->pipe, &address.any, (int)length) < 0 ||
	    bufferevent_enable(prediction->pipe, EV_READ | EV_WRITE) < 0)
		answer_error(end(prediction), 502, "the api cannot be reached");
}

void
predict_request(struct monitor *monitor, struct http_conn *conn)
{
	char name[MONITOR_NAME_MAX + 1], debug[8];
	int r = request_query(conn, "api", name, sizeof(name));
	const char *endpoint;

	if (r == -ENOENT) {
		answer_error(conn, 400, "say which: /predict?api=NAME");
		return;
	}
	if (!monitor_sees(monitor, conn))
		return;
	endpoint = r < 0 ? NULL : json_string_value(json_object_get(view_find_api(&monitor->view, name), "endpoint"));
	if (!endpoint)
		answer_error(conn, 404, "there is no api of that name");
	else if (monitor->n_predictions >= MONITOR_PREDICTS_MAX)
		answer_error(conn, 503, "too many predictions at a time");
	else
		begin(monitor, conn, endpoint,
		    request_query(conn, "debug", debug, sizeof(debug)) == 4 && !strcasecmp(debug, "true"));
}
