/*
 * server - see server.h.
 *
 * Ways to a drain: a DRAIN record, the end of the control socket (the supervisor is gone), SIGTERM. Each means: take no
 * new connection, answer what has arrived, give the connections to the activator, exit 0. A replica that is alone, or was
 * told by signal, sets an alarm too: it must not live for ever behind a prediction that never ends.
 *
 * One file, though it is long, because it is one loop: predicting, being claimed, accepting and draining are steps of the same turn and
 * read and set the same few fields. What can be told apart from it is in turn.c, link.c, moving.c, children.c and recycle.c.
 */
#include "replica/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/record.h"
#include "common/title.h"
#include "http/fixed.h"
#include "http/limits.h"
#include "replica/server_internal.h"

#define SERVE_NS         200000     /* of predictions between two turns of the loop */
#define OFFER_NS         200000     /* how long an offer waits for a request */
#define QUEUE_NS         20000000   /* how often one that drains looks whether somebody waits */
#define CLAIM_NS         1000000000 /* and one who was claimed: then the activator has forgotten it */
#define FLUSH_US         100000     /* how long a prediction's log line may wait for company */
#define CONTENT_TYPE_MAX 256

/* ---- the queue ---- */

void
server_pend(struct server *server, struct http_conn *conn)
{
	TAILQ_INSERT_TAIL(&server->pending, conn, in_pending);
	server->n_pending++;
}

void
server_unpend(struct server *server, struct http_conn *conn)
{
	TAILQ_REMOVE(&server->pending, conn, in_pending);
	server->n_pending--;
}

static uint64_t
on_head(struct http_conn *conn, void *arg)
{
	const struct http_span target = http_conn_request(conn)->target;
	const char *raw = http_conn_bytes(conn) + target.offset;
	struct server *server = arg;

	if (target.length == server->endpoint_length && !memcmp(raw, server->endpoint, target.length)) {
		/* as nearly every request has it */
		conn->route = (struct http_route){.kind = HTTP_ROUTE_API, .describes = server->describes};
		return server->max_body_bytes;
	}
	conn->route = http_route_find(&server->routes, raw, target.length);
	if (conn->route.kind == HTTP_ROUTE_NONE || conn->route.kind == HTTP_ROUTE_READY)
		return HTTP_HEAD_REFUSED;
	return conn->route.kind == HTTP_ROUTE_API ? server->max_body_bytes : HTTP_OTHER_BODY_MAX;
}

/* Another api's, or nobody's: the activator knows. Is there none, the next one will be there soon (take_channel). */
static void
on_refused(struct http_conn *conn, void *arg)
{
	if (!moving_send(arg, conn))
		log_debug("a request waits for an activator");
}

static void
on_request(struct http_conn *conn, void *arg)
{
	struct server *server = arg;
	struct http_answer description;

	if (http_fixed_answer(conn, true))
		return;
	if (http_parser_method(http_conn_request(conn)) == HTTP_POST) {
		server_pend(server, conn);
		return;
	}
	description = http_answer_json(200, server->description);
	http_conn_answer(conn, &description);
}

static void
on_gone(struct http_conn *conn, void *arg)
{
	struct server *server = arg;

	metrics_add(server->counting.metrics, METRIC_CLIENT_GONE, 1);
	if (conn != server->current)
		server_unpend(server, conn);
}

/* Our keeper hands on what we have. */
static __attribute__((noreturn)) void
die(const char *text)
{
	log_error("%s", text);
	log_flush();
	if (record_send(REPLICA_FD_CONTROL, RECORD_FAILED, text) < 0)
		log_debug("the supervisor cannot be told");
	_exit(1);
}

/* A descriptor of ours is closed, or is something else now: nothing that we hold can be trusted any more. */
static void
on_fatal(const char *what, int error, UNUSED void *arg)
{
	char text[256];

	snprintf(text, sizeof(text),
	    "%s: %s: a descriptor of cortexd was closed in this process; the predictor must not close "
	    "descriptors that it did not open",
	    what, strerror(error));
	die(text);
}

