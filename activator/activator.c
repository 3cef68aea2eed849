/*
 * activator - see activator.h.
 *
 * The end: told to stop (or alone), it takes no new connection, says "Connection: close" with every answer, gives what is
 * queued to replicas as long as there are any, answers the rest with 503, and leaves when nobody is connected any more.
 * SIGTERM is not a reason to stop while there is a supervisor who will say so.
 */
#include "activator/activator.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/record.h"
#include "common/title.h"
#include "http/access.h"
#include "http/count.h"
#include "http/fixed.h"
#include "http/limits.h"

#define FLUSH_US         100000 /* how long a status line may wait for company */
#define DISARM_US        20000  /* how long the listeners are waited for after a replica can do it again */
#define RECORDS_PER_TURN 16
#define BODY_MAX \
	(1ull << 30)       /* of requests.max_body_size of any api, after any reload; only what is used takes memory */
#define STOP_AGAIN_MS 1000 /* a signal sooner than this after the first is the same one */

/* ---- requests ---- */

static bool
has_ready_replica(const struct api *api)
{
	const struct peer *peer;

	TAILQ_FOREACH (peer, &api->peers, in_api) {
		enum replica_state state = (enum replica_state)atomic_load(&peer->slot->state);

		if (state != REPLICA_DEAD && state != REPLICA_STARTING && state != REPLICA_DRAINING)
			return true;
	}
	return false;
}

bool
activator_is_ready(const struct activator *activator)
{
	for (size_t i = 0; i < activator->n_apis; i++)
		if (activator->apis[i] && activator->apis[i]->config.routed && !has_ready_replica(activator->apis[i]))
			return false;
	return true;
}

static void
on_flush_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct activator *activator = arg;

	activator->flush_armed = false;
	log_flush();
}

static void
flush_soon(struct activator *activator)
{
	static const struct timeval soon = {0, FLUSH_US};

	if (activator->flush_armed)
		return;
	activator->flush_armed = true;
	evtimer_add(&activator->flush, &soon);
}

void
activator_log_answer(struct activator *activator, const struct api *api, int status, int64_t arrival_ns)
{
	log_prediction(api->config.name, status, api->config.endpoint, clock_ns() - arrival_ns);
	flush_soon(activator);
}

static struct api *
api_of(struct activator *activator, const struct http_conn *conn)
{
	return activator->apis[conn->route.api];
}

static uint64_t
on_head(struct http_conn *conn, void *arg)
{
	const struct http_span target = http_conn_request(conn)->target;
	struct activator *activator = arg;

	conn->route = http_route_find(&activator->routes, http_conn_bytes(conn) + target.offset, target.length);
	if (conn->route.kind != HTTP_ROUTE_API)
		return HTTP_OTHER_BODY_MAX;
	return (uint64_t)api_of(activator, conn)->config.max_body_bytes;
}

static void
on_request(struct http_conn *conn, void *arg)
{
	struct activator *activator = arg;

	if (!http_fixed_answer(conn, conn->route.kind == HTTP_ROUTE_READY && activator_is_ready(activator)))
		queue_add(api_of(activator, conn), conn);
}

static void
on_gone(struct http_conn *conn, void *arg)
{
	struct api *api = api_of(arg, conn);

	metrics_add(&api->metrics->held, METRIC_CLIENT_GONE, 1);
	queue_remove(api, conn);
}

/* ---- counting ---- */

static void
on_answer(struct http_conn *conn, const struct http_answer *answer, void *arg)
{
	struct activator *activator = arg;
	bool of_api = http_count_is_of_api(conn), failed = activator->failed != NULL;
	const struct api *api = failed ? take_ptr(&activator->failed) : of_api ? api_of(activator, conn) : NULL;
	struct metrics_area *area = api ? &api->metrics->held : &activator->no_api->held;
	struct http_times times = HTTP_TIMES_NONE;

	if (of_api && conn->kept->arrival_ns != 0 && http_parser_method(http_conn_request(conn)) == HTTP_POST)
		times.queue_ns = times.total_ns = clock_ns() - conn->kept->arrival_ns;
	http_count_answer(area, conn, answer, api != NULL, &times);
	if (failed)
		metrics_will_add(area, METRIC_FAILED, 1);
	metrics_prepare(area, http_conn_number(conn));
	activator->counting = area;
	if (conn->conns->access_log) {
		http_access_log(conn, answer, api ? api->config.name : NULL, -1, &times);
		flush_soon(activator);
	}
}

