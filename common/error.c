/*
 * error - see error.h.
 */
#include "common/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int
error_set(struct error *err, int number, const char *format, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, format);
		vsnprintf(err->text, sizeof(err->text), format, ap);
		va_end(ap);
	}
	return number;
}

void
error_prefix(struct error *err, const char *format, ...)
{
	struct error whole;
	size_t rest = strlen(err->text), n;
	va_list ap;

	va_start(ap, format);
	vsnprintf(whole.text, sizeof(whole.text) - 2, format, ap);
	va_end(ap);
	n = strlen(whole.text);
	memcpy(whole.text + n, ": ", 2);
	n += 2;
	rest = MIN(rest, sizeof(whole.text) - 1 - n);
	memcpy(whole.text + n, err->text, rest);
	whole.text[n + rest] = '\0';
	*err = whole;
}
