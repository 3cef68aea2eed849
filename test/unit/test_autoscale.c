/*
 * The autoscaler: cases computed from the documentation of the Kubernetes HorizontalPodAutoscaler ("Algorithm details",
 * "Configurable scaling behavior"), each with its rule, and properties that must hold whatever the load does. One long file,
 * because every test is a few lines in the same world.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/autoscale.h"

#define S            1000 /* milliseconds */
#define PERIOD       AUTOSCALE_PERIOD_MS
#define MAX_REPLICAS 200
#define NOT_READY    (-1)
#define UNREADABLE   (-2)

static const struct autoscale_policy policy_50 = {.min_replicas = 1,
    .max_replicas = 100,
    .target_cpu_percent = 50,
    .cpu_millicpu = 1000,
    .tolerance_permille = 100,
    .window_ms = 60 * S,
    .downscale_stabilization_ms = 300 * S};

/* An api: the clock, and what its replicas do each second. */
struct world {
	struct autoscaler autoscaler;
	int64_t now;
	int wanted;
	struct autoscale_sample samples[MAX_REPLICAS];
	int percent[MAX_REPLICAS]; /* of one core, or NOT_READY, UNREADABLE */
	int64_t used_us[MAX_REPLICAS];
	size_t n;
	int64_t in_flight;
	uint64_t last_id;
	const struct autoscale_decision *told;
};

static void
world_init(struct world *world, const struct autoscale_policy *policy, int wanted)
{
	memset(world, 0, sizeof(*world));
	world->in_flight = -1;
	world->wanted = wanted;
	autoscaler_init(&world->autoscaler, policy, 0);
}

/* A replica that is READY from now on, unless percent says that it is not. */
static void
world_add(struct world *world, int percent)
{
	assert_true(world->n < MAX_REPLICAS);
	world->samples[world->n] = (struct autoscale_sample){
	    .id = ++world->last_id, .ready_since_ms = percent == NOT_READY ? -1 : world->now};
	world->used_us[world->n] = 0;
	world->percent[world->n++] = percent;
}

static void
world_set(struct world *world, int percent)
{
	for (size_t i = 0; i < world->n; i++)
		world->percent[i] = percent;
}

static void
world_sample(struct world *world)
{
	for (size_t i = 0; i < world->n; i++)
		world->samples[i].cpu_us = world->percent[i] == UNREADABLE ? -1 : world->used_us[i];
	autoscaler_sample(&world->autoscaler, world->now, world->samples, world->n, world->in_flight);
}

static void
world_pass(struct world *world, int64_t ms)
{
	for (size_t i = 0; i < world->n; i++)
		world->used_us[i] += MAX(world->percent[i], 0) * ms * 10;
	world->now += ms;
}

/* Go on until the next decision, with a sample each second, and take it. */
static const struct autoscale_decision *
world_decide(struct world *world)
{
	const struct autoscale_decision *before = world->told;

	world_sample(world);
	while (world->now < autoscaler_due_ms(&world->autoscaler)) {
		assert_int_equal(
		    autoscaler_decide(&world->autoscaler, world->now, world->wanted, &before), world->wanted);
		assert_null(before);
		world_pass(world, S);
		world_sample(world);
	}
	world->wanted = autoscaler_decide(&world->autoscaler, world->now, world->wanted, &world->told);
	return autoscaler_last(&world->autoscaler);
}

/* Have as many replicas as are wanted, the others have gone; all use the same. */
static void
world_follow(struct world *world, int percent)
{
	while (world->n < (size_t)world->wanted)
		world_add(world, percent);
	world->n = (size_t)world->wanted;
	world_set(world, percent);
}

static void
world_done(struct world *world)
{
	autoscaler_done(&world->autoscaler);
}

static void
assert_reason(const struct world *world, const char *expected)
{
	char text[AUTOSCALE_REASON_MAX];

	autoscale_reason(autoscaler_last(&world->autoscaler), text);
	assert_string_equal(text, expected);
}

/* --- what the signals recommend ---------------------------------------------------------------------------------------- */

struct recommendation_case {
	const char *rule;
	int wanted;
	const char *percents; /* of each replica; - not ready, ? unreadable; target 50 */
	int expected;
};

static const struct recommendation_case cpu_cases[] = {
    {"desired = ceil(current * value / target): 200m over 100m doubles", 1, "100", 2},
    {"50m over 100m halves", 4, "25 25 25 25", 2},
    {"ceil: 3 * 60/50 = 3.6", 3, "60 60 60", 4},
    {"ceil: 7 * 30/50 = 4.2", 7, "30 30 30 30 30 30 30", 5},
    {"the value is the average over the pods", 4, "100 100 0 0", 4},
    {"the average, not ceil of each: 4 * 35/50 = 2.8", 4, "140 0 0 0", 3},
    {"skipped when the ratio is close to 1.0: 55/50 = 1.1", 10, "55 55 55 55 55 55 55 55 55 55", 10},
    {"tolerance 0.1: 56/50 is outside, 11.2", 10, "56 56 56 56 56 56 56 56 56 56", 12},
    {"45/50 = 0.9 is inside", 10, "45 45 45 45 45 45 45 45 45 45", 10},
    {"44/50 is outside, 8.8", 10, "44 44 44 44 44 44 44 44 44 44", 9},
    {"no load at all: 0", 3, "0 0 0", 0},
    {"not-yet-ready pods use 0 % on a scale up: 300/4 = 75, 4 * 1.5", 4, "150 150 - -", 6},
    {"and the new ratio is within the tolerance: no action", 4, "100 100 - -", 4},
    {"the new ratio reverses the direction: no action", 4, "60 60 - -", 4},
    {"not-yet-ready pods are set aside on a scale down: 4 * 20/50 = 1.6", 5, "20 20 20 20 -", 2},
    {"within the tolerance without the ones set aside: no action", 4, "52 52 - -", 4},
    {"pods that are wanted and do not exist are pending: 220/4 = 55 is within the tolerance", 4, "110 110", 4},
    {"missing metrics are 100 % on a scale down: 240/8 = 30, 8 * 0.6", 8, "20 20 20 20 20 20 20 ?", 5},
    {"and reverse the direction: (20 + 300)/4 = 80: no action", 4, "20 ? ? ?", 4},
    {"and end within the tolerance: (20 + 20 + 100)/3 = 46: no action", 3, "20 20 ?", 3},
    {"missing metrics are 0 % on a scale up: 300/4 = 75, 4 * 1.5", 4, "100 100 100 ?", 6},
    {"and reverse the direction: 150/4 = 37: no action", 4, "150 ? ? ?", 4},
    {"both at once on a scale up: 400/4 = 100", 4, "200 200 ? -", 8},
    {"both at once on a scale down, the not ready aside: 180/5 = 36, 5 * 36/50", 6, "20 20 20 20 ? -", 4},
    {"no metrics of any ready pod: no scaling", 3, "- ? ?", 3},
    {"no pod is ready: no scaling", 3, "- - -", 3},
    {"no pods at all: no scaling", 3, "", 3},
    {"a usage above the target takes nothing away, though fewer replicas are measured than wanted", 9, "150 -", 9},
    {"a usage below the target adds nothing, though more replicas exist than are wanted", 2, "40 40 40 40", 2},
};