static void
on_sent(UNUSED struct http_conn *conn, bool sent, void *arg)
{
	const struct activator *activator = arg;

	if (sent)
		metrics_commit(activator->counting);
	else
		http_count_gone(activator->counting);
}

/* It may have left, or have shut down its side and wait for the answer. Who has left is never predicted. */
static void
on_peer_ended(struct http_conn *conn, UNUSED void *arg)
{
	http_conn_probe(conn);
}

static void
on_fatal(const char *what, int error, UNUSED void *arg)
{
	log_error("%s: %s", what, strerror(error));
	log_flush();
	_exit(1);
}

static const struct http_conns_callbacks callbacks = {
    .on_head = on_head,
    .on_request = on_request,
    .on_gone = on_gone,
    .on_answer = on_answer,
    .on_sent = on_sent,
    .on_peer_ended = on_peer_ended,
};

/* ---- accepting ---- */

static bool
may_accept(void *arg)
{
	const struct activator *activator = arg;

	return atomic_load_explicit(&activator->scoreboard->connections, memory_order_relaxed) <
	    (int)activator->max_conns;
}

static bool
on_accept(int fd, void *arg)
{
	struct activator *activator = arg;
	int r = http_conns_add(&activator->conns, fd);

	if (r < 0)
		log_warning("out of memory for a connection; closed it");
	return r > 0;
}

static void
arm(struct activator *activator, bool armed)
{
	if (armed == activator->armed)
		return;
	activator->armed = armed;
	for (int i = 0; i < activator->n_listeners; i++) {
		if (activator->is_new[i])
			continue;
		if (!armed)
			http_listener_disarm(&activator->listeners[i]);
		else if (http_listener_arm(&activator->listeners[i]) < 0)
			on_fatal("epoll_ctl", errno, activator);
	}
}

static void
on_disarm_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	arm(arg, false);
}

/* Replicas that run one long prediction after the other are idle for moments only: those are not worth the system calls. */
void
activator_consider_listening(struct activator *activator)
{
	static const struct timeval moment = {0, DISARM_US};

	if (activator->stopping || !activator->accepts || activator->closes_listeners)
		return;
	if (activator->n_out == activator->n_peers) {
		evtimer_del(&activator->disarm);
		arm(activator, true);
	} else if (activator->armed && !evtimer_pending(&activator->disarm, NULL)) {
		evtimer_add(&activator->disarm, &moment);
	}
}

void
activator_sweep(struct activator *activator)
{
	if (activator->stopping || !activator->accepts)
		return;
	for (int i = 0; i < activator->n_listeners; i++)
		http_listener_sweep(&activator->listeners[i]);
}

/* Those that not all ready replicas have are waited for all the time. */
static void
arm_new(struct activator *activator)
{
	for (int i = 0; activator->accepts && i < activator->n_listeners; i++)
		if (activator->is_new[i] && http_listener_arm(&activator->listeners[i]) < 0)
			on_fatal("epoll_ctl", errno, activator);
}

static void
make_listeners(struct activator *activator, const int *fds, const bool *is_new, int n)
{
	activator->n_listeners = n;
	activator->listeners = xcalloc((size_t)n, sizeof(*activator->listeners));
	activator->is_new = xcalloc((size_t)n, sizeof(*activator->is_new));
	for (int i = 0; i < n; i++) {
		struct http_listener *listener = &activator->listeners[i];

		http_listener_init(listener, activator->base, activator->epoll_fd, fds[i]);
		listener->on_accept = on_accept;
		listener->may_accept = may_accept;
		listener->on_fatal = on_fatal;
		listener->arg = activator;
		activator->is_new[i] = is_new && is_new[i];
	}
	arm_new(activator);
}

/* For good. What has connected is accepted first, unless it is somebody else's to accept still; and what follows from its requests
 * must not arm them again. */
static void
close_listeners(struct activator *activator)
{
	activator->closes_listeners = true;
	evtimer_del(&activator->disarm);
	for (int i = 0; i < activator->n_listeners; i++) {
		struct http_listener *listener = &activator->listeners[i];

		http_listener_disarm(listener);
		if (activator->accepts)
			http_listener_sweep(listener);
		evtimer_del(&listener->sweep);
		fd_close(&listener->fd);
	}
	activator->armed = false;
	activator->closes_listeners = false;
}

