/*
 * server_internal - struct server, and what server.c, moving.c and children.c need of each other.
 */
#ifndef REPLICA_SERVER_INTERNAL_H
#define REPLICA_SERVER_INTERNAL_H

#include <event2/event_struct.h>

#include "common/start_record.h"
#include "http/conn.h"
#include "http/count.h"
#include "http/listener.h"
#include "replica/keeper.h"
#include "replica/link.h"
#include "replica/predictor.h"
#include "replica/recycle.h"
#include "replica/server.h"
#include "replica/turn.h"

/* What is counted about answers (counting.c). */
struct counting {
	struct metrics_area *metrics; /* of this replica */
	struct metrics_api *api;      /* with the names of classes; NULL: no tracker needs them */
	/* Of the answer that follows. */
	struct http_times times;
	const struct prediction_answer *prediction; /* that it is of; NULL: none */
};

struct server {
	struct event_base *base;
	int epoll_fd;
	struct scoreboard *scoreboard;
	struct http_memory memory;
	struct http_conns conns;
	struct http_listener *listeners;
	int n_listeners;
	unsigned max_conns;
	bool accepts; /* from the beginning */
	struct keeper *keeper;
	struct link link;
	struct counting counting;
	struct turn turn;

	/* who has the turn */
	struct http_conn_list pending; /* complete requests for predict, the next one first */
	unsigned n_pending;
	struct http_conn *current; /* whose prediction runs, or NULL */

	/* the main thread's own */
	enum replica_state mine; /* the state that it knows to have stored last */
	bool received;           /* a REQUEST came since IDLE was stored */
	bool presumed_long;      /* and the activator counts us as LONG because of it */
	bool served_own;         /* a request was served since the last offer */
	bool rested;             /* it has waited for something to happen, and not worked since */
	int64_t rested_ns;       /* when it last did not have to work */
	int64_t shared_ns;       /* when it last gave connections away */
	int64_t predict_ns;      /* how long predictions take, roughly */
	struct recycle recycle;
	bool wants_out; /* the supervisor was asked for a successor */
	bool draining;
	int exit_status;

	struct event control;
	struct event channel;
	struct event drain;
	struct event flush;
	bool flush_armed;
	int drain_fd; /* eventfd: written by the SIGTERM handler */

	const char *api;
	int replica;
	const char *endpoint;
	size_t endpoint_length;
	uint64_t max_body_bytes;
	int64_t timeout_ns;
	unsigned stop_timeout_s;
	struct http_routes routes; /* of this api alone */
	bool describes;            /* GET gets description */
	char *description;         /* JSON text */
	struct predictor *predictor;
};

/* ---- server.c ---- */

/* The queue of complete requests. */
void server_pend(struct server *server, struct http_conn *conn);
void server_unpend(struct server *server, struct http_conn *conn);

/* Lines that were gathered leave in a moment. */
void server_flush_soon(struct server *server);

/* ---- moving.c: by whoever has the turn ---- */

/* Callbacks of the turn. */
void moving_evacuate(void *arg);
void moving_time_out(void *arg);

/* Answer a request whose deadline has passed: 504. last: and the connection is about to move. */
void moving_answer_late(struct server *server, struct http_conn *conn, bool last);

/* Give all connections to the activator. False: the link is down, and some are still here. */
MUSTCHECK bool moving_leave(struct server *server);

/* Give one connection to the activator, which may have a request in pending. False: it stays. */
bool moving_send(struct server *server, struct http_conn *conn);

/* The same with the next record that leaves, or moving_flush. Until then nothing may happen to it: no turn of the loop. */
void moving_send_soon(struct server *server, struct http_conn *conn);

/* Those that on_refused could not give away. */
void moving_send_refused(struct server *server);

/* Send what is to leave soon. True: a record has left, which tells the activator to look at our state, too. */
bool moving_flush(struct server *server);

/* Between two turns of the loop: when other replicas are idle, let them have some of ours. */
void moving_share(struct server *server, int64_t now_ns);

/* ---- counting.c ---- */

/* Map what is counted in. 0 or a negative errno. */
MUSTCHECK int counting_init(struct server *server, const struct start_record *start, int scoreboard_fd);
void counting_done(struct server *server);

/* Processes forked from now on do not have it. */
void counting_keep_from_children(struct server *server);

/* Callbacks of connections. */
void counting_on_answer(struct http_conn *conn, const struct http_answer *answer, void *arg);
void counting_on_sent(struct http_conn *conn, bool sent, void *arg);

/* ---- children.c ---- */

/* From now on a process that the predictor forks keeps nothing of ours, and a SIGTERM is a drain. */
MUSTCHECK int children_watch(struct server *server, struct error *err);
void children_handle_sigterm(void);

/* The server is about to be freed. */
void children_unwatch(void);

/* A child that the predictor forked has come out of the predictor: end it, it must not go on as if it were the replica. */
void children_end_here(const char *function);

#endif