static void
add_all(struct world *world, const char *percents)
{
	char *text = strdup(percents), *rest = NULL;

	for (const char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		world_add(world, *word == '-' ? NOT_READY : *word == '?' ? UNREADABLE : atoi(word));
	free(text);
}

static void
test_cpu_recommends_what_the_documentation_says(UNUSED void **state)
{
	for (size_t i = 0; i < N_ELEMENTS(cpu_cases); i++) {
		const struct recommendation_case *c = &cpu_cases[i];
		const struct autoscale_decision *decision;
		struct world world;

		world_init(&world, &policy_50, c->wanted);
		add_all(&world, c->percents);
		decision = world_decide(&world);
		if (decision->recommended != c->expected)
			fail_msg("%s: \"%s\" wanted %d: recommended %d, expected %d", c->rule, c->percents, c->wanted,
			    decision->recommended, c->expected);
		world_done(&world);
	}
}

static void
test_requests_in_flight_recommend_total_by_target(UNUSED void **state)
{
	static const struct {
		const char *rule;
		int wanted, in_flight, target_milli, expected;
	} cases[] = {
	    {"AverageValue: ceil(12 / 2)", 3, 12, 2000, 6},
	    {"ceil(13 / 2)", 3, 13, 2000, 7},
	    {"13 / (6 * 2) = 1.08: within the tolerance", 6, 13, 2000, 6},
	    {"14 / (6 * 2) = 1.17", 6, 14, 2000, 7},
	    {"11 / (6 * 2) = 0.92: within the tolerance", 6, 11, 2000, 6},
	    {"10 / (6 * 2) = 0.83", 6, 10, 2000, 5},
	    {"a fraction: ceil(3 / 0.7)", 1, 3, 700, 5},
	    {"nothing in flight", 3, 0, 1000, 0},
	    {"unknown: no scaling", 3, -1, 1000, 3},
	};

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct autoscale_policy policy = policy_50;
		const struct autoscale_decision *decision;
		struct world world;

		policy.target_in_flight_milli = cases[i].target_milli;
		world_init(&world, &policy, cases[i].wanted);
		world.in_flight = cases[i].in_flight;
		for (int n = 0; n < cases[i].wanted; n++)
			world_add(&world, 0); /* the CPU asks for none */
		decision = world_decide(&world);
		if (decision->recommended != cases[i].expected)
			fail_msg(
			    "%s: recommended %d, expected %d", cases[i].rule, decision->recommended, cases[i].expected);
		world_done(&world);
	}
}

/* "If multiple metrics are specified ... the largest of the desired replica counts is chosen. If any of these metrics cannot
 * be converted ... and a scale down is suggested by the metrics which can be fetched, scaling is skipped." */
static void
test_the_larger_of_two_signals_wins_and_an_unknown_one_forbids_to_take_away(UNUSED void **state)
{
	static const struct {
		const char *percents;
		int in_flight, expected;
	} cases[] = {
	    {"100 100", 3, 4},
	    {"10 10", 3, 3},
	    {"100 100", 7, 7},
	    {"10 10", 1, 1},
	    {"? ?", 1, 2},
	    {"? ?", 2, 2},
	    {"? ?", 5, 5},
	    {"10 10", -1, 2},
	    {"100 100", -1, 4},
	    {"- -", 50, 2}, /* they wait for the start */
	    {"? -", 50, 50},
	    {"? ?", -1, 2},
	};

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct autoscale_policy policy = policy_50;
		struct world world;

		policy.target_in_flight_milli = 1000;
		world_init(&world, &policy, 2);
		world.in_flight = cases[i].in_flight;
		add_all(&world, cases[i].percents);
		assert_int_equal(world_decide(&world)->recommended, cases[i].expected);
		world_done(&world);
	}
}

/* The queue is averaged over the period: one moment of it does not decide, and all of it counts. */
static void
test_requests_in_flight_are_averaged_since_the_last_decision(UNUSED void **state)
{
	struct autoscale_policy policy = policy_50;
	struct world world;

	policy.target_in_flight_milli = 1000;
	policy.downscale_stabilization_ms = 0;
	world_init(&world, &policy, 2);
	add_all(&world, "50 50");
	world.in_flight = 50;
	world_sample(&world);
	world.in_flight = 2;
	assert_int_equal(world_decide(&world)->in_flight_milli, (50 + 16 * 2) * 1000 / 17);
	assert_int_equal(world_decide(&world)->in_flight_milli, 2000);
	world_done(&world);
}

