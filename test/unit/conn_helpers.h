/*
 * conn_helpers - http_conns on both ends of a move, and a client, in one process or several: real TCP connections, a real
 * channel, an owner that holds requests or answers each with its own body.
 */
#ifndef TEST_CONN_HELPERS_H
#define TEST_CONN_HELPERS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/channel.h"
#include "http/conn.h"
#include "http/count.h"
#include "http/limits.h"
#include "http/listener.h"

#define TEST_BODY_MAX (4u << 20)

/* One owner of connections. */
struct side {
	struct event_base *base;
	struct http_memory memory;
	struct http_conns conns;
	bool holds; /* does not answer */
	struct http_conn_list held;
	unsigned n_held, n_requests, n_gone;
	size_t answer_size;           /* > 0: answers are that large, and not the body */
	struct metrics_area *metrics; /* where answers are counted; NULL: nowhere */
};

static inline uint64_t
side_on_head(struct http_conn *conn, UNUSED void *arg)
{
	conn->route = (struct http_route){.kind = HTTP_ROUTE_API};
	return TEST_BODY_MAX;
}

static inline void
side_answer(struct side *side, struct http_conn *conn)
{
	const char *body = http_conn_body(conn);
	struct http_answer answer = {
	    .status = 200,
	    .content_type = "text/plain",
	    .body = body,
	    .body_length = http_conn_request(conn)->body_length,
	};
	char *large = NULL;

	if (side->answer_size > 0) {
		large = malloc(side->answer_size);
		for (size_t i = 0; i < side->answer_size; i++)
			large[i] = (char)('a' + i % 23);
		answer.body = large;
		answer.body_length = side->answer_size;
	}
	http_conn_answer(conn, &answer);
	free(large);
}

static inline void
side_on_request(struct http_conn *conn, void *arg)
{
	struct side *side = arg;

	side->n_requests++;
	if (!side->holds) {
		side_answer(side, conn);
		return;
	}
	TAILQ_INSERT_TAIL(&side->held, conn, in_pending);
	side->n_held++;
}

static inline void
side_on_gone(struct http_conn *conn, void *arg)
{
	struct side *side = arg;

	TAILQ_REMOVE(&side->held, conn, in_pending);
	side->n_held--;
	side->n_gone++;
}

static inline void
side_on_fatal(const char *what, int error, UNUSED void *arg)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	abort();
}

static inline void
side_on_answer(struct http_conn *conn, const struct http_answer *answer, void *arg)
{
	const struct side *side = arg;
	const struct http_times times = {1000, 2000, 3000};

	if (!side->metrics)
		return;
	http_count_answer(side->metrics, conn, answer, true, &times);
	metrics_prepare(side->metrics, http_conn_number(conn));
}

static inline void
side_on_sent(UNUSED struct http_conn *conn, bool sent, void *arg)
{
	const struct side *side = arg;

	if (side->metrics && sent)
		metrics_commit(side->metrics);
	else if (side->metrics)
		http_count_gone(side->metrics);
}

static const struct http_conns_callbacks side_callbacks = {
    .on_head = side_on_head,
    .on_request = side_on_request,
    .on_gone = side_on_gone,
    .on_answer = side_on_answer,
    .on_sent = side_on_sent,
    .on_fatal = side_on_fatal,
};

static inline void
side_init(struct side *side, bool holds)
{
	struct error err;
	int epoll_fd;

	memset(side, 0, sizeof(*side));
	side->holds = holds;
	TAILQ_INIT(&side->held);
	if (http_event_base_new(&side->base, &epoll_fd, &err) < 0 ||
	    http_memory_init(&side->memory, 64, HTTP_REQUEST_MAX(TEST_BODY_MAX), &err) < 0 ||
	    http_conns_init(&side->conns, side->base, &side->memory, &side_callbacks, side, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
}

static inline void
side_done(struct side *side)
{
	side->conns.closing = false;
	http_conns_done(&side->conns);
	event_base_free(side->base);
	http_memory_done(&side->memory);
}

/* Do what can be done now. */
static inline void
side_run(struct side *side)
{
	for (int i = 0; i < 3; i++)
		event_base_loop(side->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	http_conns_reap(&side->conns);
}

/* Its only connection; NULL when there is none. */
static inline struct http_conn *
side_conn(struct side *side)
{
	for (int state = 0; state < HTTP_CONN_CLOSED; state++)
		if (!TAILQ_EMPTY(&side->conns.in_state[state]))
			return TAILQ_FIRST(&side->conns.in_state[state]);
	return NULL;
}

/* Send the only connection of one side to the other, over the channel. */
static inline void
side_move(struct side *from, struct side *to, int channel[2])
{
	static struct channel_inbox inbox;
	static struct http_departure departure;
	struct http_conn *conn = side_conn(from);
	int fds[CHANNEL_CONNS_MAX];
	struct channel_record record;

	ASSERT(conn);
	if (conn->state == HTTP_CONN_REQUEST) {
		TAILQ_REMOVE(&from->held, conn, in_pending);
		from->n_held--;
	}
	http_departure_init(&departure);
	ASSERT(http_departure_add(&departure, conn));
	ASSERT(http_departure_send(&departure, channel[0], CHANNEL_MOVE, 1, 0, true) == 0);
	http_conns_reap(&from->conns);
	ASSERT(channel_receive(channel[1], &inbox, &record, fds) == 1 && record.n_conns == 1);
	http_conns_arrive(&to->conns, &record.conns[0], fds[0], record.bytes);
	channel_release(&inbox, &record);
}

/* A connected pair: [0] the client's end, blocking; [1] the server's, as accept4 gives it. */
static inline void
tcp_pair(int ret_fds[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	ASSERT(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0);
	ASSERT(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
	ret_fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ASSERT(connect(ret_fds[0], (struct sockaddr *)&address, length) == 0);
	setsockopt(ret_fds[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	ret_fds[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	ASSERT(ret_fds[1] >= 0);
	setsockopt(ret_fds[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
}

/* What an answer says: its status, and its body, NUL-terminated, in room. Parses from text[0..length); the length of the
 * answer, or 0: it is not complete. Interim answers (1xx) have no body. */
static inline size_t
answer_parse(const char *text, size_t length, int *ret_status, char *room, size_t room_size)
{
	const char *end = memmem(text, length, "\r\n\r\n", 4), *field;
	size_t head, body;

	if (!end)
		return 0;
	head = (size_t)(end + 4 - text);
	*ret_status = atoi(text + 9);
	room[0] = '\0';
	if (*ret_status < 200)
		return head;
	field = memmem(text, head, "Content-Length: ", 16);
	body = field ? strtoul(field + 16, NULL, 10) : 0;
	if (length < head + body)
		return 0;
	ASSERT(body < room_size);
	memcpy(room, text + head, body);
	room[body] = '\0';
	return head + body;
}

#endif
