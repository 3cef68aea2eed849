/*
 * utf8 - see utf8.h.
 */
#include "common/utf8.h"

size_t
utf8_decode(const char *text, size_t length, uint32_t *ret_character)
{
	const unsigned char *at = (const unsigned char *)text;
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t character;
	size_t n;

	if (length == 0)
		return 0;
	if (at[0] < 0x80) {
		*ret_character = at[0];
		return 1;
	}
	if (at[0] >= 0xc2 && at[0] < 0xe0)
		n = 2;
	else if (at[0] >= 0xe0 && at[0] < 0xf0)
		n = 3;
	else if (at[0] >= 0xf0 && at[0] < 0xf5)
		n = 4;
	else
		return 0;
	if (length < n)
		return 0;
	character = at[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		character = character << 6 | (at[i] & 0x3f);
	}
	if (character < smallest[n] || character > 0x10ffff || (character >= 0xd800 && character < 0xe000))
		return 0;
	*ret_character = character;
	return n;
}

bool
utf8_is_valid(const char *text, size_t length)
{
	uint32_t character;

	for (size_t at = 0; at < length;) {
		size_t n = utf8_decode(text + at, length - at, &character);

		if (n == 0)
			return false;
		at += n;
	}
	return true;
}
