/*
 * view - see view.h.
 */
#include "monitor/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/scoreboard.h"
#include "monitor/recent.h"

int
view_init(struct view *view, int fd)
{
	memset(view, 0, sizeof(*view));
	return metrics_reader_new(fd, &view->reader);
}

static void
drop_numbers(struct view *view)
{
	for (size_t i = 0; i < view->n_apis; i++)
		numbers_done(&view->numbers[i]);
	free(view->numbers);
	view->numbers = NULL;
	view->n_apis = 0;
}

void
view_done(struct view *view)
{
	drop_numbers(view);
	json_decref(view->status);
	free(view->text);
	metrics_reader_free(view->reader);
	memset(view, 0, sizeof(*view));
}

/* ---- what was counted, as JSON ---- */

static json_t *
integer(uint64_t n)
{
	return json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX));
}

static json_t *
times_of(uint64_t count, double sum_seconds, const double quantile_seconds[NUMBERS_QUANTILES])
{
	return json_pack("{so sf sf sf sf sf}", "count", integer(count), "mean",
	    count > 0 ? sum_seconds * 1000 / (double)count : 0.0, "p50", quantile_seconds[0] * 1000, "p90",
	    quantile_seconds[1] * 1000, "p99", quantile_seconds[2] * 1000, "p999", quantile_seconds[3] * 1000);
}

static json_t *
histogram_of(const struct numbers *numbers, enum metrics_histogram histogram)
{
	return times_of(numbers->histograms[histogram].count, numbers->histograms[histogram].sum_seconds,
	    numbers->histograms[histogram].quantile_seconds);
}

static json_t *
recent_of(const struct recent *recent)
{
	json_t *times;

	if (!recent || recent->seconds <= 0)
		return json_null();
	times = times_of(recent->count, recent->sum_seconds, recent->quantile_seconds);
	json_object_set_new(times, "seconds", json_real(recent->seconds));
	return times;
}

static json_t *
classes_of(const struct numbers *numbers)
{
	json_t *classes = json_object();

	for (size_t i = 0; i < numbers->n_classes; i++)
		json_object_set_new(classes, numbers->classes[i].name, integer(numbers->classes[i].n));
	return json_pack("{so so so}", "classes", classes, "other", integer(numbers->counters[METRIC_OTHER_CLASS]),
	    "untracked", integer(numbers->counters[METRIC_UNTRACKED]));
}

/* A number that JSON has; NaN and infinities, which only scribbling could make, are null. */
static json_t *
real(double number)
{
	json_t *value = json_real(number);

	return value ? value : json_null();
}

static json_t *
values_of(const struct numbers *numbers)
{
	const struct metrics_values *values = &numbers->values;
	bool any = values->n > 0;

	return json_pack("{so so so so so}", "count", integer(values->n), "min", any ? real(values->min) : json_null(),
	    "max", any ? real(values->max) : json_null(), "avg",
	    any ? real(values->sum / (double)values->n) : json_null(), "untracked",
	    integer(numbers->counters[METRIC_UNTRACKED]));
}

static json_t *
tracker_of(const json_t *api, const struct numbers *numbers)
{
	const char *type = json_string_value(json_object_get(json_object_get(api, "tracker"), "model_type"));

	if (!type)
		return json_null();
	return strcmp(type, "regression") ? classes_of(numbers) : values_of(numbers);
}

/* Requests that a replica has or that wait for one, and the latter alone. Children may have written anything there. */
static void
count_requests(const struct scoreboard *scoreboard, uint32_t number, uint64_t *ret_in_flight, uint64_t *ret_queued)
{
	const struct scoreboard_api *words = &scoreboard->apis[number];
	uint32_t first = words->first_slot, n = MIN(atomic_load(&words->n_used), words->n_slots);
	uint64_t running = 0, pending = 0;

	*ret_queued = atomic_load(&words->n_queued);
	for (uint32_t i = 0; first < SCOREBOARD_SLOTS_MAX && i < MIN(n, SCOREBOARD_SLOTS_MAX - first); i++) {
		const struct scoreboard_slot *slot = &scoreboard->slots[first + i];
		uint32_t state = atomic_load(&slot->state);

		if (state == REPLICA_DEAD || state == REPLICA_STARTING)
			continue;
		running += state == REPLICA_CLAIMED || state == REPLICA_BUSY || state == REPLICA_LONG;
		pending += atomic_load(&slot->pending);
	}
	*ret_in_flight = *ret_queued + running + pending;
}

