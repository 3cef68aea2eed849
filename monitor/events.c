/*
 * events - GET /events: the status, each second, as server-sent events. See monitor.h.
 *
 * The socket leaves the connection that it came with, which could not read while it writes. Who has not read the last status is not sent
 * the next one; who leaves it unread for long is dropped. So a follower takes the memory of one status at most.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "monitor/monitor.h"

#define SLOW_MAX 30 /* statuses that were left out because one before was not read */

struct follower {
	TAILQ_ENTRY(follower) in_list;
	struct monitor *monitor;
	struct bufferevent *pipe;
	bool left;
	unsigned n_slow;
};

/* Not freed here: libevent may be about to call us. */
static void
leave(struct follower *follower)
{
	struct monitor *monitor = follower->monitor;

	if (follower->left)
		return;
	follower->left = true;
	TAILQ_REMOVE(&monitor->followers, follower, in_list);
	TAILQ_INSERT_TAIL(&monitor->leavers, follower, in_list);
	bufferevent_disable(follower->pipe, EV_READ | EV_WRITE);
}

void
events_reap(struct monitor *monitor)
{
	struct follower *follower;

	while ((follower = TAILQ_FIRST(&monitor->leavers))) {
		TAILQ_REMOVE(&monitor->leavers, follower, in_list);
		monitor->n_followers--;
		bufferevent_free(follower->pipe);
		free(follower);
	}
}

void
events_close(struct monitor *monitor)
{
	while (!TAILQ_EMPTY(&monitor->followers))
		leave(TAILQ_FIRST(&monitor->followers));
}

/* What a client says in the middle of an answer is nothing to us. */
static void
on_read_cb(struct bufferevent *pipe, UNUSED void *arg)
{
	struct evbuffer *input = bufferevent_get_input(pipe);

	evbuffer_drain(input, evbuffer_get_length(input));
}

static void
on_event_cb(UNUSED struct bufferevent *pipe, UNUSED short what, void *arg)
{
	leave(arg);
}

static void
send_status(struct follower *follower)
{
	static const char begin[] = "event: status\ndata: ", end[] = "\n\n";
	struct evbuffer *output = bufferevent_get_output(follower->pipe);
	const struct view *view = &follower->monitor->view;

	if (evbuffer_add(output, begin, strlen(begin)) < 0 || evbuffer_add(output, view->text, view->length) < 0 ||
	    evbuffer_add(output, end, strlen(end)) < 0)
		leave(follower);
}

void
events_send(struct monitor *monitor)
{
	struct follower *follower, *next;

	monitor->events_ms = clock_ms();
	for (follower = TAILQ_FIRST(&monitor->followers); follower; follower = next) {
		next = TAILQ_NEXT(follower, in_list);
		if (evbuffer_get_length(bufferevent_get_output(follower->pipe)) == 0) {
			follower->n_slow = 0;
			send_status(follower);
		} else if (++follower->n_slow > SLOW_MAX) {
			log_debug("who follows the status does not read it; dropped");
			leave(follower);
		}
	}
}

void
events_request(struct monitor *monitor, struct http_conn *conn)
{
	struct follower *follower;
	int fd;

	if (monitor->n_followers >= MONITOR_FOLLOWERS_MAX) {
		answer_error(conn, 503, "too many follow the status");
		return;
	}
	if (!monitor_sees(monitor, conn))
		return;
	follower = xcalloc(1, sizeof(*follower));
	follower->monitor = monitor;
	fd = http_conn_detach(conn);
	follower->pipe = bufferevent_socket_new(monitor->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!follower->pipe) {
		close(fd);
		free(follower);
		return;
	}
	monitor->n_followers++;
	TAILQ_INSERT_TAIL(&monitor->followers, follower, in_list);
	bufferevent_setcb(follower->pipe, on_read_cb, NULL, on_event_cb, follower);
	if (evbuffer_add_printf(bufferevent_get_output(follower->pipe),
		"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%sConnection: close\r\n\r\n", door_fields) < 0 ||
	    bufferevent_enable(follower->pipe, EV_READ | EV_WRITE) < 0)
		leave(follower);
	else
		send_status(follower);
	monitor_tick_soon(monitor);
}