static const struct http_conns_callbacks callbacks = {
    .on_head = on_head,
    .on_refused = on_refused,
    .on_request = on_request,
    .on_gone = on_gone,
    .on_answer = counting_on_answer,
    .on_sent = counting_on_sent,
    .on_fatal = on_fatal,
};

/* ---- predictions ---- */

static void
note_duration(struct server *server, int64_t duration_ns)
{
	_Atomic(uint64_t) *predictions = &server->link.slot->predictions; /* ours alone to write */

	server->predict_ns += (duration_ns - server->predict_ns) / 8;
	atomic_store_explicit(
	    predictions, atomic_load_explicit(predictions, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* Run predict for the request of a connection. Until the turn is ours again nothing of ours may be touched but the answer. */
static enum turn_outcome
predict(struct server *server, struct http_conn *conn, struct prediction_answer *ret_result)
{
	const struct http_parser *request = http_conn_request(conn);
	struct http_span type = request->content_type;
	char content_type[CONTENT_TYPE_MAX];
	struct prediction_request prediction = {
	    .body_length = request->body_length,
	    .debug = conn->route.debug,
	};

	if (type.length > 0) {
		size_t length = MIN(type.length, sizeof(content_type) - 1);

		memcpy(content_type, http_conn_bytes(conn) + type.offset, length);
		content_type[length] = '\0';
		prediction.content_type = content_type;
	}
	http_conn_begin_prediction(conn);
	prediction.body = http_conn_body(conn);
	server->current = conn;
	turn_begin(&server->turn, conn->kept->arrival_ns + server->timeout_ns,
	    server->mine == REPLICA_LONG && server->conns.n_open == 1);
	predictor_predict(server->predictor, &prediction, ret_result);
	children_end_here("predict");
	return turn_end(&server->turn);
}

static void
answer_prediction(struct http_conn *conn, const struct prediction_answer *result, bool last)
{
	const struct http_answer answer = {
	    .status = result->status,
	    .content_type = result->content_type,
	    .body = result->body,
	    .body_length = result->body_length,
	};

	if (last)
		http_conn_answer_last(conn, &answer);
	else
		http_conn_answer(conn, &answer);
}

/*
 * After a long prediction: the state is LONG, and the other connections are with the activator. Its own goes there too when
 * others wait there, for its next request is theirs to stand in line with; else it stays.
 */
static void
after_long(struct server *server, struct http_conn *conn, enum turn_outcome outcome, bool leaves)
{
	if (outcome != TURN_SHORT)
		server->mine = REPLICA_LONG;
	if (outcome == TURN_TIMED_OUT) {
		if (record_send(REPLICA_FD_CONTROL, RECORD_BACK, NULL) < 0)
			log_debug("the supervisor cannot be told");
	} else if (leaves && conn->state != HTTP_CONN_CLOSED) {
		moving_send_soon(server, conn);
	}
	if (server->mine == REPLICA_LONG && !TAILQ_EMPTY(&server->pending)) { /* we are back, and go on at once */
		link_set_state(&server->link, REPLICA_BUSY);
		server->mine = REPLICA_BUSY;
		if (!moving_flush(server))
			link_send_note(&server->link, CHANNEL_IDLE);
	}
}

/* One request, from the queue to its answer. The time when it was done. */
static int64_t
serve(struct server *server, struct http_conn *conn, int64_t began_ns)
{
	struct prediction_answer result;
	enum turn_outcome outcome;
	int64_t ended_ns, arrival_ns = conn->kept->arrival_ns;
	bool leaves;

	if (began_ns >= arrival_ns + server->timeout_ns) {
		server->counting.times.queue_ns = began_ns - arrival_ns;
		moving_answer_late(server, conn, false);
		return began_ns;
	}
	outcome = predict(server, conn, &result);
	server->current = NULL;
	ended_ns = clock_ns();
	leaves = ended_ns - began_ns >= TURN_TICK_NS && link_is_up(&server->link) &&
	    link_waiting_ns(&server->link) != 0;
	if (outcome != TURN_TIMED_OUT) {
		server->counting.times = (struct http_times){
		    began_ns - arrival_ns, ended_ns - began_ns, ended_ns - arrival_ns};
		server->counting.prediction = &result;
		answer_prediction(conn, &result, leaves);
		log_prediction(NULL, result.status, server->endpoint, ended_ns - began_ns);
	}
	prediction_answer_done(&result);
	note_duration(server, ended_ns - began_ns);
	if (outcome != TURN_SHORT || leaves || server->mine == REPLICA_LONG)
		after_long(server, conn, outcome, leaves);
	return ended_ns;
}

/*
 * Rule: somebody has waited at the activator for longer than the first of ours, and nobody is idle. Without an offer now and
 * then a replica that its own clients keep busy would starve that queue. One of its own is served between two offers.
 */
static bool
wants_to_offer(const struct server *server)
{
	const struct http_conn *conn = TAILQ_FIRST(&server->pending);
	int64_t waiting_ns;

	if (!conn || !server->served_own || server->received)
		return false;
	waiting_ns = link_waiting_ns(&server->link);
	return waiting_ns != 0 && waiting_ns < conn->kept->arrival_ns;
}

/* Between two predictions, if it is time for a successor. The supervisor decides when: until DRAIN comes we go on. */
static void
ask_to_be_replaced(struct server *server, int64_t now_ns)
{
	struct recycle *recycle = &server->recycle;
	char why[RECYCLE_TEXT_MAX];
	int64_t resident_bytes = 0;

	if (server->wants_out || server->draining)
		return;
	if (recycle_must_look(recycle, now_ns))
		resident_bytes = recycle_read_resident();
	if (recycle_is_due(recycle, atomic_load_explicit(&server->link.slot->predictions, memory_order_relaxed),
		resident_bytes, why))
		server->wants_out = record_send(REPLICA_FD_CONTROL, RECORD_RECYCLE, why) == 0;
}

void
server_flush_soon(struct server *server)
{
	static const struct timeval soon = {0, FLUSH_US};

	if (server->flush_armed)
		return;
	server->flush_armed = true;
	evtimer_add(&server->flush, &soon);
}

static void
on_flush_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct server *server = arg;

	server->flush_armed = false;
	log_flush();
}

/* Serve from the head of the queue, until it is empty, or reading has waited long enough, or others have. */
static void
serve_pending(struct server *server)
{
	int64_t began_ns = clock_ns(), now_ns = began_ns;
	struct http_conn *conn;

	if (server->rested)
		server->rested_ns = began_ns;
	server->rested = false;
	while ((conn = TAILQ_FIRST(&server->pending)) && now_ns - began_ns < SERVE_NS) {
		server_unpend(server, conn);
		server->received = false;
		server->served_own = true;
		now_ns = serve(server, conn, now_ns);
		ask_to_be_replaced(server, now_ns);
		if (wants_to_offer(server))
			break;
	}
	server_flush_soon(server);
	atomic_store_explicit(&server->link.slot->pending, server->n_pending, memory_order_relaxed);
	moving_share(server, now_ns);
	if (!TAILQ_EMPTY(&server->pending) || server->draining)
		moving_flush(server); /* else it goes along with IDLE */
}

/* ---- the activator ---- */

/* A request that we were claimed for. It goes first, whatever else there is. */
static void
take_request(struct server *server, const struct channel_record *record, int fd)
{
	struct http_conn *conn = http_conns_arrive(&server->conns, &record->conns[0], fd, record->bytes);

	server->received = true;
	server->presumed_long = record->presumed_long;
	if (!conn || conn->state != HTTP_CONN_REQUEST)
		return;
	server_unpend(server, conn);
	TAILQ_INSERT_HEAD(&server->pending, conn, in_pending);
	server->n_pending++;
}

static void
lose_link(struct server *server)
{
	if (!link_is_up(&server->link))
		return;
	event_del(&server->channel);
	link_set_channel(&server->link, -1);
	log_debug("the activator is gone");
}

/* One record, if there is one. False: there is none now. */
static bool
receive_one(struct server *server)
{
	struct channel_record record;
	int fds[CHANNEL_CONNS_MAX], r;

	r = link_receive(&server->link, &record, fds);
	if (r == -EAGAIN)
		return false;
	if (r == 1 && record.kind == CHANNEL_REQUEST) {
		take_request(server, &record, fds[0]);
		channel_release(&server->keeper->inbox, &record);
		return true;
	}
	if (r == -EBADF || r == -ENOTSOCK)
		on_fatal("recvmsg", -r, server);
	if (r == -EMFILE)
		die("no descriptor was left for a request; does the predictor close what it opens?");
	if (r == -ENOMEM)
		die("no memory was left for a request");
	if (r != 0)
		log_error("bad record from the activator");
	lose_link(server);
	return false;
}

static void
on_channel_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	receive_one(arg); /* there is rarely more than one, and if there is, the next turn has it */
}

static void
watch_channel(struct server *server)
{
	event_assign(&server->channel, server->base, server->link.channel, EV_READ | EV_PERSIST, on_channel_cb, server);
	if (event_add(&server->channel, NULL) < 0)
		on_fatal("epoll_ctl", errno, server);
}

/* There is a new activator. What the old one has sent is read first; a claim without a request died with it. */
static void
take_channel(struct server *server, int channel)
{
	while (receive_one(server))
		;
	lose_link(server);
	if (server->mine == REPLICA_IDLE && !server->received)
		link_set_state(&server->link, REPLICA_IDLE);
	link_set_channel(&server->link, channel);
	watch_channel(server);
	link_send_note(&server->link, CHANNEL_IDLE);
	moving_send_refused(server);
}

/* Wait for a record, at most that long. False: none came. */
static bool
wait_for_record(const struct server *server, int64_t limit_ns)
{
	struct pollfd channel = {.fd = server->link.channel, .events = POLLIN};
	const struct timespec limit = {.tv_sec = limit_ns / 1000000000, .tv_nsec = limit_ns % 1000000000};

	return ppoll(&channel, 1, &limit, NULL) > 0;
}

/*
 * Rule: IDLE is stored only when we come from another state, never over CLAIMED; `waiting` is looked at after that. The
 * activator is told when somebody waits, and when LONG or STARTING ends, because its own listener depends on it.
 */
static void
go_idle(struct server *server, bool offer)
{
	struct link *link = &server->link;
	int64_t now_ns = clock_ns();
	bool tell;

	atomic_store_explicit(&link->slot->idle_since_ns, offer ? INT64_MAX : now_ns, memory_order_relaxed);
	if (server->mine == REPLICA_IDLE)
		return;
	tell = server->mine == REPLICA_LONG || server->mine == REPLICA_STARTING;
	server->received = false;
	link_set_state(link, REPLICA_IDLE);
	server->mine = REPLICA_IDLE;
	if (!moving_flush(server) && (link_waiting_ns(link) != 0 || tell))
		link_send_note(link, CHANNEL_IDLE);
}

/* Be idle for a moment, although there is something to do. */
static void
offer(struct server *server)
{
	server->served_own = false;
	go_idle(server, true);
	if (wait_for_record(server, OFFER_NS))
		on_channel_cb(server->link.channel, EV_READ, server);
}

/* We were claimed: the request is there already, or on its way. */
static void
await_request(struct server *server)
{
	while (!server->received && link_is_up(&server->link)) {
		if (!receive_one(server) && link_is_up(&server->link) && !wait_for_record(server, CLAIM_NS)) {
			log_warning("claimed by the activator, which then sent nothing");
			return;
		}
	}
}

/* There is something to do. */
static void
leave_idle(struct server *server)
{
	if (server->mine != REPLICA_IDLE)
		return;
	if (!link_swap_state(&server->link, REPLICA_IDLE, REPLICA_BUSY)) {
		await_request(server);
		server->mine = server->received && server->presumed_long ? REPLICA_LONG : REPLICA_BUSY;
		link_set_state(&server->link, server->mine);
		return;
	}
	server->mine = REPLICA_BUSY;
}

/* ---- accepting ---- */

/* Who has them all? Connections are given back in time, what a predictor has lost track of never is. */
static void
on_full(void *arg)
{
	const struct server *server = arg;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && server->conns.n_open < limit.rlim_cur / 2)
		die("no descriptor was left for a connection; does the predictor close what it opens?");
	errno = EMFILE;
}

