/*
 * autoscale - see autoscale.h, which has the rules. Integers throughout: a usage of exactly the tolerance is within it, and
 * the same numbers decide the same everywhere.
 *
 * A replica's CPU time is kept as a few readings, at least window / AUTOSCALE_READINGS apart, and the last one. The times are
 * cumulative, so an average over any two readings is exact: what a late or missing sample costs is where the span begins.
 */
#include "supervisor/autoscale.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A span of readings shorter than this says nothing: a sample late by a third of the period is still good enough. */
#define SPAN_MIN_MS (AUTOSCALE_MEASURE_MS * 2 / 3)

/* The last reading must be younger than this, or the replica has not been read. */
#define STALE_MS AUTOSCALE_MEASURE_MS

#define MICROCPU_PER_MILLICPU 1000

/* Ten thousand cores, and a thousand million requests: nobody has them, and no sum of them overflows. */
#define US_PER_MS_MAX INT64_C(10000000)
#define IN_FLIGHT_MAX INT64_C(1000000000)

struct reading {
	int64_t at_ms;
	int64_t used_us; /* since the first reading; never falls */
};

struct autoscale_replica {
	uint64_t id;
	int64_t ready_since_ms;                      /* -1: not ready */
	int64_t cpu_us;                              /* the counter, as of the last reading */
	struct reading last;                         /* since READY was noticed; at_ms is -1 when there is none */
	struct reading readings[AUTOSCALE_READINGS]; /* a ring, likewise; none newer than last */
	uint32_t n_readings;
};

/* How the replicas of an api are, at a decision. */
struct usage {
	int64_t total_microcpu; /* of the measured ones */
	int n_measured;
	int n_not_ready;
	int n_missing;
	bool any_ready; /* measured or not */
};

static int
to_int(int64_t n)
{
	return (int)MIN(n, INT_MAX);
}

static int64_t
divide_up(int64_t a, int64_t b)
{
	return a / b + (a % b > 0);
}

static void
check_policy(const struct autoscale_policy *policy)
{
	ASSERT(policy->min_replicas >= 1 && policy->max_replicas >= policy->min_replicas);
	ASSERT(policy->target_cpu_percent > 0 && policy->cpu_millicpu > 0);
	ASSERT(policy->tolerance_permille >= 0 && policy->tolerance_permille <= 10000);
	ASSERT(
	    policy->window_ms > 0 && policy->downscale_stabilization_ms >= 0 && policy->upscale_stabilization_ms >= 0);
	ASSERT(policy->target_in_flight_milli >= 0 && policy->target_in_flight_milli <= 1000 * 1000 * 1000);
}

void
autoscaler_init(struct autoscaler *autoscaler, const struct autoscale_policy *policy, int64_t now_ms)
{
	memset(autoscaler, 0, sizeof(*autoscaler));
	autoscaler_set_policy(autoscaler, policy);
	autoscaler->shared_since_ms = now_ms;
	autoscaler->due_ms = now_ms + AUTOSCALE_PERIOD_MS;
	autoscaler->last.at_ms = -1;
}

void
autoscaler_done(struct autoscaler *autoscaler)
{
	free(autoscaler->replicas);
	autoscaler->replicas = NULL;
	autoscaler->n_replicas = autoscaler->n_allocated = 0;
}

void
autoscaler_set_policy(struct autoscaler *autoscaler, const struct autoscale_policy *policy)
{
	check_policy(policy);
	autoscaler->policy = *policy;
}

int64_t
autoscaler_due_ms(const struct autoscaler *autoscaler)
{
	return autoscaler->due_ms;
}

/* --- samples ---------------------------------------------------------------------------------------------------------- */

/* Put the replica with this id at `place`, a new one if there is none; those before it are in their places. */
static bool
bring_to(struct autoscaler *autoscaler, size_t place, uint64_t id)
{
	struct autoscale_replica *replicas = autoscaler->replicas;
	size_t i = place, allocated;

	while (i < autoscaler->n_replicas && replicas[i].id != id)
		i++;
	if (i == autoscaler->n_replicas) {
		if (i == autoscaler->n_allocated) {
			allocated = MAX(i * 2, 4);
			replicas = reallocarray(replicas, allocated, sizeof(*replicas));
			if (!replicas)
				return false;
			autoscaler->replicas = replicas;
			autoscaler->n_allocated = allocated;
		}
		replicas[i] = (struct autoscale_replica){.id = id, .ready_since_ms = -1, .last.at_ms = -1};
		autoscaler->n_replicas++;
	}
	if (i != place) {
		struct autoscale_replica other = replicas[place];

		replicas[place] = replicas[i];
		replicas[i] = other;
	}
	return true;
}

