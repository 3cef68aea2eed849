/*
 * numbers - see numbers.h.
 */
#include "monitor/numbers.h"

#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "monitor/recent.h"

const double numbers_quantiles[NUMBERS_QUANTILES] = {0.5, 0.9, 0.99, 0.999};
const char *const numbers_quantile_names[NUMBERS_QUANTILES] = {"0.5", "0.9", "0.99", "0.999"};

/* It was written by a replica, which may write anything. */
static char *
class_name(const char *name)
{
	char *copy = xstrdup(name);

	if (!utf8_is_valid(copy, strlen(copy)))
		for (char *at = copy; *at; at++)
			if (*at & 0x80)
				*at = '?';
	return copy;
}

/* Those that are shown by the same name are one. Owns name. */
static void
add_class(struct numbers *numbers, char *name, uint64_t n)
{
	for (size_t i = 0; i < numbers->n_classes; i++)
		if (!strcmp(numbers->classes[i].name, name)) {
			numbers->classes[i].n += n;
			free(name);
			return;
		}
	numbers->classes[numbers->n_classes].name = name;
	numbers->classes[numbers->n_classes++].n = n;
}

void
numbers_take(struct numbers *numbers, const struct metrics_sum *sum, struct recent *recent, int64_t now_ms)
{
	memset(numbers, 0, sizeof(*numbers));
	numbers->known = true;
	memcpy(numbers->counters, sum->counters, sizeof(numbers->counters));
	for (int i = 0; i < METRICS_N_HISTOGRAMS; i++) {
		const uint64_t *buckets = sum->buckets[i];

		for (size_t bound = 0; bound < NUMBERS_BOUNDS; bound++)
			numbers->histograms[i].below[bound] = metrics_count_below(buckets, numbers_bound_ns(bound));
		numbers->histograms[i].count = metrics_count(buckets);
		numbers->histograms[i].sum_seconds = metrics_sum_ns(buckets) / 1e9;
		for (size_t q = 0; q < NUMBERS_QUANTILES; q++)
			numbers->histograms[i].quantile_seconds[q] = metrics_quantile_ns(
									 buckets, numbers_quantiles[q]) /
			    1e9;
	}
	numbers->recent = recent ? recent : xcalloc(1, sizeof(*recent));
	recent_take(numbers->recent, sum->buckets[METRICS_TOTAL], now_ms);
	numbers->values = sum->values;
	numbers->classes = xcalloc(MAX(sum->n_classes, 1), sizeof(*numbers->classes));
	for (size_t i = 0; i < sum->n_classes; i++)
		add_class(numbers, class_name(sum->classes[i].name), sum->classes[i].n);
}

void
numbers_done(struct numbers *numbers)
{
	for (size_t i = 0; i < numbers->n_classes; i++)
		free(numbers->classes[i].name);
	free(numbers->classes);
	free(numbers->recent);
	memset(numbers, 0, sizeof(*numbers));
}
