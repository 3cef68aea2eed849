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
 * monitor.c is its life, doors.c its sockets, guard.c who may ask, request.c for what, view.c the status, prometheus.c the metrics, action.c
 * what the supervisor is asked to do, events.c who follows the status, predict.c the way to an api, source.c what replicas print, logs.c who
 * reads it.
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
#include "monitor/view.h"

#define MONITOR_UNIX_CONNS_MAX 64 /* of which others cannot take any */
#define MONITOR_TCP_CONNS_MAX  192
#define MONITOR_FOLLOWERS_MAX  32
#define MONITOR_PREDICTS_MAX   8
#define MONITOR_BODY_MAX       (64u << 10) /* bytes */
#define MONITOR_PREDICT_MAX    (32u << 20)
#define MONITOR_ANSWER_MAX     (64u << 20) /* of an api, to a prediction */
#define MONITOR_NAME_MAX       63          /* of an api */

/* A kind of admin socket, and who came by it. */
struct door {
	struct monitor *monitor;
	bool is_tcp; /* who comes this way must show the token */
	unsigned max;
	struct http_conns conns;
};

struct action;
struct prediction;
struct follower;
TAILQ_HEAD(action_list, action);
TAILQ_HEAD(prediction_list, prediction);
TAILQ_HEAD(follower_list, follower);

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
	struct event tick; /* each second, while somebody waits or follows */
	pid_t parent;
	struct view view;
	bool asked;                    /* the supervisor, and it has not answered yet */
	bool asks_again;               /* what it answers may be older than what somebody wants to see */
	int64_t asked_ms;              /* when */
	struct http_conn_list waiting; /* for a view that is fresh; they have their mark set */
	unsigned n_waiting;
	struct action_list actions;
	uint32_t last_action; /* its number */
	struct prediction_list predictions;
	unsigned n_predictions;
	struct follower_list followers;
	unsigned n_followers;
	int64_t events_ms;            /* when they were sent something last */
	struct follower_list leavers; /* freed between two turns */
	bool alone;                   /* the supervisor is gone: the rest is written, and then it ends */
	bool ended;
};

/* ---- monitor.c ---- */

/* Read the start record, get ready. 0, or a negative errno and err. */
MUSTCHECK int monitor_init(struct monitor *monitor, struct error *err);

/* Until it is told to end. */
void monitor_run(struct monitor *monitor);

/* Is the view fresh? If not, the connection waits until it is; then its request comes again. */
MUSTCHECK bool monitor_sees(struct monitor *monitor, struct http_conn *conn);

/* Look once a second, as long as there is something to wait for. */
void monitor_tick_soon(struct monitor *monitor);

/* Something has changed by our doing: what was seen before does not count. */
void monitor_look_again(struct monitor *monitor);

/* ---- doors.c ---- */

/* Header fields that every answer has. */
extern const char door_fields[];

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

/* ---- guard.c ---- */

/* May this be answered? If not, it was: with 401 or 403. */
MUSTCHECK bool guard_admits(struct http_conn *conn);

/* The head is there: does it come by the unix socket, or with the token? */
MUSTCHECK bool guard_trusts(struct http_conn *conn);

/* ---- request.c ---- */

extern const struct http_conns_callbacks request_callbacks;

/* Its request is to be answered, for the first time or again. */
void request_answer(struct monitor *monitor, struct http_conn *conn);

/* The value of a query parameter, decoded, with room[size]: its length, or a negative errno (http/target.h). */
MUSTCHECK int request_query(struct http_conn *conn, const char *name, char *room, size_t size);

/* Answer with a line of text; fields: further header fields, or NULL. */
void answer_text(struct http_conn *conn, int status, const char *text, const char *fields);

void answer_json(struct http_conn *conn, int status, const char *json);

/* {"error": "..."}. */
void answer_error(struct http_conn *conn, int status, const char *why);

/* ---- action.c ---- */

/* Ask the supervisor for RELOAD, STOP or DELETE (text: the api); the connection waits for what comes of it. */
void action_begin(struct monitor *monitor, struct http_conn *conn, enum record_kind kind, const char *text);
void action_done(struct monitor *monitor, const struct record *record);

/* Answer those that have waited too long. */
void action_expire(struct monitor *monitor, int64_t now_ms);

/* The client has left. False: it was not here. */
MUSTCHECK bool action_forget(struct monitor *monitor, const struct http_conn *conn);

/* ---- predict.c ---- */

/* POST /predict: pass the request on to the api, and its answer back. */
void predict_request(struct monitor *monitor, struct http_conn *conn);

/* As action_forget. */
MUSTCHECK bool predict_forget(struct monitor *monitor, struct http_conn *conn);

/* ---- events.c ---- */

/* GET /events: the client follows from now on. */
void events_request(struct monitor *monitor, struct http_conn *conn);

/* There is a new view. */
void events_send(struct monitor *monitor);

/* End all of them; free those that have ended, between two turns. */
void events_close(struct monitor *monitor);
void events_reap(struct monitor *monitor);

/* ---- logs.c ---- */

/* What /status says about them: {"lost_lines": n, "text": "..."}. */
json_t *logs_status(const struct monitor *monitor);

/* GET /logs: answer it, now or later. */
void logs_request(struct monitor *monitor, struct http_conn *conn);

/* There is more in the log of the api. */
void logs_written(const char *api, void *arg);

/* So many seconds ago, or an ISO 8601 time, as milliseconds of the epoch. */
MUSTCHECK bool logs_parse_since(const char *text, int64_t now_ms, int64_t *ret_ms);

#endif