/* --- measuring ---------------------------------------------------------------------------------------------------------- */

/* "the most recent metric point for the pod was before it became ready": set aside until a whole window is measured. */
static void
test_a_replica_is_measured_once_it_has_been_ready_for_a_period(UNUSED void **state)
{
	struct world world;

	world_init(&world, &policy_50, 2);
	world_add(&world, 100);
	world_pass(&world, 1 * S);
	world_add(&world, 100); /* READY at 1 s, the decision is at 15 s */
	assert_int_equal(world_decide(&world)->n_measured, 1);
	assert_int_equal(autoscaler_last(&world.autoscaler)->n_not_ready, 1);
	assert_int_equal(world_decide(&world)->n_measured, 2);
	world_done(&world);
}

static void
test_what_was_used_before_ready_does_not_count(UNUSED void **state)
{
	struct world world;

	world_init(&world, &policy_50, 1);
	world_add(&world, NOT_READY);
	world.used_us[0] = 3600LL * 1000 * 1000; /* init() was busy for an hour */
	world_sample(&world);
	world_pass(&world, 10 * S);
	world.used_us[0] += 100LL * 1000 * 1000;
	world.samples[0].ready_since_ms = world.now;
	world.percent[0] = 50;
	world_decide(&world);
	assert_int_equal(world_decide(&world)->cpu_percent, 50);
	world_done(&world);
}

