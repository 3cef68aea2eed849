/*
 * server - see server.h.
 *
 * Ways to a drain: a DRAIN record, the end of the control socket (the supervisor is gone), SIGTERM. Each means: take no
 * new connection, answer what was read, then exit 0. A replica that is alone, or was told by signal, sets an alarm too:
 * it must not live for ever behind a prediction that never ends.
 */
#include "replica/server.h"

#include <errno.h>
#include <pthread.h>
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
#include "http/conn.h"
#include "http/fixed.h"
#include "http/limits.h"
#include "http/listener.h"

#define SERVE_NS         200000 /* of predictions between two turns of the loop */
#define FLUSH_US         100000 /* how long a prediction's log line may wait for company */
#define RESERVED_FDS     128    /* of the descriptor limit: what the predictor may need while we are full of clients */
#define CONTENT_TYPE_MAX 256

struct server {
	struct event_base *base;
	int epoll_fd;
	struct http_memory memory;
	struct http_conns conns;
	struct http_conn_list pending; /* complete requests for predict, by arrival */
	struct http_listener *listeners;
	int n_listeners;
	unsigned max_conns;
	struct event control;
	struct event drain;
	struct event flush;
	bool flush_armed;
	int drain_fd; /* eventfd: written by the SIGTERM handler */
	bool draining;
	int exit_status;
	const char *api;
	int replica;
	const char *endpoint;
	size_t endpoint_length;
	uint64_t max_body_bytes;
	struct http_routes routes; /* of this api alone */
	unsigned stop_timeout_s;
	struct predictor *predictor;
};

/* What a signal handler and a forked child can reach. One server per process. */
static struct {
	struct server *server;
	pid_t pid; /* of the replica */
	volatile sig_atomic_t drain_fd;
	volatile sig_atomic_t stop_timeout_s;
	bool forked; /* this is a child that the predictor forked */
} process_wide = {.drain_fd = -1};

/* ---- answering ---- */

static uint64_t
on_head(struct http_conn *conn, void *arg)
{
	const struct http_span target = http_conn_request(conn)->target;
	const char *raw = http_conn_bytes(conn) + target.offset;
	struct server *server = arg;

	if (target.length == server->endpoint_length && !memcmp(raw, server->endpoint, target.length))
		conn->route = (struct http_route){.kind = HTTP_ROUTE_API}; /* as nearly every request has it */
	else
		conn->route = http_route_find(&server->routes, raw, target.length);
	return server->max_body_bytes;
}

static void
on_request(struct http_conn *conn, void *arg)
{
	struct server *server = arg;

	if (!http_fixed_answer(conn, true))
		TAILQ_INSERT_TAIL(&server->pending, conn, in_pending);
}

static void
on_gone(struct http_conn *conn, void *arg)
{
	struct server *server = arg;

	TAILQ_REMOVE(&server->pending, conn, in_pending);
}

/* A child that the predictor forked has come out of the predictor: it must not go on as if it were the replica. */
static void
end_forked_child(const char *function)
{
	if (!process_wide.forked)
		return;
	log_warning("a process forked by %s returned from it; it ends here", function);
	_exit(0);
}

/* Run predict for one request and answer it. */
static void
serve(struct server *server, struct http_conn *conn)
{
	const struct http_parser *request = http_conn_request(conn);
	struct http_span type = request->content_type;
	char content_type[CONTENT_TYPE_MAX];
	struct prediction_request prediction = {
	    .body_length = request->body_length,
	    .debug = conn->route.debug,
	};
	struct prediction_answer result;
	int64_t began_ns = clock_ns();

	if (type.length > 0) {
		size_t length = MIN(type.length, sizeof(content_type) - 1);

		memcpy(content_type, http_conn_bytes(conn) + type.offset, length);
		content_type[length] = '\0';
		prediction.content_type = content_type;
	}
	http_conn_begin_prediction(conn);
	prediction.body = http_conn_body(conn);
	predictor_predict(server->predictor, &prediction, &result);
	end_forked_child("predict");
	http_conn_answer(conn,
	    &(struct http_answer){
		.status = result.status,
		.content_type = result.content_type,
		.body = result.body,
		.body_length = result.body_length,
	    });
	log_prediction(result.status, server->endpoint, clock_ns() - began_ns);
	prediction_answer_done(&result);
}

