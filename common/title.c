/*
 * title - see title.h.
 */
#include "common/title.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char *room; /* argv[0], TITLE_MAX bytes; NULL when it was not padded */

void
title_make_room(char text[TITLE_MAX + 1], const char *title)
{
	size_t length = MIN(strlen(title), (size_t)TITLE_MAX);

	memset(text, ' ', TITLE_MAX);
	memcpy(text, title, length);
	text[TITLE_MAX] = '\0';
}

void
title_init(char **argv)
{
	if (argv[0] && strlen(argv[0]) == TITLE_MAX)
		room = argv[0];
}

void
title_set(const char *format, ...)
{
	char text[TITLE_MAX];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (room) {
		memset(room, 0, TITLE_MAX);
		memcpy(room, text, strlen(text));
	}
}