static bool
may_accept(void *arg)
{
	const struct server *server = arg;

	/* All of them may end up at the activator, which has the same limit. */
	return server->conns.n_open < server->max_conns &&
	    atomic_load_explicit(&server->scoreboard->connections, memory_order_relaxed) < (int)server->max_conns;
}

static bool
on_accept(int fd, void *arg)
{
	struct server *server = arg;
	int r = http_conns_add(&server->conns, fd);

	if (r < 0)
		log_warning("out of memory for a connection; closed it");
	return r > 0;
}

static void
begin_to_accept(struct server *server)
{
	if (server->draining)
		return;
	for (int i = 0; i < server->n_listeners; i++) {
		int r = http_listener_arm(&server->listeners[i]);

		if (r < 0)
			on_fatal("epoll_ctl", -r, server);
	}
}

/* ---- draining ---- */

static void
begin_drain(struct server *server, const char *why)
{
	if (server->draining)
		return;
	server->draining = true;
	log_info("draining: %s", why);
	title_set("cortexd: replica %s/%d (draining)", server->api, server->replica);
	for (int i = 0; i < server->n_listeners; i++) {
		http_listener_disarm(&server->listeners[i]);
		fd_close(&server->listeners[i].fd); /* the address is free again for a new cortexd */
	}
}

