/*
 * The pure parts of http/: parsing a request, its target, and writing the head of an answer.
 *
 * Every request of the tables is parsed whole, byte by byte, and cut in two at each place: the outcome must be the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <stdio.h>

#include "http/answer.h"
#include "http/limits.h"
#include "http/parser.h"
#include "http/target.h"

#define MAX_BODY 1000
#define HOST     "Host: a\r\n"

static uint64_t
on_head(UNUSED const struct http_parser *parser, UNUSED void *arg)
{
	return MAX_BODY;
}

/* Parse text, with first bytes at once and then `step` at a time. The buffer moves between calls, as a growing one does. */
static enum http_parse_result
parse(struct http_parser *parser, const char *text, size_t length, size_t first, size_t step, char **ret_buffer)
{
	enum http_parse_result result = HTTP_PARSE_MORE;
	char *buffer = NULL;
	size_t have = 0;

	http_parser_init(parser, on_head, NULL);
	while (result == HTTP_PARSE_MORE && have < length) {
		size_t n = MIN(have == 0 ? MAX(first, 1u) : step, length - have);
		char *next = malloc(length + 1);

		memcpy(next, buffer ? buffer : "", buffer ? have : 0);
		memcpy(next + have, text + have, n);
		free(buffer);
		buffer = next;
		have += n;
		result = http_parser_execute(parser, buffer, have);
	}
	*ret_buffer = buffer;
	return result;
}

struct good {
	const char *text;
	enum llhttp_method method;
	const char *target;
	const char *body;
	bool keep_alive;
	size_t rest; /* bytes behind the request */
};