static void
note_reading(struct autoscale_replica *replica, int64_t now_ms, int64_t cpu_us, bool keep)
{
	struct reading *last = &replica->last;

	if (last->at_ms < 0) {
		*last = (struct reading){.at_ms = now_ms};
		replica->cpu_us = cpu_us;
	} else if (now_ms > last->at_ms) {
		last->used_us += MIN(MAX(cpu_us - replica->cpu_us, 0), (now_ms - last->at_ms) * US_PER_MS_MAX);
		last->at_ms = now_ms;
		replica->cpu_us = cpu_us;
	}
	if (keep)
		replica->readings[replica->n_readings++ % AUTOSCALE_READINGS] = *last;
}

/* Should the next reading be kept? The first one, one each apart_ms, and the first one since the load is shared anew. */
static bool
is_to_be_kept(const struct autoscaler *autoscaler, const struct autoscale_replica *replica, int64_t now_ms)
{
	int64_t apart_ms = autoscaler->policy.window_ms / (AUTOSCALE_READINGS - 1) + 1, newest_ms;

	if (replica->n_readings == 0)
		return true;
	newest_ms = replica->readings[(replica->n_readings - 1) % AUTOSCALE_READINGS].at_ms;
	return now_ms - newest_ms >= apart_ms || newest_ms < autoscaler->shared_since_ms;
}

void
autoscaler_sample(
    struct autoscaler *autoscaler, int64_t now_ms, const struct autoscale_sample *samples, size_t n, int64_t in_flight)
{
	for (size_t i = 0; i < n; i++) {
		struct autoscale_replica *replica;

		/* Without memory it is one that has not been started: no reason to add or to take away. */
		if (!bring_to(autoscaler, i, samples[i].id)) {
			n = i;
			break;
		}
		replica = &autoscaler->replicas[i];
		if (replica->ready_since_ms != samples[i].ready_since_ms) {
			replica->ready_since_ms = samples[i].ready_since_ms;
			replica->last.at_ms = -1;
			replica->n_readings = 0;
			autoscaler->shared_since_ms = now_ms;
		}
	}
	for (size_t i = n; i < autoscaler->n_replicas; i++) {
		if (autoscaler->replicas[i].ready_since_ms >= 0)
			autoscaler->shared_since_ms = now_ms;
	}
	autoscaler->n_replicas = n;
	for (size_t i = 0; i < n; i++) {
		struct autoscale_replica *replica = &autoscaler->replicas[i];

		if (samples[i].cpu_us >= 0)
			note_reading(replica, now_ms, samples[i].cpu_us, is_to_be_kept(autoscaler, replica, now_ms));
	}
	if (in_flight >= 0) {
		autoscaler->in_flight_sum += MIN(in_flight, IN_FLIGHT_MAX);
		autoscaler->in_flight_n++;
	}
}

/* --- the signals ------------------------------------------------------------------------------------------------------ */

/* The CPU that a replica used since about from_ms, or -1: its readings do not say. */
static int64_t
measure_microcpu(const struct autoscale_replica *replica, int64_t now_ms, int64_t from_ms)
{
	uint32_t n = MIN(replica->n_readings, AUTOSCALE_READINGS);
	const struct reading *first = NULL;
	int64_t span_ms;

	if (replica->last.at_ms < 0 || now_ms - replica->last.at_ms >= STALE_MS)
		return -1;
	/* The newest reading at or before from_ms, or the oldest. */
	for (uint32_t i = 1; i <= n; i++) {
		first = &replica->readings[(replica->n_readings - i) % AUTOSCALE_READINGS];
		if (first->at_ms <= from_ms)
			break;
	}
	if (!first)
		return -1;
	span_ms = replica->last.at_ms - first->at_ms;
	if (span_ms < SPAN_MIN_MS)
		return -1;
	return (replica->last.used_us - first->used_us) * 1000 / span_ms;
}

static struct usage
measure(const struct autoscaler *autoscaler, int64_t now_ms, int wanted)
{
	int64_t from_ms = MAX(autoscaler->shared_since_ms, now_ms - autoscaler->policy.window_ms);
	struct usage usage = {0};
	int64_t microcpu;

	from_ms = MIN(from_ms, now_ms - AUTOSCALE_MEASURE_MS);
	for (size_t i = 0; i < autoscaler->n_replicas; i++) {
		const struct autoscale_replica *replica = &autoscaler->replicas[i];

		usage.any_ready = usage.any_ready || replica->ready_since_ms >= 0;
		if (replica->ready_since_ms < 0 || now_ms - replica->ready_since_ms < AUTOSCALE_MEASURE_MS) {
			usage.n_not_ready++;
			continue;
		}
		microcpu = measure_microcpu(replica, now_ms, from_ms);
		if (microcpu < 0) {
			usage.n_missing++;
			continue;
		}
		usage.n_measured++;
		usage.total_microcpu += microcpu;
	}
	usage.n_not_ready += MAX(wanted - (int)autoscaler->n_replicas, 0);
	return usage;
}

