/*
 * conn - see conn.h.
 *
 * A connection moves by process(), which does for the state that it is in whatever can be done without waiting. It is a
 * loop and not a recursion, so a client that pipelines a thousand requests costs no stack. Nothing is freed below a
 * callback of libevent: an ended connection waits in its list for http_conns_reap.
 */
#include "http/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "http/limits.h"

#define BUFFER_ROOM         16384       /* of a pooled buffer: the usual request fits */
#define BUFFER_PROMISED_MAX (1 << 20)   /* bytes reserved on the word of a Content-Length */
#define SPARE_MAX           256         /* pooled buffers kept */
#define READ_TURN_MAX       (1 << 20)   /* bytes read from one connection in one callback */
#define LINGER_MAX          (256 << 20) /* bytes discarded at most while lingering */

static void process(struct http_conn *conn);
static void on_event_cb(evutil_socket_t fd, short what, void *arg);

/* Good to a few milliseconds, which is all that timeouts need, for a tenth of the price. */
static int64_t
coarse_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The only writer of conn->state. Setting the state it has marks progress. */
static void
set_state(struct http_conn *conn, enum http_conn_state state)
{
	TAILQ_REMOVE(&conn->conns->in_state[conn->state], conn, in_state);
	conn->state = state;
	conn->since_ms = coarse_ms();
	TAILQ_INSERT_TAIL(&conn->conns->in_state[state], conn, in_state);
}

/* Register for what we wait for; nothing when it is registered already, which is the usual case. */
static void
wait_for(struct http_conn *conn, short what)
{
	if (conn->waits_for == what)
		return;
	if (conn->waits_for && event_del(&conn->event) < 0)
		conn->conns->on_fatal("epoll_ctl", errno, conn->conns->arg);
	conn->waits_for = what;
	if (!what)
		return;
	event_assign(&conn->event, conn->conns->base, conn->fd, (short)(what | EV_PERSIST), on_event_cb, conn);
	if (event_add(&conn->event, NULL) < 0)
		conn->conns->on_fatal("epoll_ctl", errno, conn->conns->arg);
}

/* ---- buffers ---- */

static char *
buffer_get(struct http_conns *conns)
{
	char *buffer = conns->spare_buffers;

	if (!buffer)
		return malloc(BUFFER_ROOM);
	memcpy(&conns->spare_buffers, buffer, sizeof(char *));
	conns->n_spare--;
	return buffer;
}

static void
buffer_put(struct http_conns *conns, char *buffer, size_t room)
{
	if (room != BUFFER_ROOM || conns->n_spare == SPARE_MAX) {
		free(buffer);
		return;
	}
	memcpy(buffer, &conns->spare_buffers, sizeof(char *));
	conns->spare_buffers = buffer;
	conns->n_spare++;
}

static void
buffer_release(struct http_conn *conn)
{
	if (conn->buffer)
		buffer_put(conn->conns, take_ptr(&conn->buffer), conn->room);
	conn->room = conn->length = 0;
}

/*
 * Make room for more bytes. A body of announced length gets its room at once as long as it is small; beyond that the
 * buffer grows with what has come, not with what a client has promised.
 */
static int
buffer_reserve(struct http_conn *conn)
{
	size_t room = conn->room * 2;
	char *larger;

	if (!conn->buffer) {
		conn->buffer = buffer_get(conn->conns);
		conn->room = conn->buffer ? BUFFER_ROOM : 0;
		return conn->buffer ? 0 : -ENOMEM;
	}
	if (conn->length < conn->room)
		return 0;
	if (conn->parser.head_complete) {
		uint64_t wanted = conn->length + conn->parser.llhttp.content_length + 1;

		room = MAX(room, MIN(wanted, BUFFER_PROMISED_MAX));
	}
	larger = realloc(conn->buffer, room);
	if (!larger)
		return -ENOMEM;
	conn->buffer = larger;
	conn->room = room;
	return 0;
}

