/*
 * decimal - doubles from decimal digits and back, exactly as Python's float() and repr() do it, several times faster.
 *
 * Pure; any thread. Reading gives the double that is nearest to the decimal (ties to even) or says that it does not know;
 * the caller then asks Python. Writing gives the shortest digits that read back as the same double, and of those the
 * nearest to it.
 */
#ifndef REPLICA_DECIMAL_H
#define REPLICA_DECIMAL_H

#include "common/util.h"

#define DECIMAL_TEXT_MAX 24 /* bytes of the longest text: -2.2250738585072014e-308 */

MUSTCHECK bool decimal_scale(uint64_t digits, int64_t exponent, double *ret_value);

/*
 * *ret_value = digits * 10^exponent, and true; or false: it is beyond the normal doubles, or too close to call. Most numbers
 * that people send are small enough for one exact multiplication or division (W. Clinger, "How to read floating point numbers
 * accurately", PLDI 1990): both operands are exact, so that the one rounding is that of the result.
 */
MUSTCHECK static inline bool
decimal_to_double(uint64_t digits, int64_t exponent, double *ret_value)
{
	static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
	    1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

	if (digits > UINT64_C(1) << 53 || exponent < -22 || exponent > 22)
		return decimal_scale(digits, exponent, ret_value);
	*ret_value = exponent < 0 ? (double)(int64_t)digits / powers[-exponent]
				  : (double)(int64_t)digits * powers[exponent];
	return true;
}

/* repr(value) of a finite double to the DECIMAL_TEXT_MAX bytes at text, which no NUL ends. The number of bytes. */
MUSTCHECK size_t decimal_from_double(double value, char *text);

/* value in decimal to text, at most 20 bytes. The number of bytes. */
MUSTCHECK size_t decimal_from_integer(int64_t value, char *text);

#endif
