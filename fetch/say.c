/*
 * say - see say.h.
 */
#include "fetch/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void
say(const char *format, ...)
{
	char *text;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		abort(); /* no memory; cortexd sees a death */
	va_end(ap);
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = ' ';
	puts(text);
	fflush(stdout);
	free(text);
}
