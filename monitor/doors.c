/*
 * doors - the admin sockets. See monitor.h.
 *
 * Each kind has a number of connections of its own: whatever happens on TCP, who may use the unix socket gets in. Where there is no more
 * room, the connection that has asked for nothing for the longest time makes room; if all are at work, a new one is closed.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "http/conn_internal.h"
#include "http/limits.h"
#include "monitor/monitor.h"

/* What every answer says, whoever gets it: it is not for other pages, nor for caches; and what a page of ours may do. */
const char door_fields[] =
    "Cache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Content-Security-Policy: default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'\r\n";

static bool
may_accept(UNUSED void *arg)
{
	return true;
}

/* Who has no request under way and waits for the longest time. */
static bool
make_room(struct door *door)
{
	static const enum http_conn_state idle[] = {HTTP_CONN_LINGER, HTTP_CONN_IDLE, HTTP_CONN_HEAD, HTTP_CONN_BODY};

	for (size_t i = 0; i < N_ELEMENTS(idle); i++) {
		struct http_conn *conn = TAILQ_FIRST(&door->conns.in_state[idle[i]]);

		if (conn) {
			http_conn_close(conn);
			return true;
		}
	}
	return false;
}

/* Who follows something may have nothing to read for days: a machine that is gone shall not keep its place for so long. */
static void
watch_peer(int fd)
{
	static const struct {
		int level, option, value;
	} all[] = {
	    {SOL_SOCKET, SO_KEEPALIVE, 1},
	    {IPPROTO_TCP, TCP_KEEPIDLE, 30}, /* seconds */
	    {IPPROTO_TCP, TCP_KEEPINTVL, 10},
	    {IPPROTO_TCP, TCP_KEEPCNT, 3},
	};

	for (size_t i = 0; i < N_ELEMENTS(all); i++)
		if (setsockopt(fd, all[i].level, all[i].option, &all[i].value, sizeof(all[i].value)) < 0)
			log_debug("setsockopt: %s", strerror(errno));
}

static bool
on_accept(int fd, void *arg)
{
	struct door *door = arg;

	if (door->conns.n_open >= door->max && !make_room(door)) {
		close(fd);
		return false;
	}
	http_conns_reap(&door->conns);
	if (door->is_tcp)
		watch_peer(fd);
	return http_conns_add(&door->conns, fd) > 0;
}

static void
on_fatal(const char *what, int error, UNUSED void *arg)
{
	log_error("%s: %s", what, strerror(error));
	_exit(1);
}

static int
open_door(struct monitor *monitor, struct door *door, bool is_tcp, unsigned max, struct error *err)
{
	door->monitor = monitor;
	door->is_tcp = is_tcp;
	door->max = max;
	if (http_conns_init(&door->conns, monitor->base, &monitor->memory, &request_callbacks, door, err) < 0)
		return -ENOMEM;
	door->conns.watches_requests = true;
	door->conns.common = door_fields;
	return 0;
}

int
doors_open(struct monitor *monitor, struct error *err)
{
	int n = monitor->start.has_unix + monitor->start.n_tcp, r;

	r = http_memory_init(&monitor->memory, MONITOR_UNIX_CONNS_MAX + MONITOR_TCP_CONNS_MAX + 1,
	    HTTP_REQUEST_MAX((uint64_t)MONITOR_PREDICT_MAX), err);
	if (r == 0)
		r = open_door(monitor, &monitor->unix_door, false, MONITOR_UNIX_CONNS_MAX, err);
	if (r == 0)
		r = open_door(monitor, &monitor->tcp_door, true, MONITOR_TCP_CONNS_MAX, err);
	for (int i = 0; r == 0 && i < n; i++) {
		struct http_listener *listener = &monitor->listeners[i];

		http_listener_init(listener, monitor->base, -1, MONITOR_FD_LISTENER + i);
		listener->on_accept = on_accept;
		listener->may_accept = may_accept;
		listener->on_fatal = on_fatal;
		listener->arg = i < monitor->start.has_unix ? &monitor->unix_door : &monitor->tcp_door;
		monitor->n_listeners++;
		if (http_listener_arm(listener) < 0)
			r = error_set(err, -ENOMEM, "cannot watch an admin socket");
	}
	return r;
}

void
doors_close(struct monitor *monitor)
{
	for (int i = 0; i < monitor->n_listeners; i++) {
		struct http_listener *listener = &monitor->listeners[i];

		http_listener_disarm(listener);
		fd_close(&listener->fd);
	}
	monitor->n_listeners = 0;
	monitor->unix_door.conns.closing = monitor->tcp_door.conns.closing = true;
	events_close(monitor); /* who follows shall follow the other one */
}

void
doors_reap(struct monitor *monitor)
{
	http_conns_reap(&monitor->unix_door.conns);
	http_conns_reap(&monitor->tcp_door.conns);
	events_reap(monitor);
}
