/*
 * The turn word: tick by tick with a clock of our own, then with a real helper thread under load. What the rules must not
 * allow is checked in all interleavings by test/model/turn.pml; here, that the code is that model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "replica/turn.h"

#define TEST_DEADLINE_NS 3000000

/* What both threads "touch": never at the same time. All atomics are relaxed, so that nothing but the turn itself orders it. */
static struct {
	struct turn turn;
	_Atomic(int) inside;
	int plain; /* a race on this is what the thread sanitizer looks for */
	_Atomic(unsigned) n_evacuated;
	_Atomic(unsigned) n_timed_out;
	bool wait_for_hurry;
} fixture;

static void
touch(void)
{
	assert_int_equal(atomic_fetch_add_explicit(&fixture.inside, 1, memory_order_relaxed), 0);
	fixture.plain++;
	atomic_fetch_sub_explicit(&fixture.inside, 1, memory_order_relaxed);
}

static void
evacuate(UNUSED void *arg)
{
	touch();
	atomic_fetch_add_explicit(&fixture.n_evacuated, 1, memory_order_relaxed);
	while (fixture.wait_for_hurry && !turn_is_wanted_back(&fixture.turn))
		;
}

static void
time_out(UNUSED void *arg)
{
	touch();
	atomic_fetch_add_explicit(&fixture.n_timed_out, 1, memory_order_relaxed);
}

static void
on_start(UNUSED void *arg)
{
}

static int
setup(UNUSED void **state)
{
	memset(&fixture, 0, sizeof(fixture));
	fixture.turn.evacuate = evacuate;
	fixture.turn.time_out = time_out;
	fixture.turn.on_start = on_start;
	return 0;
}

static void
test_a_prediction_that_sees_one_tick_is_short(UNUSED void **state)
{
	struct turn_helper helper = {.last = 0};

	turn_tick(&fixture.turn, &helper, 0);
	turn_begin(&fixture.turn, INT64_MAX, false);
	turn_tick(&fixture.turn, &helper, 1);
	assert_int_equal(turn_end(&fixture.turn), TURN_SHORT);
	turn_begin(&fixture.turn, INT64_MAX, false); /* the next one is another one */
	turn_tick(&fixture.turn, &helper, 2);
	assert_int_equal(turn_end(&fixture.turn), TURN_SHORT);
	assert_int_equal(fixture.n_evacuated, 0);
}

static void
test_a_prediction_that_sees_two_ticks_is_evacuated_once(UNUSED void **state)
{
	struct turn_helper helper = {.last = 0};

	turn_begin(&fixture.turn, 100, false);
	for (int i = 0; i < 10; i++)
		turn_tick(&fixture.turn, &helper, i);
	assert_int_equal(fixture.n_evacuated, 1);
	assert_int_equal(fixture.n_timed_out, 0);
	assert_int_equal(turn_end(&fixture.turn), TURN_LONG);
	turn_begin(&fixture.turn, 100, false);
	turn_tick(&fixture.turn, &helper, 10); /* not taken for the last one */
	assert_int_equal(turn_end(&fixture.turn), TURN_SHORT);
}

static void
test_the_deadline_is_the_predictions_own(UNUSED void **state)
{
	struct turn_helper helper = {.last = 0};

	turn_begin(&fixture.turn, 100, false);
	for (int i = 97; i < 100; i++)
		turn_tick(&fixture.turn, &helper, i);
	assert_int_equal(fixture.n_timed_out, 0);
	turn_tick(&fixture.turn, &helper, 100);
	turn_tick(&fixture.turn, &helper, 101);
	assert_int_equal(fixture.n_timed_out, 1);
	assert_int_equal(turn_end(&fixture.turn), TURN_TIMED_OUT);
	turn_begin(&fixture.turn, 1000, false);
	for (int i = 102; i < 110; i++)
		turn_tick(&fixture.turn, &helper, i);
	assert_int_equal(fixture.n_timed_out, 1);
	assert_int_equal(turn_end(&fixture.turn), TURN_LONG);
}