/* Drop the request that was answered; what follows it becomes the beginning of the next. */
static void
buffer_consume(struct http_conn *conn, size_t n)
{
	conn->length -= n;
	if (conn->length == 0) {
		buffer_release(conn);
		return;
	}
	memmove(conn->buffer, conn->buffer + n, conn->length);
}

/* ---- the end ---- */

static void
conn_close(struct http_conn *conn)
{
	if (conn->state == HTTP_CONN_CLOSED)
		return;
	wait_for(conn, 0);
	close(conn->fd);
	conn->fd = -1;
	set_state(conn, HTTP_CONN_CLOSED);
	conn->conns->n_open--;
	if (conn->held)
		conn->conns->on_gone(conn, conn->conns->arg);
	buffer_release(conn);
	free(take_ptr(&conn->unsent));
}

/*
 * The last answer is written. When the client may still be sending, a close would make the kernel reset the connection,
 * and the reset can overtake the answer (RFC 9112 9.6): end our side, then read until the client ends its own. Only a
 * client that has asked for the end itself, and sent nothing more, needs no such care.
 */
static void
conn_finish(struct http_conn *conn)
{
	const struct http_parser *request = &conn->parser;
	bool expected = request->error_status == 0 && !request->keep_alive && conn->length == request->request_length;

	if (expected || conn->peer_ended || shutdown(conn->fd, SHUT_WR) < 0) {
		conn_close(conn);
		return;
	}
	buffer_release(conn);
	set_state(conn, HTTP_CONN_LINGER);
	wait_for(conn, EV_READ);
}

/* ---- writing ---- */

/* The answer is out: close, or be ready for the next request. */
static void
answer_written(struct http_conn *conn)
{
	free(take_ptr(&conn->unsent));
	if (conn->close_after) {
		conn_finish(conn);
		return;
	}
	buffer_consume(conn, conn->parser.request_length);
	http_parser_init(&conn->parser, conn->conns->max_body);
	set_state(conn, HTTP_CONN_IDLE);
}

/* A send that failed for good. Only a descriptor that is not our socket any more is worth a word. */
static void
write_failed(struct http_conn *conn, int error)
{
	if (error == EBADF || error == ENOTSOCK)
		conn->conns->on_fatal("sendmsg", error, conn->conns->arg);
	conn_close(conn);
}

static ssize_t
send_parts(int fd, struct iovec *parts, size_t n_parts, int flags)
{
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = n_parts};
	ssize_t n;

	do
		n = sendmsg(fd, &message, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	return n;
}

/* Send head and body with one system call; keep a copy of what the socket does not take. */
static void
write_answer(struct http_conn *conn, char *head, size_t head_length, const char *body, size_t body_length)
{
	struct iovec parts[2] = {{head, head_length}, {(void *)(uintptr_t)body, body_length}};
	size_t total = head_length + body_length, sent, from_head;
	ssize_t n;

	/* The last answer leaves in one segment with the FIN: conn_finish follows at once, and pushes it out. */
	n = send_parts(conn->fd, parts, body_length > 0 ? 2 : 1, conn->close_after ? MSG_MORE : 0);
	if (n < 0) {
		write_failed(conn, errno);
		return;
	}
	sent = (size_t)n;
	if (sent == total) {
		answer_written(conn);
		return;
	}
	conn->unsent = malloc(total - sent);
	if (!conn->unsent) {
		log_warning("out of memory for the rest of an answer (%zu bytes); connection closed", total - sent);
		conn_close(conn);
		return;
	}
	from_head = sent < head_length ? head_length - sent : 0;
	memcpy(conn->unsent, head + head_length - from_head, from_head);
	if (body_length > 0)
		memcpy(conn->unsent + from_head, body + body_length - (total - sent - from_head),
		    total - sent - from_head);
	conn->unsent_length = total - sent;
	conn->unsent_done = 0;
	set_state(conn, HTTP_CONN_WRITE);
	wait_for(conn, EV_WRITE);
}

