/*
 * content_type - see content_type.h.
 */
#include "replica/content_type.h"

#include <string.h>
#include <strings.h>

#include "common/util.h"

static bool
is(const char *type, size_t length, const char *name)
{
	return strlen(name) == length && !strncasecmp(type, name, length);
}

enum content_type
content_type_classify(const char *value)
{
	static const char prefix[] = "application/", suffix[] = "+json";
	size_t length;

	if (!value)
		return CONTENT_UNKNOWN;
	value += strspn(value, " \t");
	length = strcspn(value, "; \t,");
	if (is(value, length, "application/json"))
		return CONTENT_JSON;
	if (length > strlen(prefix) + strlen(suffix) && !strncasecmp(value, prefix, strlen(prefix)) &&
	    is(value + length - strlen(suffix), strlen(suffix), suffix))
		return CONTENT_JSON;
	if (length == 0 || is(value, length, "*/*") || is(value, length, "application/*") ||
	    is(value, length, "application/x-www-form-urlencoded"))
		return CONTENT_UNKNOWN;
	return CONTENT_OTHER;
}
