/*
 * Connections that move: at every byte of pipelined requests, in every state, there and back, with the client none the
 * wiser. Real sockets and a real channel; the two owners live in one process here (test_keeper.c kills one).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/conn_helpers.h"

#define POST(fields, body) "POST /p HTTP/1.1\r\nHost: h\r\n" fields "\r\n" body

/* Requests, and the bodies that come back. */
static const struct {
	const char *text;
	const char *bodies[4]; /* up to NULL */
	bool closes;
} conversations[] = {
    {POST("Content-Length: 5\r\n", "first") POST("Content-Length: 6\r\n", "second"), {"first", "second"}, false},
    {POST("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: v\r\n\r\n")
	    POST("Content-Length: 1\r\n", "x"),
	{"abcdefg", "x"}, false},
    {POST("Content-Length: 2\r\nExpect: 100-continue\r\n", "ok") POST("Content-Length: 0\r\n", "")
	    POST("Content-Length: 3\r\nConnection: close\r\n", "end"),
	{"ok", "", "end"}, true},
    {"POST /p HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold"
     "POST /p HTTP/1.0\r\nContent-Length: 4\r\n\r\nlast",
	{"old", "last"}, true},
};

static struct side r, a;
static int channel[2];

static int
setup(UNUSED void **state)
{
	side_init(&r, true);
	side_init(&a, false);
	return channel_pair(channel);
}

static int
teardown(UNUSED void **state)
{
	side_done(&r);
	side_done(&a);
	close(channel[0]);
	close(channel[1]);
	return 0;
}

/* Read all that comes until nothing more does; whether the connection ended. */
static bool
drain(int client, char *text, size_t size, size_t *length)
{
	for (;;) {
		ssize_t n = recv(client, text + *length, size - *length, MSG_DONTWAIT);

		if (n == 0)
			return true;
		if (n < 0)
			return errno != EAGAIN;
		*length += (size_t)n;
		ASSERT(*length < size);
	}
}

/* The answers are exactly those, in that order; 100 may stand before one. */
static void
check_answers(const char *text, size_t length, const char *const *bodies)
{
	size_t at = 0, n = 0;

	while (at < length) {
		char body[64];
		int status = 0;
		size_t step = answer_parse(text + at, length - at, &status, body, sizeof(body));

		assert_true(step > 0);
		at += step;
		if (status == 100)
			continue;
		assert_int_equal(status, 200);
		assert_non_null(bodies[n]);
		assert_string_equal(body, bodies[n++]);
	}
	assert_null(bodies[n]);
}

/* first bytes arrive at one side; the connection moves; the rest arrives at the other. */
static void
move_at(const char *text, size_t first, const char *const *bodies, bool closes, bool back)
{
	char got[4096];
	size_t length = 0;
	bool ended = false;
	int fds[2];

	tcp_pair(fds);
	assert_int_equal(send(fds[0], text, first, 0), first);
	assert_true(http_conns_add(&r.conns, fds[1]) >= 0);
	side_run(&r);
	if (side_conn(&r)) {
		side_move(&r, &a, channel);
		if (back && side_conn(&a)) {
			a.holds = true;
			side_run(&a);
			side_move(&a, &r, channel);
			side_move(&r, &a, channel);
			a.holds = false;
			while (!TAILQ_EMPTY(&a.held)) {
				struct http_conn *conn = TAILQ_FIRST(&a.held);

				TAILQ_REMOVE(&a.held, conn, in_pending);
				a.n_held--;
				side_answer(&a, conn);
			}
		}
	}
	assert_null(side_conn(&r));
	assert_int_equal(send(fds[0], text + first, strlen(text) - first, MSG_NOSIGNAL), strlen(text) - first);
	for (int i = 0; i < 3; i++) {
		side_run(&a);
		ended = drain(fds[0], got, sizeof(got), &length);
	}
	check_answers(got, length, bodies);
	assert_int_equal(ended, closes);
	close(fds[0]);
	side_run(&a);
	assert_null(side_conn(&a));
	assert_int_equal(a.conns.n_open, 0);
}

static void
test_a_connection_moves_at_every_byte_of_pipelined_requests(UNUSED void **state)
{
	for (size_t i = 0; i < N_ELEMENTS(conversations); i++) {
		size_t length = strlen(conversations[i].text);

		for (size_t first = 0; first <= length; first++) {
			move_at(conversations[i].text, first, conversations[i].bodies, conversations[i].closes, false);
			move_at(conversations[i].text, first, conversations[i].bodies, conversations[i].closes, true);
		}
	}
}