static int64_t
percent(int64_t microcpu, int n, int64_t cpu_millicpu)
{
	return microcpu * 100 / (n * cpu_millicpu * MICROCPU_PER_MILLICPU);
}

static bool
on_target(int64_t value, int64_t target, int tolerance_permille)
{
	return (value > target ? value - target : target - value) * 1000 <= target * tolerance_permille;
}

/* How many replicas the CPU asks for; -1: nothing was measured. */
static int
recommend_by_cpu(struct autoscale_decision *decision, const struct usage *usage)
{
	const struct autoscale_policy *policy = &decision->policy;
	int64_t target = policy->target_cpu_percent, first, second, total = usage->total_microcpu;
	int n = usage->n_measured, wanted;

	decision->n_measured = usage->n_measured;
	decision->n_not_ready = usage->n_not_ready;
	decision->n_missing = usage->n_missing;
	if (n == 0)
		return -1;
	first = percent(total, n, policy->cpu_millicpu);
	if (first > target) {
		n += usage->n_not_ready + usage->n_missing;
	} else if (first < target) {
		n += usage->n_missing;
		total += usage->n_missing * policy->cpu_millicpu * MICROCPU_PER_MILLICPU;
	}
	second = n == usage->n_measured ? first : percent(total, n, policy->cpu_millicpu);
	decision->cpu_percent = first;
	decision->cpu_percent_counted = second;
	if (on_target(second, target, policy->tolerance_permille) || (first > target) != (second > target))
		return decision->from;
	wanted = to_int(divide_up(second * n, target));
	return second > target ? MAX(wanted, decision->from) : MIN(wanted, decision->from);
}

/* How many the requests in flight ask for; -1: unknown, or all of them wait for a start. */
static int
recommend_by_in_flight(struct autoscale_decision *decision, const struct usage *usage, int64_t sum, int64_t n)
{
	int64_t target = decision->policy.target_in_flight_milli, total;

	if (n == 0)
		return -1;
	total = sum * 1000 / n;
	decision->in_flight_milli = total;
	if (!usage->any_ready)
		return -1;
	if (on_target(total, target * decision->from, decision->policy.tolerance_permille))
		return decision->from;
	return to_int(divide_up(total, target));
}

/* The larger of both. An unknown one wants what there is. */
static int
recommend(struct autoscaler *autoscaler, struct autoscale_decision *decision)
{
	struct usage usage = measure(autoscaler, decision->at_ms, decision->from);
	int by_cpu, by_in_flight;

	by_cpu = decision->cpu_recommended = recommend_by_cpu(decision, &usage);
	if (by_cpu < 0)
		by_cpu = decision->from;
	if (usage.n_measured == 0 && usage.n_missing > 0)
		decision->state = AUTOSCALE_BLIND;
	if (decision->policy.target_in_flight_milli == 0)
		return by_cpu;
	by_in_flight = decision->in_flight_recommended = recommend_by_in_flight(
	    decision, &usage, autoscaler->in_flight_sum, autoscaler->in_flight_n);
	if (by_in_flight < 0)
		by_in_flight = decision->from;
	return MAX(by_cpu, by_in_flight);
}

/* --- from the recommendation to the count ----------------------------------------------------------------------------- */

static void
remember(struct autoscaler *autoscaler, int64_t now_ms, int recommended)
{
	struct autoscale_recommendation *newest =
	    &autoscaler->recommendations[(autoscaler->n_recommendations - 1) % AUTOSCALE_RECOMMENDATIONS];
	int64_t longest_ms = MAX(
	    autoscaler->policy.downscale_stabilization_ms, autoscaler->policy.upscale_stabilization_ms);

	/* Windows of up to an hour, the longest that Kubernetes allows, have a place for each. */
	if (autoscaler->n_recommendations > 0 &&
	    now_ms - newest->first_ms < longest_ms / (AUTOSCALE_RECOMMENDATIONS - 1)) {
		newest->last_ms = now_ms;
		newest->least = MIN(newest->least, recommended);
		newest->greatest = MAX(newest->greatest, recommended);
		return;
	}
	autoscaler->recommendations[autoscaler->n_recommendations++ % AUTOSCALE_RECOMMENDATIONS] =
	    (struct autoscale_recommendation){
		.first_ms = now_ms, .last_ms = now_ms, .least = recommended, .greatest = recommended};
}