static void
test_the_average_is_over_the_window(UNUSED void **state)
{
	struct autoscale_policy policy = policy_50;
	struct world world;

	policy.max_replicas = 1;
	world_init(&world, &policy, 1);
	world_add(&world, 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(world_decide(&world)->cpu_percent, 0);
	world_set(&world, 100);
	/* The oldest reading of the span may be older than the window by one thirtieth of it. */
	assert_in_range(world_decide(&world)->cpu_percent, 24, 25);
	assert_in_range(world_decide(&world)->cpu_percent, 48, 50);
	assert_in_range(world_decide(&world)->cpu_percent, 72, 75);
	assert_in_range(world_decide(&world)->cpu_percent, 96, 100);
	assert_int_equal(world_decide(&world)->cpu_percent, 100);
	world_done(&world);
}

/* Otherwise one that was overloaded before its helpers came goes on asking for more of them. */
static void
test_the_average_starts_anew_when_a_replica_comes_or_goes(UNUSED void **state)
{
	struct world world;

	world_init(&world, &policy_50, 1);
	world_add(&world, 0);
	for (int i = 0; i < 4; i++)
		world_decide(&world);
	world_set(&world, 200);
	for (int i = 0; i < 4; i++) {
		world_decide(&world);
		world.wanted = 1;
	}
	world.wanted = 4;
	world_follow(&world, 50); /* the load is shared now */
	assert_int_equal(world_decide(&world)->cpu_percent, 50);
	assert_int_equal(world.wanted, 4);
	world.n = 2;
	world.wanted = 2;
	world_set(&world, 100);
	assert_int_equal(world_decide(&world)->cpu_percent, 100);
	world_done(&world);
}

static void
test_replicas_that_come_and_go_all_the_time_are_still_measured(UNUSED void **state)
{
	struct world world;

	world_init(&world, &policy_50, 3);
	add_all(&world, "60 60");
	for (int i = 0; i < 100; i++) {
		world_add(&world, 0);
		world_sample(&world);
		world_pass(&world, 2 * S);
		world_sample(&world);
		world.n--;
		world_sample(&world);
		world_pass(&world, S);
		if (world.now >= 2 * PERIOD && world.now >= autoscaler_due_ms(&world.autoscaler)) {
			world_sample(&world);
			autoscaler_decide(&world.autoscaler, world.now, 3, NULL);
			assert_int_equal(autoscaler_last(&world.autoscaler)->n_measured, 2);
			assert_int_equal(autoscaler_last(&world.autoscaler)->cpu_percent, 60);
		}
	}
	assert_true(world.now > 10 * PERIOD);
	world_done(&world);
}

static void
test_late_and_missing_samples_do_not_change_the_average(UNUSED void **state)
{
	static const int64_t gaps[] = {900, 1100, 4000, 1000, 1, 1, 2500, 1000, 2990, 1000, 8};
	struct world world;

	world_init(&world, &policy_50, 2);
	add_all(&world, "30 70");
	for (int i = 0; i < 500; i++) {
		if (i % 7 != 3)
			world_sample(&world);
		world_pass(&world, gaps[i % N_ELEMENTS(gaps)]);
		if (world.now < autoscaler_due_ms(&world.autoscaler))
			continue;
		world_sample(&world);
		assert_int_equal(autoscaler_decide(&world.autoscaler, world.now, 2, NULL), 2);
		assert_in_range(autoscaler_last(&world.autoscaler)->cpu_percent, 49, 50);
	}
	assert_true(world.now > 20 * PERIOD);
	world_done(&world);
}

static void
test_a_replica_that_cannot_be_read_any_more_is_missing_after_a_period(UNUSED void **state)
{
	struct world world;

	world_init(&world, &policy_50, 2);
	add_all(&world, "50 50");
	assert_int_equal(world_decide(&world)->n_missing, 0);
	world.percent[1] = UNREADABLE;
	assert_int_equal(world_decide(&world)->n_missing, 1);
	assert_int_equal(autoscaler_last(&world.autoscaler)->n_measured, 1);
	world_done(&world);
}

static void
test_a_few_seconds_of_readings_say_nothing(UNUSED void **state)
{
	struct world world;

	world_init(&world, &policy_50, 2);
	add_all(&world, "50 ?");
	world_sample(&world);
	world_pass(&world, 10 * S);
	world.percent[1] = 500;
	assert_int_equal(world_decide(&world)->n_missing, 1);
	assert_int_equal(world_decide(&world)->n_missing, 0);
	world_done(&world);
}

/* A child that nobody waits for takes its CPU time with it. */
static void
test_a_cpu_time_that_falls_is_no_negative_use(UNUSED void **state)
{
	struct world world;

	world_init(&world, &policy_50, 1);
	world_add(&world, 50);
	world_sample(&world);
	world_pass(&world, 10 * S);
	world_sample(&world);
	world.used_us[0] = 0;
	assert_int_equal(world_decide(&world)->cpu_percent, (10 + 4) * 50 / 15); /* the second it happened in is lost */
	for (int i = 0; i < 5; i++)
		world_decide(&world);
	assert_int_equal(autoscaler_last(&world.autoscaler)->cpu_percent, 50);
	world_done(&world);
}

static void
test_the_order_of_samples_does_not_matter(UNUSED void **state)
{
	struct world world;

	world_init(&world, &policy_50, 5);
	add_all(&world, "10 20 30 90 100");
	for (int i = 0; i < 60; i++) {
		size_t a = (size_t)i % 5, b = (size_t)(i * 3 + 1) % 5;
		struct autoscale_sample sample = world.samples[a];
		int percent = world.percent[a];
		int64_t used_us = world.used_us[a];

		world.samples[a] = world.samples[b];
		world.percent[a] = world.percent[b];
		world.used_us[a] = world.used_us[b];
		world.samples[b] = sample;
		world.percent[b] = percent;
		world.used_us[b] = used_us;
		world_pass(&world, S);
		world_sample(&world);
		if (world.now >= autoscaler_due_ms(&world.autoscaler)) {
			assert_int_equal(autoscaler_decide(&world.autoscaler, world.now, 5, NULL), 5);
			assert_int_equal(autoscaler_last(&world.autoscaler)->cpu_percent, 50);
			assert_int_equal(autoscaler_last(&world.autoscaler)->n_measured, 5);
		}
	}
	world_done(&world);
}

/* --- from the recommendation to the count ----------------------------------------------------------------------------- */

/* Default behavior, scaleUp: 100 % or 4 pods per 15 s, whichever is more. */
static void
test_one_step_doubles_or_adds_four(UNUSED void **state)
{
	static const int expected[] = {5, 10, 20, 40, 80, 100};
	struct world world;

	world_init(&world, &policy_50, 1);
	for (size_t i = 0; i < N_ELEMENTS(expected); i++) {
		world_follow(&world, 10000);
		for (size_t n = 0; n < world.n; n++)
			world.samples[n].ready_since_ms = 0; /* all of them are measured at once */
		world_decide(&world);
		assert_int_equal(world.wanted, expected[i]);
	}
	assert_int_equal(autoscaler_last(&world.autoscaler)->limit, AUTOSCALE_LIMIT_MAX);
	world_done(&world);
}

/* Default behavior, scaleDown: stabilizationWindowSeconds 300, the highest recommendation of the window; 100 % per 15 s. */
static void
test_fewer_are_wanted_once_the_highest_recommendation_is_old(UNUSED void **state)
{
	struct world world;
	int periods = 0;

	world_init(&world, &policy_50, 8);
	world_follow(&world, 50);
	for (int i = 0; i < 10; i++)
		assert_int_equal(world_decide(&world)->to, 8);
	world_follow(&world, 0);
	while (world_decide(&world)->to == 8) {
		periods++;
		assert_true(periods < 100);
	}
	/* The window of the average ends 60 s after the load, the one of the recommendations 300 s after the last eight. */
	assert_in_range(periods * PERIOD, 300 * S - PERIOD, 300 * S + 15 * S);
	world_follow(&world, 0);
	while (world.wanted > 1) {
		periods++;
		assert_true(periods < 100);
		world_decide(&world);
		world_follow(&world, 0);
	}
	assert_in_range(periods * PERIOD, 300 * S, 300 * S + 60 * S + PERIOD);
	world_done(&world);
}

static void
test_a_spike_within_the_window_keeps_the_count_up(UNUSED void **state)
{
	struct autoscale_policy policy = policy_50;
	struct world world;

	policy.window_ms = PERIOD;
	world_init(&world, &policy, 4);
	for (int i = 0; i < 60; i++) {
		world_follow(&world, i % 15 == 0 ? 50 : 5); /* each 225 s */
		world_decide(&world);
		assert_int_equal(world.wanted, 4);
	}
	for (int i = 0; i < 21; i++) {
		world_follow(&world, 5);
		world_decide(&world);
	}
	assert_int_equal(world.wanted, 1);
	world_done(&world);
}

/* The controller records the current count as the first recommendation: init_replicas are not taken away at once. */
static void
test_the_first_count_is_kept_for_the_stabilization_window(UNUSED void **state)
{
	struct world world;
	int periods = 0;

	world_init(&world, &policy_50, 10);
	do {
		world_follow(&world, 0);
		world_decide(&world);
		periods++;
	} while (world.wanted == 10 && periods < 100);
	assert_int_equal(world.wanted, 1);
	assert_int_equal(periods, 300 * S / PERIOD + 1);
	world_done(&world);
}

/* stabilizationWindowSeconds of scaleUp: the lowest recommendation of the window. */
static void
test_more_are_wanted_once_the_lowest_recommendation_is_old(UNUSED void **state)
{
	struct autoscale_policy policy = policy_50;
	struct world world;
	int periods = 0;

	policy.window_ms = PERIOD;
	policy.upscale_stabilization_ms = 60 * S;
	world_init(&world, &policy, 2);
	world_follow(&world, 50);
	for (int i = 0; i < 10; i++)
		world_decide(&world);
	world_follow(&world, 100);
	while (world_decide(&world)->to == 2) {
		assert_int_equal(autoscaler_last(&world.autoscaler)->limit, AUTOSCALE_LIMIT_UPSCALE);
		periods++;
		assert_true(periods < 100);
	}
	assert_int_equal(world.wanted, 4);
	assert_int_equal(periods, 60 * S / PERIOD - 1);
	world_done(&world);
}

static void
test_without_stabilization_the_count_follows_at_once(UNUSED void **state)
{
	struct autoscale_policy policy = policy_50;
	struct world world;

	policy.window_ms = PERIOD;
	policy.downscale_stabilization_ms = 0;
	world_init(&world, &policy, 8);
	world_follow(&world, 25);
	assert_int_equal(world_decide(&world)->to, 4);
	assert_int_equal(world_decide(&world)->limit, AUTOSCALE_LIMIT_NONE);
	world_done(&world);
}

/* A window longer than there are places for single recommendations is still kept. */
static void
test_a_stabilization_window_of_a_day(UNUSED void **state)
{
	struct autoscale_policy policy = policy_50;
	struct world world;
	int64_t begin;

	policy.window_ms = PERIOD;
	policy.downscale_stabilization_ms = 24 * 3600 * S;
	world_init(&world, &policy, 4);
	world_follow(&world, 50);
	for (int i = 0; i < 400; i++)
		world_decide(&world);
	world_follow(&world, 100);
	assert_int_equal(world_decide(&world)->to, 8);
	world_follow(&world, 0);
	begin = world.now;
	while (world_decide(&world)->to == 8)
		assert_true(world.now - begin < 48LL * 3600 * S);
	assert_in_range(world.now - begin, 24 * 3600 * S - PERIOD, 24 * 3600 * S + 600 * S);
	world_done(&world);
}

static void
test_a_count_outside_the_limits_is_put_right_at_once(UNUSED void **state)
{
	struct autoscale_policy policy = policy_50;
	struct world world;

	policy.min_replicas = 3;
	policy.max_replicas = 6;
	world_init(&world, &policy, 10);
	world_follow(&world, 1000);
	assert_int_equal(world_decide(&world)->to, 6);
	assert_reason(&world, "cpu 1000% of the request over 10 ready replicas, target 50%: 10 -> 6 (max_replicas 6)");
	assert_int_equal(world.told->state, AUTOSCALE_FOLLOWS);
	world.wanted = 1;
	world_follow(&world, 0);
	assert_int_equal(world_decide(&world)->to, 3);
	policy.min_replicas = 5;
	autoscaler_set_policy(&world.autoscaler, &policy);
	assert_int_equal(world_decide(&world)->to, 5);
	world_done(&world);
}

/* --- when, and what is told --------------------------------------------------------------------------------------------- */

static void
test_decisions_are_due_each_period_and_lateness_does_not_add_up(UNUSED void **state)
{
	struct world world;
	int n = 0;

	world_init(&world, &policy_50, 1);
	for (int64_t now = 0; now <= 36000 * S; now += 1003) {
		if (now < autoscaler_due_ms(&world.autoscaler))
			continue;
		autoscaler_decide(&world.autoscaler, now, 1, NULL);
		n++;
	}
	assert_int_equal(n, 36000 * S / PERIOD - 1); /* the last one is due at the very end, and late */
	autoscaler_decide(&world.autoscaler, 100000 * S, 1, NULL);
	assert_int_equal(autoscaler_due_ms(&world.autoscaler), 100000 * S + PERIOD);
	world_done(&world);
}

static void
test_what_changes_is_told_and_kept(UNUSED void **state)
{
	struct autoscale_policy policy = policy_50;
	struct world world;
	size_t n;

	policy.window_ms = PERIOD;
	policy.downscale_stabilization_ms = 0;
	world_init(&world, &policy, 2);
	assert_null(autoscaler_last(&world.autoscaler));
	assert_null(autoscaler_told(&world.autoscaler, 0));
	for (int i = 0; i < 70; i++) {
		world_follow(&world, 50);
		world_decide(&world);
		assert_null(world.told);
		world_follow(&world, i % 2 ? 25 : 100);
		world_decide(&world);
		assert_non_null(world.told);
		assert_int_equal(world.told->at_ms, world.now);
		assert_int_equal(autoscaler_told(&world.autoscaler, 0)->at_ms, world.now);
		assert_int_equal(world.told->from, i % 2 ? 4 : 2);
		assert_int_equal(world.told->to, i % 2 ? 2 : 4);
	}
	for (n = 0; autoscaler_told(&world.autoscaler, n); n++)
		assert_int_equal(autoscaler_told(&world.autoscaler, n)->at_ms, world.now - (int64_t)n * 2 * PERIOD);
	assert_int_equal(n, AUTOSCALE_DECISIONS);
	world_done(&world);
}

/* Load that would need more than max_replicas is told when it begins and when it has ended, not at each noise between. */
static void
test_a_limit_that_is_reached_is_told_once(UNUSED void **state)
{
	struct autoscale_policy policy = policy_50;
	struct world world;
	int told = 0;

	policy.max_replicas = 3;
	policy.window_ms = PERIOD;
	world_init(&world, &policy, 3);
	for (int i = 0; i < 100; i++) {
		world_follow(&world, i % 3 ? 90 : 50);
		world_decide(&world);
		told += world.told != NULL;
	}
	assert_int_equal(told, 1);
	assert_int_equal(autoscaler_told(&world.autoscaler, 0)->state, AUTOSCALE_WANTS_MORE);
	for (int i = 0; i < 30; i++) {
		world_follow(&world, 50);
		world_decide(&world);
		told += world.told != NULL;
	}
	assert_int_equal(told, 2);
	assert_int_equal(autoscaler_told(&world.autoscaler, 0)->state, AUTOSCALE_FOLLOWS);
	world_done(&world);
}

static void
test_a_fixed_count_is_not_told_about(UNUSED void **state)
{
	struct autoscale_policy policy = policy_50;
	struct world world;

	policy.min_replicas = policy.max_replicas = 3;
	world_init(&world, &policy, 3);
	for (int i = 0; i < 30; i++) {
		world_follow(&world, i % 10 * 50);
		assert_int_equal(world_decide(&world)->to, 3);
		assert_null(world.told);
	}
	world_done(&world);
}

static void
test_replicas_that_cannot_be_read_are_told(UNUSED void **state)
{
	struct world world;

	world_init(&world, &policy_50, 2);
	world_follow(&world, 50);
	world_decide(&world);
	world_set(&world, UNREADABLE);
	world_decide(&world);
	assert_non_null(world.told);
	assert_int_equal(world.told->state, AUTOSCALE_BLIND);
	assert_reason(&world, "cpu of no ready replica can be read: stays at 2");
	world_decide(&world);
	assert_null(world.told);
	world_set(&world, 50);
	world_decide(&world);
	assert_non_null(world.told);
	assert_int_equal(world.told->state, AUTOSCALE_FOLLOWS);
	world_done(&world);
}

static void
test_reasons(UNUSED void **state)
{
	static const struct {
		int wanted;
		const char *percents;
		int in_flight, target_milli, max;
		const char *expected;
	} cases[] = {
	    {2, "76 76", -1, 0, 100, "cpu 76% of the request over 2 ready replicas, target 50%: 2 -> 4"},
	    {1, "50", -1, 0, 100, "cpu 50% of the request over 1 ready replica, target 50%: stays at 1"},
	    {1, "0", -1, 0, 100,
		"cpu 0% of the request over 1 ready replica, target 50%: stays at 1 (0 recommended; min_replicas 1)"},
	    {3, "10 10 10", -1, 0, 100,
		"cpu 10% of the request over 3 ready replicas, target 50%: stays at 3 (1 recommended; more within the "
		"last 300 s)"},
	    {1, "5000", -1, 0, 100,
		"cpu 5000% of the request over 1 ready replica, target 50%: 1 -> 5 (100 recommended; one step adds no "
		"more)"},
	    {2, "5000 5000", -1, 0, 4,
		"cpu 5000% of the request over 2 ready replicas, target 50%: 2 -> 4 (200 recommended; max_replicas 4)"},
	    {4, "150 150 ? -", -1, 0, 100,
		"cpu 150% of the request over 2 ready replicas (75% with 1 not measured yet and 1 not readable at 0%), "
		"target 50%: "
		"4 -> 6"},
	    {8, "20 20 20 20 20 20 20 ?", -1, 0, 100,
		"cpu 20% of the request over 7 ready replicas (30% with 1 not readable at 100%), target 50%: stays at "
		"8 (5 "
		"recommended; more within the last 300 s)"},
	    {2, "- -", -1, 0, 100, "no replica has been ready for 15 s: stays at 2"},
	    {2, "- -", 12, 700, 100,
		"no replica has been ready for 15 s; 12 requests in flight or queued, target 0.7 per replica: stays at "
		"2"},
	    {2, "50 50", 5, 1250, 100,
		"cpu 50% of the request over 2 ready replicas, target 50%; 5 requests in flight or queued, target 1.25 "
		"per "
		"replica: 2 -> 4"},
	    {2, "50 50", -1, 1000, 100,
		"cpu 50% of the request over 2 ready replicas, target 50%; requests in flight unknown: stays at 2"},
	};

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct autoscale_policy policy = policy_50;
		struct world world;

		policy.target_in_flight_milli = cases[i].target_milli;
		policy.max_replicas = cases[i].max;
		world_init(&world, &policy, cases[i].wanted);
		world.in_flight = cases[i].in_flight;
		add_all(&world, cases[i].percents);
		world_decide(&world);
		assert_reason(&world, cases[i].expected);
		world_done(&world);
	}
}

