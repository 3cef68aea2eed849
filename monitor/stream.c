/*
 * stream - answers without an end: events, and logs that are followed. See monitor.h.
 *
 * The socket leaves the connection that it came with, which could not read while it writes. What a reader does not take is kept, up to
 * MONITOR_UNREAD_MAX; then the reader is dropped: it does not hold up the monitor, nor fill its memory.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "monitor/monitor.h"

#define HEAD_MAX 1024
#define SLOW_MAX 10 /* events that were left out because the one before was not read */

struct stream {
	TAILQ_ENTRY(stream) in_list;
	struct monitor *monitor;
	struct bufferevent *pipe;
	stream_over_cb *over_cb;
	void *arg;
	bool follows; /* /events */
	bool over;
	bool ends; /* when all is read */
	unsigned n_slow;
};

static void
finish(struct stream *stream)
{
	struct monitor *monitor = stream->monitor;

	if (stream->over)
		return;
	stream->over = true;
	TAILQ_REMOVE(&monitor->streams, stream, in_list);
	TAILQ_INSERT_TAIL(&monitor->ended_streams, stream, in_list);
	bufferevent_disable(stream->pipe, EV_READ | EV_WRITE);
	event_base_loopcontinue(monitor->base); /* the owner is told before the next turn */
}

void
streams_reap(struct monitor *monitor)
{
	struct stream *stream;

	while ((stream = TAILQ_FIRST(&monitor->ended_streams))) {
		TAILQ_REMOVE(&monitor->ended_streams, stream, in_list);
		monitor->n_streams--;
		if (stream->over_cb && !stream->ends)
			stream->over_cb(stream, stream->arg);
		bufferevent_free(stream->pipe);
		free(stream);
	}
}

void
streams_close(struct monitor *monitor)
{
	while (!TAILQ_EMPTY(&monitor->streams))
		finish(TAILQ_FIRST(&monitor->streams));
}

/* ---- libevent ---- */

/* What a client says in the middle of an answer is nothing to us. */
static void
on_read_cb(struct bufferevent *pipe, UNUSED void *arg)
{
	struct evbuffer *input = bufferevent_get_input(pipe);

	evbuffer_drain(input, evbuffer_get_length(input));
}

static void
on_written_cb(UNUSED struct bufferevent *pipe, void *arg)
{
	struct stream *stream = arg;

	if (stream->ends)
		finish(stream);
}

static void
on_event_cb(UNUSED struct bufferevent *pipe, UNUSED short what, void *arg)
{
	finish(arg);
}

/* ---- for owners ---- */

struct stream *
stream_begin(
    struct monitor *monitor, struct http_conn *conn, const char *content_type, stream_over_cb *over_cb, void *arg)
{
	struct stream *stream;
	char head[HEAD_MAX];
	int fd, n;

	if (monitor->n_streams >= MONITOR_STREAMS_MAX) {
		answer_error(conn, 503, "too many streams");
		return NULL;
	}
	stream = xcalloc(1, sizeof(*stream));
	*stream = (struct stream){.monitor = monitor, .over_cb = over_cb, .arg = arg};
	fd = http_conn_detach(conn);
	stream->pipe = bufferevent_socket_new(monitor->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!stream->pipe) {
		close(fd);
		free(stream);
		return NULL;
	}
	monitor->n_streams++;
	TAILQ_INSERT_TAIL(&monitor->streams, stream, in_list);
	bufferevent_setcb(stream->pipe, on_read_cb, on_written_cb, on_event_cb, stream);
	n = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%sConnection: close\r\n\r\n",
	    content_type, door_fields);
	ASSERT(n < HEAD_MAX);
	if (bufferevent_enable(stream->pipe, EV_READ | EV_WRITE) < 0)
		finish(stream);
	stream_write(stream, head, (size_t)n);
	return stream;
}

size_t
stream_unread(const struct stream *stream)
{
	return evbuffer_get_length(bufferevent_get_output(stream->pipe));
}

bool
stream_write(struct stream *stream, const void *data, size_t length)
{
	if (stream->over)
		return false;
	if ((stream_unread(stream) > 0 && stream_unread(stream) + length > MONITOR_UNREAD_MAX) ||
	    bufferevent_write(stream->pipe, data, length) < 0) {
		log_debug("a reader of a stream is too slow; dropped it");
		finish(stream);
		return false;
	}
	return true;
}

void
stream_end(struct stream *stream)
{
	stream->ends = true;
	if (stream_unread(stream) == 0)
		finish(stream);
}

/* ---- events ---- */

/* One that has not read the last one is spared this one; for a while. */
static void
send_event(struct monitor *monitor, struct stream *stream)
{
	static const char begin[] = "event: status\ndata: ", end[] = "\n\n";
	struct evbuffer *output = bufferevent_get_output(stream->pipe);

	if (stream_unread(stream) > HEAD_MAX) {
		if (++stream->n_slow > SLOW_MAX)
			finish(stream);
		return;
	}
	stream->n_slow = 0;
	if (evbuffer_add(output, begin, strlen(begin)) < 0 ||
	    evbuffer_add(output, monitor->view.text, monitor->view.length) < 0 ||
	    evbuffer_add(output, end, strlen(end)) < 0)
		finish(stream);
}

void
events_request(struct monitor *monitor, struct http_conn *conn)
{
	struct stream *stream;

	if (!monitor_sees(monitor, conn))
		return;
	stream = stream_begin(monitor, conn, "text/event-stream", NULL, NULL);
	if (!stream)
		return;
	stream->follows = true;
	send_event(monitor, stream);
	monitor_tick_soon(monitor);
}

bool
events_are_followed(const struct monitor *monitor)
{
	const struct stream *stream;

	TAILQ_FOREACH (stream, &monitor->streams, in_list)
		if (stream->follows)
			return true;
	return false;
}

void
events_send(struct monitor *monitor)
{
	struct stream *stream, *next;

	for (stream = TAILQ_FIRST(&monitor->streams); stream; stream = next) {
		next = TAILQ_NEXT(stream, in_list);
		if (stream->follows)
			send_event(monitor, stream);
	}
}