/* The least recommendation of the upscale window and the greatest of the downscale window. */
static void
look_back(const struct autoscaler *autoscaler, int64_t now_ms, int *least, int *greatest)
{
	uint64_t n = MIN(autoscaler->n_recommendations, AUTOSCALE_RECOMMENDATIONS);

	for (uint64_t i = 0; i < n; i++) {
		const struct autoscale_recommendation *r = &autoscaler->recommendations[i];

		if (now_ms - r->last_ms < autoscaler->policy.upscale_stabilization_ms)
			*least = MIN(*least, r->least);
		if (now_ms - r->last_ms < autoscaler->policy.downscale_stabilization_ms)
			*greatest = MAX(*greatest, r->greatest);
	}
}

/* Sets decision->to, limit and state. */
static void
limit(struct autoscaler *autoscaler, struct autoscale_decision *decision)
{
	const struct autoscale_policy *policy = &decision->policy;
	int from = MIN(MAX(decision->from, policy->min_replicas), policy->max_replicas), least, greatest, to, step;

	if (from != decision->from) {
		decision->recommended = from;
		decision->limit = from < decision->from ? AUTOSCALE_LIMIT_MAX : AUTOSCALE_LIMIT_MIN;
	}
	if (autoscaler->n_recommendations == 0)
		remember(autoscaler, decision->at_ms, from);
	least = greatest = decision->recommended;
	look_back(autoscaler, decision->at_ms, &least, &greatest);
	remember(autoscaler, decision->at_ms, decision->recommended);
	/* A count that the user has fixed is what the user wants. */
	if (decision->state == AUTOSCALE_FOLLOWS && greatest > policy->max_replicas &&
	    policy->max_replicas > policy->min_replicas)
		decision->state = AUTOSCALE_WANTS_MORE;

	to = MIN(MAX(from, least), greatest);
	if (to != decision->recommended)
		decision->limit = to < decision->recommended ? AUTOSCALE_LIMIT_UPSCALE : AUTOSCALE_LIMIT_DOWNSCALE;
	step = to_int((int64_t)from + MAX((int64_t)from * AUTOSCALE_STEP_PERCENT / 100, AUTOSCALE_STEP_REPLICAS));
	if (to > step) {
		to = step;
		decision->limit = AUTOSCALE_LIMIT_STEP;
	}
	to = MIN(MAX(to, policy->min_replicas), policy->max_replicas);
	if (decision->recommended > policy->max_replicas && to == policy->max_replicas)
		decision->limit = AUTOSCALE_LIMIT_MAX;
	else if (decision->recommended < policy->min_replicas && to == policy->min_replicas)
		decision->limit = AUTOSCALE_LIMIT_MIN;
	decision->to = to;
}

int
autoscaler_decide(struct autoscaler *autoscaler, int64_t now_ms, int wanted, const struct autoscale_decision **ret_told)
{
	enum autoscale_state state_before = autoscaler->last.state;
	struct autoscale_decision *decision = &autoscaler->last;
	bool told;

	if (ret_told)
		*ret_told = NULL;
	if (now_ms < autoscaler->due_ms)
		return wanted;
	/* On a grid, so that what a timer is late by does not add up; after a long pause from here on. */
	autoscaler->due_ms += AUTOSCALE_PERIOD_MS;
	if (autoscaler->due_ms <= now_ms)
		autoscaler->due_ms = now_ms + AUTOSCALE_PERIOD_MS;

	*decision = (struct autoscale_decision){.at_ms = now_ms,
	    .from = wanted,
	    .cpu_percent = -1,
	    .cpu_percent_counted = -1,
	    .in_flight_milli = -1,
	    .in_flight_recommended = -1,
	    .policy = autoscaler->policy};
	decision->recommended = recommend(autoscaler, decision);
	autoscaler->in_flight_sum = autoscaler->in_flight_n = 0;
	limit(autoscaler, decision);

	told = decision->to != decision->from || decision->state != state_before;
	if (told)
		autoscaler->decisions[autoscaler->n_decisions++ % AUTOSCALE_DECISIONS] = *decision;
	if (told && ret_told)
		*ret_told = decision;
	return decision->to;
}

const struct autoscale_decision *
autoscaler_last(const struct autoscaler *autoscaler)
{
	return autoscaler->last.at_ms < 0 ? NULL : &autoscaler->last;
}