static void
test_the_longest_reason_fits(UNUSED void **state)
{
	struct autoscale_decision decision;
	char text[AUTOSCALE_REASON_MAX];
	size_t longest = 0;

	for (int n = 0; n < 4 * 6; n++) {
		memset(&decision, 0, sizeof(decision));
		decision.policy = AUTOSCALE_POLICY_DEFAULT;
		decision.policy.target_in_flight_milli = 123456789;
		decision.policy.downscale_stabilization_ms = decision.policy.upscale_stabilization_ms = INT64_MAX;
		decision.policy.max_replicas = decision.from = decision.to = decision.recommended = 1000000000;
		decision.to--;
		decision.limit = (enum autoscale_limit)(n % 6);
		decision.cpu_percent = n / 6 % 2 ? 79 : 1000000000;
		decision.cpu_percent_counted = 1000000000;
		decision.n_measured = decision.n_missing = decision.n_not_ready = 1000000000;
		decision.in_flight_milli = 999999999999;
		autoscale_reason(&decision, text);
		longest = MAX(longest, strlen(text));
	}
	assert_in_range(longest, 200, AUTOSCALE_REASON_MAX - 2);
}

/* --- properties --------------------------------------------------------------------------------------------------------- */

static uint64_t dice = 88172645463325252ULL;

