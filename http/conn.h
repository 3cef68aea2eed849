/*
 * conn - one client connection: reading requests, writing answers, timeouts, ending, moving to another process.
 *
 * All connections of a process belong to one struct http_conns, which lives on one event base. Everything here is called
 * by the thread that runs that base, or by one that has been given its turn (replica/turn.h). The owner is told of each
 * complete request and answers it now or later:
 *
 *     on_request(conn, arg)      ... http_conn_request(conn) ...      http_conn_answer(conn, &answer)
 *
 * Between on_request and http_conn_answer the connection belongs to the owner. The request's bytes may be copied to another
 * place when more is read: see http_conn_bytes.
 * When it ends in that time (the client has gone) on_gone(conn, arg) is called once and the owner must forget it.
 * Errors of the request itself (400, 413, ...) are answered here.
 *
 * What must survive the process lies in conn->kept (kept.h); the rest can be made from it again, which is what happens
 * when a connection moves: leaving is http_departure_*, arriving is http_conns_arrive.
 *
 * The cost of a request on a kept-alive connection: one recv, one sendmsg, no allocation, no timer. Timeouts are found
 * by looking once a second at the head of one list per state, each about in the order of its deadlines.
 *
 * conn.c is the life of a connection, conn_read.c its requests, conn_write.c its answers, conn_move.c its moves.
 */
#ifndef HTTP_CONN_H
#define HTTP_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "common/error.h"
#include "common/util.h"
#include "http/answer.h"
#include "http/kept.h"
#include "http/memory.h"
#include "http/parcel.h"
#include "http/parser.h"
#include "http/route.h"

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
	struct http_kept *kept;            /* its part that outlives the process */
	TAILQ_ENTRY(http_conn) in_state;   /* in conns->in_state[state] */
	TAILQ_ENTRY(http_conn) in_pending; /* for the owner's queue while in state REQUEST */
	enum http_conn_state state;
	int fd;
	struct event event;
	short waits_for; /* EV_READ, EV_WRITE, perhaps EV_ET, or 0: not registered */
	bool held;       /* the owner has been given the request and will answer it */
	bool mark;       /* the owner's, for its own use while it holds the request */
	bool processing; /* http_conn_process() is further up the stack */
	bool restart;    /* the parser is to begin anew: with the next request, or with this one in another place */
	struct http_route route; /* of the request at the front, once its head is there */
	struct http_parser parser;
	size_t discarded; /* while lingering */
	char client[48];  /* its address in words, once somebody has asked (access.h); "": not yet */
};

TAILQ_HEAD(http_conn_list, http_conn);

/* What the owner of the connections is asked and told; arg is http_conns.arg. */
struct http_conns_callbacks {
	/* A head is there: find conn->route, and say how long the body may be. HTTP_HEAD_REFUSED: it has no business here;
	 * on_refused follows. */
	uint64_t (*on_head)(struct http_conn *conn, void *arg);
	/* ... and is to be moved, or answered with http_conn_refuse; or left alone (state HEAD, parser.refused) until it can be
	 * moved, or the client has waited long enough for a head. May be NULL when on_head never refuses. */
	void (*on_refused)(struct http_conn *conn, void *arg);
	void (*on_request)(struct http_conn *conn, void *arg);
	void (*on_gone)(struct http_conn *conn, void *arg);
	/* For counting, both or none: an answer is about to be sent to the client; and the socket has taken it, all or its beginning, or
	 * (sent false) the client is gone. Nothing that another process could see is changed before on_sent returns. */
	void (*on_answer)(struct http_conn *conn, const struct http_answer *answer, void *arg);
	void (*on_sent)(struct http_conn *conn, bool sent, void *arg);
	/* The client has shut down its side while the owner has its request: it may be gone (see http_conn_probe), or wait
	 * for the answer. May be NULL. */
	void (*on_peer_ended)(struct http_conn *conn, void *arg);
	/* Our descriptors are not ours any more. Does not return. NULL: that cannot be, and only the connection ends. */
	void (*on_fatal)(const char *what, int error, void *arg);
};

