/*
 * conn_internal - what the parts of conn (conn.c, conn_read.c, conn_write.c, conn_move.c) need of each other.
 */
#ifndef HTTP_CONN_INTERNAL_H
#define HTTP_CONN_INTERNAL_H

#include "http/conn.h"

/* Good to a few milliseconds, which is all that timeouts need, for a tenth of the price. */
int64_t http_coarse_ms(void);

/* ---- conn.c ---- */

/* The only writer of conn->state. Setting the state it has marks progress. */
void http_conn_set_state(struct http_conn *conn, enum http_conn_state state);

/* Register for EV_READ, EV_WRITE or nothing; no system call when it is registered already, which is the usual case. */
void http_conn_wait_for(struct http_conn *conn, short what);

/* A new connection object with its entry, in state IDLE and phase FREE, in no list but that, and not counted yet. NULL: no
 * memory. */
struct http_conn *http_conn_new(struct http_conns *conns, int fd);

/* Count it when it is entered, not before: a keeper counts what is entered. */
void http_conns_count_open(struct http_conns *conns, int change);

/* The last answer is written: end it with care. */
void http_conn_finish(struct http_conn *conn);
void http_conn_close(struct http_conn *conn);

/* It has moved: close our descriptor of it and nothing more. */
void http_conn_forget(struct http_conn *conn);

static inline bool
http_conn_is_reading(const struct http_conn *conn)
{
	return conn->state == HTTP_CONN_IDLE || conn->state == HTTP_CONN_HEAD || conn->state == HTTP_CONN_BODY;
}

/* Bytes that were read and belong to requests that are not answered yet. */
static inline size_t
http_conn_length(const struct http_conn *conn)
{
	return (size_t)(conn->kept->received - conn->kept->consumed);
}

/* ---- conn_read.c ---- */

/* Do what can be done without waiting: parse requests as long as there are complete ones and they are answered. */
void http_conn_process(struct http_conn *conn);

/* Register for what its state waits for. In state REQUEST: whether the client is still there. */
void http_conn_watch(struct http_conn *conn);

/* The socket has something: read, then process. */
void http_conn_read(struct http_conn *conn);

/* Read and forget, so that the client gets to read our answer. */
void http_conn_discard(struct http_conn *conn);

/* Reading took too long: say so, and end the connection. */
void http_conn_refuse_late(struct http_conn *conn);

/* The request at the front is answered: what follows becomes the next one. */
void http_conn_consume(struct http_conn *conn);

/* Give back what was read, all of which has been consumed. */
void http_conn_release_input(struct http_conn *conn);

/* Room for n bytes more of input in one block. 0 or -ENOMEM. */
MUSTCHECK int http_conn_reserve(struct http_conn *conn, size_t n);

/* ---- conn_write.c ---- */

/* Answer the request at the front, whoever has it. */
void http_conn_answer_now(struct http_conn *conn, const struct http_answer *answer);

/* The socket takes more of an answer. */
void http_conn_write_more(struct http_conn *conn);

/* A short interim answer, all of it or the connection ends. */
void http_conn_send_continue(struct http_conn *conn);

/* Keep a copy of what the socket has not taken of an answer up to kept->answer_end: all but the first `sent` bytes of the
 * parts. False: no memory. */
MUSTCHECK bool http_conn_keep_rest(struct http_conn *conn, const struct iovec parts[2], size_t sent);

/* Give the block of that copy back. */
void http_conn_release_output(struct http_conn *conn);

#endif
