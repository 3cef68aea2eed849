/*
 * Bytes from an output pipe as lines: whole ones, halves, frames among them, in whatever pieces they come; what is too long, and
 * what is too much.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <stdio.h>

#include "monitor/lines.h"

#define SECOND 1000000000ll

static char seen[1 << 20]; /* what was delivered: "<kind><name>:<bytes>|" each */
static size_t seen_length;
static uint64_t n_lines, n_lost, n_lost_bytes, n_notices;

static void
on_line(const struct lines_line *line, UNUSED void *arg)
{
	static const char kinds[] = "RLAX";

	n_lines += line->kind != LINES_LOST;
	n_notices += line->kind == LINES_LOST;
	n_lost += line->n_lost;
	n_lost_bytes += line->n_lost_bytes;
	if (seen_length + line->length + 200 > sizeof(seen))
		return;
	seen_length += (size_t)sprintf(seen + seen_length, "%c%s:", kinds[line->kind], line->name);
	memcpy(seen + seen_length, line->bytes, line->length);
	seen_length += line->length;
	if (line->n_cut > 0)
		seen_length += (size_t)sprintf(seen + seen_length, "+%llu", (unsigned long long)line->n_cut);
	if (line->n_lost > 0)
		seen_length += (size_t)sprintf(seen + seen_length, "-%llu", (unsigned long long)line->n_lost);
	seen[seen_length++] = '|';
	seen[seen_length] = '\0';
}

static const char *secret = "";

static struct lines *
begin(void)
{
	static struct lines lines;

	seen_length = 0;
	seen[0] = '\0';
	n_lines = n_lost = n_lost_bytes = n_notices = 0;
	lines_init(&lines, secret, 0, on_line, NULL);
	return &lines;
}

/* In pieces of every size the same comes out. */
static void
assert_lines(const char *text, size_t length, const char *expected)
{
	for (size_t piece = 1; piece <= length; piece++) {
		struct lines *lines = begin();

		for (size_t i = 0; i < length; i += piece)
			lines_feed(lines, text + i, MIN(piece, length - i), 0);
		lines_end(lines);
		assert_string_equal(seen, expected);
	}
}

#define ASSERT_LINES(text, expected) assert_lines(text, sizeof(text) - 1, expected)

static void
test_lines_are_found_in_any_pieces(UNUSED void **state)
{
	ASSERT_LINES("one\ntwo\n\nfour\n", "R:one|R:two|R:|R:four|");
	ASSERT_LINES("windows\r\n", "R:windows|");
	ASSERT_LINES("half", "R:half|");
}

static void
test_a_frame_is_told_from_what_is_printed(UNUSED void **state)
{
	ASSERT_LINES("a\n\x1eL\x1f"
		     "12:00 info x\nb\n",
	    "R:a|L:12:00 info x|R:b|");
	ASSERT_LINES("\x1e"
		     "Airis-2\x1f"
		     "GET /\n",
	    "Airis-2:GET /|");
}

static void
test_a_frame_ends_a_half_line(UNUSED void **state)
{
	ASSERT_LINES("loading...\x1eL\x1fready\ndone\n", "R:loading...|L:ready|R:done|");
}

static void
test_a_frame_that_was_torn_is_ended_by_the_next(UNUSED void **state)
{
	ASSERT_LINES("\x1eL\x1ftorn\x1eL\x1fwhole\n", "L:torn|L:whole|");
	ASSERT_LINES("\x1eL\x1ftorn\n\x1e"
		     "D12\x1f"
		     "12 lines were lost\n",
	    "L:torn|L:12 lines were lost-12|");
}

/* What a predictor prints may be what a client has sent. */
static void
test_a_frame_without_the_secret_is_printed(UNUSED void **state)
{
	secret = "s0";
	ASSERT_LINES("\x1es0L\x1fours\n\x1eL\x1ftheirs\n", "L:ours|R:\x1eL\x1ftheirs|");
	ASSERT_LINES("\x1es1L\x1f-\n\x1es\n\x1es\x1es0\x41iris\x1fGET\n", "R:\x1es1L\x1f-|R:\x1es|R:\x1es|Airis:GET|");
	ASSERT_LINES("\x1e\x44\x39\x1f-\n\x1es0\x44\x39\x1f-\n", "R:\x1e\x44\x39\x1f-|L:--9|");
	secret = "";
}

static void
test_what_only_looks_like_a_frame_is_printed(UNUSED void **state)
{
	ASSERT_LINES("a\x1e\ny\n", "R:a\x1e|R:y|");
	ASSERT_LINES("\x1eX\x1fy\n", "R:\x1eX\x1fy|");
	ASSERT_LINES("\x1eLUPPER\x1fy\n", "R:\x1eLUPPER\x1fy|");
	ASSERT_LINES("\x1eL\x1e\x1eL\x1fx\n", "R:\x1eL\x1e|L:x|");
	ASSERT_LINES("\x1eLiris", "R:\x1eLiris|");
	ASSERT_LINES("\x1eL0123456789012345678901234567890123456789012345678901234567890123\x1f\n",
	    "R:\x1eL0123456789012345678901234567890123456789012345678901234567890123\x1f|");
}

