/*
 * Recycling: when a process asks for its successor, and that processes which started together do not ask together.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "replica/recycle.h"

#define MI (1ll << 20)

static struct recycle
limits(int64_t requests, int jitter_percent, int64_t mem_bytes, uint32_t random)
{
	const struct start_record start = {
	    .recycle_requests = requests, .recycle_jitter_percent = jitter_percent, .recycle_mem_bytes = mem_bytes};
	struct recycle recycle;

	recycle_init(&recycle, &start, random);
	return recycle;
}

static void
test_without_limits_it_is_never_time(UNUSED void **state)
{
	struct recycle recycle = limits(0, 10, 0, 12345);
	char text[RECYCLE_TEXT_MAX];

	assert_true(recycle_begin(&recycle, INT64_MAX));
	assert_false(recycle_must_look(&recycle, INT64_MAX / 2));
	assert_false(recycle_is_due(&recycle, UINT64_MAX, INT64_MAX, text));
}

static void
test_requests_are_counted_to_the_last(UNUSED void **state)
{
	struct recycle recycle = limits(1000, 0, 0, 12345);
	char text[RECYCLE_TEXT_MAX];

	assert_false(recycle_is_due(&recycle, 999, 0, text));
	assert_true(recycle_is_due(&recycle, 1000, 0, text));
	assert_string_equal(text, "1000 predictions made (recycle.max_requests)");
	assert_true(recycle_is_due(&recycle, 1001, 0, text));
}

/* Every number from the limit less the jitter up to the limit comes, none else, and about equally often. */
static void
test_jitter_takes_off_at_most_its_part(UNUSED void **state)
{
	static const struct {
		int64_t requests;
		int jitter_percent;
		uint64_t least;
	} examples[] = {
	    {1000, 10, 900}, {1000, 100, 1}, {5, 10, 5}, {10, 10, 9}, {1, 100, 1}, {150, 50, 75}, {3, 67, 1}};

	for (size_t i = 0; i < N_ELEMENTS(examples); i++) {
		uint64_t requests = (uint64_t)examples[i].requests, n = requests - examples[i].least + 1;
		unsigned *times = calloc(requests + 1, sizeof(*times));

		for (uint32_t random = 0; random < 20 * n; random++) {
			struct recycle recycle = limits(examples[i].requests, examples[i].jitter_percent, 0, random);

			assert_in_range(recycle.max_requests, examples[i].least, requests);
			times[recycle.max_requests]++;
		}
		for (uint64_t k = examples[i].least; k <= requests; k++)
			assert_in_range(times[k], 18, 42);
		free(times);
	}
	for (uint32_t random = 0; random < 1000; random++)
		assert_in_range(limits(INT64_MAX, 100, 0, random * 4294967).max_requests, 1, INT64_MAX);
}

static void
test_memory_is_looked_at_now_and_then(UNUSED void **state)
{
	struct recycle recycle = limits(0, 10, 100 * MI, 0);
	char text[RECYCLE_TEXT_MAX];

	assert_true(recycle_begin(&recycle, 100 * MI));
	assert_true(recycle_must_look(&recycle, 1));
	assert_false(recycle_must_look(&recycle, RECYCLE_LOOK_NS));
	assert_true(recycle_must_look(&recycle, RECYCLE_LOOK_NS + 1));
	assert_false(recycle_is_due(&recycle, 1, 0, text));
	assert_false(recycle_is_due(&recycle, 1, 100 * MI, text));
	assert_false(recycle_is_due(&recycle, 1, -ENFILE, text));
	assert_true(recycle_is_due(&recycle, 1, 100 * MI + 4096, text));
	assert_string_equal(text, "102404 KiB of memory, more than 102400 KiB (recycle.max_mem)");
}

/* Its successor would be as large: it would be replaced for ever. Its predictions still count. */
static void
test_who_is_large_from_the_start_is_not_replaced_for_that(UNUSED void **state)
{
	struct recycle recycle = limits(10, 0, 100 * MI, 0);
	char text[RECYCLE_TEXT_MAX];

	assert_false(recycle_begin(&recycle, 100 * MI + 1));
	assert_false(recycle_must_look(&recycle, 1));
	assert_false(recycle_is_due(&recycle, 9, 200 * MI, text));
	assert_true(recycle_is_due(&recycle, 10, 200 * MI, text));
}

static void
test_statm_is_read(UNUSED void **state)
{
	static const char *const bad[] = {
	    "", " ", "12", "12 ", "x 3", "12 x", "12 -3", "12\n3", "1 99999999999999999999"};
	size_t size = 64 * MI;
	int64_t before = recycle_read_resident();
	char *more;

	assert_int_equal(recycle_parse_resident("5555 1234 600 7 0 800 0\n"), 1234);
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		assert_int_equal(recycle_parse_resident(bad[i]), -EINVAL);
	assert_true(before > 0);
	more = malloc(size);
	assert_non_null(more);
	memset(more, 1, size);
	assert_in_range(recycle_read_resident() - before, size / 2, 2 * size);
	free(more);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_without_limits_it_is_never_time),
	    cmocka_unit_test(test_requests_are_counted_to_the_last),
	    cmocka_unit_test(test_jitter_takes_off_at_most_its_part),
	    cmocka_unit_test(test_memory_is_looked_at_now_and_then),
	    cmocka_unit_test(test_who_is_large_from_the_start_is_not_replaced_for_that),
	    cmocka_unit_test(test_statm_is_read),
	};

	return cmocka_run_group_tests_name("recycle", tests, NULL, NULL);
}