static int throw(int from, int to)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return from + (int)((dice >> 20) % (uint64_t)(to - from + 1));
}

static struct autoscale_policy
random_policy(void)
{
	struct autoscale_policy policy = policy_50;

	policy.min_replicas = throw(1, 5);
	policy.max_replicas = policy.min_replicas + throw(0, 30);
	policy.target_cpu_percent = throw(1, 100);
	policy.cpu_millicpu = throw(1, 3) == 1 ? throw(1, 50) : throw(50, 4000);
	policy.tolerance_permille = throw(0, 3) ? 100 : throw(0, 400);
	policy.window_ms = throw(0, 2) ? 60 * S : throw(1, 600 * S);
	policy.downscale_stabilization_ms = throw(0, 2) ? throw(0, 600 * S) : 0;
	policy.upscale_stabilization_ms = throw(0, 2) ? 0 : throw(0, 120 * S);
	policy.target_in_flight_milli = throw(0, 1) ? throw(1, 8000) : 0;
	return policy;
}

/* Anything may happen to the replicas; wanted is followed, or not. */
static void
shake(struct world *world)
{
	while (world->n < (size_t)world->wanted && throw(0, 3))
		world_add(world, throw(0, 3) ? throw(0, 2000) : NOT_READY);
	while (world->n > (size_t)world->wanted && throw(0, 3))
		world->n--;
	for (size_t i = 0; i < world->n; i++) {
		switch (throw(0, 40)) {
		case 0:
			world->samples[i].ready_since_ms = world->now;
			break;
		case 1:
			world->percent[i] = UNREADABLE;
			break;
		case 2:
			world->percent[i] = throw(0, 3000);
			break;
		case 3: /* died, another one instead */
			world->samples[i] = world->samples[--world->n];
			world->percent[i] = world->percent[world->n];
			world->used_us[i] = world->used_us[world->n];
			break;
		case 4:
			world->used_us[i] /= 2;
			break;
		}
	}
	world->in_flight = throw(-1, 60);
}

