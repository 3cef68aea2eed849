/*
 * conn - the life of a connection: its state, its registration with the loop, its timeouts, its end. See conn.h.
 *
 * Nothing is freed below a callback of libevent: an ended connection waits in its list for http_conns_reap.
 */
#include "http/conn.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "http/conn_internal.h"
#include "http/limits.h"

#define SPARE_MAX 256 /* connection objects kept for the next ones */

int64_t
http_coarse_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void
http_conn_set_state(struct http_conn *conn, enum http_conn_state state)
{
	TAILQ_REMOVE(&conn->conns->in_state[conn->state], conn, in_state);
	conn->state = state;
	conn->kept->since_ms = http_coarse_ms();
	TAILQ_INSERT_TAIL(&conn->conns->in_state[state], conn, in_state);
}

static void
on_event_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct http_conn *conn = arg;

	switch (conn->state) {
	case HTTP_CONN_WRITE:
		http_conn_write_more(conn);
		if (conn->state == HTTP_CONN_IDLE)
			http_conn_process(conn);
		break;
	case HTTP_CONN_LINGER:
		http_conn_discard(conn);
		break;
	case HTTP_CONN_CLOSED:
		break;
	default:
		http_conn_read(conn);
	}
}

void
http_conn_wait_for(struct http_conn *conn, short what)
{
	const struct http_conns *conns = conn->conns;

	if (conn->waits_for == what)
		return;
	if (conn->waits_for)
		event_del(&conn->event);
	conn->waits_for = what;
	if (!what)
		return;
	event_assign(&conn->event, conns->base, conn->fd, (short)(what | EV_PERSIST), on_event_cb, conn);
	if (event_add(&conn->event, NULL) == 0)
		return;
	if (conns->callbacks->on_fatal)
		conns->callbacks->on_fatal("epoll_ctl", errno, conns->arg);
	log_warning("epoll_ctl: %s; a connection will end with its timeout", strerror(errno));
	conn->waits_for = 0;
}

/* ---- the end ---- */

void
http_conns_count_open(struct http_conns *conns, int change)
{
	conns->n_open += (unsigned)change;
	if (conns->n_open_shown)
		atomic_store_explicit(conns->n_open_shown, conns->n_open, memory_order_relaxed);
}

static void
count_everywhere(struct http_conns *conns, int change)
{
	if (conns->n_everywhere)
		atomic_fetch_add_explicit(conns->n_everywhere, change, memory_order_relaxed);
}

/* The counts come before the close: whoever is killed is so at a system call, as a rule. */
static void
leave_socket(struct http_conn *conn)
{
	http_kept_set_phase(conn->kept, HTTP_PHASE_FREE);
	http_conns_count_open(conn->conns, -1);
	close(conn->fd);
	conn->fd = -1;
}

static void
let_go(struct http_conn *conn)
{
	http_conn_set_state(conn, HTTP_CONN_CLOSED);
	conn->kept->consumed = conn->kept->received;
	http_conn_release_input(conn);
	http_conn_release_output(conn);
	http_memory_put_entry(conn->conns->memory, take_ptr(&conn->kept));
}

void
http_conn_forget(struct http_conn *conn)
{
	leave_socket(conn);
	let_go(conn);
}

int
http_conn_detach(struct http_conn *conn)
{
	int fd = conn->fd;

	ASSERT(conn->state == HTTP_CONN_REQUEST);
	http_conn_wait_for(conn, 0);
	count_everywhere(conn->conns, -1);
	http_kept_set_phase(conn->kept, HTTP_PHASE_FREE);
	http_conns_count_open(conn->conns, -1);
	conn->fd = -1;
	conn->held = false;
	let_go(conn);
	return fd;
}

void
http_conn_close(struct http_conn *conn)
{
	if (conn->state == HTTP_CONN_CLOSED)
		return;
	http_conn_wait_for(conn, 0);
	count_everywhere(conn->conns, -1);
	leave_socket(conn);
	if (conn->held)
		conn->conns->callbacks->on_gone(conn, conn->conns->arg);
	let_go(conn);
}

/* Has the client asked for the end itself, and sent nothing more? */
static bool
has_said_all(const struct http_conn *conn)
{
	const struct http_parser *request = &conn->parser;
	int unread;

	return request->error_status == 0 && request->request_length > 0 && !request->keep_alive &&
	    http_conn_length(conn) == request->request_length && ioctl(conn->fd, SIOCINQ, &unread) == 0 && unread == 0;
}

/*
 * When the client may still be sending, or something is unread, a close would make the kernel reset the connection, and the
 * reset can overtake the answer (RFC 9112 9.6): end our side, then read until the client ends its own.
 */
void
http_conn_finish(struct http_conn *conn)
{
	if (has_said_all(conn) || (conn->kept->flags & HTTP_KEPT_PEER_ENDED)) {
		http_conn_close(conn);
		return;
	}
	http_kept_set_phase(conn->kept, HTTP_PHASE_LINGERING);
	if (shutdown(conn->fd, SHUT_WR) < 0) {
		http_conn_close(conn);
		return;
	}
	conn->kept->consumed = conn->kept->received;
	http_conn_release_input(conn);
	http_conn_set_state(conn, HTTP_CONN_LINGER);
	http_conn_wait_for(conn, EV_READ);
}

/* ---- timeouts ---- */

