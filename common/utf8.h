/*
 * utf8 - is a text what it claims to be?
 */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include "common/util.h"

/* The bytes of the first character of text (1..4) and *ret_character, or 0 when text is empty or does not begin with a
 * complete character of valid UTF-8: overlong forms, surrogates and values beyond U+10FFFF are not. */
size_t utf8_decode(const char *text, size_t length, uint32_t *ret_character);

bool utf8_is_valid(const char *text, size_t length);

#endif
