/*
 * Each state of a connection has its time, and then it ends: what the client sees, and that nothing ends before.
 *
 * Nobody waits for minutes: the moment that a timeout counts from is moved back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/conn_internal.h"
#include "test/unit/conn_helpers.h"

#define HEAD "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"

static const struct {
	const char *sends;
	enum http_conn_state state;
	int64_t timeout_ms;
	const char *last_words;
} cases[] = {
    {HEAD "\r\nabc", HTTP_CONN_IDLE, HTTP_IDLE_TIMEOUT_MS, ""},
    {HEAD, HTTP_CONN_HEAD, HTTP_HEAD_TIMEOUT_MS, "HTTP/1.1 408 "},
    {HEAD "\r\nab", HTTP_CONN_BODY, HTTP_BODY_TIMEOUT_MS, "HTTP/1.1 408 "},
    {"BAD\r\n\r\n", HTTP_CONN_LINGER, HTTP_LINGER_TIMEOUT_MS, ""},
    {HEAD "\r\nabc", HTTP_CONN_WRITE, HTTP_WRITE_TIMEOUT_MS, ""},
};

static struct side side;
static int clients[N_ELEMENTS(cases)];
static struct http_conn *conns[N_ELEMENTS(cases)];

static struct http_conn *
newest(void)
{
	struct http_conn *conn;

	for (int state = 0; state < HTTP_CONN_CLOSED; state++) {
		TAILQ_FOREACH (conn, &side.conns.in_state[state], in_state) {
			bool known = false;

			for (size_t i = 0; i < N_ELEMENTS(cases); i++)
				known = known || conns[i] == conn;
			if (!known)
				return conn;
		}
	}
	return NULL;
}

static void
connect_all(void)
{
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		int tcp[2];

		tcp_pair(tcp);
		clients[i] = tcp[0];
		side.answer_size = cases[i].state == HTTP_CONN_WRITE ? 64u << 20 : 0;
		ASSERT(send(tcp[0], cases[i].sends, strlen(cases[i].sends), 0) == (ssize_t)strlen(cases[i].sends));
		ASSERT(http_conns_add(&side.conns, tcp[1]) >= 0);
		conns[i] = newest();
		assert_non_null(conns[i]);
		assert_int_equal(conns[i]->state, cases[i].state);
	}
}

/* What the client can read now, and whether that is the end. */
static bool
read_all(int fd, char *room, size_t size)
{
	size_t length = 0;
	ssize_t n;

	while ((n = recv(fd, room + length, size - 1 - length, MSG_DONTWAIT)) > 0)
		length += (size_t)n;
	room[length] = '\0';
	return n == 0 || errno == ECONNRESET;
}

static void
run_until_swept(void)
{
	int64_t until_ms = http_coarse_ms() + 1500; /* a look at them each second */

	while (http_coarse_ms() < until_ms) {
		event_base_loop(side.base, EVLOOP_ONCE);
		http_conns_reap(&side.conns);
	}
}

static void
test_each_state_has_its_time(UNUSED void **state)
{
	static char text[1024];

	side_init(&side, false);
	connect_all();
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		if (cases[i].state != HTTP_CONN_WRITE)
			read_all(clients[i], text, sizeof(text));
		conns[i]->kept->since_ms -= cases[i].timeout_ms - 60000; /* a minute is left */
	}
	run_until_swept();
	assert_int_equal(side.conns.n_open, N_ELEMENTS(cases));
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		conns[i]->kept->since_ms -= 60000;
	run_until_swept();
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		bool ended;

		if (cases[i].state == HTTP_CONN_WRITE)
			continue;
		ended = read_all(clients[i], text, sizeof(text));
		assert_true(ended);
		assert_memory_equal(text, cases[i].last_words, strlen(cases[i].last_words));
	}
	assert_int_equal(side.conns.n_open, 2); /* those that were refused linger until the client has read that */
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		close(clients[i]);
	side_run(&side);
	assert_int_equal(side.conns.n_open, 0);
	side_done(&side);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_state_has_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