static const int64_t timeout_ms[HTTP_CONN_STATES] = {
    [HTTP_CONN_IDLE] = HTTP_IDLE_TIMEOUT_MS,
    [HTTP_CONN_HEAD] = HTTP_HEAD_TIMEOUT_MS,
    [HTTP_CONN_BODY] = HTTP_BODY_TIMEOUT_MS,
    [HTTP_CONN_WRITE] = HTTP_WRITE_TIMEOUT_MS,
    [HTTP_CONN_LINGER] = HTTP_LINGER_TIMEOUT_MS,
};

/* Each list is in the order of its deadlines, so only the heads are looked at; one that arrived late in its life stands
 * behind younger ones, and lives at most as long again. */
static void
on_sweep_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct http_conns *conns = arg;
	int64_t now = http_coarse_ms();

	for (int state = 0; state < HTTP_CONN_STATES; state++) {
		struct http_conn *conn;

		while (timeout_ms[state] > 0 && (conn = TAILQ_FIRST(&conns->in_state[state])) &&
		    now - conn->kept->since_ms >= timeout_ms[state]) {
			if (state == HTTP_CONN_HEAD || state == HTTP_CONN_BODY)
				http_conn_refuse_late(conn);
			else
				http_conn_close(conn);
		}
	}
	if (conns->n_open == 0) {
		evtimer_del(&conns->sweep);
		conns->sweeping = false;
	}
}

/* ---- the set ---- */

int
http_conns_init(struct http_conns *conns, struct event_base *base, struct http_memory *memory,
    const struct http_conns_callbacks *callbacks, void *arg, struct error *err)
{
	memset(conns, 0, sizeof(*conns));
	conns->base = base;
	conns->memory = memory;
	conns->callbacks = callbacks;
	conns->arg = arg;
	for (int i = 0; i < HTTP_CONN_STATES; i++)
		TAILQ_INIT(&conns->in_state[i]);
	TAILQ_INIT(&conns->spare);
	if (event_assign(&conns->sweep, base, -1, EV_PERSIST, on_sweep_cb, conns) < 0)
		return error_set(err, -EINVAL, "cannot make a timer");
	return 0;
}

void
http_conns_done(struct http_conns *conns)
{
	struct http_conn *conn;

	for (int state = 0; state < HTTP_CONN_CLOSED; state++)
		while (!TAILQ_EMPTY(&conns->in_state[state]))
			http_conn_close(TAILQ_FIRST(&conns->in_state[state]));
	http_conns_reap(conns);
	if (conns->sweeping)
		evtimer_del(&conns->sweep);
	while ((conn = TAILQ_FIRST(&conns->spare))) {
		TAILQ_REMOVE(&conns->spare, conn, in_state);
		free(conn);
	}
}

struct http_conn *
http_conn_new(struct http_conns *conns, int fd)
{
	static const struct timeval second = {1, 0};
	struct http_conn *conn = TAILQ_FIRST(&conns->spare);
	struct http_kept *kept = http_memory_get_entry(conns->memory);

	if (!kept)
		return NULL;
	if (conn) {
		TAILQ_REMOVE(&conns->spare, conn, in_state);
		conns->n_spare--;
	} else {
		conn = malloc(sizeof(*conn));
		if (!conn) {
			http_memory_put_entry(conns->memory, kept);
			return NULL;
		}
	}
	memset(conn, 0, sizeof(*conn));
	conn->conns = conns;
	conn->kept = kept;
	conn->fd = kept->fd = fd;
	conn->restart = true;
	conn->state = HTTP_CONN_IDLE;
	kept->since_ms = http_coarse_ms();
	TAILQ_INSERT_TAIL(&conns->in_state[HTTP_CONN_IDLE], conn, in_state);
	if (!conns->sweeping) {
		conns->sweeping = true;
		evtimer_add(&conns->sweep, &second);
	}
	return conn;
}

int
http_conns_add(struct http_conns *conns, int fd)
{
	struct http_conn *conn = http_conn_new(conns, fd);

	if (!conn) {
		close(fd);
		return -ENOMEM;
	}
	http_conns_count_open(conns, 1);
	count_everywhere(conns, 1);
	http_kept_set_phase(conn->kept, HTTP_PHASE_OPEN);
	http_conn_read(conn); /* the first request has usually come with the connection */
	if (conn->state == HTTP_CONN_REQUEST)
		return conn->parser.keep_alive;
	return http_conn_is_reading(conn) || conn->state == HTTP_CONN_WRITE;
}

void
http_conns_reap(struct http_conns *conns)
{
	struct http_conn *conn;

	while ((conn = TAILQ_FIRST(&conns->in_state[HTTP_CONN_CLOSED]))) {
		TAILQ_REMOVE(&conns->in_state[HTTP_CONN_CLOSED], conn, in_state);
		if (conns->n_spare == SPARE_MAX) {
			free(conn);
			continue;
		}
		TAILQ_INSERT_TAIL(&conns->spare, conn, in_state);
		conns->n_spare++;
	}
}

void
http_conns_close_idle(struct http_conns *conns)
{
	struct http_conn *conn;

	conns->closing = true;
	while ((conn = TAILQ_FIRST(&conns->in_state[HTTP_CONN_IDLE]))) {
		http_conn_read(conn);
		if (conn->state == HTTP_CONN_IDLE)
			http_conn_close(conn);
	}
}