struct http_conns {
	struct event_base *base;
	struct http_memory *memory;
	const struct http_conns_callbacks *callbacks;
	void *arg;
	bool access_log;        /* each answer has a request id, the client's or one that is made */
	const char *request_id; /* of the answer that on_answer is about; NULL: none */
	size_t request_id_length;
	const char *common;    /* header fields of each answer, in place of the CORS fields; or NULL */
	bool closing;          /* say Connection: close with each answer */
	bool watches_requests; /* requests wait long in the owner's hands: look whether their clients leave */
	unsigned n_open;
	_Atomic(uint32_t) *n_open_shown; /* the same for others to see; or NULL */
	_Atomic(int32_t) *n_everywhere;  /* of all processes together: accepts and ends, not moves; or NULL */
	struct http_conn_list in_state[HTTP_CONN_STATES];
	struct event sweep;
	bool sweeping;
	struct http_conn_list spare; /* to be used again, by in_state */
	unsigned n_spare;
};

MUSTCHECK int http_conns_init(struct http_conns *conns, struct event_base *base, struct http_memory *memory,
    const struct http_conns_callbacks *callbacks, void *arg, struct error *err);
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

/* The complete request; valid while in state REQUEST. */
static inline const struct http_parser *
http_conn_request(const struct http_conn *conn)
{
	return &conn->parser;
}

/* Its number among the connections of this process, from 1; the keeper knows it by that, too. */
static inline uint32_t
http_conn_number(const struct http_conn *conn)
{
	return http_memory_entry_number(conn->conns->memory, conn->kept);
}

/* Its bytes, which the offsets of the parser are about. */
static inline char *
http_conn_bytes(const struct http_conn *conn)
{
	const struct http_block *in = http_kept_in(conn->kept);

	return in->data + (conn->kept->consumed - in->base);
}

/* The content of its body, http_conn_request()->body_length bytes. From then on the connection cannot move. */
static inline const char *
http_conn_body(struct http_conn *conn)
{
	return http_parser_body(&conn->parser, http_conn_bytes(conn));
}

/* The request is with the predictor now: should this process die, its client is told that it failed. */
static inline void
http_conn_begin_prediction(struct http_conn *conn)
{
	http_kept_set_phase(conn->kept, HTTP_PHASE_PREDICTING);
}

/* Answer the request that the owner holds. The answer's memory is not needed afterwards. */
void http_conn_answer(struct http_conn *conn, const struct http_answer *answer);

/* The same, and nothing more: the connection is about to move. Further requests on it stay unparsed. */
void http_conn_answer_last(struct http_conn *conn, const struct http_answer *answer);

/* Answer a request whose body was not read, and end the connection with care. From on_refused, or for one that was read. */
void http_conn_refuse(struct http_conn *conn, const struct http_answer *answer);

/*
 * The client of a request that the owner holds has shut down its side. Say 100 (Continue) to it, which every HTTP/1.1
 * client must be able to skip (RFC 9110 15.2): a client that is not there any more answers with a reset, and the
 * connection ends.
 */
void http_conn_probe(struct http_conn *conn);

/*
 * The owner of the request answers it in its own way and ends the connection: its socket, the caller's from now on. There is no call of
 * on_gone; the connection is not ours any more.
 */
MUSTCHECK int http_conn_detach(struct http_conn *conn);

/* ---- moving ---- */

/* Connections on their way out in one record. */
struct http_departure {
	struct http_parcel parcel;
	struct http_conn *who[CHANNEL_CONNS_MAX];
};

static inline void
http_departure_init(struct http_departure *departure)
{
	http_parcel_init(&departure->parcel);
}

/*
 * Add a connection in any state but CLOSED, and not one whose request is with the predictor. False when the record is full
 * and must be sent first. Nothing may happen to it until then.
 */
MUSTCHECK bool http_departure_add(struct http_departure *departure, struct http_conn *conn);

/*
 * Send them off: 0, and they are gone from here without a call of on_gone. Or a negative errno, and all are still here, as
 * they were. sequence, flags: of the record (channel_record.h), sequence not 0. The departure is empty afterwards.
 */
MUSTCHECK int http_departure_send(struct http_departure *departure, int channel, enum channel_kind kind,
    uint32_t sequence, uint32_t flags, bool wait);

/* Let those that were added stay, as they were. */
void http_departure_cancel(struct http_departure *departure);

/*
 * Take over a connection that came with a record; copies bytes (n_request, then n_answer). Goes on with it: on_request
 * comes from here when its request is complete, with kept->arrival_ns as it was. FAILED is answered with 500. NULL when
 * there is no memory: the socket is closed.
 */
struct http_conn *http_conns_arrive(
    struct http_conns *conns, const struct channel_conn *conn, int fd, const uint8_t *bytes);

#endif
