/*
 * What is counted: buckets and quantiles, the commit that may be done twice, classes, folding, sums.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fd.h"
#include "common/metrics.h"
#include "common/scoreboard.h"

struct fixture {
	struct scoreboard *scoreboard;
	int fd;
	struct metrics_reader *reader;
	struct metrics_api *api, *no_api;
	struct metrics_area *places[2];
	struct metrics_sum sum;
};

static int
setup(void **state)
{
	struct fixture *fixture = xcalloc(1, sizeof(*fixture));

	assert_int_equal(scoreboard_new(&fixture->scoreboard, &fixture->fd), 0);
	assert_int_equal(metrics_reader_new(fixture->fd, &fixture->reader), 0);
	assert_int_equal(metrics_map_api(fixture->fd, 3, &fixture->api), 0);
	assert_int_equal(metrics_map_api(fixture->fd, METRICS_NO_API, &fixture->no_api), 0);
	for (int i = 0; i <= 3; i++)
		fixture->scoreboard->apis[i].n_slots = 10;
	fixture->scoreboard->apis[3].first_slot = 100;
	fixture->scoreboard->apis[3].n_used = 2;
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(metrics_map_place(fixture->fd, 100 + i, &fixture->places[i]), 0);
		fixture->scoreboard->slots[100 + i].counts = 1;
	}
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *fixture = *state;

	metrics_reader_free(fixture->reader);
	metrics_unmap_api(fixture->api);
	metrics_unmap_api(fixture->no_api);
	metrics_unmap_place(fixture->places[0]);
	metrics_unmap_place(fixture->places[1]);
	scoreboard_unmap(fixture->scoreboard);
	fd_close(&fixture->fd);
	free(fixture);
	return 0;
}

static struct metrics_sum *
read_sum(struct fixture *fixture)
{
	assert_int_equal(metrics_read(fixture->reader, 3, &fixture->sum), 0);
	return &fixture->sum;
}

/* One prediction that was answered. */
static void
answer(struct metrics_area *area, int status, int64_t ns, int class, double value)
{
	metrics_begin(area);
	metrics_will_add(area, metrics_class_of(status, false), 1);
	metrics_will_observe(area, METRICS_TOTAL, ns);
	metrics_will_class(area, class);
	metrics_will_value(area, value);
	metrics_prepare(area, 1);
	metrics_commit(area);
}

static void
a_value_is_known_to_two_significant_digits(void **state)
{
	struct fixture *fixture = *state;

	for (int64_t ns = 1; ns < 8000000000000; ns = ns * 21 / 20 + 1) {
		struct metrics_sum *sum;
		double found;

		memset(fixture->places[0], 0, sizeof(*fixture->places[0]));
		answer(fixture->places[0], 200, ns, 0, 0);
		sum = read_sum(fixture);
		assert_int_equal(metrics_count(sum->buckets[METRICS_TOTAL]), 1);
		found = metrics_quantile_ns(sum->buckets[METRICS_TOTAL], 0.5);
		if (fabs(found - (double)ns) > MAX((double)ns * 0.008, METRICS_UNIT_NS))
			fail_msg("%lld ns were taken for %.0f", (long long)ns, found);
	}
}

static void
what_is_out_of_range_is_counted_at_its_ends(void **state)
{
	struct fixture *fixture = *state;
	struct metrics_sum *sum;

	answer(fixture->places[0], 200, -5, 0, 0);
	answer(fixture->places[0], 200, INT64_MAX, 0, 0);
	sum = read_sum(fixture);
	assert_int_equal(sum->buckets[METRICS_TOTAL][0], 1);
	assert_int_equal(sum->buckets[METRICS_TOTAL][METRICS_BUCKETS - 1], 1);
}

static void
buckets_follow_each_other(UNUSED void **state)
{
	for (unsigned i = 0; i < METRICS_BUCKETS; i++)
		assert_true(metrics_bucket_ns(i + 1) > metrics_bucket_ns(i));
	assert_int_equal(metrics_bucket_ns(128), 128 * METRICS_UNIT_NS);
	assert_int_equal(metrics_bucket_ns(192), 256 * METRICS_UNIT_NS);
}

