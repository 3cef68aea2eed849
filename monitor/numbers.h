/*
 * numbers - what the monitor keeps of what an api has counted (common/metrics.h): what is shown, without the buckets.
 */
#ifndef MONITOR_NUMBERS_H
#define MONITOR_NUMBERS_H

#include "common/metrics.h"
#include "common/util.h"

/* Upper bounds of the histograms that are shown: METRICS_UNIT_NS << NUMBERS_FIRST and so on, 8.2 us to 137 s. */
#define NUMBERS_FIRST  7
#define NUMBERS_BOUNDS 25

#define NUMBERS_QUANTILES 4

extern const double numbers_quantiles[NUMBERS_QUANTILES]; /* 0.5, 0.9, 0.99, 0.999 */
extern const char *const numbers_quantile_names[NUMBERS_QUANTILES];

struct recent;

struct numbers {
	bool known; /* else they could not be read, and all is zero */
	uint64_t counters[METRIC_N];
	struct {
		uint64_t below[NUMBERS_BOUNDS]; /* how many were below each bound */
		uint64_t count;
		double sum_seconds;
		double quantile_seconds[NUMBERS_QUANTILES]; /* 0 when there are none */
	} histograms[METRICS_N_HISTOGRAMS];
	struct recent *recent; /* of METRICS_TOTAL; NULL until it could be read for the first time */
	struct metrics_values values;
	size_t n_classes;
	struct {
		char *name; /* valid UTF-8 */
		uint64_t n;
	} * classes;
};

/* In nanoseconds; number is less than NUMBERS_BOUNDS. */
static inline uint64_t
numbers_bound_ns(size_t number)
{
	return METRICS_UNIT_NS << (NUMBERS_FIRST + number);
}

/* recent: as of the last time, taken; or NULL. */
void numbers_take(struct numbers *numbers, const struct metrics_sum *sum, struct recent *recent, int64_t now_ms);
void numbers_done(struct numbers *numbers); /* all zero is fine */

#endif
