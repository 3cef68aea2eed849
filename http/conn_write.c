/*
 * conn_write - the answers of a connection. See conn.h.
 *
 * Head and body leave with one system call. What the socket does not take at once is copied and written by events: a slow
 * reader never holds anybody up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "http/access.h"
#include "http/conn_internal.h"

void
http_conn_release_output(struct http_conn *conn)
{
	struct http_block *out = &conn->kept->out;
	char *data = take_ptr(&out->data);

	if (!data)
		return;
	if (conn->kept->flags & HTTP_KEPT_OUT_PRIVATE)
		free(data);
	else
		http_memory_put(conn->conns->memory, data, out->room);
	conn->kept->flags &= ~(uint32_t)HTTP_KEPT_OUT_PRIVATE;
}

/* The answer is out: close, or be ready for the next request. */
static void
answer_written(struct http_conn *conn)
{
	http_conn_release_output(conn);
	if (conn->kept->flags & HTTP_KEPT_CLOSE_AFTER) {
		http_conn_finish(conn);
		return;
	}
	http_conn_consume(conn);
	http_conn_set_state(conn, HTTP_CONN_IDLE);
}

/* A send that failed for good. Only a descriptor that is not our socket any more is worth a word. */
static void
write_failed(struct http_conn *conn, int error)
{
	const struct http_conns *conns = conn->conns;

	if ((error == EBADF || error == ENOTSOCK) && conns->callbacks->on_fatal)
		conns->callbacks->on_fatal("sendmsg", error, conns->arg);
	http_conn_close(conn);
}

static ssize_t
send_parts(int fd, struct iovec *parts, size_t n_parts, int flags)
{
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = n_parts};
	ssize_t n;

	do
		n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	return n;
}

/* A block for the rest of an answer. One that is too large for the memory that is kept dies with us. */
static bool
get_output(struct http_conn *conn, size_t size, struct http_block *ret_out)
{
	ret_out->data = http_memory_get(conn->conns->memory, size, &ret_out->room);
	if (!ret_out->data) {
		ret_out->data = malloc(size);
		ret_out->room = size;
		conn->kept->flags |= HTTP_KEPT_OUT_PRIVATE;
	}
	return ret_out->data != NULL;
}

bool
http_conn_keep_rest(struct http_conn *conn, const struct iovec parts[2], size_t sent)
{
	size_t total = parts[0].iov_len + parts[1].iov_len;
	size_t from_head = sent < parts[0].iov_len ? parts[0].iov_len - sent : 0;
	size_t from_body = total - sent - from_head;
	struct http_block out;

	if (!get_output(conn, total - sent, &out)) {
		log_warning("out of memory for the rest of an answer (%zu bytes); connection closed", total - sent);
		return false;
	}
	memcpy(out.data, (char *)parts[0].iov_base + parts[0].iov_len - from_head, from_head);
	if (from_body > 0)
		memcpy(out.data + from_head, (char *)parts[1].iov_base + parts[1].iov_len - from_body, from_body);
	conn->kept->out.room = out.room;
	conn->kept->out.base = conn->kept->answer_end - (total - sent);
	conn->kept->out.data = out.data;
	return true;
}

/* Send head and body with one system call. */
static void
write_answer(struct http_conn *conn, struct iovec parts[2])
{
	struct http_kept *kept = conn->kept;
	ssize_t n;

	/* The last answer leaves in one segment with the FIN: http_conn_finish follows at once, and pushes it out. */
	n = send_parts(
	    conn->fd, parts, parts[1].iov_len > 0 ? 2 : 1, kept->flags & HTTP_KEPT_CLOSE_AFTER ? MSG_MORE : 0);
	if (n < 0) {
		int error = errno;

		if (conn->conns->callbacks->on_sent)
			conn->conns->callbacks->on_sent(conn, false, conn->conns->arg);
		write_failed(conn, error);
		return;
	}
	if (conn->conns->callbacks->on_sent)
		conn->conns->callbacks->on_sent(conn, true, conn->conns->arg);
	if (kept->sent + (size_t)n == kept->answer_end) {
		kept->sent = kept->answer_end;
		answer_written(conn);
		return;
	}
	if (!http_conn_keep_rest(conn, parts, (size_t)n)) {
		http_conn_close(conn);
		return;
	}
	kept->sent += (size_t)n;
	http_conn_set_state(conn, HTTP_CONN_WRITE);
	http_conn_wait_for(conn, EV_WRITE);
}

