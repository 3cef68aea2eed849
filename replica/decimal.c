/*
 * decimal - see decimal.h.
 *
 * Reading: the product with the first 128 bits of the power of ten (D. Lemire, "Number parsing at a gigabyte per second",
 * 2021). Writing: R. Giulietti, "The Schubfach way to render doubles", 2020, whose
 * names the variables have. Both use one table, which the build makes.
 */
#include "replica/decimal.h"

#include <string.h>

typedef unsigned __int128 uint128;

struct power {
	uint64_t high, low;
};
#include "replica/powers_of_ten.inc"

#define FRACTION_BITS  52
#define HIDDEN_BIT     (UINT64_C(1) << FRACTION_BITS)
#define EXPONENT_BIAS  1023
#define EXPONENT_LIMIT 2047 /* of infinity and NaN */

/* The powers of ten that 128 bits hold exactly. */
#define EXACT_LAST 55

/* floor(log2(10^e)), floor(log10(2^e)) and floor(log10(3/4 * 2^e)) for the exponents of doubles. */
static int
log2_of_power_of_10(int e)
{
	return (e * 1741647) >> 19;
}

static int
log10_of_power_of_2(int e)
{
	return (e * 1262611) >> 22;
}

static int
log10_of_three_quarters(int e)
{
	return (e * 1262611 - 524031) >> 22;
}

