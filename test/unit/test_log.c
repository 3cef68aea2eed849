/*
 * What the log writes: one line per event, in text and in JSON, whatever the message holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "common/log.h"

static int saved_stderr, pipe_fds[2];

static int
redirect(UNUSED void **state)
{
	saved_stderr = dup(STDERR_FILENO);
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0 || dup2(pipe_fds[1], STDERR_FILENO) < 0)
		return -1;
	log_set_identity("replica", "iris", 3);
	log_set_format(LOG_TEXT);
	log_set_level(LOG_INFO);
	log_set_framed("");
	return 0;
}

static int
restore(UNUSED void **state)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}

/* What was written since the last call. */
static const char *
written(void)
{
	static char text[65536];
	ssize_t n = read(pipe_fds[0], text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static void
test_a_text_line(UNUSED void **state)
{
	const char *line;

	log_info("ready after %.1f s", 1.5);
	line = written();
	assert_int_equal(line[10], 'T');
	assert_int_equal(line[23], 'Z');
	assert_string_equal(line + 24, " info  replica iris/3: ready after 1.5 s\n");
}

static void
test_control_characters_cannot_make_a_line(UNUSED void **state)
{
	log_warning("a\033[31m\rb\tc\x7f");
	assert_string_equal(written() + 24, " warn  replica iris/3: a\\x1b[31m\\x0db\tc\\x7f\n");
}

static void
test_each_line_of_a_text_has_the_prefix(UNUSED void **state)
{
	const char *text;

	log_error("one\n  two\n");
	text = written();
	assert_non_null(strstr(text, " error replica iris/3: one\n"));
	assert_non_null(strstr(text, " error replica iris/3:   two\n"));
}

static void
test_levels_below_the_limit_are_silent(UNUSED void **state)
{
	log_set_level(LOG_WARNING);
	log_info("no");
	log_prediction(NULL, 200, "/iris", 1);
	assert_false(log_flush());
	log_warning("yes");
	assert_non_null(strstr(written(), "yes"));
}

static void
test_a_long_line_is_cut(UNUSED void **state)
{
	char *message = malloc(100000);
	const char *line;

	memset(message, 'x', 99999);
	message[99999] = '\0';
	log_info("%s", message);
	free(message);
	line = written();
	assert_true(strlen(line) <= LOG_LINE_MAX);
	assert_int_equal(line[strlen(line) - 1], '\n');
}

/* Lines, whole ones, that are in the pipe; *ret_lost: how many more there would have been, as one of them says. */
static unsigned
count_written(unsigned *ret_lost)
{
	unsigned n = 0, lost;
	const char *text, *end;

	while (*(text = written()))
		for (; (end = strchr(text, '\n')); text = end + 1, n++)
			if (sscanf(text + 24, " warn  replica iris/3: %u line", &lost) == 1) {
				*ret_lost += lost;
				n--;
			}
	return n;
}

/* A pipe that nobody reads, without O_NONBLOCK. */
static void
test_a_reader_that_stalls_holds_nobody_up(UNUSED void **state)
{
	char message[LOG_MESSAGE_MAX];
	unsigned lost = 0, n_written;
	int n = 3000;

	memset(message, 'x', sizeof(message));
	assert_int_equal(fcntl(pipe_fds[1], F_SETFL, 0), 0);
	for (int length = 0; length < n; length++)
		log_info("%.*s", length, message);
	n_written = count_written(&lost);
	assert_in_range(n_written, 100, n - 1);
	log_info("it goes on");
	assert_int_equal(count_written(&lost), 1);
	assert_int_equal(n_written + lost, n);
	for (int i = 0; i < 5000; i++)
		log_prediction(NULL, 200, "/iris", 1000);
	log_flush();
	lost = 0;
	n_written = count_written(&lost);
	log_info("it goes on");
	assert_int_equal(count_written(&lost), 1);
	assert_int_equal(n_written + lost, 5000);
}

/* Lines longer than PIPE_BUF may be cut: the next one begins on a line of its own nevertheless. */
static void
test_a_line_that_was_cut_spoils_no_other(UNUSED void **state)
{
	char message[LOG_MESSAGE_MAX];
	const char *line = "";
	unsigned lost = 0;

	memset(message, 'x', sizeof(message));
	assert_int_equal(fcntl(pipe_fds[1], F_SETFL, 0), 0);
	for (int i = 0; i < 100; i++)
		log_info("%.*s", (int)sizeof(message), message);
	count_written(&lost);
	log_info("it goes on");
	line = written();
	assert_non_null(strstr(line, " of the log were lost\n"));
	line = strstr(line, " of the log were lost\n") + 22;
	assert_string_equal(line + 24, " info  replica iris/3: it goes on\n");
}

static void
test_json_lines_are_json(UNUSED void **state)
{
	json_t *line;

	log_set_format(LOG_JSON);
	log_error("a \"quoted\"\nline\\\x01");
	line = json_loads(written(), 0, NULL);
	assert_string_equal(json_string_value(json_object_get(line, "message")), "a \"quoted\"\nline\\\x01");
	assert_string_equal(json_string_value(json_object_get(line, "level")), "error");
	assert_string_equal(json_string_value(json_object_get(line, "api")), "iris");
	assert_int_equal(json_integer_value(json_object_get(line, "replica")), 3);
	json_decref(line);
	log_prediction(NULL, 406, "/iris/predict", 1234567);
	assert_true(log_flush());
	line = json_loads(written(), 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(line, "status")), 406);
	assert_string_equal(json_string_value(json_object_get(line, "endpoint")), "/iris/predict");
	assert_true(json_real_value(json_object_get(line, "ms")) == 1.234);
	json_decref(line);
}

static void
test_predictions_are_gathered_and_none_is_lost(UNUSED void **state)
{
	char *endpoint = malloc(5000);
	int lines = 0;

	log_prediction(NULL, 200, "/iris", 63 * 1000);
	assert_string_equal(written(), "");
	assert_true(log_flush());
	assert_string_equal(written() + 24, " info  replica iris/3: 200 POST /iris 0.063 ms\n");
	memset(endpoint, '/', 4999);
	endpoint[4999] = '\0';
	for (int i = 0; i < 100; i++)
		log_prediction(NULL, 500, i % 2 ? "/iris" : endpoint, INT64_MAX);
	log_flush();
	free(endpoint);
	for (const char *at = written(); (at = strstr(at, " ms\n")); at++)
		lines++;
	assert_int_equal(lines, 100);
}

/* Each line says by its first bytes that it is ours; what is lost says how much. */
static void
test_lines_for_the_monitor_are_framed(UNUSED void **state)
{
	char message[LOG_MESSAGE_MAX];
	const char *text;

	log_set_framed("5ec2e7");
	log_error("one\ntwo");
	text = written();
	assert_memory_equal(text, "\x1e\x35\x65\x63\x32\x65\x37L\x1f", 9);
	text = strchr(text, '\n') + 1;
	assert_memory_equal(text, "\x1e\x35\x65\x63\x32\x65\x37L\x1f", 9);
	assert_string_equal(text + 9 + 24, " error replica iris/3: two\n");
	log_prediction("iris-2", 200, "/iris", 63 * 1000);
	log_access_line("::1 - - x", 9);
	log_flush();
	text = written();
	assert_memory_equal(text, "\x1e\x35\x65\x63\x32\x65\x37Liris-2\x1f", 15);
	assert_string_equal(strchr(text, '\n'), "\n\x1e\x35\x65\x63\x32\x65\x37\x41\x1f::1 - - x\n");
	memset(message, 'x', sizeof(message));
	for (int i = 0; i < 100; i++)
		log_info("%.*s", (int)sizeof(message), message);
	while (*written())
		;
	log_info("it goes on");
	text = written();
	text += *text == '\n';
	assert_memory_equal(text, "\x1e\x35\x65\x63\x32\x65\x37\x44", 8);
	assert_true(strtol(text + 8, NULL, 10) > 10);
	assert_non_null(strstr(text, " of the log were lost\n\x1e\x35\x65\x63\x32\x65\x37L\x1f"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_a_text_line, redirect, restore),
	    cmocka_unit_test_setup_teardown(test_control_characters_cannot_make_a_line, redirect, restore),
	    cmocka_unit_test_setup_teardown(test_each_line_of_a_text_has_the_prefix, redirect, restore),
	    cmocka_unit_test_setup_teardown(test_levels_below_the_limit_are_silent, redirect, restore),
	    cmocka_unit_test_setup_teardown(test_a_long_line_is_cut, redirect, restore),
	    cmocka_unit_test_setup_teardown(test_a_reader_that_stalls_holds_nobody_up, redirect, restore),
	    cmocka_unit_test_setup_teardown(test_a_line_that_was_cut_spoils_no_other, redirect, restore),
	    cmocka_unit_test_setup_teardown(test_json_lines_are_json, redirect, restore),
	    cmocka_unit_test_setup_teardown(test_predictions_are_gathered_and_none_is_lost, redirect, restore),
	    cmocka_unit_test_setup_teardown(test_lines_for_the_monitor_are_framed, redirect, restore),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
