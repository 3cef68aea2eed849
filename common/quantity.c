/*
 * quantity - see quantity.h.
 *
 * The number is kept as the decimal digits it was written with, times a power of ten and a power of two. Multiplying
 * the digits by the power of two by hand leaves a decimal point to move and a fraction to round: exact for any input.
 */
#include "common/quantity.h"

#include <errno.h>
#include <string.h>

#define DIGITS_MAX   256               /* written; a longer text is no quantity */
#define PRODUCT_MAX  (DIGITS_MAX + 20) /* 2^60 has 19 digits */
#define EXPONENT_MAX 100000 /* larger ones are cut to this: the result is out of range or a fraction anyway */

struct quantity {
	bool negative;
	char digits[PRODUCT_MAX]; /* values 0..9, most significant first */
	size_t n_digits;
	int exponent10;
	int exponent2;
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "e" and a signed number, up to the end of the text. */
static bool
parse_exponent(const char *at, int *ret_exponent)
{
	bool negative = *at == '-';
	int exponent = 0;

	if (*at == '-' || *at == '+')
		at++;
	if (!*at)
		return false;
	for (; is_digit(*at); at++)
		exponent = MIN(exponent * 10 + (*at - '0'), EXPONENT_MAX);
	*ret_exponent = negative ? -exponent : exponent;
	return !*at;
}

static bool
parse_suffix(const char *at, int *ret_exponent10, int *ret_exponent2)
{
	static const struct {
		const char *text;
		int exponent10, exponent2;
	} suffixes[] = {
	    {"", 0, 0},
	    {"n", -9, 0},
	    {"u", -6, 0},
	    {"m", -3, 0},
	    {"k", 3, 0},
	    {"K", 3, 0},
	    {"M", 6, 0},
	    {"G", 9, 0},
	    {"T", 12, 0},
	    {"P", 15, 0},
	    {"E", 18, 0},
	    {"Ki", 0, 10},
	    {"Mi", 0, 20},
	    {"Gi", 0, 30},
	    {"Ti", 0, 40},
	    {"Pi", 0, 50},
	    {"Ei", 0, 60},
	};

	for (size_t i = 0; i < N_ELEMENTS(suffixes); i++) {
		if (strcmp(at, suffixes[i].text) == 0) {
			*ret_exponent10 = suffixes[i].exponent10;
			*ret_exponent2 = suffixes[i].exponent2;
			return true;
		}
	}
	*ret_exponent2 = 0;
	return (*at == 'e' || *at == 'E') && parse_exponent(at + 1, ret_exponent10);
}

/* Digits with at most one point among them, at least one digit. The position behind them, or NULL. */
static const char *
parse_digits(const char *at, struct quantity *q, int *ret_n_fraction)
{
	bool any = false, in_fraction = false;
	int n_fraction = 0;

	for (; is_digit(*at) || (*at == '.' && !in_fraction); at++) {
		if (*at == '.') {
			in_fraction = true;
			continue;
		}
		any = true;
		n_fraction += in_fraction;
		if (q->n_digits == 0 && *at == '0')
			continue;
		if (q->n_digits == DIGITS_MAX || n_fraction > EXPONENT_MAX)
			return NULL;
		q->digits[q->n_digits++] = (char)(*at - '0');
	}
	*ret_n_fraction = n_fraction;
	return any ? at : NULL;
}

static MUSTCHECK int
quantity_parse(const char *text, struct quantity *q)
{
	int n_fraction;

	memset(q, 0, sizeof(*q));
	q->negative = *text == '-';
	if (*text == '-' || *text == '+')
		text++;
	text = parse_digits(text, q, &n_fraction);
	if (!text || !parse_suffix(text, &q->exponent10, &q->exponent2))
		return -EINVAL;
	q->exponent10 -= n_fraction;
	return 0;
}

static void
multiply_digits(struct quantity *q, uint64_t factor)
{
	char product[PRODUCT_MAX];
	unsigned __int128 carry = 0;
	size_t at = PRODUCT_MAX;

	for (size_t i = q->n_digits; i-- > 0;) {
		carry += (unsigned __int128)factor * (unsigned)q->digits[i];
		product[--at] = (char)(carry % 10);
		carry /= 10;
	}
	for (; carry > 0; carry /= 10) {
		ASSERT(at > 0);
		product[--at] = (char)(carry % 10);
	}
	q->n_digits = PRODUCT_MAX - at;
	memcpy(q->digits, product + at, q->n_digits);
}

/* The value in units of 10^-scale, rounded away from zero. */
static MUSTCHECK int
quantity_scale(struct quantity *q, int scale, int64_t *ret_value)
{
	int64_t value = 0, n_whole;
	bool rest = false;

	multiply_digits(q, 1ull << q->exponent2);
	n_whole = (int64_t)q->n_digits + q->exponent10 + scale;
	if (q->n_digits == 0)
		n_whole = 0;
	for (int64_t i = 0; i < n_whole; i++) {
		int digit = i < (int64_t)q->n_digits ? q->digits[i] : 0;

		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, digit, &value))
			return -ERANGE;
	}
	for (int64_t i = MAX(n_whole, 0); i < (int64_t)q->n_digits; i++)
		rest |= q->digits[i] != 0;
	if (rest && __builtin_add_overflow(value, 1, &value))
		return -ERANGE;
	*ret_value = q->negative ? -value : value;
	return 0;
}

static MUSTCHECK int
parse_scaled(const char *text, int scale, int64_t *ret_value)
{
	struct quantity q;
	int r;

	r = quantity_parse(text, &q);
	return r < 0 ? r : quantity_scale(&q, scale, ret_value);
}

int
quantity_parse_milli(const char *text, int64_t *ret_milli)
{
	return parse_scaled(text, 3, ret_milli);
}

int
quantity_parse_bytes(const char *text, int64_t *ret_bytes)
{
	return parse_scaled(text, 0, ret_bytes);
}