/*
 * One of the listeners that a reload has led to. Once all are there they replace the present ones. What has connected to one
 * that goes is accepted first; replicas that still have it do so as well.
 */
static void
take_listener(struct activator *activator, const struct record *record)
{
	uint32_t number = record->numbers[0] & ~RECORD_LISTENER_NEW, n = record->numbers[1];
	int fd = record->fd;

	if (activator->stopping || number >= n || n > ACTIVATOR_LISTENERS_MAX ||
	    (number > 0 && number != activator->n_next_listeners)) {
		close(fd);
		return;
	}
	while (number == 0 && activator->n_next_listeners > 0)
		close(activator->next_listeners[--activator->n_next_listeners]);
	activator->next_listeners = xrealloc(activator->next_listeners, n, sizeof(int));
	activator->next_is_new[activator->n_next_listeners] = record->numbers[0] & RECORD_LISTENER_NEW;
	activator->next_listeners[activator->n_next_listeners++] = fd;
	if (activator->n_next_listeners < n)
		return;
	close_listeners(activator);
	free(activator->listeners);
	free(activator->is_new);
	make_listeners(activator, activator->next_listeners, activator->next_is_new, (int)n);
	activator->n_next_listeners = 0;
	activator_consider_listening(activator);
}

static void
begin_to_accept(struct activator *activator)
{
	activator->accepts = true;
	arm_new(activator);
	activator_consider_listening(activator);
}

/* ---- stopping ---- */

static void
stop(struct activator *activator, const char *why)
{
	if (activator->stopping)
		return;
	log_debug("stopping: %s", why);
	title_set("cortexd: activator (draining)");
	close_listeners(activator);
	activator->stopping = true;
}

/*
 * From the supervisor, which does not want to wait any more; or from the kernel, because it is dead; or from somebody who
 * signals every process that there is: the supervisor has got it too, or is about to, and will say when nobody needs the
 * queue any more. Who signals only us, and means it, does so again.
 */
static void
on_sigterm_cb(evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct activator *activator = arg;
	struct signalfd_siginfo info;
	int64_t now_ms = clock_ms();

	if (read(fd, &info, sizeof(info)) != sizeof(info) || getppid() != activator->parent)
		return;
	if ((pid_t)info.ssi_pid == activator->parent ||
	    (activator->sigterm_ms != 0 && now_ms - activator->sigterm_ms >= STOP_AGAIN_MS)) {
		log_flush();
		_exit(0);
	}
	if (activator->sigterm_ms == 0) {
		log_info("SIGTERM from process %d: waiting for the supervisor's word", (int)info.ssi_pid);
		activator->sigterm_ms = now_ms;
	}
}

/* SIGTERM as a descriptor, because that tells who sent it. */
static int
watch_sigterm(struct activator *activator)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	event_assign(&activator->sigterm, activator->base, fd, EV_READ | EV_PERSIST, on_sigterm_cb, activator);
	if (event_add(&activator->sigterm, NULL) < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -ENOMEM;
	return 0;
}

static void
on_control_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct activator *activator = arg;
	struct record record;
	int r = 1;

	for (int i = 0; i < RECORDS_PER_TURN && r == 1; i++) {
		r = record_receive(ACTIVATOR_FD_CONTROL, &record);
		if (r == 1 && record.kind == RECORD_PEER)
			peer_add(activator, record.numbers[0], record.fd);
		else if (r == 1 && record.kind == RECORD_APIS)
			apis_receive(activator, record.fd);
		else if (r == 1 && record.kind == RECORD_LISTENER)
			take_listener(activator, &record);
		else if (r == 1 && record.kind == RECORD_ACCEPT)
			begin_to_accept(activator);
		else if (r == 1 && record.kind == RECORD_SUCCESSOR)
			succession_take_successor(activator, record.fd);
		else if (r == 1 && record.kind == RECORD_PREDECESSOR)
			succession_take_predecessor(activator, record.fd, record.numbers[0]);
		else if (r == 1 && record.kind == RECORD_DRAIN)
			stop(activator, "told by the supervisor");
		else if (r == 1)
			r = -EBADMSG;
	}
	if (r == 1 || r == -EAGAIN)
		return;
	if (r < 0)
		log_error("bad record on the control socket");
	event_del(&activator->control);
	alarm((unsigned)MAX(activator->start.stop_timeout_ms / 1000, 1));
	stop(activator, "the supervisor is gone");
}