/* Bodies larger than a record travel in a file; cut at places around the limits. */
static void
test_large_bodies_move_half_and_whole(UNUSED void **state)
{
	static const size_t cuts[] = {100, 16384, 16385, 65535, 65536, 65537, 200000, 1 << 20};
	size_t size = 1 << 20, head;
	char *text = malloc(size + 200), *got = malloc(2 * size), *body = malloc(2 * size);

	head = (size_t)sprintf(text, POST("Content-Length: %zu\r\n", ""), size);
	for (size_t i = 0; i < size; i++)
		text[head + i] = (char)('A' + i * 31 % 57);
	for (size_t i = 0; i < N_ELEMENTS(cuts); i++) {
		size_t length = 0, sent = 0, first = MIN(cuts[i], head + size);
		int fds[2], status = 0;

		tcp_pair(fds);
		assert_true(http_conns_add(&r.conns, fds[1]) >= 0);
		fcntl(fds[0], F_SETFL, O_NONBLOCK);
		while (sent < first) {
			ssize_t n = send(fds[0], text + sent, first - sent, 0);

			sent += n > 0 ? (size_t)n : 0;
			side_run(&r);
		}
		while (side_conn(&r)->kept->received < first)
			side_run(&r);
		side_move(&r, &a, channel);
		while (answer_parse(got, length, &status, body, 2 * size) == 0) {
			ssize_t n = send(fds[0], text + sent, head + size - sent, 0);

			sent += n > 0 ? (size_t)n : 0;
			side_run(&a);
			assert_false(drain(fds[0], got, 2 * size, &length));
		}
		assert_int_equal(status, 200);
		assert_int_equal(strlen(body), size);
		assert_memory_equal(body, text + head, size);
		close(fds[0]);
		side_run(&a);
	}
	free(text);
	free(got);
	free(body);
}

/* A slow reader does not notice that somebody else goes on writing. */
static void
test_half_written_answers_move(UNUSED void **state)
{
	static const size_t sizes[] = {1 << 20, 8 << 20};

	for (size_t i = 0; i < N_ELEMENTS(sizes); i++) {
		static const char text[] = POST("Content-Length: 1\r\n", "x") POST("Content-Length: 4\r\n", "next");
		char *got = calloc(1, sizes[i] + 4096), *body = malloc(sizes[i] + 1);
		size_t length = 0, first;
		int fds[2], status = 0, small = 65536;

		tcp_pair(fds);
		setsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
		send(fds[0], text, strlen(text), 0);
		r.holds = false;
		r.answer_size = sizes[i];
		assert_true(http_conns_add(&r.conns, fds[1]) >= 0);
		assert_int_equal(side_conn(&r)->state, HTTP_CONN_WRITE);
		for (int k = 0; k < 5; k++) {
			drain(fds[0], got, sizes[i] + 4096, &length);
			side_run(&r);
		}
		r.holds = true;
		r.answer_size = 0;
		assert_int_equal(side_conn(&r)->state, HTTP_CONN_WRITE);
		side_move(&r, &a, channel);
		while ((first = answer_parse(got, length, &status, body, sizes[i] + 1)) == 0 || length == first) {
			side_run(&a);
			assert_false(drain(fds[0], got, sizes[i] + 4096, &length));
		}
		for (size_t k = 0; k < sizes[i]; k++)
			if (body[k] != 'a' + (char)(k % 23))
				fail_msg("byte %zu is wrong", k);
		assert_true(answer_parse(got + first, length - first, &status, body, 100) > 0);
		assert_string_equal(body, "next");
		close(fds[0]);
		side_run(&a);
		free(got);
		free(body);
	}
}

/* What the record says is kept: how long it has been slow, what its first request has waited, that it has ended its side. */
static void
test_time_and_half_closed_clients_move_along(UNUSED void **state)
{
	int fds[2];
	int64_t since_ms, arrival_ns;

	tcp_pair(fds);
	send(fds[0], "POST", 4, 0);
	assert_true(http_conns_add(&r.conns, fds[1]) >= 0);
	since_ms = side_conn(&r)->kept->since_ms -= 5000;
	side_move(&r, &a, channel);
	assert_int_equal(side_conn(&a)->state, HTTP_CONN_HEAD);
	assert_int_equal(side_conn(&a)->kept->since_ms, since_ms);
	close(fds[0]);
	side_run(&a);

	tcp_pair(fds);
	send(fds[0], POST("Content-Length: 1\r\n", "x"), strlen(POST("Content-Length: 1\r\n", "x")), 0);
	assert_true(http_conns_add(&r.conns, fds[1]) >= 0);
	arrival_ns = side_conn(&r)->kept->arrival_ns;
	assert_true(arrival_ns > 0);
	side_conn(&r)->kept->flags |= HTTP_KEPT_PEER_ENDED;
	a.holds = true;
	side_move(&r, &a, channel);
	assert_int_equal(side_conn(&a)->kept->arrival_ns, arrival_ns);
	side_move(&a, &r, channel);
	assert_int_equal(side_conn(&r)->kept->arrival_ns, arrival_ns);
	a.holds = false;
	side_move(&r, &a, channel);
	assert_null(side_conn(&a)); /* answered, and nobody will send more */
	close(fds[0]);
}