static void
quantiles_are_those_of_what_was_counted(void **state)
{
	struct fixture *fixture = *state;
	struct metrics_sum *sum;

	for (int i = 1; i <= 1000; i++)
		answer(fixture->places[i % 2], 200, i * 1000000, 0, 0);
	sum = read_sum(fixture);
	assert_true(fabs(metrics_quantile_ns(sum->buckets[METRICS_TOTAL], 0.5) - 500e6) < 5e6);
	assert_true(fabs(metrics_quantile_ns(sum->buckets[METRICS_TOTAL], 0.99) - 990e6) < 10e6);
	assert_int_equal(metrics_count_below(sum->buckets[METRICS_TOTAL], METRICS_UNIT_NS << 21), 134);
	assert_int_equal(metrics_count_below(sum->buckets[METRICS_TOTAL], METRICS_UNIT_NS << 40), 1000);
	assert_true(fabs(metrics_sum_ns(sum->buckets[METRICS_TOTAL]) / 500500e6 - 1) < 0.002);
	assert_int_equal(metrics_quantile_ns(sum->buckets[METRICS_QUEUE], 0.5), 0);
}

static void
nothing_counts_before_the_commit_and_a_second_one_changes_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct metrics_area *area = fixture->places[0];
	struct metrics_commit prepared;

	metrics_begin(area);
	metrics_will_add(area, METRIC_2XX, 1);
	metrics_will_observe(area, METRICS_TOTAL, 1000);
	metrics_will_value(area, 7);
	metrics_prepare(area, 5);
	assert_int_equal(read_sum(fixture)->counters[METRIC_2XX], 0);
	assert_int_equal(read_sum(fixture)->values.n, 0);
	memcpy(&prepared, &area->commit, sizeof(prepared));
	metrics_commit(area);
	memcpy(&area->commit, &prepared, sizeof(prepared)); /* as if it had been killed in the middle */
	metrics_complete(area);
	assert_int_equal(area->commit.owner, 0);
	assert_int_equal(read_sum(fixture)->counters[METRIC_2XX], 1);
	assert_int_equal(metrics_count(fixture->sum.buckets[METRICS_TOTAL]), 1);
	assert_int_equal(fixture->sum.values.n, 1);
	assert_true(fixture->sum.values.sum == 7);
	metrics_complete(area);
	assert_int_equal(read_sum(fixture)->counters[METRIC_2XX], 1);
}

static void
what_is_cancelled_does_not_count(void **state)
{
	struct fixture *fixture = *state;
	struct metrics_area *area = fixture->places[0];

	metrics_begin(area);
	metrics_will_add(area, METRIC_2XX, 1);
	metrics_prepare(area, 5);
	metrics_cancel(area);
	metrics_complete(area);
	assert_int_equal(read_sum(fixture)->counters[METRIC_2XX], 0);
}

static void
a_commit_that_somebody_has_scribbled_on_harms_nothing_else(void **state)
{
	struct fixture *fixture = *state;
	struct metrics_area *area = fixture->places[0];

	memset(&area->commit, 0xff, sizeof(area->commit));
	metrics_complete(area);
	assert_int_equal(read_sum(fixture)->counters[METRIC_2XX], 0);
}

static void
classes_have_one_number_in_all_replicas(void **state)
{
	struct fixture *fixture = *state;
	char name[16];

	assert_int_equal(metrics_find_class(fixture->api, "setosa"), 0);
	assert_int_equal(metrics_find_class(fixture->api, "virginica"), 1);
	assert_int_equal(metrics_find_class(fixture->api, "setosa"), 0);
	fixture->api->classes[2].state = METRICS_CLASS_CLAIMED; /* by one who died */
	assert_int_equal(metrics_find_class(fixture->api, "versicolor"), 3);
	for (int i = 4; i < METRICS_CLASSES; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(metrics_find_class(fixture->api, name), i);
	}
	assert_int_equal(metrics_find_class(fixture->api, "one more"), -1);
	answer(fixture->places[0], 200, 1, 0, 0);
	answer(fixture->places[1], 200, 1, 0, 0);
	answer(fixture->places[1], 200, 1, 3, 0);
	answer(fixture->places[1], 200, 1, -1, 0);
	assert_int_equal(read_sum(fixture)->n_classes, METRICS_CLASSES - 1);
	assert_string_equal(fixture->sum.classes[0].name, "setosa");
	assert_int_equal(fixture->sum.classes[0].n, 2);
	assert_string_equal(fixture->sum.classes[2].name, "versicolor");
	assert_int_equal(fixture->sum.classes[2].n, 1);
	assert_int_equal(fixture->sum.counters[METRIC_OTHER_CLASS], 1);
}

