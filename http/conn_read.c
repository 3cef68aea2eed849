/*
 * conn_read - reading and parsing the requests of a connection. See conn.h.
 *
 * What was read lies in one block, from the request at the front on. It is never moved within its block: an answered
 * request is stepped over, and when the block is full what is left goes to the beginning of another one. The switch from
 * one to the other is a single store, so that a death at any instant leaves one that is whole (kept.h).
 *
 * A connection moves by http_conn_process(), which does for the state that it is in whatever can be done without waiting.
 * It is a loop and not a recursion, so a client that pipelines a thousand requests costs no stack.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/log.h"
#include "http/conn_internal.h"
#include "http/limits.h"

#define PROMISED_MAX  (1 << 20)   /* bytes reserved on the word of a Content-Length */
#define READ_TURN_MAX (1 << 20)   /* bytes read from one connection in one callback */
#define LINGER_MAX    (256 << 20) /* bytes discarded at most while lingering */

/* ---- the block ---- */

static size_t
free_room(const struct http_conn *conn)
{
	const struct http_block *in = http_kept_in(conn->kept);

	return in->data ? in->room - (size_t)(conn->kept->received - in->base) : 0;
}

void
http_conn_release_input(struct http_conn *conn)
{
	struct http_kept *kept = conn->kept;
	struct http_block *in = &kept->in[kept->current];
	char *data = in->data;

	ASSERT(kept->consumed == kept->received);
	in->data = NULL;
	if (data)
		http_memory_put(conn->conns->memory, data, in->room);
}

/* Go on in a block of at least that size. */
static int
replace_block(struct http_conn *conn, size_t size)
{
	struct http_kept *kept = conn->kept;
	struct http_block *old = &kept->in[kept->current], *new = &kept->in[kept->current ^ 1];
	size_t length = http_conn_length(conn);

	new->data = http_memory_get(conn->conns->memory, size, &new->room);
	if (!new->data)
		return -ENOMEM;
	new->base = kept->consumed;
	if (length > 0)
		memcpy(new->data, http_conn_bytes(conn), length);
	atomic_store_explicit(&kept->current, kept->current ^ 1, memory_order_release);
	if (old->data)
		http_memory_put(conn->conns->memory, take_ptr(&old->data), old->room);
	return 0;
}

/*
 * A body of announced length gets its room at once as long as it is small; beyond that the block grows with what has come,
 * not with what a client has promised.
 */
int
http_conn_reserve(struct http_conn *conn, size_t n)
{
	size_t length = http_conn_length(conn), room = http_kept_in(conn->kept)->room, size;

	if (free_room(conn) >= n)
		return 0;
	if (length == 0)
		return replace_block(conn, MAX(n, HTTP_BLOCK_MIN));
	size = length + n;
	if (size > room / 2)
		size = MAX(size, 2 * room);
	if (!conn->restart && conn->parser.head_complete)
		size = MAX(size, MIN(length + conn->parser.llhttp.content_length + 1, PROMISED_MAX));
	return replace_block(conn, MAX(size, HTTP_BLOCK_MIN));
}

void
http_conn_consume(struct http_conn *conn)
{
	struct http_kept *kept = conn->kept;

	kept->flags &= (uint32_t)HTTP_KEPT_PEER_ENDED;
	kept->arrival_ns = 0;
	kept->consumed = kept->request_end;
	http_kept_set_phase(kept, HTTP_PHASE_OPEN);
	conn->restart = true;
	if (kept->consumed == kept->received)
		http_conn_release_input(conn);
}

/* ---- parsing ---- */

static uint64_t
on_head(UNUSED const struct http_parser *parser, void *arg)
{
	struct http_conn *conn = arg;

	return conn->conns->callbacks->on_head(conn, conn->conns->arg);
}

/* A request that cannot be understood or is too large: say so, and end the connection. */
static void
refuse_request(struct http_conn *conn)
{
	char text[256];
	struct http_answer answer;

	snprintf(text, sizeof(text), "%s\n", conn->parser.error_reason);
	answer = http_answer_text(conn->parser.error_status, text);
	log_debug("refused a request with %d: %s", conn->parser.error_status, conn->parser.error_reason);
	http_conn_refuse(conn, &answer);
}

void
http_conn_refuse_late(struct http_conn *conn)
{
	conn->parser.error_status = 408;
	conn->parser.error_reason = "the request took too long to arrive";
	refuse_request(conn);
}