static const struct good good_requests[] = {
    {"GET / HTTP/1.1\r\n" HOST "\r\n", HTTP_GET, "/", "", true, 0},
    {"GET /a?b=c HTTP/1.1\r\nhOsT: a\r\n\r\nGET", HTTP_GET, "/a?b=c", "", true, 3},
    {"\r\nPOST /p HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabcd", HTTP_POST, "/p", "abc", true, 1},
    {"POST /p HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", HTTP_POST, "/p", "", true, 0},
    {"POST /p HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", HTTP_POST, "/p", "", false, 0},
    {"POST /p HTTP/1.0\r\n\r\n", HTTP_POST, "/p", "", false, 0},
    {"POST /p HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", HTTP_POST, "/p", "x", true, 0},
    {"POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nx", HTTP_POST, "/p",
	"abcde", true, 1},
    {"POST /p HTTP/1.1\r\n" HOST
     "transfer-encoding: CHUNKED\r\n\r\n1;a=b\r\nx\r\nA\r\n0123456789\r\n0\r\nHost: b\r\nX: y\r\n\r\n",
	HTTP_POST, "/p", "x0123456789", true, 0},
    {"POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", HTTP_POST, "/p", "", true, 0},
    {"GET /u HTTP/1.1\r\n" HOST "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\nrest", HTTP_GET, "/u", "", true, 4},
    {"POST /p HTTP/1.1\r\n" HOST "X-Empty:\r\nContent-Length: 1\r\n\r\n x", HTTP_POST, "/p", " ", true, 1},
    {"POST /p HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n\n ", HTTP_POST, "/p", "\n ", true, 0},
    {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", HTTP_OPTIONS, "*", "", true, 0},
};

static void
check_good(const struct good *good, size_t first, size_t step)
{
	struct http_parser parser;
	char *buffer;

	assert_int_equal(parse(&parser, good->text, strlen(good->text), first, step, &buffer), HTTP_PARSE_COMPLETE);
	assert_int_equal(http_parser_method(&parser), good->method);
	assert_int_equal(parser.target.length, strlen(good->target));
	assert_memory_equal(buffer + parser.target.offset, good->target, parser.target.length);
	assert_int_equal(parser.body_length, strlen(good->body));
	assert_memory_equal(http_parser_body(&parser, buffer), good->body, parser.body_length);
	assert_int_equal(parser.keep_alive, good->keep_alive);
	assert_int_equal(parser.request_length, strlen(good->text) - good->rest);
	free(buffer);
}

static void
test_good_requests_parse_the_same_however_they_arrive(UNUSED void **state)
{
	for (size_t i = 0; i < N_ELEMENTS(good_requests); i++) {
		size_t length = strlen(good_requests[i].text);

		check_good(&good_requests[i], length, length);
		check_good(&good_requests[i], 1, 1);
		for (size_t cut = 1; cut < length; cut++)
			check_good(&good_requests[i], cut, length);
	}
}

static const struct {
	const char *text;
	int status;
} bad_requests[] = {
    {"get / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET / HTTP/1.1\r\n\r\n", 400}, /* no Host */
    {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400},
    {"GET / HTTP/1.0\r\n" HOST HOST "\r\n", 400},
    {"GET / HTTP/2.0\r\n" HOST "\r\n", 505},
    {"GET / HTTP/1.2\r\n" HOST "\r\n", 505},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
    {"GET /\r\n\r\n", 505}, /* HTTP/0.9 */
    {"GET /a b HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET / HTTP/1.1\n" HOST "\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", 400}, /* folded */
    {"GET / HTTP/1.1\r\n" HOST "X: a\r\n\t\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "X:\r\n b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n X: a\r\n" HOST "\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "X : a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST ": a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n", 400},
    {"GET /\x01 HTTP/1.1\r\n" HOST "\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: -3\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0x3\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3 4\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1001\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", 400},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Expect: a-miracle\r\n\r\n", 417},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3e9\r\n", 413},
};

static void
test_bad_requests_are_refused_however_they_arrive(UNUSED void **state)
{
	for (size_t i = 0; i < N_ELEMENTS(bad_requests); i++) {
		const char *text = bad_requests[i].text;
		size_t length = strlen(text);

		for (size_t step = 1; step <= length; step += step < 8 ? 1 : length - 8 > step ? length - 8 : 1) {
			struct http_parser parser;
			enum http_parse_result result;
			char *buffer;
			char body[MAX_BODY + 1];

			result = parse(&parser, text, length, step, step, &buffer);
			free(buffer);
			if (bad_requests[i].status == 413 &&
			    result == HTTP_PARSE_MORE) { /* a chunk: its content decides */
				char *whole;

				memset(body, 'x', sizeof(body));
				whole = malloc(length + sizeof(body));
				memcpy(whole, text, length);
				memcpy(whole + length, body, sizeof(body));
				result = parse(&parser, whole, length + sizeof(body), length, step, &buffer);
				free(buffer);
				free(whole);
			}
			if (result != HTTP_PARSE_ERROR || parser.error_status != bad_requests[i].status)
				fail_msg(
				    "step %zu: result %d, status %d for: %s", step, result, parser.error_status, text);
			assert_non_null(parser.error_reason);
			assert_false(parser.keep_alive);
		}
	}
}

/* A request with `n` times `piece` in the middle. */
static int
status_of_long(const char *before, const char *piece, size_t n, const char *after)
{
	struct http_parser parser;
	char *text = malloc(strlen(before) + n * strlen(piece) + strlen(after) + 1), *buffer;
	enum http_parse_result result;

	strcpy(text, before);
	for (size_t i = 0, at = strlen(before); i < n; i++, at += strlen(piece))
		strcpy(text + at, piece);
	strcat(text, after);
	result = parse(&parser, text, strlen(text), 1000, 1000, &buffer);
	free(buffer);
	free(text);
	return result == HTTP_PARSE_COMPLETE ? 200 : result == HTTP_PARSE_MORE ? 0 : parser.error_status;
}

static void
test_limits(UNUSED void **state)
{
	assert_int_equal(status_of_long("GET /", "a", HTTP_TARGET_MAX - 1, " HTTP/1.1\r\n" HOST "\r\n"), 200);
	assert_int_equal(status_of_long("GET /", "a", HTTP_TARGET_MAX, " HTTP/1.1\r\n" HOST "\r\n"), 414);
	assert_int_equal(status_of_long("GET / HTTP/1.1\r\n" HOST, "X: y\r\n", HTTP_FIELDS_MAX - 1, "\r\n"), 200);
	assert_int_equal(status_of_long("GET / HTTP/1.1\r\n" HOST, "X: y\r\n", HTTP_FIELDS_MAX, "\r\n"), 431);
	assert_int_equal(status_of_long("GET / HTTP/1.1\r\n" HOST "X: ", "y", HTTP_HEAD_MAX, "\r\n\r\n"), 431);
	assert_int_equal(status_of_long("\r\n", "\r\n", HTTP_HEAD_MAX, ""), 431);
	assert_int_equal(status_of_long("POST / HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n", "x", 1000, ""), 200);
	assert_int_equal(status_of_long("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n",
			     1000, "0\r\n\r\n"),
	    200);
	assert_int_equal(status_of_long("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n",
			     1001, "0\r\n\r\n"),
	    413);
	assert_int_equal(status_of_long("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1;", "a",
			     HTTP_CHUNKED_MAX * 2, "\r\n"),
	    413);
	assert_int_equal(status_of_long("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n",
			     "X: y\r\n", HTTP_FIELDS_MAX + 1, "\r\n"),
	    431);
}

static void
test_expect_continue(UNUSED void **state)
{
	struct http_parser parser;
	char text[] = "POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
	char old[] = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";

	http_parser_init(&parser, on_head, NULL);
	assert_int_equal(http_parser_execute(&parser, text, strlen(text)), HTTP_PARSE_MORE);
	assert_true(parser.head_complete && parser.expects_continue);
	http_parser_init(&parser, on_head, NULL);
	assert_int_equal(http_parser_execute(&parser, old, strlen(old)), HTTP_PARSE_MORE);
	assert_false(parser.expects_continue);
}

static void
test_targets(UNUSED void **state)
{
	static const struct {
		const char *target;
		const char *path; /* NULL: refused */
		bool debug;
	} cases[] = {
	    {"/", "/", false},
	    {"/a/b", "/a/b", false},
	    {"/a/b/", "/a/b", false},
	    {"/a%2fb%20c", "/a/b c", false},
	    {"/a?debug=true", "/a", true},
	    {"/a?x=1&debug=true&y", "/a", true},
	    {"/a?debug=TRUE", "/a", true},
	    {"/a?debug=false", "/a", false},
	    {"/a?xdebug=true", "/a", false},
	    {"/a?debug=true#f", "/a", true},
	    {"/a?&&", "/a", false},
	    {"http://host:1/a?debug=true", "/a", true},
	    {"HTTPS://h/a", "/a", false},
	    {"http://h", "/", false},
	    {"http://h?debug=true", "/", false},
	    {"http:///a", NULL, false},
	    {"http://u@h/a", NULL, false},
	    {"http://u@h", NULL, false},
	    {"a", NULL, false},
	    {"", NULL, false},
	    {"/%", NULL, false},
	    {"/%4", NULL, false},
	    {"/%zz", NULL, false},
	    {"/%00", NULL, false},
	};

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct http_target target;
		char room[128];
		int r = http_target_parse(cases[i].target, strlen(cases[i].target), room, &target);

		assert_int_equal(r == 0, cases[i].path != NULL);
		if (r < 0)
			continue;
		assert_string_equal(target.path, cases[i].path);
		assert_int_equal(target.debug, cases[i].debug);
	}
}

