/*
 * What the service manager is told: a supervisor made of nothing but slots, whose states change, and a notify socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "supervisor/supervisor.h"

static struct supervisor supervisor;
static struct slot slots[3];
static struct api api, *apis[] = {&api};
static int manager;

/* The next message, or "" when there is none. */
static const char *
next(void)
{
	static char text[NOTIFY_TEXT_MAX + 1];
	ssize_t n = recv(manager, text, NOTIFY_TEXT_MAX, MSG_DONTWAIT);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static void
set_states(enum slot_state a, enum slot_state b, enum slot_state c)
{
	slots[0].state = a;
	slots[1].state = b;
	slots[2].state = c;
	report_changes(&supervisor);
}

/* As it is when all three have become ready; what was said so far is read. */
static void
get_ready(void)
{
	supervisor.activator.state = SLOT_READY;
	supervisor.serving = supervisor.announced = true;
	set_states(SLOT_READY, SLOT_READY, SLOT_READY);
	while (*next())
		continue;
}

static void
test_ready_comes_once_and_the_status_follows(UNUSED void **state)
{
	report_changes(&supervisor);
	assert_string_equal(next(), "STATUS=making the Python environment");
	assert_string_equal(next(), "EXTEND_TIMEOUT_USEC=30000000");
	supervisor.serving = true;
	supervisor.activator.state = SLOT_READY;
	set_states(SLOT_LOADING, SLOT_LOADING, SLOT_SPAWNED);
	assert_string_equal(next(), "STATUS=0 of 3 replicas ready");
	assert_string_equal(next(), "");
	set_states(SLOT_READY, SLOT_READY, SLOT_LOADING);
	assert_string_equal(next(), "STATUS=2 of 3 replicas ready");
	supervisor.announced = true;
	set_states(SLOT_READY, SLOT_READY, SLOT_READY);
	assert_string_equal(next(), "READY=1\nSTATUS=3 of 3 replicas ready");
	report_changes(&supervisor);
	assert_string_equal(next(), "");
	set_states(SLOT_READY, SLOT_BACKOFF, SLOT_READY);
	assert_string_equal(next(), "STATUS=2 of 3 replicas ready, 1 failing");
	supervisor.stop_level = STOP_DRAIN;
	slots[0].pid = 1;
	set_states(SLOT_DRAINING, SLOT_EMPTY, SLOT_EMPTY);
	assert_string_equal(next(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000\nSTATUS=stopping: 1 replica left");
	slots[0].pid = 0;
	report_changes(&supervisor);
	assert_string_equal(next(), "STATUS=stopping");
	assert_string_equal(next(), "");
}

static void
test_what_works_does_not_wait_for_what_fails(UNUSED void **state)
{
	supervisor.serving = true;
	supervisor.activator.state = SLOT_READY;
	set_states(SLOT_BACKOFF, SLOT_BACKOFF, SLOT_BACKOFF);
	assert_string_equal(next(), "STATUS=0 of 3 replicas ready, 3 failing");
	assert_string_equal(next(), ""); /* nor is more time asked for */
	set_states(SLOT_READY, SLOT_BACKOFF, SLOT_LOADING);
	assert_string_equal(next(), "STATUS=1 of 3 replicas ready, 1 failing");
	assert_string_equal(next(), "EXTEND_TIMEOUT_USEC=30000000");
	supervisor.activator.state = SLOT_LOADING;
	set_states(SLOT_READY, SLOT_BACKOFF, SLOT_BACKOFF);
	assert_string_equal(next(), "STATUS=1 of 3 replicas ready, 2 failing");
	supervisor.activator.state = SLOT_READY;
	report_changes(&supervisor);
	assert_string_equal(next(), "READY=1\nSTATUS=1 of 3 replicas ready, 2 failing");
}

static void
test_a_reload_has_a_beginning_and_an_end(UNUSED void **state)
{
	long long when, before = clock_ns() / 1000;
	const char *text;

	get_ready();
	report_reload_begins(&supervisor);
	text = next();
	assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%lld", &when), 1);
	assert_in_range(when, before, clock_ns() / 1000);
	assert_string_equal(next(), "STATUS=reloading: 3 of 3 replicas ready");
	set_states(SLOT_READY, SLOT_READY, SLOT_LOADING);
	assert_string_equal(next(), "STATUS=reloading: 2 of 3 replicas ready");
	assert_string_equal(next(), "EXTEND_TIMEOUT_USEC=30000000");
	set_states(SLOT_READY, SLOT_READY, SLOT_READY);
	assert_string_equal(next(), "STATUS=reloading: 3 of 3 replicas ready");
	report_reload_ends(&supervisor);
	assert_string_equal(next(), "READY=1\nSTATUS=3 of 3 replicas ready");
	assert_string_equal(next(), "");
}

static void
test_a_reload_while_it_starts_is_part_of_the_start(UNUSED void **state)
{
	supervisor.serving = true;
	report_reload_begins(&supervisor);
	assert_string_equal(next(), "STATUS=0 of 3 replicas ready");
	assert_string_equal(next(), "EXTEND_TIMEOUT_USEC=30000000");
	report_reload_ends(&supervisor);
	assert_string_equal(next(), "");
	supervisor.announced = true;
	report_changes(&supervisor);
	assert_string_equal(next(), "READY=1\nSTATUS=0 of 3 replicas ready");
}

static void
test_what_nobody_reads_is_said_later(UNUSED void **state)
{
	bool reloading = false, ready = false;
	int64_t begin_ms;
	const char *text;

	get_ready();
	while (notify_send(&supervisor.report.notify, "STATUS=x") == 0)
		continue;
	report_reload_begins(&supervisor);
	report_reload_ends(&supervisor);
	set_states(SLOT_READY, SLOT_READY, SLOT_BACKOFF);
	while (*next())
		continue;
	/* The loop of the supervisor does it by itself, and soon. */
	begin_ms = clock_ms();
	for (int i = 0; i < 100 && !ready; i++) {
		event_base_loop(supervisor.base, EVLOOP_ONCE);
		while (*(text = next())) {
			reloading = reloading || strncmp(text, "RELOADING=1\nMONOTONIC_USEC=", 27) == 0;
			ready = !strcmp(text, "READY=1\nSTATUS=2 of 3 replicas ready, 1 failing");
		}
	}
	assert_true(reloading);
	assert_true(ready);
	assert_true(clock_ms() - begin_ms < 5000);
}

/* The tests compare themselves. */
static void
compare_cb(UNUSED evutil_socket_t fd, UNUSED short what, UNUSED void *arg)
{
}

static int
set_up(UNUSED void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length;
	char name[64];

	snprintf(name, sizeof(name), "@cortexd-report-%d", (int)getpid());
	if (!notify_parse_address(name, &address, &length))
		return -1;
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(manager, (struct sockaddr *)&address, length) < 0)
		return -1;
	memset(slots, 0, sizeof(slots));
	TAILQ_INIT(&api.slots);
	for (size_t i = 0; i < N_ELEMENTS(slots); i++)
		TAILQ_INSERT_TAIL(&api.slots, &slots[i], in_api);
	supervisor = (struct supervisor){
	    .apis = apis, .n_apis = 1, .base = event_base_new(), .options = {.stop_timeout_ms = 30000}};
	event_assign(&supervisor.compare_event, supervisor.base, -1, 0, compare_cb, NULL);
	setenv("NOTIFY_SOCKET", name, 1);
	report_init(&supervisor);
	return 0;
}

static int
tear_down(UNUSED void **state)
{
	report_done(&supervisor);
	event_del(&supervisor.compare_event);
	event_base_free(supervisor.base);
	close(manager);
	return 0;
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(test_ready_comes_once_and_the_status_follows),
	    TEST(test_what_works_does_not_wait_for_what_fails),
	    TEST(test_a_reload_has_a_beginning_and_an_end),
	    TEST(test_a_reload_while_it_starts_is_part_of_the_start),
	    TEST(test_what_nobody_reads_is_said_later),
	};

	return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