void
http_conn_refuse(struct http_conn *conn, const struct http_answer *answer)
{
	conn->parser.error_status = answer->status;
	conn->parser.keep_alive = false;
	conn->kept->request_end = conn->kept->received;
	conn->held = false;
	http_conn_set_state(conn, HTTP_CONN_REQUEST);
	http_conn_answer_now(conn, answer);
}

static void
request_complete(struct http_conn *conn)
{
	const struct http_parser *parser = &conn->parser;
	struct http_kept *kept = conn->kept;

	kept->request_end = kept->consumed + parser->request_length;
	if (!parser->keep_alive)
		kept->flags |= HTTP_KEPT_CLOSE_AFTER;
	if (parser->llhttp.http_minor == 0)
		kept->flags |= HTTP_KEPT_HTTP_1_0;
	if (kept->arrival_ns == 0)
		kept->arrival_ns = clock_ns();
	http_conn_set_state(conn, HTTP_CONN_REQUEST);
	conn->conns->callbacks->on_request(conn, conn->conns->arg);
	conn->held = conn->state == HTTP_CONN_REQUEST;
}

/* More is to come. The head may be there, and the client wait for our word before it sends the body (RFC 9110 10.1.1). */
static void
request_incomplete(struct http_conn *conn)
{
	struct http_parser *parser = &conn->parser;

	if (!parser->head_complete) {
		if (conn->state != HTTP_CONN_HEAD)
			http_conn_set_state(conn, HTTP_CONN_HEAD);
		return;
	}
	http_conn_set_state(conn, HTTP_CONN_BODY);
	if (!parser->expects_continue || (conn->kept->flags & HTTP_KEPT_CONTINUED))
		return;
	conn->kept->flags |= HTTP_KEPT_CONTINUED;
	if (http_conn_length(conn) == parser->parsed && parser->body_length == 0)
		http_conn_send_continue(conn);
}

/* Parse what is in the block, as far as the end of one request. */
static void
parse(struct http_conn *conn)
{
	if (conn->restart) {
		http_parser_init(&conn->parser, on_head, conn);
		conn->restart = false;
	}
	switch (http_parser_execute(&conn->parser, http_conn_bytes(conn), http_conn_length(conn))) {
	case HTTP_PARSE_COMPLETE:
		request_complete(conn);
		break;
	case HTTP_PARSE_ERROR:
		refuse_request(conn);
		break;
	case HTTP_PARSE_REFUSED:
		http_conn_set_state(conn, HTTP_CONN_HEAD);
		conn->conns->callbacks->on_refused(conn, conn->conns->arg);
		break;
	case HTTP_PARSE_MORE:
		request_incomplete(conn);
		break;
	}
}

static bool
is_unparsed(const struct http_conn *conn)
{
	return http_conn_length(conn) > (conn->restart ? 0 : conn->parser.parsed);
}

/* Of one that has ended its side only an edge can be news. */
void
http_conn_watch(struct http_conn *conn)
{
	if (conn->state == HTTP_CONN_WRITE)
		http_conn_wait_for(conn, EV_WRITE);
	else
		http_conn_wait_for(conn, conn->kept->flags & HTTP_KEPT_PEER_ENDED ? EV_READ | EV_ET : EV_READ);
}

/* The owner did not want it, and could neither move it nor answer: it waits for that, untouched. */
static bool
is_refused(const struct http_conn *conn)
{
	return http_conn_is_reading(conn) && !conn->restart && conn->parser.refused;
}

void
http_conn_process(struct http_conn *conn)
{
	conn->processing = true;
	while (http_conn_is_reading(conn) && is_unparsed(conn) && !is_refused(conn))
		parse(conn);
	conn->processing = false;
	if (is_refused(conn)) {
		http_conn_wait_for(conn, 0);
		return;
	}
	if (conn->state == HTTP_CONN_REQUEST && (conn->waits_for == EV_WRITE || conn->conns->watches_requests))
		http_conn_watch(conn); /* a socket with room would be ready in each turn */
	if (!http_conn_is_reading(
		conn)) /* in state REQUEST EV_READ stays as it is: most are answered before it matters */
		return;
	if (conn->kept->flags & HTTP_KEPT_PEER_ENDED)
		http_conn_close(conn); /* nobody will complete what is there */
	else
		http_conn_wait_for(conn, EV_READ);
}