/* The socket takes more. */
static void
write_more(struct http_conn *conn)
{
	struct iovec part = {conn->unsent + conn->unsent_done, conn->unsent_length - conn->unsent_done};
	ssize_t n = send_parts(conn->fd, &part, 1, 0);

	if (n < 0) {
		write_failed(conn, errno);
		return;
	}
	if (n == 0)
		return;
	conn->unsent_done += (size_t)n;
	set_state(conn, HTTP_CONN_WRITE);
	if (conn->unsent_done == conn->unsent_length)
		answer_written(conn);
}

static void
answer_now(struct http_conn *conn, const struct http_answer *answer)
{
	const struct http_parser *request = &conn->parser;
	char head[HTTP_ANSWER_HEAD_MAX];
	bool minor_0 = request->llhttp.http_minor == 0, has_body;
	size_t head_length;

	conn->close_after = !request->keep_alive || conn->conns->closing;
	head_length = http_answer_head(answer, conn->close_after, minor_0 && !conn->close_after, head);
	has_body = http_parser_method(request) != HTTP_HEAD && answer->status != 204;
	write_answer(conn, head, head_length, answer->body, has_body ? answer->body_length : 0);
}

void
http_conn_answer(struct http_conn *conn, const struct http_answer *answer)
{
	ASSERT(conn->state == HTTP_CONN_REQUEST);
	conn->held = false;
	answer_now(conn, answer);
	if (!conn->processing)
		process(conn);
}

/* ---- reading ---- */

/* A request that cannot be understood or is too large: say so, and end the connection. */
static void
refuse_request(struct http_conn *conn)
{
	char text[256];
	struct http_answer answer;

	snprintf(text, sizeof(text), "%s\n", conn->parser.error_reason);
	answer = http_answer_text(conn->parser.error_status, text);
	log_debug("refused a request with %d: %s", conn->parser.error_status, conn->parser.error_reason);
	set_state(conn, HTTP_CONN_REQUEST);
	answer_now(conn, &answer);
}

/* The head is there and the client waits for our word before it sends the body (RFC 9110 10.1.1). */
static void
send_continue(struct http_conn *conn)
{
	struct iovec part = {(void *)(uintptr_t) "HTTP/1.1 100 Continue\r\n\r\n", 25};

	conn->parser.expects_continue = false;
	if (send_parts(conn->fd, &part, 1, 0) != 25)
		conn_close(conn);
}

/* Parse what is in the buffer, as far as the end of one request. */
static void
parse(struct http_conn *conn)
{
	switch (http_parser_execute(&conn->parser, conn->buffer, conn->length)) {
	case HTTP_PARSE_COMPLETE:
		set_state(conn, HTTP_CONN_REQUEST);
		conn->conns->on_request(conn, conn->conns->arg);
		conn->held = conn->state == HTTP_CONN_REQUEST;
		return;
	case HTTP_PARSE_ERROR:
		refuse_request(conn);
		return;
	case HTTP_PARSE_MORE:
		break;
	}
	if (conn->parser.head_complete) {
		set_state(conn, HTTP_CONN_BODY);
		if (conn->parser.expects_continue && conn->length == conn->parser.parsed &&
		    conn->parser.body_length == 0)
			send_continue(conn);
	} else if (conn->state != HTTP_CONN_HEAD) {
		set_state(conn, HTTP_CONN_HEAD);
	}
}

static bool
is_reading(const struct http_conn *conn)
{
	return conn->state == HTTP_CONN_IDLE || conn->state == HTTP_CONN_HEAD || conn->state == HTTP_CONN_BODY;
}

/* Do what can be done without waiting: parse requests as long as there are complete ones and they are answered. */
static void
process(struct http_conn *conn)
{
	conn->processing = true;
	while (is_reading(conn) && conn->length > conn->parser.parsed)
		parse(conn);
	conn->processing = false;
	if (conn->state == HTTP_CONN_REQUEST && conn->waits_for == EV_WRITE)
		wait_for(conn, conn->peer_ended ? 0 : EV_READ); /* a socket with room is ready in each turn */
	if (!is_reading(conn)) /* in state REQUEST EV_READ stays as it is: most are answered before it matters */
		return;
	if (conn->peer_ended)
		conn_close(conn); /* nobody will complete what is there */
	else
		wait_for(conn, EV_READ);
}