static void
on_control_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct server *server = arg;
	struct record record;
	int r = record_receive(REPLICA_FD_CONTROL, &record);

	if (r == -EAGAIN)
		return;
	if (r == 1 && record.kind == RECORD_DRAIN) {
		server->conns.closing = server->conns.closing || record.numbers[0] != 0;
		begin_drain(server, "told by the supervisor");
		return;
	}
	if (r == 1 && record.kind == RECORD_CHANNEL && record.fd >= 0) {
		take_channel(server, record.fd);
		return;
	}
	if (r == 1 && record.kind == RECORD_ACCEPT) {
		begin_to_accept(server);
		return;
	}
	if (r == -EBADF || r == -ENOTSOCK)
		on_fatal("recv", -r, server);
	event_del(&server->control);
	alarm(server->stop_timeout_s);
	server->conns.closing = true;
	if (r < 0)
		server->exit_status = 1;
	begin_drain(server, r == 0 ? "the supervisor is gone" : "a bad record on the control socket");
}

static void
on_drain_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct server *server = arg;

	event_del(&server->drain);
	begin_drain(server, "SIGTERM");
}

/* ---- life ---- */

static void
make_listeners(struct server *server, int n)
{
	server->listeners = xcalloc((size_t)n, sizeof(*server->listeners));
	server->n_listeners = n;
	for (int i = 0; i < n; i++) {
		struct http_listener *listener = &server->listeners[i];

		http_listener_init(listener, server->base, server->epoll_fd, REPLICA_FD_LISTENER + i);
		listener->on_accept = on_accept;
		listener->may_accept = may_accept;
		listener->on_full = on_full;
		listener->on_fatal = on_fatal;
		listener->arg = server;
	}
}