/* What cannot be given back and logged as it is does not count. */
static void
test_request_ids(UNUSED void **state)
{
	static const struct {
		const char *fields;
		const char *id;
	} cases[] = {
	    {"X-Request-ID: abc-123\r\n", "abc-123"},
	    {"x-request-id: \t abc \t\r\n", "abc"},
	    {"X-Request-ID: one\r\nX-Request-ID: two\r\n", "one"},
	    {"X-Request-ID: a b\r\nX-Request-ID: two\r\n", "two"},
	    {"X-Request-ID: a\"b\r\n", ""},
	    {"X-Request-ID: a\\b\r\n", ""},
	    {"X-Request-ID: a'b\r\n", ""},
	    {"X-Request-ID: caf\xc3\xa9\r\n", ""},
	    {"X-Request-ID:\r\n", ""},
	    {"X-Request-IDs: a\r\n", ""},
	};
	char text[512], *buffer;

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		size_t length = (size_t)snprintf(
		    text, sizeof(text), "GET / HTTP/1.1\r\n" HOST "%s\r\n", cases[i].fields);

		for (size_t step = 1; step <= length; step++) {
			struct http_parser parser;

			assert_int_equal(parse(&parser, text, length, step, step, &buffer), HTTP_PARSE_COMPLETE);
			assert_int_equal(parser.request_id.length, strlen(cases[i].id));
			assert_memory_equal(buffer + parser.request_id.offset, cases[i].id, strlen(cases[i].id));
			free(buffer);
		}
	}
	for (int length = 128; length <= 129; length++) {
		struct http_parser parser;

		memset(text, 'x', sizeof(text));
		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST "X-Request-ID: %0*d\r\n\r\n", length, 0);
		assert_int_equal(parse(&parser, text, strlen(text), strlen(text), 1, &buffer), HTTP_PARSE_COMPLETE);
		assert_int_equal(parser.request_id.length, length == 128 ? 128 : 0);
		free(buffer);
	}
}

static void
test_answer_heads(UNUSED void **state)
{
	struct http_answer answer = http_answer_text(406, "no\n");
	char head[HTTP_ANSWER_HEAD_MAX];
	size_t length = http_answer_head(&answer, true, false, head);

	head[length] = '\0';
	assert_non_null(strstr(head, "HTTP/1.1 406 Not Acceptable\r\nDate: "));
	assert_non_null(strstr(head, " GMT\r\nContent-Type: text/plain; charset=utf-8\r\n"));
	assert_non_null(strstr(head, "\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: *\r\n"));
	assert_non_null(strstr(head, "\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"));
	answer = (struct http_answer){.status = 204, .fields = "Allow: GET\r\n"};
	length = http_answer_head(&answer, false, true, head);
	head[length] = '\0';
	assert_null(strstr(head, "Content-"));
	assert_non_null(strstr(head, "\r\nAllow: GET\r\nConnection: keep-alive\r\n\r\n"));
	assert_string_equal(http_reason(299), "Unknown");
	answer = (struct http_answer){.status = 204, .request_id = "abc-", .request_id_length = 3};
	head[http_answer_head(&answer, false, false, head)] = '\0';
	assert_non_null(strstr(head, "\r\nX-Request-ID: abc\r\n\r\n"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good_requests_parse_the_same_however_they_arrive),
	    cmocka_unit_test(test_bad_requests_are_refused_however_they_arrive),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_expect_continue),
	    cmocka_unit_test(test_targets),
	    cmocka_unit_test(test_request_ids),
	    cmocka_unit_test(test_answer_heads),
	};

	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
