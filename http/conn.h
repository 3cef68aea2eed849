/*
 * conn - one client connection: reading requests, writing answers, timeouts, ending.
 *
 * All connections of a process belong to one struct http_conns, which lives on one event base; everything here is called
 * by the thread that runs that base. The owner is told of each complete request and answers it now or later:
 *
 *     on_request(conn, arg)      ... http_conn_request(conn) ...      http_conn_answer(conn, &answer)
 *
 * Between on_request and http_conn_answer the connection belongs to the owner: the request's bytes stay where they are.
 * When it ends in that time (the client has gone) on_gone(conn, arg) is called once and the owner must forget it.
 * Errors of the request itself (400, 413, ...) are answered here.
 *
 * The cost of a request on a kept-alive connection: one recv, one sendmsg, no allocation, no timer. Timeouts are found
 * by looking once a second at the head of one list per state, each in the order of its deadlines.
 */
#ifndef HTTP_CONN_H
#define HTTP_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "common/error.h"
#include "common/util.h"
#include "http/answer.h"
#include "http/parser.h"

enum http_conn_state {
	HTTP_CONN_IDLE,    /* no byte of a request yet */
	HTTP_CONN_HEAD,    /* reading a head */
	HTTP_CONN_BODY,    /* reading a body */
	HTTP_CONN_REQUEST, /* a complete request, in the owner's hands */
	HTTP_CONN_WRITE,   /* an answer that the socket did not take at once */
	HTTP_CONN_LINGER, /* answered and shut down; reading what still comes, so that the answer is not lost to a reset */
	HTTP_CONN_CLOSED, /* no descriptor any more; freed after the turn of the loop */
};
#define HTTP_CONN_STATES (HTTP_CONN_CLOSED + 1)

struct http_conns;

struct http_conn {
	struct http_conns *conns;
	TAILQ_ENTRY(http_conn) in_state;   /* in conns->in_state[state] */
	TAILQ_ENTRY(http_conn) in_pending; /* for the owner's queue while in state REQUEST */
	enum http_conn_state state;
	int64_t since_ms; /* of the state, or of its last progress: what its timeout counts from */
	int fd;
	struct event event;
	short waits_for; /* EV_READ, EV_WRITE, or 0: not registered */
	bool peer_ended; /* the client has shut down its side: one answer, then close */
	bool held;       /* the owner has been given the request and will answer it */
	bool mark;       /* the owner's, for its own use while it holds the request */
	bool processing; /* process() is further up the stack */

	char *buffer; /* of `room` bytes, from the pool; NULL while idle and empty */
	size_t room;
	size_t length;
	struct http_parser parser;

	bool close_after; /* the answer being written is the last */
	char *unsent;     /* rest of it, heap */
	size_t unsent_length;
	size_t unsent_done;
	size_t discarded; /* while lingering */
};

TAILQ_HEAD(http_conn_list, http_conn);

struct http_conns {
	struct event_base *base;
	uint64_t max_body;
	bool closing; /* say Connection: close with each answer */
	unsigned n_open;
	struct http_conn_list in_state[HTTP_CONN_STATES];
	struct event sweep;
	bool sweeping;
	char *spare_buffers; /* list of free buffers of the usual size, linked by their first bytes */
	unsigned n_spare;
	void (*on_request)(struct http_conn *conn, void *arg);
	void (*on_gone)(struct http_conn *conn, void *arg);
	void (*on_fatal)(const char *what, int error, void *arg); /* our descriptors are not ours any more */
	void *arg;
};

MUSTCHECK int http_conns_init(struct http_conns *conns, struct event_base *base, uint64_t max_body, struct error *err);
void http_conns_done(struct http_conns *conns);

/* Take a connected, non-blocking, close-on-exec socket over and read from it. Whether it will stay open: 1, or 0: it ends
 * with the answer to what has come, or has ended already; or -ENOMEM and the socket is closed. */
MUSTCHECK int http_conns_add(struct http_conns *conns, int fd);

/* Free the connections that ended. Called by the owner between two turns of the loop, never from a callback. */
void http_conns_reap(struct http_conns *conns);

/*
 * From now on every answer is the last one of its connection. Reads from the idle connections what has arrived, and closes
 * those that have nothing. Not from a callback. To be called after each turn of the loop until all connections have ended:
 * one that was promised more while its answer was written becomes idle later.
 */
void http_conns_close_idle(struct http_conns *conns);

/* Close the descriptors without a word, in a forked child that must not keep them. Touches nothing else. */
void http_conns_close_in_child(struct http_conns *conns);

/* The complete request; valid while in state REQUEST. */
static inline const struct http_parser *
http_conn_request(const struct http_conn *conn)
{
	return &conn->parser;
}

static inline const char *
http_conn_body(const struct http_conn *conn)
{
	return conn->buffer + conn->parser.body_offset;
}

/* Answer the request that the owner holds and go on with the connection. The answer's memory is not needed afterwards. */
void http_conn_answer(struct http_conn *conn, const struct http_answer *answer);

#endif