static void
equal_names_are_one_class(void **state)
{
	struct fixture *fixture = *state;

	metrics_find_class(fixture->api, "a");
	metrics_find_class(fixture->api, "b");
	memcpy(fixture->api->classes[1].name, "a", 2);
	answer(fixture->places[0], 200, 1, 0, 0);
	answer(fixture->places[0], 200, 1, 1, 0);
	assert_int_equal(read_sum(fixture)->n_classes, 1);
	assert_int_equal(fixture->sum.classes[0].n, 2);
}

static void
a_long_name_is_the_same_class_again(void **state)
{
	struct fixture *fixture = *state;
	char name[200];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(metrics_find_class(fixture->api, name), 0);
	assert_int_equal(metrics_find_class(fixture->api, name), 0);
}

static void
what_a_replica_has_counted_outlives_it(void **state)
{
	struct fixture *fixture = *state;
	struct metrics_sum before;

	metrics_find_class(fixture->api, "a");
	for (int i = 0; i < 100; i++)
		answer(fixture->places[i % 2], i % 10 ? 200 : 500, i * 1000000ll, 0, i);
	before = *read_sum(fixture);
	assert_int_equal(before.counters[METRIC_2XX], 90);
	assert_int_equal(before.counters[METRIC_5XX], 10);
	assert_int_equal(metrics_fold(fixture->fd, fixture->api, fixture->no_api, 100), 0);
	assert_memory_equal(&before, read_sum(fixture), sizeof(before));
	answer(fixture->places[0], 200, 1, 0, 1000); /* a successor */
	assert_int_equal(metrics_fold(fixture->fd, fixture->api, fixture->no_api, 100), 0);
	assert_int_equal(metrics_fold(fixture->fd, fixture->api, fixture->no_api, 101), 0);
	assert_int_equal(read_sum(fixture)->counters[METRIC_2XX], 91);
	assert_int_equal(fixture->sum.values.n, 101);
	assert_true(fixture->sum.values.min == 0 && fixture->sum.values.max == 1000 &&
	    fixture->sum.values.sum == 99 * 50 + 1000);
	assert_int_equal(fixture->sum.classes[0].n, 101);
	assert_int_equal(metrics_clear_api(fixture->fd, 3), 0);
	assert_int_equal(read_sum(fixture)->counters[METRIC_2XX], 0);
}

/* What is not for an api is not part of it, and stays when the api goes. */
static void
other_answers_are_counted_together(void **state)
{
	struct fixture *fixture = *state;
	uint64_t other[4];

	metrics_add(fixture->places[0], METRIC_OTHER_2XX, 3);
	metrics_add(fixture->places[1], METRIC_OTHER_4XX, 2);
	metrics_add(&fixture->no_api->held, METRIC_OTHER_4XX, 5);
	assert_int_equal(read_sum(fixture)->counters[METRIC_OTHER_2XX], 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(metrics_read_other(fixture->reader, other), 0);
		assert_true(other[0] == 3 && other[1] == 0 && other[2] == 7 && other[3] == 0);
		assert_int_equal(metrics_fold(fixture->fd, fixture->api, fixture->no_api, 100), 0);
		assert_int_equal(metrics_clear_api(fixture->fd, 3), 0);
	}
	fixture->no_api->folds++;
	assert_int_equal(metrics_read_other(fixture->reader, other), -EAGAIN);
}

static void
who_reads_in_the_middle_of_a_move_is_told_so(void **state)
{
	struct fixture *fixture = *state;

	fixture->api->folds = 1;
	assert_int_equal(metrics_read(fixture->reader, 3, &fixture->sum), -EAGAIN);
	assert_int_equal(metrics_read(fixture->reader, SCOREBOARD_APIS_MAX, &fixture->sum), -ENOENT);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(a_value_is_known_to_two_significant_digits),
	    TEST(what_is_out_of_range_is_counted_at_its_ends),
	    TEST(buckets_follow_each_other),
	    TEST(quantiles_are_those_of_what_was_counted),
	    TEST(nothing_counts_before_the_commit_and_a_second_one_changes_nothing),
	    TEST(what_is_cancelled_does_not_count),
	    TEST(a_commit_that_somebody_has_scribbled_on_harms_nothing_else),
	    TEST(classes_have_one_number_in_all_replicas),
	    TEST(equal_names_are_one_class),
	    TEST(a_long_name_is_the_same_class_again),
	    TEST(what_a_replica_has_counted_outlives_it),
	    TEST(other_answers_are_counted_together),
	    TEST(who_reads_in_the_middle_of_a_move_is_told_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