void
http_conn_write_more(struct http_conn *conn)
{
	struct http_kept *kept = conn->kept;
	struct iovec part = {kept->out.data + (kept->sent - kept->out.base), kept->answer_end - kept->sent};
	ssize_t n = send_parts(conn->fd, &part, 1, 0);

	if (n < 0) {
		write_failed(conn, errno);
		return;
	}
	if (n == 0)
		return;
	kept->sent += (size_t)n;
	http_conn_set_state(conn, HTTP_CONN_WRITE);
	if (kept->sent == kept->answer_end)
		answer_written(conn);
}

/* The client's, or one that is made because it is logged. */
static void
find_request_id(const struct http_conn *conn, char made[HTTP_REQUEST_ID_MADE])
{
	const struct http_span id = conn->parser.request_id;
	struct http_conns *conns = conn->conns;

	conns->request_id = NULL;
	if (id.length > 0) {
		conns->request_id = http_conn_bytes(conn) + id.offset;
		conns->request_id_length = id.length;
	} else if (conns->access_log) {
		http_access_make_id(made);
		conns->request_id = made;
		conns->request_id_length = HTTP_REQUEST_ID_MADE;
	}
}

void
http_conn_answer_now(struct http_conn *conn, const struct http_answer *answer)
{
	const struct http_parser *request = &conn->parser;
	struct http_kept *kept = conn->kept;
	bool minor_0 = request->llhttp.http_minor == 0, close = !request->keep_alive || conn->conns->closing, has_body;
	struct http_answer whole = *answer;
	char head[HTTP_ANSWER_HEAD_MAX], made_id[HTTP_REQUEST_ID_MADE];
	struct iovec parts[2];

	if (!whole.common)
		whole.common = conn->conns->common;
	find_request_id(conn, made_id);
	whole.request_id = conn->conns->request_id;
	whole.request_id_length = conn->conns->request_id_length;
	parts[0] = (struct iovec){head, http_answer_head(&whole, close, minor_0 && !close, head)};
	has_body = http_parser_method(request) != HTTP_HEAD && answer->status != 204;
	parts[1] = (struct iovec){(void *)(uintptr_t)answer->body, has_body ? answer->body_length : 0};
	kept->answer_end = kept->sent + parts[0].iov_len + parts[1].iov_len;
	kept->flags &= ~(uint32_t)(HTTP_KEPT_CLOSE_AFTER | HTTP_KEPT_PREDICTED);
	kept->flags |= close ? HTTP_KEPT_CLOSE_AFTER : 0;
	kept->flags |= http_kept_phase(kept) == HTTP_PHASE_PREDICTING ? HTTP_KEPT_PREDICTED : 0;
	if (conn->conns->callbacks->on_answer)
		conn->conns->callbacks->on_answer(conn, answer, conn->conns->arg);
	http_kept_set_phase(kept, HTTP_PHASE_ANSWERING);
	write_answer(conn, parts);
}

void
http_conn_answer_last(struct http_conn *conn, const struct http_answer *answer)
{
	ASSERT(conn->state == HTTP_CONN_REQUEST);
	conn->held = false;
	http_conn_answer_now(conn, answer);
}

void
http_conn_answer(struct http_conn *conn, const struct http_answer *answer)
{
	http_conn_answer_last(conn, answer);
	if (!conn->processing)
		http_conn_process(conn);
}

/* A socket that has no room for it is closed, unless it need not be said. */
static void
send_continue(struct http_conn *conn, bool optional)
{
	struct iovec part = {(void *)(uintptr_t) "HTTP/1.1 100 Continue\r\n\r\n", 25};
	ssize_t n = send_parts(conn->fd, &part, 1, 0);

	if (n == 25)
		conn->kept->sent += 25;
	else if (n != 0 || !optional)
		http_conn_close(conn);
}

void
http_conn_send_continue(struct http_conn *conn)
{
	send_continue(conn, false);
}

void
http_conn_probe(struct http_conn *conn)
{
	if (conn->parser.llhttp.http_minor > 0)
		send_continue(conn, true);
}
