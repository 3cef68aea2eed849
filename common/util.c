/*
 * util - see util.h.
 */
#include "common/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

void
assert_failed(const char *condition, const char *file, int line)
{
	log_error("bug: %s:%d: ASSERT(%s) does not hold; please report it with the log", file, line, condition);
	log_flush();
	abort();
}

static __attribute__((noreturn)) void
out_of_memory(size_t n, size_t size)
{
	log_error("out of memory: %zu times %zu bytes", n, size);
	log_flush();
	abort();
}

void *
xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	if (!p)
		out_of_memory(n, size);
	return p;
}

void *
xrealloc(void *p, size_t n, size_t size)
{
	void *q = reallocarray(p, n ? n : 1, size ? size : 1);

	if (!q)
		out_of_memory(n, size);
	return q;
}

char *
xstrndup(const char *text, size_t length)
{
	char *copy = xcalloc(length + 1, 1);

	memcpy(copy, text, length);
	return copy;
}

char *
xstrdup(const char *text)
{
	return xstrndup(text, strlen(text));
}

char *
xasprintf(const char *format, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		out_of_memory(1, strlen(format));
	va_end(ap);
	return text;
}