const struct autoscale_decision *
autoscaler_told(const struct autoscaler *autoscaler, size_t number)
{
	if (number >= MIN(autoscaler->n_decisions, AUTOSCALE_DECISIONS))
		return NULL;
	return &autoscaler->decisions[(autoscaler->n_decisions - 1 - number) % AUTOSCALE_DECISIONS];
}

/* --- in words --------------------------------------------------------------------------------------------------------- */

static void PRINTFLIKE(2) add(char text[AUTOSCALE_REASON_MAX], const char *format, ...)
{
	size_t length = strlen(text);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text + length, AUTOSCALE_REASON_MAX - length, format, arguments);
	va_end(arguments);
}

/* Thousandths as a decimal number without zeros at its end. */
static void
add_milli(char text[AUTOSCALE_REASON_MAX], int64_t milli)
{
	int digits = 3;
	int64_t fraction = milli % 1000;

	while (digits > 0 && fraction % 10 == 0) {
		fraction /= 10;
		digits--;
	}
	add(text, "%lld", (long long)(milli / 1000));
	if (digits > 0)
		add(text, ".%0*d", digits, (int)fraction);
}

static void
add_cpu(char text[AUTOSCALE_REASON_MAX], const struct autoscale_decision *decision)
{
	if (decision->n_measured == 0) {
		if (decision->n_missing > 0)
			add(text, "cpu of no ready replica can be read");
		else
			add(text, "no replica has been ready for %d s", AUTOSCALE_MEASURE_MS / 1000);
		return;
	}
	add(text, "cpu %lld%% of the request over %d ready replica%s", (long long)decision->cpu_percent,
	    decision->n_measured, decision->n_measured == 1 ? "" : "s");
	if (decision->cpu_percent > decision->policy.target_cpu_percent &&
	    decision->n_not_ready + decision->n_missing > 0) {
		add(text, " (%lld%% with", (long long)decision->cpu_percent_counted);
		if (decision->n_not_ready > 0)
			add(text, " %d not measured yet", decision->n_not_ready);
		if (decision->n_missing > 0)
			add(text, "%s %d not readable", decision->n_not_ready > 0 ? " and" : "", decision->n_missing);
		add(text, " at 0%%)");
	} else if (decision->cpu_percent < decision->policy.target_cpu_percent && decision->n_missing > 0) {
		add(text, " (%lld%% with %d not readable at 100%%)", (long long)decision->cpu_percent_counted,
		    decision->n_missing);
	}
	add(text, ", target %d%%", decision->policy.target_cpu_percent);
}

/* What was recommended, and why it did not come to that. */
static void
add_limit(char text[AUTOSCALE_REASON_MAX], const struct autoscale_decision *decision)
{
	const struct autoscale_policy *policy = &decision->policy;

	if (decision->limit == AUTOSCALE_LIMIT_NONE)
		return;
	add(text, " (");
	if (decision->from >= policy->min_replicas && decision->from <= policy->max_replicas)
		add(text, "%d recommended; ", decision->recommended);
	switch (decision->limit) {
	case AUTOSCALE_LIMIT_NONE:
		break;
	case AUTOSCALE_LIMIT_UPSCALE:
		add(text, "fewer within the last %lld s", (long long)(policy->upscale_stabilization_ms / 1000));
		break;
	case AUTOSCALE_LIMIT_DOWNSCALE:
		add(text, "more within the last %lld s", (long long)(policy->downscale_stabilization_ms / 1000));
		break;
	case AUTOSCALE_LIMIT_STEP:
		add(text, "one step adds no more");
		break;
	case AUTOSCALE_LIMIT_MAX:
		add(text, "max_replicas %d", policy->max_replicas);
		break;
	case AUTOSCALE_LIMIT_MIN:
		add(text, "min_replicas %d", policy->min_replicas);
		break;
	}
	add(text, ")");
}

void
autoscale_reason(const struct autoscale_decision *decision, char text[AUTOSCALE_REASON_MAX])
{
	text[0] = '\0';
	add_cpu(text, decision);
	if (decision->in_flight_milli >= 0) {
		add(text, "; ");
		add_milli(text,
		    decision->in_flight_milli -
			decision->in_flight_milli % (decision->in_flight_milli < 10000 ? 10 : 1000));
		add(text, " requests in flight or queued, target ");
		add_milli(text, decision->policy.target_in_flight_milli);
		add(text, " per replica");
	} else if (decision->policy.target_in_flight_milli > 0) {
		add(text, "; requests in flight unknown");
	}
	if (decision->to != decision->from)
		add(text, ": %d -> %d", decision->from, decision->to);
	else
		add(text, ": stays at %d", decision->from);
	add_limit(text, decision);
}