static void
test_only_a_loop_that_stays_one_is_quiet(UNUSED void **state)
{
	struct turn_helper helper = {.last = 0};

	for (int i = 1; i < TURN_QUIET_TICKS; i++)
		assert_false(turn_tick(&fixture.turn, &helper, i));
	assert_true(turn_tick(&fixture.turn, &helper, 4));
	helper.quiet = 0;
	turn_begin(&fixture.turn, INT64_MAX, false);
	for (int i = 0; i < 3 * TURN_QUIET_TICKS; i++)
		assert_false(turn_tick(&fixture.turn, &helper, i)); /* its deadline is still to come */
	assert_int_equal(turn_end(&fixture.turn), TURN_LONG);
	for (int i = 0; i < TURN_QUIET_TICKS; i++)
		assert_false(turn_tick(&fixture.turn, &helper, i));
	assert_true(turn_tick(&fixture.turn, &helper, 4));
}

static void
spin(int64_t ns)
{
	int64_t until_ns = clock_ns() + ns;

	while (clock_ns() < until_ns)
		;
}

/* Predict until the helper has done it once more than before, which was read before the prediction began. */
static void
spin_until(_Atomic(unsigned) *done, unsigned before)
{
	while (atomic_load_explicit(done, memory_order_relaxed) == before)
		spin(100000);
}

static unsigned
read_count(_Atomic(unsigned) *done)
{
	return atomic_load_explicit(done, memory_order_relaxed);
}

/* A real helper: predictions of all lengths, with pauses in which it goes to sleep. */
static void
test_with_a_helper_thread(UNUSED void **state)
{
	unsigned outcomes[3] = {0}, n_rounds = 1500;
	struct error err;

	assert_int_equal(turn_start(&fixture.turn, &err), 0);
	for (unsigned i = 0; i < n_rounds; i++) {
		static const int64_t lengths_ns[] = {0, 1000, 200000, 900000, 1100000, 2500000, 6000000};
		const struct timespec pause = {.tv_nsec = 5000000};

		unsigned n_evacuated = read_count(&fixture.n_evacuated), n_timed_out = read_count(&fixture.n_timed_out);

		touch();
		turn_begin(&fixture.turn, clock_ns() + TEST_DEADLINE_NS, false);
		if (i % 100 == 0) {
			spin_until(&fixture.n_timed_out, n_timed_out); /* which comes, or the helper is asleep */
		} else if (i % 100 == 50) {
			spin_until(&fixture.n_evacuated, n_evacuated);
		} else {
			spin(lengths_ns[(i * 7 + i / 9) % N_ELEMENTS(lengths_ns)]);
		}
		outcomes[turn_end(&fixture.turn)]++;
		touch();
		if (i % 50 == 49)
			nanosleep(&pause, NULL);
	}
	assert_int_equal(outcomes[TURN_SHORT] + outcomes[TURN_LONG] + outcomes[TURN_TIMED_OUT], n_rounds);
	assert_int_equal(outcomes[TURN_LONG] + outcomes[TURN_TIMED_OUT], fixture.n_evacuated);
	assert_int_equal(outcomes[TURN_TIMED_OUT], fixture.n_timed_out);
	assert_true(outcomes[TURN_SHORT] > n_rounds / 4);
	assert_true(outcomes[TURN_LONG] > 0);
	assert_true(outcomes[TURN_TIMED_OUT] >= n_rounds / 100);
	assert_int_equal(fixture.plain, 2 * n_rounds + fixture.n_evacuated + fixture.n_timed_out);
	/* An evacuation that would go on for ever ends when the main thread is back. */
	fixture.wait_for_hurry = true;
	for (int i = 0; i < 20; i++) {
		unsigned n_evacuated = read_count(&fixture.n_evacuated);

		turn_begin(&fixture.turn, INT64_MAX, false);
		spin_until(&fixture.n_evacuated, n_evacuated);
		assert_int_equal(turn_end(&fixture.turn), TURN_LONG);
	}
	fixture.wait_for_hurry = false;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_a_prediction_that_sees_one_tick_is_short, setup),
	    cmocka_unit_test_setup(test_a_prediction_that_sees_two_ticks_is_evacuated_once, setup),
	    cmocka_unit_test_setup(test_the_deadline_is_the_predictions_own, setup),
	    cmocka_unit_test_setup(test_only_a_loop_that_stays_one_is_quiet, setup),
	    cmocka_unit_test_setup(test_with_a_helper_thread, setup),
	};

	return cmocka_run_group_tests_name("turn", tests, NULL, NULL);
}