static void
test_whatever_happens_the_count_is_within_bounds_and_steps(UNUSED void **state)
{
	char text[AUTOSCALE_REASON_MAX];

	for (int round = 0; round < 150; round++) {
		struct autoscale_policy policy = random_policy();
		struct world world;
		size_t most = 0;

		world_init(&world, &policy, throw(policy.min_replicas, policy.max_replicas));
		for (int i = 0; i < 1500; i++) {
			int before = world.wanted;

			shake(&world);
			most = MAX(most, world.n);
			world_sample(&world);
			world_pass(&world, throw(1, 2500));
			world.wanted = autoscaler_decide(&world.autoscaler, world.now, world.wanted, &world.told);
			assert_in_range(world.wanted, policy.min_replicas, policy.max_replicas);
			assert_true(world.wanted <= MAX(before * 2, before + 4));
			assert_true((world.wanted == before) || world.told);
			if (autoscaler_last(&world.autoscaler)) {
				assert_true(autoscaler_last(&world.autoscaler)->cpu_percent >= -1);
				autoscale_reason(autoscaler_last(&world.autoscaler), text);
			}
			/* Memory follows the number of replicas, not the time. */
			assert_true(world.autoscaler.n_allocated <= MAX(4, 4 * most));
			assert_int_equal(world.autoscaler.n_replicas, world.n);
		}
		world_done(&world);
	}
}

/* Two apis that differ only in that one never has less load than the other. */
static void
test_more_load_never_means_fewer_replicas(UNUSED void **state)
{
	int differed = 0;

	for (int round = 0; round < 300; round++) {
		struct autoscale_policy policy = random_policy();
		struct world less, more;
		int base = throw(0, 200);

		policy.max_replicas += 60;
		world_init(&less, &policy, 1);
		world_init(&more, &policy, 1);
		for (int i = 0; i < 40; i++) {
			int wanted = throw(policy.min_replicas, policy.max_replicas);

			while (less.n < (size_t)wanted) {
				int percent = throw(0, 6) == 0 ? NOT_READY
				    : throw(0, 6) == 0         ? UNREADABLE
							       : throw(0, base);

				world_add(&less, percent);
				world_add(&more, percent < 0 ? percent : percent + throw(0, 1) * throw(0, 50));
			}
			less.n = more.n = (size_t)wanted;
			less.wanted = more.wanted = wanted;
			less.in_flight = throw(0, 30);
			more.in_flight = less.in_flight + throw(0, 10);
			world_decide(&less);
			world_decide(&more);
			if (less.wanted > more.wanted)
				fail_msg("round %d, %d: %d with less load, %d with more", round, i, less.wanted,
				    more.wanted);
			differed += less.wanted < more.wanted;
		}
		world_done(&less);
		world_done(&more);
	}
	assert_true(differed > 100);
}

static void
test_a_load_within_the_tolerance_changes_nothing(UNUSED void **state)
{
	for (int round = 0; round < 100; round++) {
		struct autoscale_policy policy = policy_50;
		int n = throw(1, 30);
		struct world world;

		policy.downscale_stabilization_ms = 0; /* nothing else keeps it from moving */
		policy.max_replicas = 60;
		policy.window_ms = throw(1, 120) * S;
		world_init(&world, &policy, n);
		for (int i = 0; i < 40; i++) {
			world_follow(&world, throw(45, 55));
			world_decide(&world);
			assert_int_equal(world.wanted, n);
			assert_null(world.told);
		}
		world_done(&world);
	}
}

/* The number of steps by at most doubling, or four, from one count to another. */
static int
steps(int from, int to)
{
	int n = 0;

	for (; from < to; n++)
		from = MAX(from * 2, from + 4);
	return n;
}

/*
 * A load that steps up and stays is shared by those that are READY, which a new one is after less than a period. Once the
 * window shows the whole of the load, each step takes two periods: one in which the new ones are measured. Then nothing
 * changes any more, and there are no more than the load needs.
 */
