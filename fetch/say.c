/*
 * say - see say.h.
 */
#include "fetch/say.h"

#include <stdarg.h>
#include <stdio.h>

void
say(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}