/* After each turn. Nobody will serve what is queued once the last replica is gone; unless a successor does. */
static bool
is_over(struct activator *activator)
{
	if (!activator->stopping)
		return false;
	if (activator->successor >= 0)
		return activator->n_peers == 0 && activator->predecessor < 0 && activator->conns.n_open == 0;
	activator->conns.closing = true;
	if (activator->n_peers > 0)
		return false;
	for (size_t i = 0; i < activator->n_apis; i++)
		if (activator->apis[i])
			queue_refuse_all(activator->apis[i]);
	http_conns_close_idle(&activator->conns);
	return activator->conns.n_open == 0;
}

/* ---- life ---- */

static int
read_start(struct activator *activator, struct error *err)
{
	char *json = NULL;
	size_t length;
	int fd = ACTIVATOR_FD_START, r;

	r = fd_read_all(fd, ACTIVATOR_START_MAX, &json, &length);
	if (r < 0)
		return error_set(err, r, "start record: %s", strerror(-r));
	fd_close(&fd);
	r = activator_start_decode(json, length, &activator->start, err);
	free(json);
	return r;
}

/* Those that it was started with. */
static void
make_first_listeners(struct activator *activator)
{
	int *fds = xcalloc((size_t)activator->start.n_listeners, sizeof(*fds));

	for (int i = 0; i < activator->start.n_listeners; i++)
		fds[i] = ACTIVATOR_FD_LISTENER + i;
	make_listeners(activator, fds, NULL, activator->start.n_listeners);
	free(fds);
}

int
activator_init(struct activator *activator, struct error *err)
{
	int scoreboard_fd = ACTIVATOR_FD_SCOREBOARD, r;

	memset(activator, 0, sizeof(*activator));
	activator->parent = getppid();
	activator->successor = activator->predecessor = -1;
	http_departure_init(&activator->departure);
	r = read_start(activator, err);
	if (r < 0)
		return r;
	log_set_format(activator->start.log_format);
	log_set_level(activator->start.log_level);
	log_set_access(activator->start.log_access);
	log_set_framed(activator->start.log_secret);
	r = scoreboard_map(scoreboard_fd, &activator->scoreboard);
	if (r < 0)
		return error_set(err, r, "cannot map the scoreboard: %s", strerror(-r));
	activator->scoreboard_fd = scoreboard_fd;
	r = metrics_map_api(scoreboard_fd, METRICS_NO_API, &activator->no_api);
	if (r < 0)
		return error_set(err, r, "cannot map the metrics: %s", strerror(-r));
	activator->accepts = activator->start.accepts;
	activator->max_conns = http_connection_limit();
	r = http_event_base_new(&activator->base, &activator->epoll_fd, err);
	if (r == 0)
		r = http_memory_init(
		    &activator->memory, activator->max_conns + HTTP_RESERVED_FDS, HTTP_REQUEST_MAX(BODY_MAX), err);
	if (r == 0)
		r = http_conns_init(&activator->conns, activator->base, &activator->memory, &callbacks, activator, err);
	if (r < 0)
		return r;
	activator->conns.n_everywhere = &activator->scoreboard->connections;
	activator->conns.watches_requests = true;
	activator->conns.access_log = log_get_access() != LOG_ACCESS_NONE;
	apis_apply(activator, &activator->start);
	make_first_listeners(activator);
	evtimer_assign(&activator->disarm, activator->base, on_disarm_cb, activator);
	evtimer_assign(&activator->flush, activator->base, on_flush_cb, activator);
	event_assign(
	    &activator->control, activator->base, ACTIVATOR_FD_CONTROL, EV_READ | EV_PERSIST, on_control_cb, activator);
	if (event_add(&activator->control, NULL) < 0)
		return error_set(err, -ENOMEM, "cannot watch the control socket");
	r = watch_sigterm(activator);
	if (r < 0)
		return error_set(err, r, "cannot watch for SIGTERM: %s", strerror(-r));
	return 0;
}

void
activator_run(struct activator *activator)
{
	activator_consider_listening(activator);
	do {
		if (event_base_loop(activator->base, EVLOOP_ONCE) < 0)
			on_fatal("epoll_wait", errno, activator);
		if (activator->successor >= 0)
			succession_hand_over(activator);
		http_conns_reap(&activator->conns);
	} while (!is_over(activator));
	log_flush();
}