static uint64_t
bits_of(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static double
double_of(uint64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* ---- reading ---- */

/* decimal_to_double of what is not small. */
bool
decimal_scale(uint64_t digits, int64_t exponent, double *ret_value)
{
	const struct power *power;
	int shift, leading, upper, binary;
	uint64_t mantissa;
	uint128 product;

	if (digits == 0) {
		*ret_value = 0.0;
		return true;
	}
	if (exponent < POWER_FIRST || exponent > POWER_LAST)
		return false;
	power = &powers[exponent - POWER_FIRST];
	leading = __builtin_clzll(digits);
	digits <<= leading;
	product = (uint128)digits * power->high;
	/* 54 bits and one that may be zero are wanted; when all below are ones, the rest of the power may carry into them. */
	if (((uint64_t)(product >> 64) & 0x1ff) == 0x1ff) {
		/* Reciprocals of up to 10^27, rounded up, make ties visible. */
		product += (uint64_t)((uint128)digits * (power->low + (exponent < 0 && exponent >= -27)) >> 64);
		if ((uint64_t)product == UINT64_MAX && (exponent < -27 || exponent > EXACT_LAST))
			return false;
	}
	upper = (int)(product >> 127);
	shift = upper + 64 - FRACTION_BITS - 3;
	mantissa = (uint64_t)(product >> 64) >> shift;
	binary = log2_of_power_of_10((int)exponent) + 63 + upper - leading + EXPONENT_BIAS;
	if (binary <= 0)
		return false;
	/* Half way between two doubles: the even one. */
	if ((uint64_t)product <= 1 && exponent >= -4 && exponent <= 23 && (mantissa & 3) == 1 &&
	    mantissa << shift == (uint64_t)(product >> 64))
		mantissa &= ~UINT64_C(1);
	mantissa = (mantissa + (mantissa & 1)) >> 1;
	if (mantissa == 2 * HIDDEN_BIT) {
		mantissa = HIDDEN_BIT;
		binary++;
	}
	if (binary >= EXPONENT_LIMIT)
		return false;
	*ret_value = double_of((uint64_t)binary << FRACTION_BITS | (mantissa & (HIDDEN_BIT - 1)));
	return true;
}

/* ---- writing ---- */

/* The upper part of g * c / 2^128, with a last bit that says whether something was cut off. */
static uint64_t
round_to_odd(struct power g, uint64_t c)
{
	uint128 sum = (uint128)g.high * c + (uint64_t)((uint128)g.low * c >> 64);

	return (uint64_t)(sum >> 64) | ((uint64_t)sum > 1);
}

/* The shortest decimal for c * 2^q: its digits, of which the last may be zeros, and *ret_exponent, their power of ten. */
static uint64_t
shortest(uint64_t c, int q, bool closer_below, int *ret_exponent)
{
	int k = closer_below ? log10_of_three_quarters(q) : log10_of_power_of_2(q);
	int h = q + log2_of_power_of_10(-k) + 1;
	struct power g = powers[-k - POWER_FIRST];
	uint64_t lower, value, upper, s, tens;
	bool open = c & 1; /* the ends of the interval read back as the even neighbour */
	bool below, above;

	if (-k < 0 || -k > EXACT_LAST) { /* rounded up */
		g.low++;
		g.high += g.low == 0;
	}
	lower = round_to_odd(g, (4 * c - 2 + closer_below) << h) + open;
	value = round_to_odd(g, 4 * c << h);
	upper = round_to_odd(g, (4 * c + 2) << h) - open;
	s = value / 4;
	if (s >= 10) {
		tens = s / 10;
		below = lower <= 40 * tens;
		above = 40 * tens + 40 <= upper;
		if (below != above) {
			*ret_exponent = k + 1;
			return tens + above;
		}
	}
	*ret_exponent = k;
	below = lower <= 4 * s;
	above = 4 * s + 4 <= upper;
	if (below != above)
		return s + above;
	return s + (value > 4 * s + 2 || (value == 4 * s + 2 && (s & 1)));
}

/* The digits of value, of which there are n, to text. */
static void
put_digits(uint64_t value, size_t n, char *text)
{
	static const char pairs[] =
	    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243"
	    "4445464748495051525354555657585960616263646566676869707172737475767778798081828384858687"
	    "888990919293949596979899";

	while (n >= 2) {
		n -= 2;
		memcpy(text + n, pairs + value % 100 * 2, 2);
		value /= 100;
	}
	if (n == 1)
		text[0] = (char)('0' + value);
}

static size_t
count_digits(uint64_t value)
{
	static const uint64_t powers_of_10[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000,
	    1000000000, 10000000000, 100000000000, 1000000000000, 10000000000000, 100000000000000, 1000000000000000,
	    10000000000000000, 100000000000000000, 1000000000000000000, 10000000000000000000U};
	size_t n = (size_t)(64 - __builtin_clzll(value | 1)) * 1233 >> 12; /* of the power of two: right or one less */

	return n + (value >= powers_of_10[n] || n == 0);
}

size_t
decimal_from_integer(int64_t value, char *text)
{
	uint64_t positive = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	size_t n = count_digits(positive), sign = value < 0;

	text[0] = '-';
	put_digits(positive, n, text + sign);
	return sign + n;
}

/* As repr() lays them out: 0.0001 to 9999999999999998.0 without an exponent. point: digits before the decimal point. */
static size_t
lay_out(uint64_t digits, size_t n, int point, char *text)
{
	int exponent = point - 1;
	size_t length;

	if (point > 16 || point < -3) {
		put_digits(digits, n, text + 1);
		text[0] = text[1];
		text[1] = '.';
		length = n == 1 ? 1 : n + 1;
		text[length++] = 'e';
		text[length++] = exponent < 0 ? '-' : '+';
		exponent = exponent < 0 ? -exponent : exponent;
		if (exponent < 10)
			text[length++] = '0';
		return length + decimal_from_integer(exponent, text + length);
	}
	if (point <= 0) {
		memcpy(text, "0.000", 5);
		put_digits(digits, n, text + 2 - point);
		return n + (size_t)(2 - point);
	}
	length = (size_t)point;
	if (n <= length) {
		put_digits(digits, n, text);
		memset(text + n, '0', length - n);
		memcpy(text + length, ".0", 2);
		return length + 2;
	}
	put_digits(digits, n, text + 1);
	memmove(text, text + 1, length);
	text[length] = '.';
	return n + 1;
}

size_t
decimal_from_double(double value, char *text)
{
	uint64_t bits = bits_of(value), fraction = bits & (HIDDEN_BIT - 1), digits;
	int exponent = (int)(bits >> FRACTION_BITS & EXPONENT_LIMIT);
	size_t sign = bits >> 63, n;
	bool closer_below;

	ASSERT(exponent < EXPONENT_LIMIT);
	text[0] = '-';
	if (value > -1e15 && value < 1e15 && value == (double)(int64_t)value) {
		n = sign + decimal_from_integer((int64_t)(sign ? -value : value), text + sign);
		memcpy(text + n, ".0", 2);
		return n + 2;
	}
	closer_below = fraction == 0 && exponent > 1; /* the next smaller double is half as far away */
	if (exponent > 0)
		fraction |= HIDDEN_BIT;
	digits = shortest(fraction, MAX(exponent, 1) - EXPONENT_BIAS - FRACTION_BITS, closer_below, &exponent);
	while (digits % 10 == 0) {
		digits /= 10;
		exponent++;
	}
	n = count_digits(digits);
	return sign + lay_out(digits, n, (int)n + exponent, text + sign);
}
