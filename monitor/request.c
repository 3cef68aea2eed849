/*
 * request - what may be asked for. See monitor.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "http/field.h"
#include "http/limits.h"
#include "http/target.h"
#include "monitor/asset.h"
#include "monitor/monitor.h"
#include "monitor/prometheus.h"

/* ---- answers ---- */

void
answer_text(struct http_conn *conn, int status, const char *text, const char *fields)
{
	struct http_answer answer = http_answer_text(status, text);

	answer.fields = fields;
	http_conn_answer(conn, &answer);
}

void
answer_json(struct http_conn *conn, int status, const char *json)
{
	const struct http_answer answer = http_answer_json(status, json);

	http_conn_answer(conn, &answer);
}

void
answer_error(struct http_conn *conn, int status, const char *why)
{
	json_t *object = json_pack("{ss}", "error", why);
	char *json = object ? json_dumps(object, 0) : NULL;

	answer_json(conn, status, json ? json : "{}");
	json_decref(object);
	free(json);
}

static void
answer_asset(struct http_conn *conn, const char *name)
{
	struct asset asset;

	if (!asset_find(name, &asset)) {
		answer_text(conn, 404, "not found\n", NULL);
		return;
	}
	http_conn_answer(conn,
	    &(struct http_answer){
		.status = 200, .content_type = asset.content_type, .body = asset.bytes, .body_length = asset.length});
}

int
request_query(struct http_conn *conn, const char *name, char *room, size_t size)
{
	const struct http_span target = http_conn_request(conn)->target;

	return http_target_query(http_conn_bytes(conn) + target.offset, target.length, name, room, size);
}

/* ---- what there is ---- */

static void
health(UNUSED struct monitor *monitor, struct http_conn *conn)
{
	answer_json(conn, 200, "{\"ok\": true}");
}

static void
page(UNUSED struct monitor *monitor, struct http_conn *conn)
{
	answer_asset(conn, "index.html");
}

static void
status(struct monitor *monitor, struct http_conn *conn)
{
	char name[MONITOR_NAME_MAX + 1], *text;
	const struct view *view = &monitor->view;
	int r = request_query(conn, "api", name, sizeof(name));
	json_t *api;

	if (!monitor_sees(monitor, conn))
		return;
	if (r == -ENOENT) {
		http_conn_answer(conn,
		    &(struct http_answer){.status = 200,
			.content_type = "application/json",
			.body = view->text,
			.body_length = view->length});
		return;
	}
	api = r < 0 ? NULL : view_find_api(view, name);
	if (!api) {
		answer_error(conn, 404, "there is no api of that name");
		return;
	}
	text = json_dumps(api, JSON_COMPACT);
	if (text)
		answer_json(conn, 200, text);
	else
		answer_error(conn, 503, "out of memory");
	free(text);
}

/* Does the client name it in Accept? */
static bool
wants_openmetrics(struct http_conn *conn)
{
	static const char wanted[] = "application/openmetrics-text";
	const char *accept;
	size_t length;

	return http_field_find(http_conn_request(conn), http_conn_bytes(conn), "accept", &accept, &length) > 0 &&
	    memmem(accept, length, wanted, strlen(wanted));
}

static void
metrics(struct monitor *monitor, struct http_conn *conn)
{
	bool openmetrics;
	size_t length;
	char *text;

	if (!monitor_sees(monitor, conn))
		return;
	openmetrics = wants_openmetrics(conn);
	text = prometheus_text(&monitor->view, openmetrics, &length);
	if (text)
		http_conn_answer(conn,
		    &(struct http_answer){.status = 200,
			.content_type = openmetrics ? OPENMETRICS_TYPE : PROMETHEUS_TYPE,
			.body = text,
			.body_length = length});
	else
		answer_error(conn, 503, "out of memory");
	free(text);
}

/* ---- what can be done ---- */

static void
reload(struct monitor *monitor, struct http_conn *conn)
{
	action_begin(monitor, conn, RECORD_RELOAD, NULL);
}

static void
stop(struct monitor *monitor, struct http_conn *conn)
{
	action_begin(monitor, conn, RECORD_STOP, NULL);
}