/* The client has ended its side, or the connection broke. It still gets the answer to a complete request. */
static void
read_ended(struct http_conn *conn, int error)
{
	if (error == EBADF || error == ENOTSOCK)
		conn->conns->on_fatal("recv", error, conn->conns->arg);
	if (error) {
		conn_close(conn);
		return;
	}
	conn->peer_ended = true;
	wait_for(conn, 0);
	if (conn->state != HTTP_CONN_REQUEST)
		conn_close(conn);
}

/* Bytes of the next request while one is in the owner's hands: keep a bounded number of them, then stop reading. */
static bool
may_read(struct http_conn *conn)
{
	if (conn->state != HTTP_CONN_REQUEST || conn->length - conn->parser.request_length < HTTP_AHEAD_MAX)
		return true;
	wait_for(conn, 0);
	return false;
}

/*
 * At most what the body still lacks and a bounded part of what follows: each request that is answered is taken out of the
 * front of the buffer, and that must not mean moving megabytes because a large body has left a large buffer.
 */
static size_t
read_room(const struct http_conn *conn)
{
	size_t free_room = conn->room - conn->length, lacks = 0;

	if (conn->state == HTTP_CONN_BODY)
		lacks = (size_t)MIN(conn->parser.llhttp.content_length, free_room);
	return MIN(free_room, lacks + HTTP_AHEAD_MAX);
}

static void
read_some(struct http_conn *conn)
{
	size_t total = 0, room;
	ssize_t n;

	do {
		if (!may_read(conn))
			return;
		if (buffer_reserve(conn) < 0) {
			log_warning(
			    "out of memory for a request of more than %zu bytes; connection closed", conn->length);
			conn_close(conn);
			return;
		}
		room = read_room(conn);
		n = recv(conn->fd, conn->buffer + conn->length, room, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			read_ended(conn, n < 0 ? errno : 0);
			return;
		}
		conn->length += (size_t)n;
		total += (size_t)n;
		if (conn->state != HTTP_CONN_REQUEST)
			process(conn);
	} while ((size_t)n == room && total < READ_TURN_MAX && (is_reading(conn) || conn->state == HTTP_CONN_REQUEST));
	if (conn->state == HTTP_CONN_IDLE && conn->length == 0)
		buffer_release(conn);
}

/* Read and forget, so that the client gets to read our answer. */
static void
discard(struct http_conn *conn)
{
	static char nowhere[65536];
	ssize_t n = recv(conn->fd, nowhere, sizeof(nowhere), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	conn->discarded += n > 0 ? (size_t)n : 0;
	if (n <= 0 || conn->discarded > LINGER_MAX)
		conn_close(conn);
}

static void
on_event_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct http_conn *conn = arg;

	switch (conn->state) {
	case HTTP_CONN_WRITE:
		write_more(conn);
		if (conn->state == HTTP_CONN_IDLE)
			process(conn);
		break;
	case HTTP_CONN_LINGER:
		discard(conn);
		break;
	case HTTP_CONN_CLOSED:
		break;
	default:
		read_some(conn);
	}
}

/* ---- timeouts ---- */

static const int64_t timeout_ms[HTTP_CONN_STATES] = {
    [HTTP_CONN_IDLE] = HTTP_IDLE_TIMEOUT_MS,
    [HTTP_CONN_HEAD] = HTTP_HEAD_TIMEOUT_MS,
    [HTTP_CONN_BODY] = HTTP_BODY_TIMEOUT_MS,
    [HTTP_CONN_WRITE] = HTTP_WRITE_TIMEOUT_MS,
    [HTTP_CONN_LINGER] = HTTP_LINGER_TIMEOUT_MS,
};