/* Serve from the head of the queue, until it is empty or reading has waited long enough. */
static void
serve_pending(struct server *server)
{
	static const struct timeval soon = {0, FLUSH_US};
	int64_t began_ns = clock_ns();
	struct http_conn *conn = TAILQ_FIRST(&server->pending);

	if (!conn)
		return;
	do {
		TAILQ_REMOVE(&server->pending, conn, in_pending);
		serve(server, conn);
	} while ((conn = TAILQ_FIRST(&server->pending)) && clock_ns() - began_ns < SERVE_NS);
	if (!server->flush_armed) {
		server->flush_armed = true;
		evtimer_add(&server->flush, &soon);
	}
}

static void
on_flush_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct server *server = arg;

	server->flush_armed = false;
	log_flush();
}

/* ---- accepting ---- */

static bool
may_accept(void *arg)
{
	const struct server *server = arg;

	return server->conns.n_open < server->max_conns;
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

/* A descriptor of ours is closed, or is something else now: nothing that we hold can be trusted any more. */
static void
on_fatal(const char *what, int error, UNUSED void *arg)
{
	char text[256];

	snprintf(text, sizeof(text),
	    "%s: %s: a descriptor of cortexd was closed in this process; the predictor must not close "
	    "descriptors that it did not open",
	    what, strerror(error));
	log_error("%s", text);
	log_flush();
	if (record_send(REPLICA_FD_CONTROL, RECORD_FAILED, text) < 0)
		log_debug("the supervisor cannot be told");
	_exit(1);
}

static const struct http_conns_callbacks callbacks = {
    .on_head = on_head,
    .on_request = on_request,
    .on_gone = on_gone,
    .on_fatal = on_fatal,
};

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
		begin_drain(server, "told by the supervisor");
		return;
	}
	if (r == -EBADF || r == -ENOTSOCK)
		on_fatal("recv", -r, server);
	event_del(&server->control);
	alarm(server->stop_timeout_s);
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

static void
on_sigterm(int number)
{
	uint64_t one = 1;
	int saved = errno;

	if (getpid() != process_wide.pid) { /* a child between fork and in_forked_child: this is not for us */
		signal(number, SIG_DFL);
		raise(number);
		return;
	}
	alarm((unsigned)process_wide.stop_timeout_s);
	if (write((int)process_wide.drain_fd, &one, sizeof(one)) < 0)
		_exit(1); /* nobody would ever see the signal */
	errno = saved;
}

/* ---- forked children ---- */

/* A process that the predictor forks must not keep a client, the listener or our control socket open. */
static void
in_forked_child(void)
{
	struct server *server = take_ptr(
	    &process_wide.server); /* the child's own children have nothing of ours to close */

	process_wide.forked = true;
	signal(SIGTERM, SIG_DFL);
	if (!server)
		return;
	http_conns_close_in_child(&server->conns);
	for (int i = 0; i < server->n_listeners; i++)
		if (server->listeners[i].fd >= 0)
			close(server->listeners[i].fd);
	if (server->epoll_fd >= 0)
		close(server->epoll_fd);
	close(server->drain_fd);
	close(REPLICA_FD_CONTROL);
}

/* ---- life ---- */

static unsigned
connection_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < 2 * RESERVED_FDS)
		return RESERVED_FDS;
	return (unsigned)MIN(limit.rlim_cur - RESERVED_FDS, 1u << 20);
}

