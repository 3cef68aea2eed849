/*
 * test_admin - what the monitor makes of bytes: query parameters, header fields, the text of the metrics.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "common/scoreboard.h"
#include "http/field.h"
#include "http/target.h"
#include "monitor/prometheus.h"
#include "monitor/recent.h"

static int
query(const char *target, const char *name, char room[16])
{
	return http_target_query(target, strlen(target), name, room, 16);
}

static void
test_query_parameters(void **state)
{
	char room[16];

	(void)state;
	assert_int_equal(query("/logs?api=iris", "api", room), 4);
	assert_string_equal(room, "iris");
	assert_int_equal(query("/logs?apis=1&api=%69r+is&api=2", "api", room), 5);
	assert_string_equal(room, "ir+is");
	assert_int_equal(query("/logs?follow&api=", "follow", room), 0);
	assert_int_equal(query("/logs?follow&api=", "api", room), 0);
	assert_int_equal(query("/logs?a=1#?api=2", "api", room), -ENOENT);
	assert_int_equal(query("/logs#?api=2", "api", room), -ENOENT);
	assert_int_equal(query("/logs", "api", room), -ENOENT);
	assert_int_equal(query("/logs?", "api", room), -ENOENT);
	assert_int_equal(query("/logs?&&", "api", room), -ENOENT);
	assert_int_equal(query("/logs?api=%0", "api", room), -EINVAL);
	assert_int_equal(query("/logs?api=%00", "api", room), -EINVAL);
	assert_int_equal(query("/logs?api=0123456789abcde", "api", room), 15);
	assert_int_equal(query("/logs?api=0123456789abcdef", "api", room), -E2BIG);
}

static uint64_t
on_head(const struct http_parser *parser, void *arg)
{
	(void)parser;
	(void)arg;
	return 100;
}

static void
test_header_fields(void **state)
{
	static const char bytes[] =
	    "GET /x:y HTTP/1.1\r\nHost: a\r\nX-A:\t 1 2 \t\r\nX-Empty:\r\nx-a: 3\r\nX-AB: 4\r\n\r\n";
	struct http_parser parser;
	const char *value;
	size_t length;

	(void)state;
	http_parser_init(&parser, on_head, NULL);
	assert_int_equal(http_parser_execute(&parser, bytes, strlen(bytes)), HTTP_PARSE_COMPLETE);
	assert_int_equal(http_field_find(&parser, bytes, "x-a", &value, &length), 2);
	assert_int_equal(length, 3);
	assert_memory_equal(value, "1 2", 3);
	assert_int_equal(http_field_find(&parser, bytes, "x-empty", &value, &length), 1);
	assert_int_equal(length, 0);
	assert_int_equal(http_field_find(&parser, bytes, "x", &value, &length), 0);
	assert_int_equal(http_field_find(&parser, bytes, "get /x", &value, &length), 0);
	assert_true(http_field_is(&parser, bytes, "HOST", "A"));
	assert_false(http_field_is(&parser, bytes, "x-a", "3"));
}

static json_t *
api_of(const char *name, const char *status)
{
	return json_pack("{ss ss ss s{ss} s{si} s{si} s{sn}}", "name", name, "endpoint", "/d/\"a\\\n", "status", status,
	    "tracker", "model_type", "classification", "replicas", "available", 2, "restarts", "signal", 1, "cpu",
	    "percent");
}

static bool
has_line(const char *text, const char *line)
{
	char *whole = xasprintf("\n%s\n", line);
	bool found = strstr(text, whole) != NULL;

	free(whole);
	return found;
}

#define LABELS "{api=\"a\",endpoint=\"/d/\\\"a\\\\\\n\""

static void
test_metrics_as_text(void **state)
{
	struct numbers *numbers = xcalloc(2, sizeof(*numbers));
	struct view view = {.numbers = numbers, .n_apis = 2};
	size_t length;
	char *text;

	(void)state;
	view.status = json_pack("{ss ss ss s[oo]}", "version", "1", "python", "3.11", "started",
	    "2026-11-30T05:00:00.123Z", "apis", api_of("a", "stopping"), api_of("a", "live"));
	assert_non_null(view.status);
	numbers[0].known = numbers[1].known = true;
	numbers[0].counters[METRIC_2XX] = 1000;
	numbers[1].counters[METRIC_2XX] = 7;
	numbers[1].n_classes = 2;
	numbers[1].classes = xcalloc(2, sizeof(*numbers[1].classes));
	numbers[1].classes[0].name = xstrdup("x");
	numbers[1].classes[0].n = 3;
	numbers[1].classes[1].name = xstrdup("other");
	numbers[1].classes[1].n = 4;
	numbers[1].counters[METRIC_OTHER_CLASS] = 5;

	text = prometheus_text(&view, false, &length);
	assert_int_equal(length, strlen(text));
	assert_true(has_line(text, "# TYPE cortexd_requests_total counter"));
	assert_true(has_line(text, "cortexd_requests_total" LABELS ",code=\"2xx\"} 7"));
	assert_null(strstr(text, " 1000\n")); /* two with the same labels are an error */
	assert_true(has_line(text, "cortexd_tracker_predictions_total" LABELS ",class=\"other\"} 9"));
	assert_true(has_line(text, "cortexd_start_time_seconds 1796014800.123"));
	assert_true(has_line(text, "cortexd_request_seconds_bucket" LABELS ",le=\"8.192e-06\"} 0"));
	assert_true(has_line(text, "cortexd_request_quantile_seconds" LABELS ",quantile=\"0.5\"} NaN"));
	assert_null(strstr(text, "cortexd_cpu_utilization_ratio{")); /* unknown */
	free(text);

	text = prometheus_text(&view, true, &length);
	assert_true(has_line(text, "# TYPE cortexd_requests counter"));
	assert_true(has_line(text, "cortexd_requests_total" LABELS ",code=\"2xx\"} 7"));
	assert_string_equal(text + length - 6, "# EOF\n");
	free(text);
	view_done(&view);
}

