/*
 * aws_config - see aws_config.h.
 */
#include "fetch/aws_config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct span {
	const char *at;
	size_t length;
};

static struct span
trim(struct span span)
{
	while (span.length > 0 && isspace((unsigned char)*span.at)) {
		span.at++;
		span.length--;
	}
	while (span.length > 0 && isspace((unsigned char)span.at[span.length - 1]))
		span.length--;
	return span;
}

static bool
equals(struct span span, const char *text)
{
	return span.length == strlen(text) && !memcmp(span.at, text, span.length);
}

/* Is the section whose name stands in these brackets the profile's? */
static bool
is_profile(struct span name, bool is_credentials, const char *profile)
{
	static const char word[] = "profile";
	struct span rest = {name.at + strlen(word), name.length - strlen(word)};

	if (equals(name, profile) && (is_credentials || !strcmp(profile, "default")))
		return true;
	return !is_credentials && name.length > strlen(word) && !memcmp(name.at, word, strlen(word)) &&
	    isspace((unsigned char)*rest.at) && equals(trim(rest), profile);
}

/* Is "parent.name", or without a parent "name", what is looked for? */
static bool
is_wanted(struct span parent, struct span name, const char *wanted)
{
	if (parent.length == 0)
		return equals(name, wanted);
	return strlen(wanted) == parent.length + 1 + name.length && !memcmp(wanted, parent.at, parent.length) &&
	    wanted[parent.length] == '.' && !memcmp(wanted + parent.length + 1, name.at, name.length);
}

char *
aws_config_find(const char *text, bool is_credentials, const char *profile, const char *name)
{
	struct span parent = {NULL, 0};
	char *found = NULL;
	bool inside = false;

	while (*text) {
		size_t length = strcspn(text, "\n");
		struct span line = trim((struct span){text, length}), key, value;
		bool indented = length > 0 && isspace((unsigned char)*text);
		const char *mark;

		text += length + (text[length] == '\n');
		if (line.length == 0 || *line.at == '#' || *line.at == ';')
			continue;
		if (*line.at == '[') {
			mark = memchr(line.at, ']', line.length);
			inside = mark &&
			    is_profile(trim((struct span){line.at + 1, (size_t)(mark - line.at) - 1}), is_credentials,
				profile);
			parent.length = 0;
			continue;
		}
		mark = memchr(line.at, '=', line.length);
		if (!inside || !mark)
			continue;
		key = trim((struct span){line.at, (size_t)(mark - line.at)});
		value = trim((struct span){mark + 1, line.length - (size_t)(mark - line.at) - 1});
		if (!indented)
			parent = value.length == 0 ? key : (struct span){NULL, 0};
		if (value.length > 0 && is_wanted(indented ? parent : (struct span){NULL, 0}, key, name)) {
			free(found);
			found = xstrndup(value.at, value.length);
		}
	}
	return found;
}
