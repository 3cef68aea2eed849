/*
 * recent - quantiles of the last seconds: of what a histogram has got since it was looked at 5 to 10 seconds ago.
 */
#ifndef MONITOR_RECENT_H
#define MONITOR_RECENT_H

#include "monitor/numbers.h"

struct recent {
	double seconds; /* how long that is; 0: nobody has looked for a while, so it is not known */
	uint64_t count;
	double sum_seconds;
	double quantile_seconds[NUMBERS_QUANTILES]; /* 0 when there are none */
	struct recent_look {
		int64_t at_ms;
		uint64_t buckets[METRICS_BUCKETS];
	} since, next; /* and the one that follows it in 5 seconds */
};

/* What the histogram has now. A new one is all zero; the times are clock_ms(). */
void recent_take(struct recent *recent, const uint64_t buckets[METRICS_BUCKETS], int64_t now_ms);

#endif
