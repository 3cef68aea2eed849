/*
 * replica/decimal.c against Python's own float(): edges, and random doubles and decimals of several kinds. DECIMAL_RUNS in
 * the environment says how many of these; each run of the test draws others, and a failure shows the value.
 */
#include "python_helpers.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/fd.h"
#include "replica/decimal.h"

static uint64_t state;

/* splitmix64 */
static uint64_t
draw(void)
{
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static double
double_of(uint64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static void
check_writing(double value)
{
	char text[DECIMAL_TEXT_MAX + 1], *expected = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
	size_t length = decimal_from_double(value, text);

	assert_true(length <= DECIMAL_TEXT_MAX);
	text[length] = '\0';
	if (strcmp(text, expected) != 0)
		fail_msg("%a is written as %s, expected %s", value, text, expected);
	PyMem_Free(expected);
}

/* Whether it was read at all. */
static bool
check_reading(uint64_t digits, int exponent)
{
	char text[48];
	double value, expected;

	if (!decimal_to_double(digits, exponent, &value))
		return false;
	snprintf(text, sizeof(text), "%" PRIu64 "e%d", digits, exponent);
	expected = PyOS_string_to_double(text, NULL, NULL);
	if (memcmp(&value, &expected, sizeof(value)) != 0)
		fail_msg("%s is read as %a, expected %a", text, value, expected);
	return true;
}

/* The digits and the exponent of what repr() shows, with at most 19 digits. */
static void
check_reading_of(double value)
{
	char text[64];
	char *point, *e;

	snprintf(text, sizeof(text), "%.*e", (int)(draw() % 19), fabs(value));
	point = strchr(text, '.');
	e = strchr(text, 'e');
	if (point)
		memmove(point, point + 1, (size_t)(e - point)); /* with the e */
	check_reading(strtoull(text, NULL, 10), atoi(strchr(text, 'e') + 1) - (point ? (int)(e - point) - 1 : 0));
}

static void
writes_and_reads_edges(void **unused UNUSED)
{
	static const double values[] = {0.0, -0.0, 1.0, -1.5, 0.1, 1.0 / 3, 5e-324, 2.2250738585072014e-308,
	    2.225073858507201e-308, 1.7976931348623157e308, 1e15, 1e16, 1e17, 123456789012345680.0, 9007199254740992.0,
	    9007199254740993.0, 999999999999999.9, 9999999999999998.0, 1e22, 1e23, 8.41e21, 9.5367431640625e-07, 0.0001,
	    0.00012, 0.00001, 0.000012, 100.0, 1e-5, 4.35, 0.3, 2e-323, 9.109e-31, 1e300, 0.001, 299792458.0};

	for (size_t i = 0; i < N_ELEMENTS(values); i++) {
		check_writing(values[i]);
		check_writing(-values[i]);
		check_reading_of(values[i]);
	}
	for (int e = 0; e < 2047; e++) /* powers of two: their lower neighbours are nearer */
		for (uint64_t f = 0; f < 3; f++) {
			check_writing(double_of(((uint64_t)e << 52) + f));
			check_writing(double_of(((uint64_t)e << 52) + f - 1 + (e == 0)));
		}
	for (int e = -400; e < 400; e++) /* powers of ten, and what is next to them */
		for (uint64_t digits = 0; digits < 12; digits++)
			check_reading(digits, e);
	assert_true(check_reading(UINT64_MAX, 0));
	assert_true(check_reading(9007199254740993, 0)); /* a tie */
	assert_true(check_reading(9007199254740995, 0));
	assert_true(check_reading(90071992547409935, -1));
	assert_true(check_reading(0, 5000));
	assert_false(check_reading(1, 5000));
	assert_false(check_reading(1, -5000));
	assert_false(check_reading(2, 308));
	assert_false(check_reading(5, -324));
}

static void
writes_and_reads_what_is_drawn(void **unused UNUSED)
{
	const char *wanted = getenv("DECIMAL_RUNS");
	long long runs = wanted ? atoll(wanted) : 300000, known = 0;
	double value, scale;

	for (long long i = 0; i < runs; i++) {
		value = double_of(draw());
		if (isfinite(value)) {
			check_writing(value);
			check_reading_of(value);
		}
		value = (double)(int64_t)(draw() >> 11) * 0x1p-53; /* as random.random() */
		check_writing(value);
		check_reading_of(value);
		scale = 1;
		for (uint64_t n = draw() % 17; n > 0; n--)
			scale *= 10;
		value = (double)(int64_t)(value * 200 * scale) / scale; /* few digits */
		check_writing(value);
		check_reading_of(value);
		check_writing((float)value);
		check_reading(draw() >> draw() % 64, (int)(draw() % 700) - 350);
		known += check_reading(draw() >> draw() % 64, (int)(draw() % 560) - 290);
		/* Half way between two doubles, or next to it, as far as 19 digits tell. */
		check_reading(((draw() >> 10) | 1) + draw() % 3 - 1, (int)(draw() % 5) - 2);
	}
	assert_true(known > runs - runs / 1000); /* it is fast because it nearly always knows */
}

static void
writes_integers(void **unused UNUSED)
{
	char text[24], expected[24];
	int64_t value;

	for (int i = -200000; i < 200000; i++) {
		value = i < -100000 ? INT64_MIN + i + 200000 : i > 100000 ? (int64_t)(draw() >> draw() % 64) : i;
		text[decimal_from_integer(value, text)] = '\0';
		snprintf(expected, sizeof(expected), "%" PRId64, value);
		assert_string_equal(text, expected);
	}
	for (int64_t power = 1; power < INT64_MAX / 10; power *= 10)
		for (int64_t d = -1; d <= 1; d++) {
			text[decimal_from_integer(power + d, text)] = '\0';
			snprintf(expected, sizeof(expected), "%" PRId64, power + d);
			assert_string_equal(text, expected);
		}
}

static int
set_up(void **unused UNUSED)
{
	struct start_record start = test_start_record();
	struct timespec now;

	test_folder_make();
	test_python_start(&start);
	clock_gettime(CLOCK_REALTIME, &now);
	state = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 32;
	return 0;
}

static int
tear_down(void **unused UNUSED)
{
	return path_remove_all(test_folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(writes_and_reads_edges),
	    cmocka_unit_test(writes_and_reads_what_is_drawn),
	    cmocka_unit_test(writes_integers),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