/* As the keeper sends those whose prediction has died with the replica. */
static void
test_a_failed_prediction_is_answered_and_the_rest_goes_on(UNUSED void **state)
{
	static const char text[] = POST("Content-Length: 4\r\n", "dies") POST("Content-Length: 5\r\n", "lives");
	static struct channel_inbox inbox;
	static struct http_parcel parcel;
	char got[2048], body[64];
	struct channel_record record;
	struct http_conn *conn;
	int fds[2], moved[CHANNEL_CONNS_MAX], status = 0;
	size_t length = 0, step;

	tcp_pair(fds);
	send(fds[0], text, strlen(text), 0);
	assert_true(http_conns_add(&r.conns, fds[1]) >= 0);
	conn = side_conn(&r);
	http_conn_begin_prediction(conn);
	assert_memory_equal(http_conn_body(conn), "dies", 4);
	http_parcel_init(&parcel);
	assert_true(http_parcel_add(&parcel, conn->kept));
	assert_int_equal(http_parcel_send(&parcel, channel[0], CHANNEL_MOVE, 1, CHANNEL_AGAIN, true), 0);
	assert_int_equal(channel_receive(channel[1], &inbox, &record, moved), 1);
	assert_true(record.again);
	assert_int_equal(record.conns[0].state, CHANNEL_CONN_FAILED);
	http_conns_arrive(&a.conns, &record.conns[0], moved[0], record.bytes);
	channel_release(&inbox, &record);
	side_run(&a);
	drain(fds[0], got, sizeof(got), &length);
	step = answer_parse(got, length, &status, body, sizeof(body));
	assert_int_equal(status, 500);
	assert_int_equal(answer_parse(got + step, length - step, &status, body, sizeof(body)), length - step);
	assert_int_equal(status, 200);
	assert_string_equal(body, "lives");
	close(fds[0]);
	side_run(&a);
	http_kept_set_phase(conn->kept, HTTP_PHASE_OPEN);
	TAILQ_REMOVE(&r.held, conn, in_pending);
	r.n_held--;
	conn->held = false;
}

/* A link that broke on the way: the connection is where it was, and works. */
static void
test_a_failed_send_leaves_the_connection_where_it_was(UNUSED void **state)
{
	static struct http_departure departure;
	char got[1024];
	size_t length = 0;
	int fds[2], dead[2];

	assert_int_equal(channel_pair(dead), 0);
	close(dead[1]);
	tcp_pair(fds);
	send(fds[0], "POST /p HTTP/1.1\r\nHo", 20, 0);
	assert_true(http_conns_add(&r.conns, fds[1]) >= 0);
	http_departure_init(&departure);
	assert_true(http_departure_add(&departure, side_conn(&r)));
	assert_int_equal(http_departure_send(&departure, dead[0], CHANNEL_MOVE, 1, 0, true), -EPIPE);
	assert_true(http_departure_add(&departure, side_conn(&r)));
	http_departure_cancel(&departure);
	r.holds = false;
	send(fds[0], "st: h\r\nContent-Length: 2\r\n\r\nok", 30, 0);
	side_run(&r);
	r.holds = true;
	drain(fds[0], got, sizeof(got), &length);
	check_answers(got, length, (const char *const[]){"ok", NULL});
	close(fds[0]);
	side_run(&r);
	assert_null(side_conn(&r));
	close(dead[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		test_a_connection_moves_at_every_byte_of_pipelined_requests, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_large_bodies_move_half_and_whole, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_half_written_answers_move, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_time_and_half_closed_clients_move_along, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_failed_prediction_is_answered_and_the_rest_goes_on, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_failed_send_leaves_the_connection_where_it_was, setup, teardown),
	};

	return cmocka_run_group_tests_name("move", tests, NULL, NULL);
}
