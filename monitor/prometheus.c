/*
 * prometheus - see prometheus.h.
 */
#include "monitor/prometheus.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct writer {
	FILE *out;
	bool openmetrics;
	const struct view *view;
	bool *hidden; /* of status.apis: another one with the same labels is shown, or its counters are not known yet */
};

/* ---- lines ---- */

static void
family(struct writer *w, const char *name, const char *type, const char *help)
{
	bool counter = !strcmp(type, "counter");

	/* A counter's family is named without _total in OpenMetrics, and with it in the older format. */
	if (counter && !w->openmetrics)
		fprintf(w->out, "# HELP %s_total %s\n# TYPE %s_total counter\n", name, help, name);
	else
		fprintf(w->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
label_value(FILE *out, const char *value)
{
	for (; *value; value++)
		if (*value == '\n')
			fputs("\\n", out);
		else if (*value == '"' || *value == '\\')
			fprintf(out, "\\%c", *value);
		else
			fputc(*value, out);
}

/* The labels of an api, and one more: key NULL: none. */
static void
labels(struct writer *w, const json_t *api, const char *key, const char *value)
{
	fputs("{api=\"", w->out);
	label_value(w->out, json_string_value(json_object_get(api, "name")));
	fputs("\",endpoint=\"", w->out);
	label_value(w->out, json_string_value(json_object_get(api, "endpoint")));
	if (key) {
		fprintf(w->out, "\",%s=\"", key);
		label_value(w->out, value);
	}
	fputs("\"} ", w->out);
}

static void
number(FILE *out, double value)
{
	if (isnan(value))
		fputs("NaN\n", out);
	else if (isinf(value))
		fputs(value > 0 ? "+Inf\n" : "-Inf\n", out);
	else
		fprintf(out, "%.15g\n", value);
}

static void
integer(FILE *out, uint64_t value)
{
	fprintf(out, "%llu\n", (unsigned long long)value);
}

/* ---- what is there ---- */

static const json_t *
apis_of(const struct writer *w)
{
	return json_object_get(w->view->status, "apis");
}

static const json_t *
find(const json_t *object, const char *first, const char *second)
{
	return json_object_get(json_object_get(object, first), second);
}

static bool
is_live(const json_t *api)
{
	const char *status = json_string_value(json_object_get(api, "status"));

	return status && (!strcmp(status, "live") || !strcmp(status, "updating"));
}

static bool
same(const json_t *a, const json_t *b)
{
	return !strcmp(json_string_value(json_object_get(a, "name")), json_string_value(json_object_get(b, "name"))) &&
	    !strcmp(
		json_string_value(json_object_get(a, "endpoint")), json_string_value(json_object_get(b, "endpoint")));
}

/* No two with the same labels: a live one hides the others, else the first does. */
static void
hide_doubles(struct writer *w)
{
	const json_t *apis = apis_of(w);
	size_t n = json_array_size(apis);

	w->hidden = xcalloc(MAX(n, 1), sizeof(bool));
	for (size_t i = 0; i < n; i++)
		w->hidden[i] = !w->view->numbers[i].known;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i && !w->hidden[i]; k++) {
			if (w->hidden[k] || !same(json_array_get(apis, i), json_array_get(apis, k)))
				continue;
			if (!is_live(json_array_get(apis, k)) && is_live(json_array_get(apis, i)))
				w->hidden[k] = true;
			else
				w->hidden[i] = true;
		}
}

#define FOR_EACH_API(w, i, api)                                  \
	for (size_t i = 0; i < json_array_size(apis_of(w)); i++) \
		for (const json_t *api = (w)->hidden[i] ? NULL : json_array_get(apis_of(w), i); api; api = NULL)

/* ---- families ---- */

static const char *const class_names[4] = {"2xx", "3xx", "4xx", "5xx"};

static void
write_process(struct writer *w)
{
	const json_t *status = w->view->status, *process;
	const char *started = json_string_value(json_object_get(status, "started"));
	static const char *const whats[] = {"models", "environments"}, *const names[] = {"model", "environment"};
	static const char *const results[] = {"done", "failed"};
	struct tm tm = {.tm_sec = 0};
	int ms = 0;
	size_t i;

	family(w, w->openmetrics ? "cortexd_build" : "cortexd_build_info", w->openmetrics ? "info" : "gauge",
	    "Version of cortexd and of the Python in its replicas.");
	fprintf(w->out, "cortexd_build_info{version=\"%s\",python=\"%s\"} 1\n",
	    json_string_value(json_object_get(status, "version")),
	    json_string_value(json_object_get(status, "python")));
	family(w, "cortexd_start_time_seconds", "gauge", "When cortexd was started, in seconds since 1970.");
	if (started &&
	    sscanf(started, "%d-%d-%dT%d:%d:%d.%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
		&tm.tm_sec, &ms) == 7) {
		tm.tm_year -= 1900;
		tm.tm_mon -= 1;
		fprintf(w->out, "cortexd_start_time_seconds %lld.%03d\n", (long long)timegm(&tm), ms);
	}
	family(w, "cortexd_connections", "gauge", "Open client connections.");
	fprintf(w->out, "cortexd_connections %lld\n",
	    (long long)json_integer_value(json_object_get(status, "connections")));
	family(w, "cortexd_other_requests", "counter", "Answers to requests that are for no api, by class of status.");
	for (i = 0; i < 4; i++) {
		fprintf(w->out, "cortexd_other_requests_total{code=\"%s\"} ", class_names[i]);
		integer(w->out, w->view->other[i]);
	}
	family(w, "cortexd_fetches", "counter", "Models that were fetched and environments that were found or built.");
	for (i = 0; i < N_ELEMENTS(whats); i++)
		for (size_t r = 0; r < N_ELEMENTS(results); r++)
			fprintf(w->out, "cortexd_fetches_total{what=\"%s\",result=\"%s\"} %lld\n", names[i], results[r],
			    (long long)json_integer_value(
				json_object_get(find(status, "fetches", whats[i]), results[r])));
	family(w, "cortexd_reloads", "counter", "Reloads of the config.");
	for (size_t r = 0; r < N_ELEMENTS(results); r++)
		fprintf(w->out, "cortexd_reloads_total{result=\"%s\"} %lld\n", results[r],
		    (long long)json_integer_value(find(status, "reload", results[r])));
	family(w, "cortexd_reload_success", "gauge", "Whether the last reload that has ended was applied to all apis.");
	fprintf(w->out, "cortexd_reload_success %d\n",
	    strcmp(json_string_value(find(status, "reload", "state")) ?: "", "failed") != 0);
	family(w, "cortexd_log_lost_lines", "counter", "Lines of the log that were lost.");
	fprintf(w->out, "cortexd_log_lost_lines_total %lld\n",
	    (long long)json_integer_value(find(status, "log", "lost_lines")));
	family(
	    w, "cortexd_process_restarts", "counter", "Deaths of cortexd's own processes that nobody had asked for.");
	json_array_foreach(json_object_get(status, "processes"), i, process) fprintf(w->out,
	    "cortexd_process_restarts_total{role=\"%s\"} %lld\n", json_string_value(json_object_get(process, "role")),
	    (long long)json_integer_value(json_object_get(process, "restarts")));
}

static void
write_requests(struct writer *w)
{
	static const struct {
		const char *name, *help;
		enum metric metric;
	} counters[] = {
	    {"cortexd_requests_rejected", "Requests that were answered with 503: the queue was full, or cortexd stops.",
		METRIC_REJECTED},
	    {"cortexd_requests_timed_out", "Requests that were answered with 504.", METRIC_TIMED_OUT},
	    {"cortexd_requests_failed", "Requests that were answered with 500: their replica died in the prediction.",
		METRIC_FAILED},
	    {"cortexd_prediction_exceptions", "Predictions that have raised an exception.", METRIC_EXCEPTIONS},
	    {"cortexd_requests_client_gone", "Requests without an answer, because the client had left.",
		METRIC_CLIENT_GONE},
	    {"cortexd_connections_moved", "Connections that were handed to another process.", METRIC_MOVED},
	    {"cortexd_request_bytes", "Bytes of requests, heads and bodies.", METRIC_BYTES_IN},
	    {"cortexd_response_bytes", "Bytes of answers, heads and bodies.", METRIC_BYTES_OUT},
	};
	static const char *const gauges[][3] = {
	    {"cortexd_requests_in_flight", "in_flight", "Requests that run or wait."},
	    {"cortexd_requests_queued", "queued", "Requests that wait at the activator."},
	};

	family(w, "cortexd_requests", "counter", "Answers to requests for the api, by class of status.");
	FOR_EACH_API(w, i, api)
	for (int class = 0; class < 4; class ++) {
		fputs("cortexd_requests_total", w->out);
		labels(w, api, "code", class_names[class]);
		integer(w->out, w->view->numbers[i].counters[METRIC_2XX + class]);
	}
	for (size_t k = 0; k < N_ELEMENTS(counters); k++) {
		family(w, counters[k].name, "counter", counters[k].help);
		FOR_EACH_API(w, i, api)
		{
			fprintf(w->out, "%s_total", counters[k].name);
			labels(w, api, NULL, NULL);
			integer(w->out, w->view->numbers[i].counters[counters[k].metric]);
		}
	}
	for (size_t k = 0; k < N_ELEMENTS(gauges); k++) {
		family(w, gauges[k][0], "gauge", gauges[k][2]);
		FOR_EACH_API(w, i, api)
		{
			fputs(gauges[k][0], w->out);
			labels(w, api, NULL, NULL);
			integer(w->out, (uint64_t)json_integer_value(find(api, "metrics", gauges[k][1])));
		}
	}
}

static void
write_histogram(struct writer *w, const char *name, const char *quantile_name, enum metrics_histogram which,
    const char *help, const char *quantile_help)
{
	char bound[32];

	family(w, name, "histogram", help);
	FOR_EACH_API(w, i, api)
	{
		const struct numbers *numbers = &w->view->numbers[i];

		for (size_t k = 0; k < NUMBERS_BOUNDS; k++) {
			snprintf(bound, sizeof(bound), "%.12g", (double)numbers_bound_ns(k) / 1e9);
			fprintf(w->out, "%s_bucket", name);
			labels(w, api, "le", bound);
			integer(w->out, numbers->histograms[which].below[k]);
		}
		fprintf(w->out, "%s_bucket", name);
		labels(w, api, "le", "+Inf");
		integer(w->out, numbers->histograms[which].count);
		fprintf(w->out, "%s_sum", name);
		labels(w, api, NULL, NULL);
		number(w->out, numbers->histograms[which].sum_seconds);
		fprintf(w->out, "%s_count", name);
		labels(w, api, NULL, NULL);
		integer(w->out, numbers->histograms[which].count);
	}
	family(w, quantile_name, "summary", quantile_help);
	FOR_EACH_API(w, i, api)
	for (size_t q = 0; q < NUMBERS_QUANTILES; q++) {
		const struct numbers *numbers = &w->view->numbers[i];

		fputs(quantile_name, w->out);
		labels(w, api, "quantile", numbers_quantile_names[q]);
		number(w->out,
		    numbers->histograms[which].count > 0 ? numbers->histograms[which].quantile_seconds[q] : NAN);
	}
}

static void
write_histograms(struct writer *w)
{
	write_histogram(w, "cortexd_request_queue_seconds", "cortexd_request_queue_quantile_seconds", METRICS_QUEUE,
	    "From the arrival of a request to the begin of its prediction.",
	    "Quantiles of cortexd_request_queue_seconds since the start, exact to two digits.");
	write_histogram(w, "cortexd_prediction_seconds", "cortexd_prediction_quantile_seconds", METRICS_PREDICT,
	    "Duration of predictions, conversions from and to JSON included.",
	    "Quantiles of cortexd_prediction_seconds since the start, exact to two digits.");
	write_histogram(w, "cortexd_request_seconds", "cortexd_request_quantile_seconds", METRICS_TOTAL,
	    "From the arrival of a request to its answer.",
	    "Quantiles of cortexd_request_seconds since the start, exact to two digits.");
}

/* One gauge for each api, a number at a path in status; null: left out. */
static void
write_gauge(struct writer *w, const char *name, const char *help, const char *first, const char *second, double scale)
{
	family(w, name, "gauge", help);
	FOR_EACH_API(w, i, api)
	{
		const json_t *value = second ? find(api, first, second) : json_object_get(api, first);

		if (!json_is_number(value))
			continue;
		fputs(name, w->out);
		labels(w, api, NULL, NULL);
		number(w->out, json_number_value(value) * scale);
	}
}

/* The members of an object in status, as the values of a label. */
static void
write_members(
    struct writer *w, const char *name, const char *ending, const char *label, const char *first, const char *second)
{
	FOR_EACH_API(w, i, api)
	{
		json_t *object = (json_t *)(uintptr_t)(second ? find(api, first, second) : json_object_get(api, first));
		const char *key;
		json_t *value;

		json_object_foreach(object, key, value)
		{
			fprintf(w->out, "%s%s", name, ending);
			labels(w, api, label, key);
			number(w->out, json_number_value(value));
		}
	}
}

static void
write_replicas(struct writer *w)
{
	write_gauge(w, "cortexd_replicas_wanted", "Replicas that the load asks for.", "replicas", "wanted", 1);
	write_gauge(w, "cortexd_replicas_ready", "Replicas that are ready.", "replicas", "available", 1);
	family(w, "cortexd_replicas", "gauge", "Replicas by state.");
	write_members(w, "cortexd_replicas", "", "state", "replicas", "by_state");
	family(w, "cortexd_replica_restarts", "counter",
	    "Deaths of replicas that nobody had asked for, by cause (docs/monitoring.md).");
	write_members(w, "cortexd_replica_restarts", "_total", "cause", "restarts", NULL);
	family(w, "cortexd_cpu_seconds", "counter", "CPU time that replicas and their descendants have used.");
	FOR_EACH_API(w, i, api)
	{
		fputs("cortexd_cpu_seconds_total", w->out);
		labels(w, api, NULL, NULL);
		number(w->out, json_number_value(find(api, "cpu", "seconds_total")));
	}
	write_gauge(w, "cortexd_cpu_utilization_ratio",
	    "CPU that ready replicas use, as a part of what they have requested, over the last 15 s.", "cpu", "percent",
	    0.01);
	write_gauge(w, "cortexd_cpu_utilization_target_ratio", "What the autoscaler aims at.", "compute",
	    "target_cpu_utilization", 0.01);
	write_gauge(w, "cortexd_memory_bytes", "Resident memory of the replicas and their descendants.", "memory_bytes",
	    NULL, 1);
	family(w, "cortexd_api_status", "gauge", "1 for the status that the api has.");
	FOR_EACH_API(w, i, api)
	{
		fputs("cortexd_api_status", w->out);
		labels(w, api, "status", json_string_value(json_object_get(api, "status")));
		fputs("1\n", w->out);
	}
}

/* Its kind, or NULL. */
static const char *
tracker_type(const json_t *api)
{
	return json_string_value(find(api, "tracker", "model_type"));
}

static void
write_trackers(struct writer *w)
{
	static const char *const stats[] = {"min", "max", "avg"};

	family(w, "cortexd_tracker_predictions", "counter",
	    "Predictions by class, of apis with a classification tracker; class other are those beyond the first 100 "
	    "classes.");
	FOR_EACH_API(w, i, api)
	{
		const struct numbers *numbers = &w->view->numbers[i];
		uint64_t other = numbers->counters[METRIC_OTHER_CLASS];

		if (!tracker_type(api) || strcmp(tracker_type(api), "classification") != 0)
			continue;
		for (size_t k = 0; k < numbers->n_classes; k++) {
			if (!strcmp(numbers->classes[k].name, "other")) { /* a class may be named so */
				other += numbers->classes[k].n;
				continue;
			}
			fputs("cortexd_tracker_predictions_total", w->out);
			labels(w, api, "class", numbers->classes[k].name);
			integer(w->out, numbers->classes[k].n);
		}
		fputs("cortexd_tracker_predictions_total", w->out);
		labels(w, api, "class", "other");
		integer(w->out, other);
	}
	family(w, "cortexd_tracker_value", "gauge", "Predicted values, of apis with a regression tracker.");
	FOR_EACH_API(w, i, api)
	{
		const struct metrics_values *values = &w->view->numbers[i].values;
		const double numbers[] = {values->min, values->max, values->sum / (double)values->n};

		if (!tracker_type(api) || strcmp(tracker_type(api), "regression") != 0 || values->n == 0)
			continue;
		for (size_t k = 0; k < N_ELEMENTS(stats); k++) {
			fputs("cortexd_tracker_value", w->out);
			labels(w, api, "stat", stats[k]);
			number(w->out, numbers[k]);
		}
	}
	family(w, "cortexd_tracker_values", "counter", "How many values those are.");
	FOR_EACH_API(w, i, api)
	{
		if (!tracker_type(api) || strcmp(tracker_type(api), "regression") != 0)
			continue;
		fputs("cortexd_tracker_values_total", w->out);
		labels(w, api, NULL, NULL);
		integer(w->out, w->view->numbers[i].values.n);
	}
	family(w, "cortexd_tracker_untracked", "counter", "Predictions that the tracker could not use.");
	FOR_EACH_API(w, i, api)
	{
		if (!tracker_type(api))
			continue;
		fputs("cortexd_tracker_untracked_total", w->out);
		labels(w, api, NULL, NULL);
		integer(w->out, w->view->numbers[i].counters[METRIC_UNTRACKED]);
	}
}

char *
prometheus_text(const struct view *view, bool openmetrics, size_t *ret_length)
{
	struct writer w = {.openmetrics = openmetrics, .view = view};
	char *text = NULL;
	bool failed;

	w.out = open_memstream(&text, ret_length);
	if (!w.out)
		return NULL;
	hide_doubles(&w);
	write_process(&w);
	write_requests(&w);
	write_histograms(&w);
	write_replicas(&w);
	write_trackers(&w);
	if (openmetrics)
		fputs("# EOF\n", w.out);
	free(w.hidden);
	failed = ferror(w.out);
	if (fclose(w.out) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}