static void
timed_out(struct http_conn *conn)
{
	if (conn->state == HTTP_CONN_HEAD || conn->state == HTTP_CONN_BODY) {
		conn->parser.error_status = 408;
		conn->parser.error_reason = "the request took too long to arrive";
		conn->parser.keep_alive = false;
		refuse_request(conn);
	} else {
		conn_close(conn);
	}
}

/* Each list is in the order of its deadlines, so only the heads are looked at. */
static void
on_sweep_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct http_conns *conns = arg;
	int64_t now = coarse_ms();

	for (int state = 0; state < HTTP_CONN_STATES; state++) {
		struct http_conn *conn;

		while (timeout_ms[state] > 0 && (conn = TAILQ_FIRST(&conns->in_state[state])) &&
		    now - conn->since_ms >= timeout_ms[state])
			timed_out(conn);
	}
	if (conns->n_open == 0) {
		evtimer_del(&conns->sweep);
		conns->sweeping = false;
	}
}

/* ---- the set ---- */

int
http_conns_init(struct http_conns *conns, struct event_base *base, uint64_t max_body, struct error *err)
{
	memset(conns, 0, sizeof(*conns));
	conns->base = base;
	conns->max_body = max_body;
	for (int i = 0; i < HTTP_CONN_STATES; i++)
		TAILQ_INIT(&conns->in_state[i]);
	if (event_assign(&conns->sweep, base, -1, EV_PERSIST, on_sweep_cb, conns) < 0)
		return error_set(err, -EINVAL, "cannot make a timer");
	return 0;
}

void
http_conns_done(struct http_conns *conns)
{
	for (int state = 0; state < HTTP_CONN_CLOSED; state++)
		while (!TAILQ_EMPTY(&conns->in_state[state]))
			conn_close(TAILQ_FIRST(&conns->in_state[state]));
	http_conns_reap(conns);
	if (conns->sweeping)
		evtimer_del(&conns->sweep);
	while (conns->n_spare > 0)
		free(buffer_get(conns));
}

int
http_conns_add(struct http_conns *conns, int fd)
{
	static const struct timeval second = {1, 0};
	struct http_conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		close(fd);
		return -ENOMEM;
	}
	conn->conns = conns;
	conn->fd = fd;
	conn->state = HTTP_CONN_IDLE;
	conn->since_ms = coarse_ms();
	http_parser_init(&conn->parser, conns->max_body);
	TAILQ_INSERT_TAIL(&conns->in_state[HTTP_CONN_IDLE], conn, in_state);
	conns->n_open++;
	if (!conns->sweeping) {
		conns->sweeping = true;
		evtimer_add(&conns->sweep, &second);
	}
	read_some(conn); /* the first request has usually come with the connection */
	if (is_reading(conn))
		wait_for(conn, EV_READ);
	if (conn->state == HTTP_CONN_REQUEST)
		return conn->parser.keep_alive;
	return is_reading(conn) || conn->state == HTTP_CONN_WRITE;
}

void
http_conns_reap(struct http_conns *conns)
{
	struct http_conn *conn;

	while ((conn = TAILQ_FIRST(&conns->in_state[HTTP_CONN_CLOSED]))) {
		TAILQ_REMOVE(&conns->in_state[HTTP_CONN_CLOSED], conn, in_state);
		free(conn);
	}
}

void
http_conns_close_idle(struct http_conns *conns)
{
	struct http_conn *conn;

	conns->closing = true;
	while ((conn = TAILQ_FIRST(&conns->in_state[HTTP_CONN_IDLE]))) {
		read_some(conn);
		if (conn->state == HTTP_CONN_IDLE)
			conn_close(conn);
	}
}

void
http_conns_close_in_child(struct http_conns *conns)
{
	struct http_conn *conn;

	for (int state = 0; state < HTTP_CONN_CLOSED; state++)
		TAILQ_FOREACH(conn, &conns->in_state[state], in_state)
	close(conn->fd);
}