static void
test_a_long_line_is_cut_and_says_how_much_is_missing(UNUSED void **state)
{
	size_t length = 10 << 20;
	char *text = malloc(length + 3);

	memset(text, 'x', length);
	memcpy(text + length, "\ny\n", 3);
	for (size_t piece = 1000; piece <= length; piece *= 9) {
		struct lines *lines = begin();
		char expected[64];

		for (size_t i = 0; i < length + 3; i += piece)
			lines_feed(lines, text + i, MIN(piece, length + 3 - i), 0);
		assert_int_equal(n_lines, 2);
		snprintf(expected, sizeof(expected), "xx+%zu|R:y|", length - LINES_MAX);
		assert_string_equal(seen + LINES_MAX, expected);
	}
	free(text);
}

static void
test_a_flood_is_skipped_and_counted(UNUSED void **state)
{
	static char text[64000];
	struct lines *lines = begin();
	uint64_t n_written = 0;
	int64_t now_ns = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 64 == 63 ? '\n' : 'x';
	for (int i = 0; i < 10000; i++) { /* 640 MB in 10 s */
		lines_feed(lines, text, sizeof(text), now_ns);
		n_written += sizeof(text) / 64;
		now_ns += SECOND / 1000;
	}
	assert_true(n_lines < (2 + 11) * (1 << 20) / 127);
	assert_true(n_lines > 8 * (1 << 20) / 128);
	assert_true(n_notices > 0 && n_notices < 25);
	lines_end(lines);
	assert_int_equal(n_lines + n_lost, n_written);
	assert_int_equal(n_lost_bytes, n_lost * 63);
}

static void
test_after_a_flood_its_loss_is_told_without_another_line(UNUSED void **state)
{
	static char text[8 << 20];
	struct lines *lines = begin();

	memset(text, '\n', sizeof(text));
	lines_feed(lines, text, sizeof(text), 0);
	assert_int_equal(n_notices, 0);
	lines_tick(lines, SECOND / 10);
	assert_int_equal(n_notices, 0);
	lines_tick(lines, SECOND);
	assert_int_equal(n_notices, 1);
	assert_int_equal(n_lines + n_lost, sizeof(text));
	lines_tick(lines, 2 * SECOND);
	assert_int_equal(n_notices, 1);
}

static void
test_half_a_line_is_not_waited_for_long(UNUSED void **state)
{
	struct lines *lines = begin();

	lines_feed(lines, "loading...", 10, SECOND);
	lines_tick(lines, 2 * SECOND);
	assert_string_equal(seen, "");
	lines_tick(lines, 3 * SECOND);
	assert_string_equal(seen, "R:loading...|");
	lines_feed(lines, "\nnext\n\n", 7, 4 * SECOND);
	assert_string_equal(seen, "R:loading...|R:next|R:|");
}

static void
test_a_flood_of_prints_does_not_lose_lines_of_the_log(UNUSED void **state)
{
	static char text[4 << 20];
	struct lines *lines = begin();

	memset(text, '\n', sizeof(text));
	lines_feed(lines, text, sizeof(text), 0);
	seen_length = 0;
	lines_feed(lines, "\n\x1eL\x1fhere\n\n", 11, 0);
	assert_string_equal(seen, "L:here|");
}

static void
test_what_would_break_a_line_is_escaped(UNUSED void **state)
{
	static const char bytes[] = "a\tb\x1b[31m\x7f \xc3\xa4 \xff\xc3( \xc2\x9b \"\\\0z";
	char to[200];

	to[lines_put_text(to, sizeof(to), bytes, sizeof(bytes) - 1)] = '\0';
	assert_string_equal(to, "a\tb\\x1b[31m\\x7f \xc3\xa4 \\xff\\xc3( \\xc2\\x9b \"\\\\x00z");
	to[lines_put_json(to, sizeof(to), bytes, sizeof(bytes) - 1)] = '\0';
	assert_string_equal(to, "a\\u0009b\\u001b[31m\\u007f \xc3\xa4 \\\\xff\\\\xc3( \\\\xc2\\\\x9b \\\"\\\\\\u0000z");
	assert_int_equal(lines_put_text(to, 8, "\xff\xff\xff", 3), 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lines_are_found_in_any_pieces),
	    cmocka_unit_test(test_a_frame_is_told_from_what_is_printed),
	    cmocka_unit_test(test_a_frame_ends_a_half_line),
	    cmocka_unit_test(test_a_frame_that_was_torn_is_ended_by_the_next),
	    cmocka_unit_test(test_a_frame_without_the_secret_is_printed),
	    cmocka_unit_test(test_what_only_looks_like_a_frame_is_printed),
	    cmocka_unit_test(test_a_long_line_is_cut_and_says_how_much_is_missing),
	    cmocka_unit_test(test_a_flood_is_skipped_and_counted),
	    cmocka_unit_test(test_after_a_flood_its_loss_is_told_without_another_line),
	    cmocka_unit_test(test_half_a_line_is_not_waited_for_long),
	    cmocka_unit_test(test_a_flood_of_prints_does_not_lose_lines_of_the_log),
	    cmocka_unit_test(test_what_would_break_a_line_is_escaped),
	};

	return cmocka_run_group_tests_name("lines", tests, NULL, NULL);
}
