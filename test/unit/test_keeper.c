/*
 * A replica that is killed at any instant loses nothing but the prediction that ran.
 *
 * A process with real connections and a real keeper runs a script: read requests, predict, answer, move away. This test
 * traces it and kills it at every system call, and at many instructions in between; then it is the activator, takes what the
 * keeper sends, and goes on with it. The client must get one answer to each request, in order: its own, or a 500 for the one
 * that was being predicted. And both processes together have counted what the client got, no more and no less.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "replica/keeper.h"
#include "test/unit/conn_helpers.h"

#define N_INSTRUCTIONS 80   /* random instants */
#define STEPS_MAX      4000 /* after a system call */
#define FIRST          70   /* bytes of the conversation: the middle of the first request */

#define POST(fields, body) "POST /p HTTP/1.1\r\nHost: h\r\n" fields "\r\n" body

static const char text[] = POST("Content-Length: 1\r\n", "1")
    POST("Transfer-Encoding: chunked\r\n", "1\r\n2\r\n1\r\n2\r\n0\r\n\r\n") POST("Content-Length: 3\r\n", "333")
	POST("Content-Length: 4\r\n", "4444") POST("Content-Length: 5\r\n", "55555");
static const char *const bodies[] = {"1", "22", "333", "4444", "55555"};

enum script {
	ACCEPTED,  /* the connection is the replica's from the beginning */
	REQUESTED, /* it comes with a record from the activator */
	N_SCRIPTS,
};

/* What the traced process shares with the test. */
static struct shared {
	_Atomic(int32_t) n_everywhere;
	_Atomic(uint32_t) n_open;
	struct metrics_area replica, activator; /* what they have counted */
} * shared;

/* The client: it sends FIRST bytes, and the rest when the script asks for it by a byte in `wants_more`. */
static struct {
	int fd;
	int wants_more[2];
	bool sent_all;
} client;

static void
send_rest(void)
{
	if (!client.sent_all)
		ASSERT(send(client.fd, text + FIRST, strlen(text) - FIRST, 0) == (ssize_t)strlen(text) - FIRST);
	client.sent_all = true;
}

static void
send_rest_if_wanted(void)
{
	struct pollfd wanted = {.fd = client.wants_more[0], .events = POLLIN};

	if (poll(&wanted, 1, 0) > 0)
		send_rest();
}

/* Predict and answer whatever is there. */
static void
serve_all(struct side *r)
{
	struct http_conn *conn;

	while ((conn = TAILQ_FIRST(&r->held))) {
		TAILQ_REMOVE(&r->held, conn, in_pending);
		r->n_held--;
		http_conn_begin_prediction(conn);
		side_answer(r, conn);
	}
}

/* The replica. */
static __attribute__((noreturn)) void
run_script(enum script script, int server, int channel)
{
	static struct http_departure departure;
	static struct channel_record record;
	int fds[CHANNEL_CONNS_MAX];
	struct keeper *keeper;
	struct error err;
	struct side r;

	side_init(&r, true);
	r.conns.n_everywhere = &shared->n_everywhere;
	r.conns.n_open_shown = &shared->n_open;
	r.metrics = &shared->replica;
	if (keeper_start(
		&r.memory, &shared->n_everywhere, &shared->n_open, r.metrics, channel, "keeper", &keeper, &err) < 0)
		abort();
	keeper_helper_runs(keeper);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	if (script == ACCEPTED) {
		if (http_conns_add(&r.conns, server) < 0)
			abort();
	} else {
		if (channel_receive(channel, &keeper->inbox, &record, fds) != 1)
			abort();
		http_conns_arrive(&r.conns, &record.conns[0], fds[0], record.bytes);
		channel_release(&keeper->inbox, &record);
	}
	serve_all(&r);
	if (write(client.wants_more[1], "x", 1) != 1)
		abort();
	side_run(&r);
	serve_all(&r);
	http_departure_init(&departure);
	if (!http_departure_add(&departure, side_conn(&r)) ||
	    http_departure_send(&departure, channel, CHANNEL_MOVE, 1, 0, true) < 0)
		abort();
	http_conns_reap(&r.conns);
	_exit(0);
}

