/*
 * recent - see recent.h.
 */
#include "monitor/recent.h"

#include <string.h>

#define PERIOD_MS 5000
#define STALE_MS  (3 * PERIOD_MS)

static void
look(struct recent_look *look, const uint64_t buckets[METRICS_BUCKETS], int64_t now_ms)
{
	look->at_ms = now_ms;
	memcpy(look->buckets, buckets, sizeof(look->buckets));
}

void
recent_take(struct recent *recent, const uint64_t buckets[METRICS_BUCKETS], int64_t now_ms)
{
	uint64_t more[METRICS_BUCKETS];

	if (recent->next.at_ms == 0 || now_ms - recent->next.at_ms > STALE_MS) {
		look(&recent->next, buckets, now_ms);
		recent->since = recent->next;
	} else if (now_ms - recent->next.at_ms >= PERIOD_MS) {
		recent->since = recent->next;
		look(&recent->next, buckets, now_ms);
	}
	for (size_t i = 0; i < METRICS_BUCKETS; i++)
		more[i] = buckets[i] - MIN(buckets[i], recent->since.buckets[i]);
	recent->seconds = (double)(now_ms - recent->since.at_ms) / 1000;
	recent->count = metrics_count(more);
	recent->sum_seconds = metrics_sum_ns(more) / 1e9;
	for (size_t q = 0; q < NUMBERS_QUANTILES; q++)
		recent->quantile_seconds[q] = metrics_quantile_ns(more, numbers_quantiles[q]) / 1e9;
}