static void
on_helper_start(void *arg)
{
	struct server *server = arg;

	keeper_helper_runs(server->keeper);
}

/* What is shared with others: the scoreboard, the keeper, the channel. */
static int
join_others(struct server *server, const struct start_record *start, struct error *err)
{
	int scoreboard_fd = REPLICA_FD_SCOREBOARD, r;
	char title[128];

	r = scoreboard_map(scoreboard_fd, &server->scoreboard);
	if (r < 0)
		return error_set(err, r, "cannot map the scoreboard: %s", strerror(-r));
	r = counting_init(server, start, scoreboard_fd);
	fd_close(&scoreboard_fd);
	if (r < 0)
		return error_set(err, r, "cannot map its metrics: %s", strerror(-r));
	snprintf(title, sizeof(title), "cortexd: keeper %s/%d", start->api, start->replica);
	r = keeper_start(&server->memory, &server->scoreboard->connections,
	    &server->scoreboard->slots[start->slot].connections, server->counting.metrics, REPLICA_FD_CHANNEL, title,
	    &server->keeper, err);
	if (r < 0)
		return r;
	http_memory_keep_from_children(&server->memory);
	counting_keep_from_children(server);
	link_init(&server->link, server->scoreboard, (uint32_t)start->slot, server->keeper, REPLICA_FD_CHANNEL);
	server->mine = REPLICA_STARTING;
	server->turn.evacuate = moving_evacuate;
	server->turn.time_out = moving_time_out;
	server->turn.on_start = on_helper_start;
	server->turn.arg = server;
	return turn_start(&server->turn, err);
}

