/*
 * Backoff: at once after a long life, then doubling up to the limit, never beyond, jittered downwards only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>

#include "supervisor/backoff.h"

#define NOW 1000000

static const struct backoff fresh = {
    .first_ms = 1000, .limit_ms = 300000, .limit_ready_ms = 10000, .reset_ms = 60000, .useful_ms = -1};

static int64_t
delay(const struct backoff *backoff, uint32_t random)
{
	return backoff_next_start(backoff, NOW, random) - NOW;
}

static void
test_the_first_start_is_at_once(UNUSED void **state)
{
	assert_int_equal(delay(&fresh, 12345), 0);
}

static void
test_deaths_in_a_row_double_the_delay_up_to_the_limit(UNUSED void **state)
{
	static const int64_t expected[] = {1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 300000, 300000};
	struct backoff backoff = fresh;

	for (size_t i = 0; i < N_ELEMENTS(expected); i++) {
		backoff_note_death(&backoff, 0, false);
		assert_int_equal(delay(&backoff, 0), expected[i]);
	}
	for (int i = 0; i < 1000; i++)
		backoff_note_death(&backoff, 0, false);
	assert_int_equal(delay(&backoff, 0), 300000);
	backoff.deaths_in_a_row = UINT_MAX;
	backoff_note_death(&backoff, 0, false);
	assert_int_equal(delay(&backoff, 0), 300000);
	backoff_note_death(&backoff, 59999, false); /* it was ready */
	assert_int_equal(delay(&backoff, 0), 10000);
}

static void
test_a_long_life_starts_over(UNUSED void **state)
{
	struct backoff backoff = fresh;

	for (int i = 0; i < 5; i++)
		backoff_note_death(&backoff, 0, false);
	backoff_note_death(&backoff, 60000, false);
	assert_int_equal(delay(&backoff, 7), 0);
	backoff_note_death(&backoff, 10, false);
	assert_int_equal(delay(&backoff, 0), 1000);
}

static void
test_who_was_useful_is_started_again_but_not_more_often_than_at_first(UNUSED void **state)
{
	struct backoff backoff = fresh;

	for (int i = 0; i < 20; i++) {
		backoff_note_death(&backoff, 2500, true);
		assert_int_equal(delay(&backoff, 0), 0);
		backoff_note_death(&backoff, 300, true);
		assert_int_equal(delay(&backoff, 0), 700);
	}
	backoff_note_death(&backoff, 300, false);
	assert_int_equal(delay(&backoff, 0), 10000);
	backoff_note_death(&backoff, 0, false);
	assert_int_equal(delay(&backoff, 0), 300000);
}

static void
test_jitter_shortens_by_at_most_its_percentage(UNUSED void **state)
{
	struct backoff backoff = fresh;
	int64_t least = INT64_MAX, most = 0;

	backoff_note_death(&backoff, 0, false);
	for (uint32_t random = 0; random < 1000; random++) {
		least = MIN(least, delay(&backoff, random));
		most = MAX(most, delay(&backoff, random));
	}
	assert_int_equal(most, 1000);
	assert_int_equal(least, 1000 - 10 * BACKOFF_JITTER_PERCENT);
	assert_in_range(delay(&backoff, UINT32_MAX), least, most);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_first_start_is_at_once),
	    cmocka_unit_test(test_deaths_in_a_row_double_the_delay_up_to_the_limit),
	    cmocka_unit_test(test_a_long_life_starts_over),
	    cmocka_unit_test(test_who_was_useful_is_started_again_but_not_more_often_than_at_first),
	    cmocka_unit_test(test_jitter_shortens_by_at_most_its_percentage),
	};

	return cmocka_run_group_tests_name("backoff", tests, NULL, NULL);
}