static json_t *
metrics_of(const json_t *api, const struct numbers *numbers, uint64_t in_flight, uint64_t queued)
{
	static const struct {
		const char *name;
		enum metric metric;
	} counters[] = {
	    {"rejected", METRIC_REJECTED},
	    {"timed_out", METRIC_TIMED_OUT},
	    {"failed", METRIC_FAILED},
	    {"exceptions", METRIC_EXCEPTIONS},
	    {"client_gone", METRIC_CLIENT_GONE},
	    {"moved", METRIC_MOVED},
	    {"bytes_in", METRIC_BYTES_IN},
	    {"bytes_out", METRIC_BYTES_OUT},
	};
	const uint64_t *n = numbers->counters;
	json_t *object = json_object();

	json_object_set_new(object, "requests",
	    json_pack("{so so so so}", "2xx", integer(n[METRIC_2XX]), "3xx", integer(n[METRIC_3XX]), "4xx",
		integer(n[METRIC_4XX]), "5xx", integer(n[METRIC_5XX])));
	for (size_t i = 0; i < N_ELEMENTS(counters); i++)
		json_object_set_new(object, counters[i].name, integer(n[counters[i].metric]));
	json_object_set_new(object, "in_flight", integer(in_flight));
	json_object_set_new(object, "queued", integer(queued));
	json_object_set_new(object, "latency_ms",
	    json_pack("{so so so so}", "queue", histogram_of(numbers, METRICS_QUEUE), "prediction",
		histogram_of(numbers, METRICS_PREDICT), "total", histogram_of(numbers, METRICS_TOTAL), "recent",
		recent_of(numbers->recent)));
	json_object_set_new(object, "tracker", tracker_of(api, numbers));
	return object;
}

/* ---- taking ---- */

static bool
has_same(const json_t *a, const json_t *b, const char *key)
{
	return json_equal(json_object_get(a, key), json_object_get(b, key));
}

/* What is known of the api from the last time, taken out of the view. */
static struct numbers
take_numbers(struct view *view, const json_t *api)
{
	struct numbers numbers = {.known = false};
	json_t *apis = json_object_get(view->status, "apis"), *old;
	size_t i;

	json_array_foreach(apis, i, old)
	{
		if (i >= view->n_apis || !has_same(old, api, "number") || !has_same(old, api, "name") ||
		    !has_same(old, api, "endpoint"))
			continue;
		numbers = view->numbers[i];
		memset(&view->numbers[i], 0, sizeof(view->numbers[i]));
		break;
	}
	return numbers;
}

/* If they cannot be read now, what was known stays: a counter that is zero for once would have begun anew, to whoever looks. */
static struct numbers
read_api(struct view *view, const json_t *api, uint32_t number, int64_t now_ms)
{
	static struct metrics_sum sum;
	struct numbers old = take_numbers(view, api), numbers;

	if (metrics_read(view->reader, number, &sum) < 0) {
		log_debug("what api %u has counted cannot be read now", number);
		return old;
	}
	numbers_take(&numbers, &sum, take_ptr(&old.recent), now_ms);
	numbers_done(&old);
	return numbers;
}

/* They may be on their way from one place to another, and whoever moves them held up. */
static void
read_other(struct view *view)
{
	uint64_t other[N_ELEMENTS(view->other)];

	if (metrics_read_other(view->reader, other) == 0)
		memcpy(view->other, other, sizeof(other));
	else
		log_debug("what was counted for no api cannot be read now");
}

static void
read_numbers(struct view *view, json_t *status, int64_t now_ms)
{
	const struct scoreboard *scoreboard = metrics_reader_scoreboard(view->reader);
	json_t *api, *apis = json_object_get(status, "apis");
	size_t i, n_apis = json_array_size(apis);
	struct numbers *all = xcalloc(MAX(n_apis, 1), sizeof(*all));

	json_array_foreach(apis, i, api)
	{
		json_int_t number = json_integer_value(json_object_get(api, "number"));
		uint64_t in_flight, queued;

		if (number < 0 || number >= SCOREBOARD_APIS_MAX)
			continue;
		all[i] = read_api(view, api, (uint32_t)number, now_ms);
		count_requests(scoreboard, (uint32_t)number, &in_flight, &queued);
		json_object_set_new(api, "metrics", metrics_of(api, &all[i], in_flight, queued));
	}
	drop_numbers(view);
	view->numbers = all;
	view->n_apis = n_apis;
	read_other(view);
	json_object_set_new(status, "other_requests",
	    json_pack("{so so so so}", "2xx", integer(view->other[0]), "3xx", integer(view->other[1]), "4xx",
		integer(view->other[2]), "5xx", integer(view->other[3])));
}

int
view_take(struct view *view, int fd, json_t *log, int64_t now_ms)
{
	char *json = NULL, *text;
	size_t length;
	json_t *status;
	int r;

	r = fd_read_all(fd, VIEW_STATUS_MAX, &json, &length);
	fd_close(&fd);
	status = r == 0 ? json_loadb(json, length, 0, NULL) : NULL;
	free(json);
	if (json_object_set_new(status, "log", log) < 0) {
		json_decref(status);
		return r < 0 ? r : -EBADMSG;
	}
	read_numbers(view, status, now_ms);
	text = json_dumps(status, JSON_COMPACT);
	if (!text) {
		json_decref(status);
		return -ENOMEM;
	}
	json_decref(view->status);
	free(view->text);
	view->status = status;
	view->text = text;
	view->length = strlen(text);
	view->made_ms = now_ms;
	return 0;
}

json_t *
view_find_api(const struct view *view, const char *name)
{
	json_t *api, *found = NULL;
	size_t i;

	json_array_foreach(json_object_get(view->status, "apis"), i, api)
	{
		const char *status = json_string_value(json_object_get(api, "status"));

		if (strcmp(json_string_value(json_object_get(api, "name")), name) != 0)
			continue;
		if (!found || (status && (!strcmp(status, "live") || !strcmp(status, "updating"))))
			found = api;
	}
	return found;
}
