"""Write the table of decimal.c: the first 128 bits of 10^e, rounded down, for all e that a double can need.

The build runs this (Makefile). An entry is the upper and the lower half of m, with 10^e = m * 2^s and 2^127 <= m < 2^128.
"""
FIRST, LAST = -342, 324


def leading_bits(e):
    if e < 0:
        power = 10**-e
        return (1 << power.bit_length() + 127) // power
    power = 10**e
    return (power << 128) >> power.bit_length()


print("/* Made by powers_of_ten.py. */")
print(f"#define POWER_FIRST ({FIRST})")
print(f"#define POWER_LAST  {LAST}")
print("static const struct power powers[] = {")
for exponent in range(FIRST, LAST + 1):
    bits = leading_bits(exponent)
    print(f"    {{0x{bits >> 64:016x}, 0x{bits & (1 << 64) - 1:016x}}}, /* 10^{exponent} */")
print("};")