static int
make_loop(struct server *server, const struct start_record *start, struct error *err)
{
	int r;

	r = http_event_base_new(&server->base, &server->epoll_fd, err);
	if (r < 0)
		return r;
	r = http_conns_init(&server->conns, server->base, &server->memory, &callbacks, server, err);
	if (r < 0)
		return r;
	server->conns.access_log = log_get_access() != LOG_ACCESS_NONE;
	server->conns.n_everywhere = &server->scoreboard->connections;
	server->conns.n_open_shown = &server->link.slot->connections;
	server->drain_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->drain_fd < 0)
		return error_set(err, -errno, "eventfd: %s", strerror(errno));
	make_listeners(server, start->n_listeners);
	event_assign(&server->control, server->base, REPLICA_FD_CONTROL, EV_READ | EV_PERSIST, on_control_cb, server);
	event_assign(&server->drain, server->base, server->drain_fd, EV_READ | EV_PERSIST, on_drain_cb, server);
	evtimer_assign(&server->flush, server->base, on_flush_cb, server);
	return 0;
}

int
server_new(const struct start_record *start, struct server **ret_server, struct error *err)
{
	struct server *server = xcalloc(1, sizeof(*server));
	int r;

	server->drain_fd = server->epoll_fd = -1;
	server->api = start->api;
	server->replica = start->replica;
	server->endpoint = start->endpoint;
	server->endpoint_length = strlen(start->endpoint);
	server->max_body_bytes = (uint64_t)start->max_body_bytes;
	server->timeout_ns = start->timeout_ms * 1000000;
	server->stop_timeout_s = (unsigned)MAX(1, start->stop_timeout_ms / 1000);
	server->max_conns = http_connection_limit();
	server->accepts = start->accepts;
	recycle_init(&server->recycle, start, arc4random());
	TAILQ_INIT(&server->pending);
	server->describes = start->kind != API_PREDICTOR;
	http_routes_add(&server->routes, start->endpoint, 0, server->describes);
	r = http_memory_init(&server->memory, server->max_conns + HTTP_RESERVED_FDS,
	    HTTP_REQUEST_MAX(MAX(server->max_body_bytes, HTTP_OTHER_BODY_MAX)), err);
	if (r == 0)
		r = join_others(server, start, err);
	if (r == 0)
		r = make_loop(server, start, err);
	if (r == 0)
		r = children_watch(server, err);
	if (r == 0)
		*ret_server = take_ptr(&server);
	server_free(server);
	return r;
}

void
server_free(struct server *server)
{
	if (!server)
		return;
	children_unwatch();
	if (server->base) {
		http_conns_done(&server->conns);
		event_base_free(server->base);
	}
	http_memory_done(&server->memory);
	http_routes_done(&server->routes);
	counting_done(server);
	scoreboard_unmap(server->scoreboard);
	fd_close(&server->drain_fd);
	free(server->description);
	free(server->listeners);
	free(server);
}