static void
test_after_a_step_the_count_converges_in_time(UNUSED void **state)
{
	for (int round = 0; round < 300; round++) {
		struct autoscale_policy policy = policy_50;
		int before = throw(1, 10), load, start_ms = throw(0, 14) * S, needed, limit;
		struct world world;

		policy.max_replicas = 150;
		load = before * 50 + throw(1, 5000); /* percent of one core, in all */
		needed = (load + 49) / 50;
		world_init(&world, &policy, before);
		world_follow(&world, 50);
		for (int i = 0; i < 6; i++)
			world_decide(&world);
		limit = (int)(policy.window_ms / PERIOD) + 2 * steps(before, needed) + 1;
		for (int i = 0; i < limit + 40; i++) {
			int ready = 0, wanted = world.wanted;

			while (world.n < (size_t)world.wanted) {
				world_add(&world, NOT_READY);
				world.percent[world.n - 1] = 0;
			}
			do {
				ready = 0;
				for (size_t r = 0; r < world.n; r++) {
					if (world.samples[r].ready_since_ms < 0 &&
					    world.now - (autoscaler_due_ms(&world.autoscaler) - PERIOD) >= start_ms)
						world.samples[r].ready_since_ms = world.now;
					ready += world.samples[r].ready_since_ms >= 0;
				}
				for (size_t r = 0; r < world.n; r++)
					world.percent[r] = world.samples[r].ready_since_ms >= 0 ? load / ready : 0;
				world_sample(&world);
				world_pass(&world, S);
			} while (world.now < autoscaler_due_ms(&world.autoscaler));
			world_decide(&world);
			assert_in_range(world.wanted, before, needed);
			if (i >= limit)
				assert_int_equal(world.wanted, wanted);
		}
		/* A load within the tolerance of what there is is one that is served. */
		assert_true(world.wanted * 55 >= load - world.wanted);
		world_done(&world);
	}
}

/* Predictions without a pause, on a host of two cores: all replicas are busy, each with at most one core. */
static void
test_a_saturated_api_grows_within_three_periods_whenever_the_load_begins(UNUSED void **state)
{
	for (int phase = 0; phase < PERIOD / S; phase++) {
		struct autoscale_policy policy = AUTOSCALE_POLICY_DEFAULT;
		int first = 0, all = 0;
		struct world world;

		policy.max_replicas = 6;
		policy.cpu_millicpu = 300;
		world_init(&world, &policy, 1);
		world_follow(&world, 0);
		for (int i = 0; i < 10; i++)
			world_decide(&world);
		for (int i = 0; i < phase; i++) {
			world_pass(&world, S);
			world_sample(&world);
		}
		for (int i = 1; all == 0 && i < 20; i++) {
			world_follow(&world, MIN(100, 200 / world.wanted));
			world_decide(&world);
			first = first == 0 && world.wanted > 1 ? i : first;
			all = world.wanted == 6 ? i : 0;
		}
		assert_in_range(first, 1, 3);
		assert_in_range(all, first, 6);
		world_done(&world);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cpu_recommends_what_the_documentation_says),
	    cmocka_unit_test(test_requests_in_flight_recommend_total_by_target),
	    cmocka_unit_test(test_the_larger_of_two_signals_wins_and_an_unknown_one_forbids_to_take_away),
	    cmocka_unit_test(test_requests_in_flight_are_averaged_since_the_last_decision),
	    cmocka_unit_test(test_a_replica_is_measured_once_it_has_been_ready_for_a_period),
	    cmocka_unit_test(test_what_was_used_before_ready_does_not_count),
	    cmocka_unit_test(test_the_average_is_over_the_window),
	    cmocka_unit_test(test_the_average_starts_anew_when_a_replica_comes_or_goes),
	    cmocka_unit_test(test_replicas_that_come_and_go_all_the_time_are_still_measured),
	    cmocka_unit_test(test_late_and_missing_samples_do_not_change_the_average),
	    cmocka_unit_test(test_a_replica_that_cannot_be_read_any_more_is_missing_after_a_period),
	    cmocka_unit_test(test_a_few_seconds_of_readings_say_nothing),
	    cmocka_unit_test(test_a_cpu_time_that_falls_is_no_negative_use),
	    cmocka_unit_test(test_the_order_of_samples_does_not_matter),
	    cmocka_unit_test(test_one_step_doubles_or_adds_four),
	    cmocka_unit_test(test_fewer_are_wanted_once_the_highest_recommendation_is_old),
	    cmocka_unit_test(test_a_spike_within_the_window_keeps_the_count_up),
	    cmocka_unit_test(test_the_first_count_is_kept_for_the_stabilization_window),
	    cmocka_unit_test(test_more_are_wanted_once_the_lowest_recommendation_is_old),
	    cmocka_unit_test(test_without_stabilization_the_count_follows_at_once),
	    cmocka_unit_test(test_a_stabilization_window_of_a_day),
	    cmocka_unit_test(test_a_count_outside_the_limits_is_put_right_at_once),
	    cmocka_unit_test(test_decisions_are_due_each_period_and_lateness_does_not_add_up),
	    cmocka_unit_test(test_what_changes_is_told_and_kept),
	    cmocka_unit_test(test_a_limit_that_is_reached_is_told_once),
	    cmocka_unit_test(test_a_fixed_count_is_not_told_about),
	    cmocka_unit_test(test_replicas_that_cannot_be_read_are_told),
	    cmocka_unit_test(test_reasons),
	    cmocka_unit_test(test_the_longest_reason_fits),
	    cmocka_unit_test(test_whatever_happens_the_count_is_within_bounds_and_steps),
	    cmocka_unit_test(test_more_load_never_means_fewer_replicas),
	    cmocka_unit_test(test_a_load_within_the_tolerance_changes_nothing),
	    cmocka_unit_test(test_after_a_step_the_count_converges_in_time),
	    cmocka_unit_test(test_a_saturated_api_grows_within_three_periods_whenever_the_load_begins),
	};

	return cmocka_run_group_tests_name("autoscale", tests, NULL, NULL);
}
