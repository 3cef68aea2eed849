/*
 * Whom the kernel should kill first: the rule of Kubernetes, in numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "supervisor/oom.h"

#define GIB (INT64_C(1) << 30)

static void
test_the_request_is_taken_off(UNUSED void **state)
{
	assert_int_equal(oom_score_adj(0, 16 * GIB, 0), 999);
	assert_int_equal(oom_score_adj(1, 16 * GIB, 0), 999);
	assert_int_equal(oom_score_adj(4 * GIB, 16 * GIB, 0), 750);
	assert_int_equal(oom_score_adj(16 * GIB - 1, 16 * GIB, 0), 3);
	assert_int_equal(oom_score_adj(16 * GIB, 16 * GIB, 0), 3);
	assert_int_equal(oom_score_adj(INT64_MAX, 16 * GIB, 0), 3);
	assert_int_equal(oom_score_adj(INT64_MAX - 1, INT64_MAX, 0), 3);
	assert_int_equal(oom_score_adj(GIB, 0, 0), 999);
}

static void
test_it_never_falls_below_our_own(UNUSED void **state)
{
	assert_int_equal(oom_score_adj(4 * GIB, 16 * GIB, -900), 750);
	assert_int_equal(oom_score_adj(4 * GIB, 16 * GIB, 900), 900);
	assert_int_equal(oom_score_adj(0, 16 * GIB, 1000), 1000);
}

static void
test_the_machine(UNUSED void **state)
{
	assert_true(oom_machine_bytes() > GIB / 8);
	assert_in_range(oom_own_score_adj() + 1000, 0, 2000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_request_is_taken_off),
	    cmocka_unit_test(test_it_never_falls_below_our_own),
	    cmocka_unit_test(test_the_machine),
	};

	return cmocka_run_group_tests_name("oom", tests, NULL, NULL);
}
