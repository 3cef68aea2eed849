/*
 * What is printed: what a terminal must not see, widths, ages, sizes, durations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "test/unit/terminal_helpers.h"

static void
assert_clean(const char *text, size_t length, bool keep_lines, const char *wanted)
{
	char *clean = text_clean(text, length, keep_lines);

	assert_string_equal(clean, wanted);
	free(clean);
}

static void
test_control_characters_are_escaped(UNUSED void **state)
{
	char all[32];

	assert_clean("plain \xc3\xa9\xe4\xb8\xad", 11, false, "plain \xc3\xa9\xe4\xb8\xad");
	assert_clean("\033[2J\a\177", 6, false, "\\x1b[2J\\x07\\x7f");
	assert_clean("\xc2\x9b"
		     "31m",
	    5, false, "\\xc2\\x9b31m"); /* C1: begins a sequence as ESC [ does */
	assert_clean("a\nb\tc\r", 6, true, "a\nb\tc\\x0d");
	assert_clean("a\nb\tc", 5, false, "a\\x0ab\tc");
	assert_clean("a\0b", 3, false, "a\\x00b");
	assert_clean("\xe2\x80\xae"
		     "a",
	    4, false, "\\xe2\\x80\\xaea"); /* right to left from here on */
	assert_clean("", 0, false, "");
	for (int i = 0; i < 32; i++)
		all[i] = (char)i;
	for (int keep = 0; keep < 2; keep++) {
		char *clean = text_clean(all, sizeof(all), keep);

		for (const char *c = clean; *c; c++)
			assert_true(*c >= ' ' || *c == '\t' || (keep && *c == '\n'));
		free(clean);
	}
}

static void
test_what_is_not_utf8_is_escaped_byte_by_byte(UNUSED void **state)
{
	assert_clean("\xff\xfe", 2, false, "\\xff\\xfe");
	assert_clean("\xe4\xb8", 2, false, "\\xe4\\xb8");                /* half a character */
	assert_clean("\xc0\x9b", 2, false, "\\xc0\\x9b");                /* ESC the long way */
	assert_clean("\xed\xa0\x80", 3, false, "\\xed\\xa0\\x80");       /* a surrogate */
	assert_clean("\xe4\xb8\xad\xe4", 4, false, "\xe4\xb8\xad\\xe4"); /* cut */
}

static void
test_columns_and_what_fits(UNUSED void **state)
{
	assert_int_equal(text_columns("abc"), 3);
	assert_int_equal(text_columns("\xe4\xb8\xad\xe6\x96\x87"), 4);
	assert_int_equal(text_columns("e\xcc\x81"), 1); /* combining */
	assert_int_equal(text_columns(""), 0);
	assert_int_equal(text_columns("\033[31mab\033[0m"), 2); /* with colours */
	assert_int_equal(text_fit("\033[31mab\033[0m", 1), 6);
	assert_int_equal(text_columns("\033["), 0);
	assert_int_equal(text_fit("abc", 2), 2);
	assert_int_equal(text_fit("abc", 9), 3);
	assert_int_equal(text_fit("\xe4\xb8\xad\xe6\x96\x87", 3), 3); /* no half of a wide one */
	assert_int_equal(text_fit("e\xcc\x81x", 1), 3);               /* with its accent */
	assert_int_equal(text_fit("abc", 0), 0);
	assert_int_equal(text_fit("abc", -5), 0);
}

static void
test_ages_times_and_sizes(UNUSED void **state)
{
	char room[24];

	assert_string_equal(text_age(0, room), "0s");
	assert_string_equal(text_age(-3, room), "0s"); /* clocks */
	assert_string_equal(text_age(59.9, room), "59s");
	assert_string_equal(text_age(60, room), "1m");
	assert_string_equal(text_age(3599, room), "59m");
	assert_string_equal(text_age(3600, room), "1h");
	assert_string_equal(text_age(86400 * 400.0, room), "400d");
	assert_string_equal(text_age(1e300, room), "11574d");
	assert_string_equal(text_ms(-1, room), "-");
	assert_string_equal(text_ms(0.0 / 0.0, room), "-");
	assert_string_equal(text_ms(0.1234, room), "0.12 ms");
	assert_string_equal(text_ms(34.4, room), "34 ms");
	assert_string_equal(text_ms(5600, room), "5600 ms");
	assert_string_equal(text_ms(56000, room), "56.0 s");
	assert_string_equal(text_bytes(0, room), "0 B");
	assert_string_equal(text_bytes(1023, room), "1023 B");
	assert_string_equal(text_bytes(1536, room), "1.5 KiB");
	assert_string_equal(text_bytes(200.0 * 1024 * 1024, room), "200 MiB");
	assert_string_equal(text_bytes(3e15, room), "2728 TiB");
}

static void
test_durations(UNUSED void **state)
{
	static const char *const wrong[] = {
	    "", "s", "-1", "1.5h", "10x", "10 m", " 10", "1h30m", "1234567890", "m10", "+5"};

	assert_true(text_parse_duration("0") == 0);
	assert_true(text_parse_duration("90") == 90);
	assert_true(text_parse_duration("30s") == 30);
	assert_true(text_parse_duration("10m") == 600);
	assert_true(text_parse_duration("2h") == 7200);
	assert_true(text_parse_duration("1d") == 86400);
	assert_true(text_parse_duration("999999999d") > 0);
	for (size_t i = 0; i < N_ELEMENTS(wrong); i++)
		assert_true(text_parse_duration(wrong[i]) == -1);
}

static void
test_colours_are_for_terminals_that_have_them(UNUSED void **state)
{
	use_terminal(0, false);
	assert_string_equal(text_color(COLOR_BAD), "");
	assert_int_equal(text_width(), INT_MAX);
	use_terminal(80, false);
	assert_string_equal(text_color(COLOR_BAD), "\033[31m");
	assert_string_equal(text_color(COLOR_NONE), "\033[0m");
	assert_int_equal(text_width(), 80);
	assert_int_equal(text_height(), 24);
	use_terminal(80, true);
	assert_string_equal(text_color(COLOR_BAD), "");
	assert_true(text_is_terminal());
	use_terminal(80, false);
	setenv("NO_COLOR", "", 1); /* set, but empty: https://no-color.org */
	text_init(false);
	assert_string_equal(text_color(COLOR_GOOD), "\033[32m");
	setenv("NO_COLOR", "1", 1);
	text_init(false);
	assert_string_equal(text_color(COLOR_GOOD), "");
	unsetenv("NO_COLOR");
	setenv("TERM", "dumb", 1);
	text_init(false);
	assert_string_equal(text_color(COLOR_GOOD), "");
	unsetenv("TERM");
	text_init(false);
	assert_string_equal(text_color(COLOR_GOOD), "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_control_characters_are_escaped),
	    cmocka_unit_test(test_what_is_not_utf8_is_escaped_byte_by_byte),
	    cmocka_unit_test(test_columns_and_what_fits),
	    cmocka_unit_test(test_ages_times_and_sizes),
	    cmocka_unit_test(test_durations),
	    cmocka_unit_test(test_colours_are_for_terminals_that_have_them),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
