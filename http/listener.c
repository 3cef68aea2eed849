/*
 * listener - see listener.h.
 */
#include "http/listener.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "http/limits.h"

#define COMPLAIN_EVERY_MS 10000
#define SWEEP_MAX         256 /* connections in a row */

static const struct timeval moment = {0, 100000}; /* of a pause */

unsigned
http_connection_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < 2 * HTTP_RESERVED_FDS)
		return HTTP_RESERVED_FDS / 2;
	return (unsigned)MIN(limit.rlim_cur - HTTP_RESERVED_FDS, HTTP_CONNECTIONS_MAX);
}

/* What accept4 says about the connection that it would have returned, not about the listener (accept(2)). */
static bool
is_about_connection(int error)
{
	switch (error) {
	case ECONNABORTED:
	case ENETDOWN:
	case EPROTO:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
	case EPERM:
		return true;
	default:
		return false;
	}
}

static bool
is_epoll(int fd)
{
	char path[64], target[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return !strcmp(target, "anon_inode:[eventpoll]");
}

int
http_event_base_new(struct event_base **ret_base, int *ret_epoll_fd, struct error *err)
{
	struct event_base *base;
	int lowest, n_found = 0;

	/* The base takes the lowest free descriptors: everything below the first free one is somebody else's. */
	lowest = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	if (lowest < 0)
		return error_set(err, -errno, "cannot get a descriptor: %s", strerror(errno));
	close(lowest);
	base = event_base_new();
	if (!base)
		return error_set(err, -ENOMEM, "libevent cannot make an event base");
	*ret_epoll_fd = -1;
	for (int fd = lowest; fd < lowest + 8; fd++)
		if (is_epoll(fd)) {
			*ret_epoll_fd = fd;
			n_found++;
		}
	if (n_found != 1)
		*ret_epoll_fd = -1;
	*ret_base = base;
	return 0;
}

/* Register the listener again, exclusively and at the end of the line. False: it is as libevent has it. */
static bool
requeue(struct http_listener *listener)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.fd = listener->fd};

	if (epoll_ctl(listener->epoll_fd, EPOLL_CTL_DEL, listener->fd, NULL) == 0 &&
	    epoll_ctl(listener->epoll_fd, EPOLL_CTL_ADD, listener->fd, &event) == 0)
		return true;
	log_warning("no EPOLLEXCLUSIVE here (%s): each new connection wakes every idle replica", strerror(errno));
	event.events = EPOLLIN;
	if (epoll_ctl(listener->epoll_fd, EPOLL_CTL_ADD, listener->fd, &event) < 0 && errno != EEXIST)
		listener->on_fatal("epoll_ctl", errno, listener->arg);
	listener->epoll_fd = -1;
	return false;
}

/* Accepting failed for lack of something: leave the listener alone for a moment instead of spinning on it. */
static void
pause_accepting(struct http_listener *listener, int error)
{
	int64_t now_ms = clock_ms();

	if (listener->complained_ms == 0 || now_ms - listener->complained_ms > COMPLAIN_EVERY_MS) {
		log_warning("cannot accept connections for a moment: %s", strerror(error));
		listener->complained_ms = now_ms;
	}
	event_del(&listener->event);
	listener->armed = false;
	evtimer_add(&listener->pause, &moment);
}

/* One connection. False when there is none, or none can be taken. */
static bool
accept_one(struct http_listener *listener, bool *ret_stays)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		*ret_stays = listener->on_accept(fd, listener->arg);
		return true;
	}
	if (errno == EAGAIN)
		return false;
	if (errno == EINTR || is_about_connection(errno))
		return true;
	if (errno == EMFILE && listener->on_full)
		listener->on_full(listener->arg);
	if (errno == EBADF || errno == ENOTSOCK || errno == EINVAL)
		listener->on_fatal("accept", errno, listener->arg);
	else if (listener->armed)
		pause_accepting(listener, errno);
	return false;
}

static void
on_readable_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct http_listener *listener = arg;
	bool stays = false;

	if (listener->may_accept(listener->arg) && accept_one(listener, &stays) && stays && listener->epoll_fd >= 0)
		requeue(listener);
	/* Who can take no more leaves the line: a wake-up spent on it is missing where there is room. */
	if (listener->armed && !listener->may_accept(listener->arg))
		pause_accepting(listener, EMFILE);
}

static void
on_pause_over_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct http_listener *listener = arg;
	int r;

	if (!listener->may_accept(listener->arg)) {
		evtimer_add(&listener->pause, &moment);
		return;
	}
	r = http_listener_arm(listener);
	if (r < 0)
		listener->on_fatal("epoll_ctl", -r, listener->arg);
}

static void
on_sweep_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	static const struct timeval next_turn = {0, 0};
	struct http_listener *listener = arg;
	bool stays;

	for (int n = 0; listener->fd >= 0 && listener->may_accept(listener->arg) && accept_one(listener, &stays);)
		if (++n == SWEEP_MAX) {
			evtimer_add(&listener->sweep, &next_turn);
			return;
		}
}

void
http_listener_init(struct http_listener *listener, struct event_base *base, int epoll_fd, int fd)
{
	memset(listener, 0, sizeof(*listener));
	listener->base = base;
	listener->epoll_fd = epoll_fd;
	listener->fd = fd;
	event_assign(&listener->event, base, fd, EV_READ | EV_PERSIST, on_readable_cb, listener);
	evtimer_assign(&listener->pause, base, on_pause_over_cb, listener);
	evtimer_assign(&listener->sweep, base, on_sweep_cb, listener);
	/* Accepted sockets have it from here: urgent data is data, so that the kernel counts what recv gives (kept.c). */
	setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &(int){1}, sizeof(int));
}

int
http_listener_arm(struct http_listener *listener)
{
	if (listener->armed)
		return 0;
	if (event_add(&listener->event, NULL) < 0)
		return errno ? -errno : -EIO;
	listener->armed = true;
	if (listener->epoll_fd >= 0)
		requeue(listener);
	return 0;
}

void
http_listener_sweep(struct http_listener *listener)
{
	on_sweep_cb(-1, 0, listener);
}

void
http_listener_disarm(struct http_listener *listener)
{
	evtimer_del(&listener->pause);
	evtimer_del(&listener->sweep);
	if (!listener->armed)
		return;
	event_del(&listener->event);
	listener->armed = false;
	http_listener_sweep(listener);
}