/* A replica answers one request in 1 ms, then one in 100 ms every second; somebody looks each second. */
static void
test_recent_quantiles(void **state)
{
	struct recent *recent = xcalloc(1, sizeof(*recent));
	uint64_t buckets[METRICS_BUCKETS] = {0};
	int64_t now_ms = 1000000;

	(void)state;
	buckets[metrics_bucket_of(1000000)] = 1000;
	recent_take(recent, buckets, now_ms);
	assert_true(recent->seconds == 0 && recent->count == 0);
	for (int i = 1; i <= 60; i++) {
		buckets[metrics_bucket_of(i <= 30 ? 1000000 : 100000000)]++;
		recent_take(recent, buckets, now_ms += 1000);
		assert_int_equal(recent->count, (int)recent->seconds);
		assert_in_range(recent->count, i < 5 ? i : 5, i < 9 ? i : 9);
	}
	assert_true(recent->quantile_seconds[0] > 0.099 && recent->quantile_seconds[0] < 0.101);
	assert_true(recent->sum_seconds > 0.099 * (double)recent->count);
	for (int i = 0; i < 15; i++)
		recent_take(recent, buckets, now_ms += 1000);
	assert_true(recent->count == 0 && recent->seconds > 0 && recent->quantile_seconds[0] == 0);
	buckets[0] = 1;
	recent_take(recent, buckets, now_ms += 60000); /* nobody has looked for a minute: when was it? */
	assert_true(recent->seconds == 0 && recent->count == 0);
	memset(buckets, 0, sizeof(buckets));
	recent_take(recent, buckets, now_ms += 1000); /* the api begins anew */
	assert_int_equal(recent->count, 0);
	free(recent);
}

static void
take(struct view *view)
{
	static const char status[] = "{\"version\": \"1\", \"python\": \"3\", \"apis\": "
				     "[{\"name\": \"a\", \"endpoint\": \"/a\", \"number\": 3, \"status\": \"live\"}]}";
	int fd = memfd_sealed("status", status, strlen(status));

	assert_true(fd >= 0);
	assert_int_equal(view_take(view, fd, json_object(), 1), 0);
}

/* A supervisor that was stopped, or is slow, while it moves numbers: they are not zero meanwhile, and unknown ones are not told. */
static void
test_counters_that_cannot_be_read(void **state)
{
	struct metrics_api *api, *no_api;
	struct scoreboard *scoreboard;
	struct view view;
	size_t length;
	char *text;
	int fd;

	(void)state;
	assert_int_equal(scoreboard_new(&scoreboard, &fd), 0);
	assert_int_equal(metrics_map_api(fd, 3, &api), 0);
	assert_int_equal(metrics_map_api(fd, METRICS_NO_API, &no_api), 0);
	assert_int_equal(view_init(&view, fd), 0);
	for (int i = 0; i < 3; i++) {
		bool moves = i != 1;

		atomic_store(&api->folds, moves);
		atomic_store(&no_api->folds, moves);
		if (i == 1) {
			metrics_add(&api->held, METRIC_2XX, 5);
			metrics_add(&no_api->held, METRIC_OTHER_4XX, 6);
		}
		take(&view);
		assert_int_equal(view.numbers[0].known, i > 0);
		assert_int_equal(view.numbers[0].counters[METRIC_2XX], i > 0 ? 5 : 0);
		assert_int_equal(view.other[2], i > 0 ? 6 : 0);
		text = prometheus_text(&view, false, &length);
		assert_int_equal(
		    strstr(text, "cortexd_requests_total{api=\"a\",endpoint=\"/a\",code=\"2xx\"} 5\n") != NULL, i > 0);
		assert_int_equal(strstr(text, "api=\"a\"") != NULL, i > 0);
		free(text);
	}
	view_done(&view);
	metrics_unmap_api(api);
	metrics_unmap_api(no_api);
	scoreboard_unmap(scoreboard);
	fd_close(&fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_query_parameters),
	    cmocka_unit_test(test_header_fields),
	    cmocka_unit_test(test_metrics_as_text),
	    cmocka_unit_test(test_recent_quantiles),
	    cmocka_unit_test(test_counters_that_cannot_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