static void delete (struct monitor *monitor, struct http_conn *conn)
{
	char name[MONITOR_NAME_MAX + 1];
	int r = request_query(conn, "api", name, sizeof(name));

	if (r == -ENOENT)
		answer_error(conn, 400, "say which: /delete?api=NAME");
	else if (r <= 0)
		answer_error(conn, 404, "there is no api of that name");
	else
		action_begin(monitor, conn, RECORD_DELETE, name);
}

/* ---- routing ---- */

static const char assets[] = "/assets/";

static const struct route {
	enum llhttp_method method;
	const char *path;
	void (*answer)(struct monitor *monitor, struct http_conn *conn);
} routes[] = {
    {HTTP_GET, "/", page},
    {HTTP_GET, "/healthz", health},
    {HTTP_GET, "/status", status},
    {HTTP_GET, "/metrics", metrics},
    {HTTP_GET, "/events", events_request},
    {HTTP_GET, "/logs", logs_request},
    {HTTP_POST, "/reload", reload},
    {HTTP_POST, "/stop", stop},
    {HTTP_POST, "/delete", delete},
    {HTTP_POST, "/predict", predict_request},
};

static bool
has_no_end(const struct route *route)
{
	return route->answer == events_request || route->answer == logs_request;
}

/* The path of a request, decoded; false: there is none. */
static bool
find_path(struct http_conn *conn, char path[HTTP_TARGET_MAX + 1])
{
	const struct http_span span = http_conn_request(conn)->target;
	struct http_target target;

	return http_target_parse(http_conn_bytes(conn) + span.offset, span.length, path, &target) == 0;
}

void
request_answer(struct monitor *monitor, struct http_conn *conn)
{
	enum llhttp_method method = http_parser_method(http_conn_request(conn));
	char path[HTTP_TARGET_MAX + 1];
	const struct route *known = NULL;

	if (!find_path(conn, path)) {
		answer_text(conn, 400, "malformed request target\n", NULL);
		return;
	}
	for (size_t i = 0; i < N_ELEMENTS(routes) && !known; i++)
		if (!strcmp(path, routes[i].path))
			known = &routes[i];
	if (known &&
	    (known->method == method || (known->method == HTTP_GET && method == HTTP_HEAD && !has_no_end(known))))
		known->answer(monitor, conn);
	else if (known)
		answer_text(conn, 405, "method not allowed\n",
		    known->method == HTTP_POST ? "Allow: POST\r\n" : "Allow: GET\r\n");
	else if (!strncmp(path, assets, strlen(assets)) && (method == HTTP_GET || method == HTTP_HEAD))
		answer_asset(conn, path + strlen(assets));
	else
		answer_text(conn, 404, "not found\n", NULL);
}

/* Only a prediction may have a large body, and only of who may ask for one. */
static uint64_t
on_head(struct http_conn *conn, UNUSED void *arg)
{
	static const char predict[] = "/predict";
	const struct http_span target = http_conn_request(conn)->target;

	if (target.length >= strlen(predict) &&
	    !memcmp(http_conn_bytes(conn) + target.offset, predict, strlen(predict)) && guard_trusts(conn))
		return MONITOR_PREDICT_MAX;
	return MONITOR_BODY_MAX;
}

static void
on_request(struct http_conn *conn, void *arg)
{
	struct monitor *monitor = ((struct door *)arg)->monitor;

	if (guard_admits(conn))
		request_answer(monitor, conn);
}

static void
on_gone(struct http_conn *conn, void *arg)
{
	struct monitor *monitor = ((struct door *)arg)->monitor;

	if (conn->mark) {
		TAILQ_REMOVE(&monitor->waiting, conn, in_pending);
		monitor->n_waiting--;
		conn->mark = false;
	} else if (!action_forget(monitor, conn) && !predict_forget(monitor, conn)) {
		log_debug("a connection ended that nobody had");
	}
}

/* It may have left, or have shut down its side and wait for the answer. */
static void
on_peer_ended(struct http_conn *conn, UNUSED void *arg)
{
	http_conn_probe(conn);
}

const struct http_conns_callbacks request_callbacks = {
    .on_head = on_head,
    .on_request = on_request,
    .on_gone = on_gone,
    .on_peer_ended = on_peer_ended,
};
