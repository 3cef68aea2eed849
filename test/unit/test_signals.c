/*
 * test_signals - what a predictor does to our signals is found, said and undone.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/log.h"
#include "replica/signals.h"

static void
ours(int number UNUSED)
{
}

static void
theirs(int number UNUSED, siginfo_t *info UNUSED, void *context UNUSED)
{
}

static void *
handler_of(int number)
{
	struct sigaction action;

	assert_int_equal(sigaction(number, NULL, &action), 0);
	return (void *)action.sa_handler;
}

static void
leaves_untouched_signals_alone(void **state UNUSED)
{
	struct signals signals;

	signals_save(&signals);
	assert_int_equal(signals_restore(&signals), 0);
}

static void
puts_back_what_was_changed(void **state UNUSED)
{
	struct sigaction action = {.sa_sigaction = theirs, .sa_flags = SA_SIGINFO};
	struct signals signals;
	sigset_t blocked;

	signal(SIGINT, SIG_DFL); /* whatever started us may have it ignored */
	signal(SIGTERM, ours);
	signal(SIGPIPE, SIG_IGN);
	signals_save(&signals);

	signal(SIGPIPE, SIG_DFL);
	signal(SIGUSR1, ours); /* not one of ours: theirs to keep */
	assert_int_equal(sigaction(SIGTERM, &action, NULL), 0);
	assert_int_equal(sigaction(SIGINT, &action, NULL), 0);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);

	assert_int_equal(signals_restore(&signals), 4);
	assert_ptr_equal(handler_of(SIGTERM), ours);
	assert_ptr_equal(handler_of(SIGINT), SIG_DFL);
	assert_ptr_equal(handler_of(SIGPIPE), SIG_IGN);
	assert_ptr_equal(handler_of(SIGUSR1), ours);
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	assert_false(sigismember(&blocked, SIGHUP));
	assert_int_equal(signals_restore(&signals), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(leaves_untouched_signals_alone),
	    cmocka_unit_test(puts_back_what_was_changed),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
