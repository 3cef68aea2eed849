/*
 * test_quantity - every form of a Kubernetes quantity, exactly.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/quantity.h"

struct example {
	const char *text;
	int64_t value;
};

static void
check_examples(int (*parse)(const char *, int64_t *), const struct example *examples, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int64_t value = -12345;
		int r = parse(examples[i].text, &value);

		if (r != 0 || value != examples[i].value)
			fail_msg("\"%s\": %d, %" PRId64 " instead of %" PRId64, examples[i].text, r, value,
			    examples[i].value);
	}
}

static void
cpu_is_counted_in_thousandths(UNUSED void **state)
{
	static const struct example examples[] = {
	    {"200m", 200},
	    {"0.2", 200},
	    {".2", 200},
	    {"2", 2000},
	    {"2.", 2000},
	    {"+2", 2000},
	    {"-2", -2000},
	    {"0", 0},
	    {"-0", 0},
	    {"0.000", 0},
	    {"00.5", 500},
	    {"1.5", 1500},
	    {"1e3", 1000000},
	    {"1E3", 1000000},
	    {"1e-1", 100},
	    {"1E+1", 10000},
	    {"100000u", 100},
	    {"100000000n", 100},
	    {"1k", 1000000},
	    {"1Ki", 1024000},
	    {"0.5Ki", 512000},
	    {"1P", 1000000000000000000},
	};

	check_examples(quantity_parse_milli, examples, N_ELEMENTS(examples));
}

static void
what_is_no_whole_unit_is_rounded_up(UNUSED void **state)
{
	static const struct example milli[] = {
	    {"0.0001", 1},
	    {"1n", 1},
	    {"1e-100", 1},
	    {"1e-99999999999999999999", 1},
	    {"0.2001", 201},
	    {"0.2000000000000000000000000000000000000000000000000000000000001", 201},
	    {"0.2000000000000000000000000000000000000000000000000000000000000", 200},
	    {"1999999n", 2},
	    {"2000000n", 2},
	    {"2000001n", 3},
	    {"-0.0001", -1},
	};
	static const struct example bytes[] = {
	    {"1m", 1},
	    {"1.5", 2},
	    {"1.1Ki", 1127},
	    {"0.1Mi", 104858},
	    {"1.1Gi", 1181116007},
	};

	check_examples(quantity_parse_milli, milli, N_ELEMENTS(milli));
	check_examples(quantity_parse_bytes, bytes, N_ELEMENTS(bytes));
}

static void
memory_is_counted_in_bytes(UNUSED void **state)
{
	static const struct example examples[] = {
	    {"1", 1}, {"129e6", 129000000}, {"129M", 129000000}, {"123Mi", 128974848}, {"1K", 1000}, {"1k", 1000},
	    {"1G", 1000000000}, {"1T", 1000000000000}, {"1P", 1000000000000000}, {"1E", 1000000000000000000},
	    {"1Ki", 1 << 10}, {"1Mi", 1 << 20}, {"1Gi", 1 << 30}, {"1Ti", (int64_t)1 << 40}, {"1Pi", (int64_t)1 << 50},
	    {"1Ei", (int64_t)1 << 60}, {"7.5Ei", 8646911284551352320}, {"0.5Gi", 1 << 29}, {"1500m", 2},
	    {"9223372036854775807", INT64_MAX}, {"-9223372036854775807", -INT64_MAX}, {"0e99999999999999999999", 0},
	    {"0.00000000000000000000001e24", 10}, {"9007199254740993", 9007199254740993}, /* not a double */
	};

	check_examples(quantity_parse_bytes, examples, N_ELEMENTS(examples));
}

static void
too_large_is_told_apart_from_nonsense(UNUSED void **state)
{
	static const char *const too_large[] = {"9223372036854775808", "8Ei", "10E", "1e19", "1e100000",
	    "1e99999999999999999999", "99999999999999999999Ei", "-8Ei", "9223372036854775807.5"};
	int64_t value = 7;

	for (size_t i = 0; i < N_ELEMENTS(too_large); i++) {
		if (quantity_parse_bytes(too_large[i], &value) != -ERANGE)
			fail_msg("%s", too_large[i]);
	}
	assert_int_equal(quantity_parse_milli("10P", &value), -ERANGE);
	assert_int_equal(quantity_parse_milli("9P", &value), 0);
	assert_int_equal(value, 9000000000000000000);
}

static void
nonsense_is_refused(UNUSED void **state)
{
	static const char *const nonsense[] = {"", "+", "-", ".", "-.", "abc", "m", "Ki", "1e", "1e+", "1e1.5", "1e5m",
	    "1 ", " 1", "1 m", "1mm", "1ki", "1KI", "1kib", "1Gib", "1GB", "1g", "1t", "1 Gi", "--1", "+-1", "1..2",
	    "1.2.3", "0x10", "1_000", "1,5", "inf", ".inf", "nan", "1e5e5", "1E5Ki", "1Eix", "\xc2\xb5", "1\xc2\xb5",
	    "1i", "1Mi\n", "1e 5"};
	char digits[400];
	int64_t value = 7;

	for (size_t i = 0; i < N_ELEMENTS(nonsense); i++) {
		if (quantity_parse_milli(nonsense[i], &value) != -EINVAL ||
		    quantity_parse_bytes(nonsense[i], &value) != -EINVAL)
			fail_msg("\"%s\"", nonsense[i]);
	}
	memset(digits, '9', sizeof(digits) - 1);
	digits[sizeof(digits) - 1] = '\0';
	assert_int_not_equal(quantity_parse_bytes(digits, &value), 0);
	digits[256] = '\0';
	assert_int_equal(quantity_parse_bytes(digits, &value), -ERANGE);
	assert_int_equal(value, 7);
}

/* Both units of one text are one number: 1000 times the other, but for rounding. */
static void
the_two_units_agree(UNUSED void **state)
{
	static const char *const suffixes[] = {"", "m", "u", "k", "M", "Ki", "Mi", "e2", "E-1"};

	for (int number = 0; number < 3000; number += 7) {
		for (size_t i = 0; i < N_ELEMENTS(suffixes); i++) {
			int64_t milli, bytes;
			char text[64];

			snprintf(text, sizeof(text), "%d.%03d%s", number / 1000, number % 1000, suffixes[i]);
			assert_int_equal(quantity_parse_milli(text, &milli), 0);
			assert_int_equal(quantity_parse_bytes(text, &bytes), 0);
			assert_int_equal((milli + 999) / 1000, bytes);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cpu_is_counted_in_thousandths),
	    cmocka_unit_test(what_is_no_whole_unit_is_rounded_up),
	    cmocka_unit_test(memory_is_counted_in_bytes),
	    cmocka_unit_test(too_large_is_told_apart_from_nonsense),
	    cmocka_unit_test(nonsense_is_refused),
	    cmocka_unit_test(the_two_units_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