/* How large it is before its first prediction: there may be no point in replacing it for that. */
static void
note_size(struct server *server)
{
	int64_t limit = server->recycle.max_mem_bytes, resident_bytes = limit > 0 ? recycle_read_resident() : 0;

	if (!recycle_begin(&server->recycle, resident_bytes))
		log_warning("%lld KiB of memory before the first prediction, more than recycle.max_mem, %lld KiB: a "
			    "successor would be as large, so this is not replaced for that",
		    (long long)resident_bytes / 1024, (long long)limit / 1024);
}

/* Begin to take requests, and say so. False when it cannot be done. */
static bool
begin(struct server *server)
{
	children_handle_sigterm();
	if (event_add(&server->control, NULL) < 0 || event_add(&server->drain, NULL) < 0)
		on_fatal("epoll_ctl", errno, server);
	watch_channel(server);
	if (server->accepts)
		begin_to_accept(server);
	title_set("cortexd: replica %s/%d (ready)", server->api, server->replica);
	return record_send(REPLICA_FD_CONTROL, RECORD_READY, NULL) == 0;
}

static void
turn(struct server *server, bool block)
{
	int r;

	if (block)
		interpreter_release();
	/* Without EVLOOP_ONCE a turn would last as long as there is something to do, and no prediction would run. */
	r = event_base_loop(server->base, block ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
	if (block)
		interpreter_acquire();
	if (r < 0)
		on_fatal("epoll_wait", errno, server);
}

/* cortexd stops, and requests wait at the activator: they have arrived as well. Nobody tells us when they are gone. */
static bool
serves_queue(struct server *server)
{
	if (!server->conns.closing || !link_is_up(&server->link) || link_waiting_ns(&server->link) == 0)
		return false;
	go_idle(server, false);
	if (wait_for_record(server, QUEUE_NS))
		on_channel_cb(server->link.channel, EV_READ, server);
	return true;
}

/* True: everything that has arrived is answered, we are out of the scoreboard's game and own no connection any more. */
static bool
leave(struct server *server)
{
	turn(server, false);
	if (!TAILQ_EMPTY(&server->pending) || serves_queue(server))
		return false;
	if (server->mine != REPLICA_IDLE)
		link_set_state(&server->link, REPLICA_DRAINING);
	else if (!link_swap_state(&server->link, REPLICA_IDLE, REPLICA_DRAINING)) {
		leave_idle(server); /* claimed: that request is served first */
		return false;
	}
	server->mine = REPLICA_DRAINING;
	if (moving_leave(server))
		return true;
	if (server->conns.closing)
		http_conns_close_idle(&server->conns); /* nobody is there to take them */
	else
		server_flush_soon(server); /* there soon will be: look again, should nobody say so */
	return server->conns.n_open == 0;
}

int
server_run(struct server *server, struct predictor *predictor)
{
	children_end_here("init");
	server->predictor = predictor;
	if (server->describes)
		server->description = xasprintf(
		    "{\"message\": \"" HTTP_FIXED_HINT "\", \"model_signature\": %s}", predictor_signature(predictor));
	note_size(server);
	if (!begin(server))
		return 1;
	for (;;) {
		if (!TAILQ_EMPTY(&server->pending)) {
			if (wants_to_offer(server))
				offer(server);
			turn(server, false);
		} else if (!server->draining) {
			go_idle(server, false);
			server->rested = TAILQ_EMPTY(&server->pending); /* else something came back that was to leave */
			turn(server, server->rested);
		} else if (leave(server)) {
			break;
		} else if (server->mine == REPLICA_DRAINING) {
			turn(server, true);
		}
		if (!TAILQ_EMPTY(&server->pending) ||
		    server->received) { /* a request may have come without its connection */
			leave_idle(server);
			serve_pending(server);
		}
		http_conns_reap(&server->conns);
	}
	log_flush();
	return server->exit_status;
}