/* Run it until the n-th system call and some instructions more, then kill it. False: it was over before. */
static bool
run_and_kill(pid_t pid, unsigned n, unsigned steps)
{
	int status;

	ASSERT(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	for (unsigned i = 0; i < 2 * n; i++) { /* each stops twice */
		ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
		ASSERT(waitpid(pid, &status, 0) == pid);
		if (!WIFSTOPPED(status)) {
			ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
			return false;
		}
		send_rest_if_wanted();
	}
	for (unsigned i = 0; i < steps; i++) {
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
		ASSERT(waitpid(pid, &status, 0) == pid);
		if (!WIFSTOPPED(status)) {
			ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
			return false;
		}
		send_rest_if_wanted();
	}
	kill(pid, SIGKILL);
	ASSERT(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	return true;
}

/* Be the activator: take all that comes until the end of the channel. */
static void
take_all(struct side *a, int channel)
{
	static struct channel_inbox inbox;
	static struct channel_record record;
	uint32_t sequence = 0;
	int fds[CHANNEL_CONNS_MAX], r;

	for (;;) {
		struct pollfd wait = {.fd = channel, .events = POLLIN};
		const uint8_t *bytes;
		bool had;

		poll(&wait, 1, -1);
		r = channel_receive(channel, &inbox, &record, fds);
		if (r == -EAGAIN)
			continue;
		ASSERT(r >= 0);
		if (r == 0)
			break;
		ASSERT(record.kind == CHANNEL_MOVE);
		had = record.again && record.sequence <= sequence;
		sequence = record.again || record.sequence == 0 ? sequence : record.sequence;
		bytes = record.bytes;
		for (unsigned i = 0; i < record.n_conns; i++) {
			if (had)
				close(fds[i]);
			else
				http_conns_arrive(&a->conns, &record.conns[i], fds[i], bytes);
			bytes += record.conns[i].n_request + record.conns[i].n_answer;
		}
		channel_release(&inbox, &record);
	}
}

static uint64_t
counted(const struct metrics_area *area, enum metric metric)
{
	return atomic_load(&area->counters[metric]);
}

static void
check_counts(unsigned n, unsigned n_failed)
{
	const struct metrics_area *replica = &shared->replica, *activator = &shared->activator;
	uint64_t n_observed = 0;

	assert_int_equal(counted(replica, METRIC_2XX) + counted(activator, METRIC_2XX), n - n_failed);
	assert_int_equal(counted(replica, METRIC_5XX) + counted(activator, METRIC_5XX), n_failed);
	assert_int_equal(counted(replica, METRIC_CLIENT_GONE) + counted(activator, METRIC_CLIENT_GONE), 0);
	for (size_t i = 0; i < METRICS_BUCKETS; i++)
		n_observed += atomic_load(&replica->buckets[METRICS_TOTAL][i]);
	assert_int_equal(n_observed, counted(replica, METRIC_2XX));
}

/* All answers, each once and in order; how many of them were 500. */
static unsigned
check_client(struct side *a)
{
	char got[8192], body[128];
	size_t length = 0, at = 0, n = 0;
	unsigned n_failed = 0;

	for (int i = 0; i < 4; i++) {
		ssize_t m;

		side_run(a);
		while ((m = recv(client.fd, got + length, sizeof(got) - length, MSG_DONTWAIT)) > 0)
			length += (size_t)m;
		assert_true(m < 0 && errno == EAGAIN); /* it never ends */
	}
	while (at < length) {
		int status = 0;
		size_t step = answer_parse(got + at, length - at, &status, body, sizeof(body));

		assert_true(step > 0);
		at += step;
		assert_true(n < N_ELEMENTS(bodies));
		if (status == 500)
			n_failed++;
		else
			assert_string_equal(body, bodies[n]);
		n++;
	}
	assert_int_equal(n, N_ELEMENTS(bodies));
	check_counts(n, n_failed);
	return n_failed;
}

/* One life and death. False: it was not killed. */
static bool
live_and_die(enum script script, unsigned n, unsigned steps, unsigned *n_failed)
{
	static struct http_departure departure;
	struct side a;
	int tcp[2], channel[2];
	bool killed;
	pid_t pid;

	atomic_store(&shared->n_everywhere, 0);
	atomic_store(&shared->n_open, 0);
	memset(&shared->replica, 0, sizeof(shared->replica));
	memset(&shared->activator, 0, sizeof(shared->activator));
	side_init(&a, script == REQUESTED);
	a.metrics = &shared->activator;
	ASSERT(channel_pair(channel) == 0);
	tcp_pair(tcp);
	client.fd = tcp[0];
	client.sent_all = false;
	ASSERT(pipe2(client.wants_more, O_CLOEXEC) == 0);
	ASSERT(send(tcp[0], text, FIRST, 0) == FIRST);
	if (script == REQUESTED)
		send_rest();
	if (script == REQUESTED) {
		ASSERT(http_conns_add(&a.conns, tcp[1]) >= 0);
		TAILQ_REMOVE(&a.held, side_conn(&a), in_pending);
		http_departure_init(&departure);
		ASSERT(http_departure_add(&departure, side_conn(&a)));
		ASSERT(http_departure_send(&departure, channel[0], CHANNEL_REQUEST, 1, 0, false) == 0);
		http_conns_reap(&a.conns);
		tcp[1] = -1;
		a.holds = false;
	}
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		close(channel[0]);
		run_script(script, tcp[1], channel[1]);
	}
	close(channel[1]);
	if (tcp[1] >= 0)
		close(tcp[1]);
	killed = run_and_kill(pid, n, steps);
	take_all(&a, channel[0]);
	ASSERT(waitpid(-1, NULL, 0) > 0); /* the keeper */
	if (script == ACCEPTED && a.conns.n_open == 0) {
		/* Killed before the connection was entered: it is closed, as if it had never been accepted. */
		assert_true(killed && atomic_load(&shared->n_open) <= 1);
		assert_in_range(atomic_load(&shared->n_everywhere), 0, atomic_load(&shared->n_open));
		goto out;
	}
	send_rest();
	*n_failed += check_client(&a);
out:
	close(channel[0]);
	close(tcp[0]);
	close(client.wants_more[0]);
	close(client.wants_more[1]);
	side_run(&a);
	side_done(&a);
	return killed;
}

static unsigned n_calls; /* of the longer script */

static void
test_killed_at_every_system_call(UNUSED void **state)
{
	for (int script = 0; script < N_SCRIPTS; script++) {
		unsigned n, n_failed = 0;

		for (n = 0; live_and_die((enum script)script, n, 0, &n_failed); n++)
			assert_true(n_failed <= n + 1);
		assert_true(n > 10);
		n_calls = MAX(n_calls, n);
	}
}

static void
test_killed_at_many_instructions(UNUSED void **state)
{
	unsigned n_failed = 0, n_killed = 0;

	srandom(20261124);
	for (unsigned i = 0; i < N_INSTRUCTIONS; i++)
		n_killed += live_and_die((enum script)(i % N_SCRIPTS), (unsigned)random() % n_calls,
		    (unsigned)random() % STEPS_MAX, &n_failed);
	assert_true(n_killed > N_INSTRUCTIONS / 2);
	assert_true(n_failed > 0 && n_failed < n_killed); /* some were killed in a prediction, most were not */
}

static int
setup(UNUSED void **state)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return shared == MAP_FAILED ? -1 : 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_killed_at_every_system_call),
	    cmocka_unit_test(test_killed_at_many_instructions),
	};

	return cmocka_run_group_tests_name("keeper", tests, setup, NULL);
}