static void
make_listeners(struct server *server, int n)
{
	server->n_listeners = n;
	server->listeners = xcalloc((size_t)n, sizeof(*server->listeners));
	for (int i = 0; i < n; i++) {
		struct http_listener *listener = &server->listeners[i];

		http_listener_init(listener, server->base, server->epoll_fd, REPLICA_FD_LISTENER + i);
		listener->on_accept = on_accept;
		listener->may_accept = may_accept;
		listener->on_fatal = on_fatal;
		listener->arg = server;
	}
}

int
server_new(const struct start_record *start, struct server **ret_server, struct error *err)
{
	struct server *server = xcalloc(1, sizeof(*server));
	int r;

	server->drain_fd = -1;
	server->api = start->api;
	server->replica = start->replica;
	server->endpoint = start->endpoint;
	server->endpoint_length = strlen(start->endpoint);
	server->max_body_bytes = (uint64_t)start->max_body_bytes;
	http_routes_add(&server->routes, start->endpoint, 0);
	server->stop_timeout_s = (unsigned)MAX(1, start->stop_timeout_ms / 1000);
	server->max_conns = connection_limit();
	TAILQ_INIT(&server->pending);
	r = http_event_base_new(&server->base, &server->epoll_fd, err);
	if (r < 0)
		goto out;
	r = http_memory_init(&server->memory, server->max_conns, HTTP_REQUEST_MAX(server->max_body_bytes), err);
	if (r < 0)
		goto out;
	r = http_conns_init(&server->conns, server->base, &server->memory, &callbacks, server, err);
	if (r < 0)
		goto out;
	server->drain_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->drain_fd < 0) {
		r = error_set(err, -errno, "eventfd: %s", strerror(errno));
		goto out;
	}
	make_listeners(server, start->n_listeners);
	event_assign(&server->control, server->base, REPLICA_FD_CONTROL, EV_READ | EV_PERSIST, on_control_cb, server);
	event_assign(&server->drain, server->base, server->drain_fd, EV_READ | EV_PERSIST, on_drain_cb, server);
	evtimer_assign(&server->flush, server->base, on_flush_cb, server);
	process_wide.server = server;
	process_wide.pid = getpid();
	process_wide.drain_fd = server->drain_fd;
	process_wide.stop_timeout_s = (int)server->stop_timeout_s;
	r = -pthread_atfork(NULL, NULL, in_forked_child);
	if (r < 0) {
		error_set(err, r, "pthread_atfork: %s", strerror(-r));
		goto out;
	}
	*ret_server = take_ptr(&server);
out:
	server_free(server);
	return r;
}

void
server_free(struct server *server)
{
	if (!server)
		return;
	process_wide.server = NULL;
	if (server->base) {
		http_conns_done(&server->conns);
		event_base_free(server->base);
	}
	http_memory_done(&server->memory);
	http_routes_done(&server->routes);
	fd_close(&server->drain_fd);
	free(server->listeners);
	free(server);
}

/* Begin to take requests, and say so. False when it cannot be done. */
static bool
begin(struct server *server)
{
	struct sigaction on_term = {.sa_handler = on_sigterm, .sa_flags = SA_RESTART};

	sigaction(SIGTERM, &on_term, NULL);
	if (event_add(&server->control, NULL) < 0 || event_add(&server->drain, NULL) < 0)
		on_fatal("epoll_ctl", errno, server);
	for (int i = 0; i < server->n_listeners; i++) {
		int r = http_listener_arm(&server->listeners[i]);

		if (r < 0)
			on_fatal("epoll_ctl", -r, server);
	}
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

int
server_run(struct server *server, struct predictor *predictor)
{
	end_forked_child("init");
	server->predictor = predictor;
	if (!begin(server))
		return 1;
	while (!(server->draining && server->conns.n_open == 0)) {
		turn(server, TAILQ_EMPTY(&server->pending));
		if (server->draining)
			http_conns_close_idle(&server->conns);
		serve_pending(server);
		http_conns_reap(&server->conns);
	}
	log_flush();
	return server->exit_status;
}
