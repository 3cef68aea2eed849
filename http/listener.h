/*
 * listener - accepting from a listener that several processes share.
 *
 * All replicas wait for the same listening socket. With plain epoll a new connection wakes every idle one of them; with
 * EPOLLEXCLUSIVE (epoll_ctl(2)) it wakes one. libevent does not offer the flag, so the listener is added to the base as
 * an ordinary event and then registered again behind libevent's back, in the base's own epoll descriptor.
 * Measured with 100 idle processes: 25,000 new connections a second with it, 4,100 without.
 *
 * One connection is accepted per callback. When it is one that stays, the listener is registered anew: that puts this
 * process at the end of the kernel's line, and kept-alive connections spread evenly (otherwise the kernel always wakes the
 * same sleeper). Connections that end with their first answer need no spreading: who is busy is not waiting in line.
 */
#ifndef HTTP_LISTENER_H
#define HTTP_LISTENER_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/error.h"
#include "common/util.h"

struct http_listener {
	struct event_base *base;
	int epoll_fd; /* -1: plain epoll */
	int fd;       /* not owned */
	struct event event;
	struct event pause; /* until accepting is tried again after it failed */
	struct event sweep; /* goes on in the next turn */
	bool armed;
	int64_t complained_ms;                /* when it was last logged that accepting fails; 0: never */
	bool (*on_accept)(int fd, void *arg); /* owns fd: non-blocking, close-on-exec; whether it will stay open */
	bool (*may_accept)(void *arg);
	void (*on_full)(void *arg); /* no descriptor for a connection; it is tried again after this. May be NULL */
	void (*on_fatal)(const char *what, int error, void *arg);
	void *arg;
};

/*
 * How many client connections all processes of one cortexd may have together: what the descriptor limit of one of them
 * allows, because all of them may end up in one, and some are kept for other things.
 */
unsigned http_connection_limit(void);

/* Make an event base and learn its epoll descriptor: -1 in *ret_epoll_fd when it cannot be found, which costs speed only. */
MUSTCHECK int http_event_base_new(struct event_base **ret_base, int *ret_epoll_fd, struct error *err);

/* Prepare; fd is a listening, non-blocking socket. The callbacks and arg are set by the caller afterwards. */
void http_listener_init(struct http_listener *listener, struct event_base *base, int epoll_fd, int fd);

/* Start waiting for connections; nothing when armed already. 0 or a negative errno. */
MUSTCHECK int http_listener_arm(struct http_listener *listener);

/* Accept until nothing is left, armed or not. */
void http_listener_sweep(struct http_listener *listener);

/* Stop, then accept until nothing is left: a wake-up that was meant for us must not be lost with us. */
void http_listener_disarm(struct http_listener *listener);

#endif
