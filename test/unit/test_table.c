/*
 * Tables, and the whole of what `cortex get` and `cortex deploy` show of a status, on terminals of every width.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <locale.h>
#include <string.h>

#include "cli/table.h"
#include "cli/view.h"
#include "test/unit/terminal_helpers.h"

static const char status_text[] =
    "{'now': '2026-11-30T05:00:10.250Z', 'reload': {'number': 2, 'state': 'failed', 'text': 'not \033[1mgood'},"
    " 'listeners': [{'text': '127.0.0.1:8888', 'url': 'http://127.0.0.1:8888'}],"
    " 'apis': [{'name': 'classifier', 'endpoint': '/iris/classifier', 'status': 'live', 'message': '', 'generation': 1,"
    "  'updated': '2026-11-30T04:58:10.000Z',"
    "  'replicas': {'requested': 2, 'available': 2, 'up_to_date': 2, 'failed': 0, 'by_state': {'loading': 0, "
    "'draining': 0}},"
    "  'decision': 'stays at 2', 'decisions': [{'at': '2026-11-30T04:59:10.250Z', 'from': 1, 'to': 2, 'reason': 'cpu "
    "160%'}],"
    "  'deaths': [{'at': '2026-11-30T05:00:05.250Z', 'replica': 1, 'cause': 'signal', 'text': 'killed by SIGSEGV'},"
    "   {'at': '2026-11-30T05:00:07.250Z', 'replica': null, 'cause': 'signal', 'text': 'killed by SIGKILL'}],"
    "  'slots': [{'replica': 0, 'generation': 1, 'state': 'ready', 'activity': 'idle', 'pid': 4711, 'since': "
    "'2026-11-30T04:00:10Z',"
    "   'cpu_seconds': 1.25, 'memory_bytes': 104857600, 'predictions': 12, 'connections': 1}],"
    "  'metrics': {'requests': {'2xx': 12, '3xx': 0, '4xx': 1, '5xx': 0}, 'latency_ms': {'total': {'count': 13, "
    "'mean': 1.5}},"
    "   'tracker': {'classes': {'setosa': 10, '\xe4\xb8\xad\xe6\x96\x87': 2}, 'other': 3, 'untracked': 1}}},"
    " {'name': 'old', 'endpoint': '/a', 'status': 'error', 'message': 'it \007 fails', 'generation': 1,"
    "  'replicas': {'requested': 3, 'available': 0, 'up_to_date': 1, 'failed': 1, 'by_state': {'loading': 1, "
    "'spawned': 1, 'draining': 2}},"
    "  'metrics': {'tracker': {'count': 4, 'min': -1.5, 'max': 1e6, 'avg': 2.25, 'untracked': 0}}},"
    " {'name': 'old', 'endpoint': '/b', 'status': 'creating', 'generation': 2, 'metrics': {'tracker': {'count': 0}}}, "
    "5, null]}";

/* With ' in place of ". The caller has a reference. */
static json_t *
parse(const char *text)
{
	char *copy = xstrdup(text), *c;
	json_t *json;

	for (c = copy; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	json = json_loads(copy, 0, NULL);
	free(copy);
	return json;
}

/* The JSON of status_text has control characters in it, which JSON wants escaped. */
static json_t *
parse_status(void)
{
	char room[8192], *to = room;
	json_t *status;

	for (const char *c = status_text; *c; c++)
		to += (unsigned char)*c < ' ' ? sprintf(to, "\\u%04x", *c) : sprintf(to, "%c", *c);
	status = parse(room);
	assert_non_null(status);
	return status;
}

static int
longest_line(const char *text)
{
	int longest = 0;

	while (*text) {
		char line[1024];
		size_t length = strcspn(text, "\n");

		assert_true(length < sizeof(line));
		memcpy(line, text, length);
		line[length] = '\0';
		longest = MAX(longest, text_columns(line));
		text += length + (text[length] == '\n');
	}
	return longest;
}

static const char *
print_small(const char *a, const char *b)
{
	static const char *const names[] = {"name", "a long head"}, *const short_names[] = {"name", "head"};
	struct table table;

	capture();
	table_init(&table, 2, names, short_names);
	table_add(&table, a, COLOR_NONE);
	table_add(&table, b, COLOR_NONE);
	table_print(&table);
	table_done(&table);
	return captured();
}

static void
test_columns_are_as_wide_as_their_widest_cell(UNUSED void **state)
{
	use_terminal(0, false);
	assert_string_equal(print_small("a", "b"), "name   a long head\na      b\n");
	assert_string_equal(print_small("a longer one", ""), "name           a long head\na longer one   \n");
	assert_string_equal(print_small("\xe4\xb8\xad\xe6\x96\x87\xe4\xb8\xad", "b"),
	    "name     a long head\n\xe4\xb8\xad\xe6\x96\x87\xe4\xb8\xad   b\n");
	assert_string_equal(print_small("a\tb\n\033[2J", "b"), "name             a long head\na b\\x0a\\x1b[2J   b\n");
}

static void
test_narrow_terminals_get_short_names_then_small_gaps_then_cuts(UNUSED void **state)
{
	use_terminal(18, true);
	assert_string_equal(print_small("a", "b"), "name   a long head\na      b\n");
	use_terminal(17, true);
	assert_string_equal(print_small("a", "b"), "name  head\na     b\n");
	use_terminal(9, true);
	assert_string_equal(print_small("a", "b"), "name head\na    b\n");
	use_terminal(12, true);
	assert_string_equal(print_small("a", "0123456789"), "name head\na    012345\xe2\x80\xa6\n");
	assert_string_equal(print_small("a", "01234\xe4\xb8\xad\xe6\x96\x87"), "name head\na    01234\xe2\x80\xa6\n");
	/* A wide one that does not fit leaves room before the next column. */
	use_terminal(10, true);
	assert_string_equal(print_small("abc\xe4\xb8\xad\xe6\x96\x87", "b"), "name  head\nabc\xe2\x80\xa6  b\n");
	/* Nothing is cut to nothing; it is the terminal that breaks lines then. */
	use_terminal(3, true);
	assert_string_equal(print_small("0123456789", "b"), "name  head\n0123\xe2\x80\xa6 b\n");
}

static void
test_the_apis_fit_any_terminal(UNUSED void **state)
{
	json_t *status = parse_status();

	use_terminal(0, false);
	capture();
	view_apis(status);
	assert_string_equal(captured(),
	    "api          status     up-to-date   requested   available   failed   last update   avg latency   2XX   "
	    "4XX   5XX\n"
	    "classifier   live       2            2           2           0        2m            1.5 ms        12    1 "
	    "    0\n"
	    "old          error      1            3           0           1        -             -             -     - "
	    "    -\n"
	    "old          creating   -            -           -           -        -             -             -     - "
	    "    -\n"
	    "             -          -            -           -           -        -             -             -     - "
	    "    -\n"
	    "             -          -            -           -           -        -             -             -     - "
	    "    -\n");
	for (int width = 60; width < 200; width++) {
		use_terminal(width, true);
		capture();
		view_apis(status);
		assert_true(longest_line(captured()) <= width);
	}
	json_decref(status);
}

static void
test_one_api_with_all_there_is(UNUSED void **state)
{
	json_t *status = parse_status();

	use_terminal(0, false);
	capture();
	view_api(status, view_find_newest(status, "classifier"), true);
	assert_string_equal(captured(),
	    "status   up-to-date   requested   available   failed   last update   avg latency   2XX   4XX   5XX\n"
	    "live     2            2           2           0        2m            1.5 ms        12    1     0\n"
	    "\n"
	    "class      count\n"
	    "setosa     10\n"
	    "\xe4\xb8\xad\xe6\x96\x87       2\n"
	    "(others)   3\n"
	    "1 predictions could not be tracked; cortex logs says why\n"
	    "\n"
	    "endpoint: http://127.0.0.1:8888/iris/classifier\n"
	    "curl: curl -X POST -H 'Content-Type: application/json' -d @sample.json "
	    "http://127.0.0.1:8888/iris/classifier\n"
	    "\n"
	    "replica   state   activity   generation   pid    since   cpu     memory    predictions   connections\n"
	    "0         ready   idle       1            4711   1h      1.2 s   100 MiB   12            1\n"
	    "\n"
	    "latency      mean     p50   p90   p99   p999\n"
	    "queue        -        -     -     -     -\n"
	    "prediction   -        -     -     -     -\n"
	    "total        1.5 ms   -     -     -     -\n"
	    "\n"
	    "scaling: stays at 2\n"
	    "\n"
	    "changes of the number of replicas\n"
	    "    1m ago   cpu 160%\n"
	    "\n"
	    "last deaths\n"
	    "    5s ago   replica 1: killed by SIGSEGV\n"
	    "    3s ago   template: killed by SIGKILL\n");
	json_decref(status);
}

static void
test_messages_are_cleaned(UNUSED void **state)
{
	json_t *status = parse_status();

	use_terminal(0, false);
	capture();
	view_messages(status, true);
	assert_string_equal(captured(), "\nold: it \\x07 fails\n\nthe last reload has failed: not \\x1b[1mgood\n");
	capture();
	view_messages(status, false);
	assert_string_equal(captured(), "\nold: it \\x07 fails\n");
	json_decref(status);
}

static void
test_values_of_a_regression(UNUSED void **state)
{
	json_t *status = parse_status();

	use_terminal(0, false);
	capture();
	view_api(status, json_array_get(json_object_get(status, "apis"), 1), false);
	assert_non_null(strstr(captured(), "\nmin    max     avg    count\n-1.5   1e+06   2.25   4\n"));
	capture();
	view_api(status, view_find_newest(status, "old"), false);
	assert_non_null(strstr(captured(), "\nno predictions have been tracked yet\n"));
	json_decref(status);
}

static void
test_of_two_apis_of_a_name_the_newer_counts(UNUSED void **state)
{
	json_t *status = parse_status();

	assert_string_equal(view_text(view_find_newest(status, "old"), "endpoint"), "/b");
	assert_null(view_find_newest(status, "none"));
	json_decref(status);
}

static void
test_how_far_a_rollout_is(UNUSED void **state)
{
	json_t *status = parse_status(), *apis = json_object_get(status, "apis");
	char text[160];

	assert_true(view_progress(json_array_get(apis, 0), text));
	assert_string_equal(text, "live, 2 of 2 replicas up to date");
	assert_false(view_progress(json_array_get(apis, 1), text));
	assert_string_equal(text, "error, 1 of 3 replicas up to date, 2 starting, 2 ending");
	json_decref(status);
}

static void
test_where_an_api_is_reached(UNUSED void **state)
{
	json_t *api = parse("{'endpoint': '/a/b'}"), *status;
	char *url, *socket;

	status = parse("{'listeners': [{'text': 'unix:/run/x.sock', 'url': ''}, {'text': '127.0.0.1:1', 'url': "
		       "'http://127.0.0.1:1'}]}");
	assert_true(view_endpoint(status, api, &url, &socket));
	assert_string_equal(url, "http://localhost/a/b");
	assert_string_equal(socket, "/run/x.sock");
	free(url);
	free(socket);
	json_decref(status);
	status = parse("{'listeners': []}");
	assert_false(view_endpoint(status, api, &url, &socket));
	json_decref(status);
	json_decref(api);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_columns_are_as_wide_as_their_widest_cell),
	    cmocka_unit_test(test_narrow_terminals_get_short_names_then_small_gaps_then_cuts),
	    cmocka_unit_test(test_the_apis_fit_any_terminal),
	    cmocka_unit_test(test_one_api_with_all_there_is),
	    cmocka_unit_test(test_messages_are_cleaned),
	    cmocka_unit_test(test_values_of_a_regression),
	    cmocka_unit_test(test_of_two_apis_of_a_name_the_newer_counts),
	    cmocka_unit_test(test_how_far_a_rollout_is),
	    cmocka_unit_test(test_where_an_api_is_reached),
	};
	int failed;

	setlocale(LC_CTYPE, "C.UTF-8");
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(printed);
	return failed;
}