/* ---- reading ---- */

/* Of one that has ended its side before, recv says nothing but that, even if it was reset since. */
static int
pending_error(const struct http_conn *conn)
{
	int error = 0;
	socklen_t length = sizeof(error);

	return getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? errno : error;
}

/*
 * The client has ended its side, or the connection broke. It still gets the answer to a complete request; until then only
 * an edge can be news: that the connection is reset.
 */
static void
read_ended(struct http_conn *conn, int error)
{
	const struct http_conns *conns = conn->conns;

	if (!error && (conn->kept->flags & HTTP_KEPT_PEER_ENDED))
		error = pending_error(conn);
	if ((error == EBADF || error == ENOTSOCK) && conns->callbacks->on_fatal)
		conns->callbacks->on_fatal("recv", error, conns->arg);
	if (error || conn->state != HTTP_CONN_REQUEST) {
		http_conn_close(conn);
		return;
	}
	if (conn->kept->flags & HTTP_KEPT_PEER_ENDED)
		return;
	conn->kept->flags |= HTTP_KEPT_PEER_ENDED;
	http_conn_wait_for(conn, EV_READ | EV_ET);
	if (conn->held && conns->callbacks->on_peer_ended)
		conns->callbacks->on_peer_ended(conn, conns->arg);
}

/* Bytes of the next request while one is in the owner's hands: keep a bounded number of them, then stop reading. */
static bool
may_read(struct http_conn *conn)
{
	if (conn->state != HTTP_CONN_REQUEST || conn->kept->received - conn->kept->request_end < HTTP_AHEAD_MAX)
		return true;
	http_conn_wait_for(conn, 0);
	return false;
}

/* At most what the body still lacks and a bounded part of what follows: it may have to be copied to another block. */
static size_t
read_room(const struct http_conn *conn)
{
	size_t room = free_room(conn), lacks = 0;

	if (conn->state == HTTP_CONN_BODY)
		lacks = (size_t)MIN(conn->parser.llhttp.content_length, room);
	return MIN(room, lacks + HTTP_AHEAD_MAX);
}

static ssize_t
receive(struct http_conn *conn, size_t room)
{
	struct http_kept *kept = conn->kept;
	const struct http_block *in = http_kept_in(kept);
	ssize_t n;

	kept->receiving = true;
	n = recv(conn->fd, in->data + (kept->received - in->base), room, MSG_DONTWAIT);
	if (n > 0)
		kept->received += (size_t)n;
	kept->receiving = false;
	return n;
}

static void
out_of_memory(struct http_conn *conn)
{
	static const char text[] = "there is no memory for this request now\n";
	struct http_answer answer = http_answer_text(503, text);

	log_warning("out of memory for a request of more than %zu bytes; refused it", http_conn_length(conn));
	if (conn->state == HTTP_CONN_REQUEST)
		http_conn_wait_for(conn, 0); /* it was read ahead; the request itself is complete */
	else
		http_conn_refuse(conn, &answer);
}

void
http_conn_read(struct http_conn *conn)
{
	size_t total = 0, room;
	ssize_t n;

	do {
		if (!may_read(conn))
			return;
		if (http_conn_reserve(conn, 1) < 0) {
			out_of_memory(conn);
			return;
		}
		room = read_room(conn);
		n = receive(conn, room);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			read_ended(conn, n < 0 ? errno : 0);
			return;
		}
		total += (size_t)n;
		if (conn->state != HTTP_CONN_REQUEST)
			http_conn_process(conn);
	} while ((size_t)n == room && total < READ_TURN_MAX && !is_refused(conn) &&
	    (http_conn_is_reading(conn) || conn->state == HTTP_CONN_REQUEST));
	if (conn->state == HTTP_CONN_IDLE && http_conn_length(conn) == 0) {
		http_conn_release_input(conn);
		http_conn_wait_for(conn, EV_READ);
	}
}

void
http_conn_discard(struct http_conn *conn)
{
	static char nowhere[65536];
	ssize_t n = recv(conn->fd, nowhere, sizeof(nowhere), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	conn->discarded += n > 0 ? (size_t)n : 0;
	if (n <= 0 || conn->discarded > LINGER_MAX)
		http_conn_close(conn);
}
