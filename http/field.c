/*
 * field - see field.h.
 */
#include "http/field.h"

#include <string.h>
#include <strings.h>

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

unsigned
http_field_find(
    const struct http_parser *parser, const char *bytes, const char *name, const char **ret_value, size_t *ret_length)
{
	const char *line = bytes + parser->target.offset + parser->target.length, *end = bytes + parser->head_length;
	size_t name_length = strlen(name);
	unsigned n = 0;

	*ret_value = NULL;
	*ret_length = 0;
	/* The first line is what follows the target. */
	while ((line = memchr(line, '\n', (size_t)(end - line))) && ++line < end) {
		const char *value = line + name_length + 1, *line_end = memchr(line, '\r', (size_t)(end - line));

		if (!line_end || (size_t)(line_end - line) <= name_length || line[name_length] != ':' ||
		    strncasecmp(line, name, name_length) != 0)
			continue;
		if (n++ > 0)
			continue;
		while (value < line_end && is_blank(*value))
			value++;
		while (line_end > value && is_blank(line_end[-1]))
			line_end--;
		*ret_value = value;
		*ret_length = (size_t)(line_end - value);
	}
	return n;
}

bool
http_field_is(const struct http_parser *parser, const char *bytes, const char *name, const char *value)
{
	const char *found;
	size_t length;

	return http_field_find(parser, bytes, name, &found, &length) == 1 && length == strlen(value) &&
	    !strncasecmp(found, value, length);
}
