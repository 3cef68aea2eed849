/*
 * monitor - the admin interface: what cortexd does, for people, Prometheus and the `cortex` command.
 *
 * One thread, one libevent loop. It answers on the admin sockets alone and never sees a client of an api. It changes nothing itself:
 * it asks the supervisor, by record (common/record.h), and the supervisor does it. What there is to see has two sources: the
 * supervisor's status, asked for at most once a second, and the counters in the scoreboard's memory (common/metrics.h).
 *
 * Everything that somebody else can make large is bounded here: connections, streams, what a reader may leave unread, bodies. A monitor
 * that hangs is killed, and another one is started; nobody who is served notices.
 *
 * monitor.c is its life, doors.c its sockets, request.c who may ask for what, view.c the status, prometheus.c the metrics, stream.c answers
 * without an end, predict.c the way to an api, source.c what replicas print, logs.c who reads it.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/monitor_start.h"
#include "common/record.h"
#include "common/scoreboard.h"
#include "http/conn.h"
#include "http/listener.h"
#include "monitor/source.h"

#define MONITOR_UNIX_CONNS_MAX 64 /* of which others cannot take any */
#define MONITOR_TCP_CONNS_MAX  192
#define MONITOR_BODY_MAX       (64u << 10) /* bytes */
#define MONITOR_PREDICT_MAX    (32u << 20)

/* A kind of admin socket, and who came by it. */
struct door {
	struct monitor *monitor;
	bool is_tcp; /* who comes this way must show the token */
	unsigned max;
	struct http_conns conns;
};

struct monitor {
	struct monitor_start start;
	struct event_base *base;
	struct http_memory memory;
	struct door unix_door, tcp_door;
	struct http_listener listeners[1 + MONITOR_LISTENERS_MAX];
	int n_listeners; /* 0: there are none, or another cortexd has them by now */
	struct scoreboard *scoreboard;
	struct sources sources;
	struct event control;
	struct event sigterm;
	pid_t parent;
	bool alone; /* the supervisor is gone: the rest is written, and then it ends */
	bool ended;
};

/* ---- monitor.c ---- */

/* Read the start record, get ready. 0, or a negative errno and err. */
MUSTCHECK int monitor_init(struct monitor *monitor, struct error *err);

/* Until it is told to end. */
void monitor_run(struct monitor *monitor);

/* ---- doors.c ---- */

MUSTCHECK int doors_open(struct monitor *monitor, struct error *err);

/* For good. */
void doors_close(struct monitor *monitor);

/* Between two turns of the loop. */
void doors_reap(struct monitor *monitor);

/* Who came by it? */
static inline struct door *
door_of(const struct http_conn *conn)
{
	return conn->conns->arg;
}

/* ---- request.c ---- */

extern const struct http_conns_callbacks request_callbacks;

/* Answer with a line of text; fields: further header fields, or NULL. */
void answer_text(struct http_conn *conn, int status, const char *text, const char *fields);

/* ---- logs.c ---- */

/* GET /logs: answer it, now or later. */
void logs_request(struct monitor *monitor, struct http_conn *conn);

/* There is more in the log of the api. */
void logs_written(const char *api, void *arg);

/* So many seconds ago, or an ISO 8601 time, as milliseconds of the epoch. */
MUSTCHECK bool logs_parse_since(const char *text, int64_t now_ms, int64_t *ret_ms);

#endif
