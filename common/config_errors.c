/*
 * config_errors - the list of what is wrong with a cortex.yaml, and the words in which it is told.
 *
 * "FILE:LINE:COLUMN: subject: path: what was found; what is allowed", one line each whatever the file holds: text
 * of the file is quoted, escaped and cut. Errors are gathered in the order in which they are found and sorted at the end.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config_reader.h"
#include "common/utf8.h"

/* Found, not printed: the first of the file are among the first found, as readers walk down the file. */
#define PROBLEMS_KEPT_MAX (10 * CONFIG_ERRORS_MAX)

#define SHOWN_BYTES_MAX 80

static __attribute__((format(printf, 3, 0))) void
add_problem(struct config_reader *reader, struct mark mark, const char *format, va_list ap)
{
	struct config_problem *problem;
	char *text = NULL;

	if (reader->n_problems == PROBLEMS_KEPT_MAX) {
		reader->n_more++;
		return;
	}
	if (vasprintf(&text, format, ap) < 0)
		text = xstrdup("out of memory");
	reader->problems = xrealloc(reader->problems, reader->n_problems + 1, sizeof(*reader->problems));
	problem = &reader->problems[reader->n_problems];
	problem->mark = mark;
	problem->order = reader->n_problems++;
	problem->text = xasprintf("%s%s%s%s%s", reader->subject, reader->subject[0] ? ": " : "", reader->path,
	    reader->path[0] ? ": " : "", text);
	free(text);
}

void
config_error(struct config_reader *reader, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add_problem(reader, reader->mark, format, ap);
	va_end(ap);
}

void
config_error_at(struct config_reader *reader, struct mark mark, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add_problem(reader, mark, format, ap);
	va_end(ap);
}

/* Append text to ret, escaped and cut, to fewer than size bytes in all. */
static void
append_escaped(char *ret, size_t size, const char *text, size_t length, bool quoted)
{
	size_t end = strlen(ret), room = MIN(size, end + SHOWN_BYTES_MAX);
	uint32_t c;

	if (end + sizeof("...") > room)
		return;
	for (size_t at = 0; at < length;) {
		size_t n = utf8_decode(text + at, length - at, &c), written;
		char escaped[16];

		if (n == 0) {
			n = 1;
			snprintf(escaped, sizeof(escaped), "\\x%02x", (unsigned char)text[at]);
		} else if (c == '\n') {
			strcpy(escaped, "\\n");
		} else if (c == '\t') {
			strcpy(escaped, "\\t");
		} else if (c < 0x20 || c == 0x7f) {
			snprintf(escaped, sizeof(escaped), "\\x%02x", c);
		} else if ((c >= 0x80 && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) || c == 0xfeff) {
			snprintf(escaped, sizeof(escaped), "\\u%04x", c);
		} else if (quoted && (c == '"' || c == '\\')) {
			snprintf(escaped, sizeof(escaped), "\\%c", (int)c);
		} else {
			snprintf(escaped, sizeof(escaped), "%.*s", (int)n, text + at);
		}
		written = strlen(escaped);
		if (end + written + sizeof("...") > room) {
			memcpy(ret + end, "...", sizeof("..."));
			return;
		}
		memcpy(ret + end, escaped, written + 1);
		end += written;
		at += n;
	}
}

struct config_shown
config_show(const char *text, size_t length)
{
	struct config_shown shown = {.text = "\""};

	append_escaped(shown.text, sizeof(shown.text) - 1, text, length, true);
	strcat(shown.text, "\"");
	return shown;
}

struct config_shown
config_found(const struct node *node)
{
	struct config_shown shown = {.text = ""};

	switch (node->kind) {
	case NODE_NULL:
		strcpy(shown.text, "nothing");
		break;
	case NODE_INTEGER:
	case NODE_FLOAT:
		strcpy(shown.text, "the number ");
		append_escaped(shown.text, sizeof(shown.text), node->text, node->length, false);
		break;
	case NODE_BOOL:
	case NODE_BAD:
		append_escaped(shown.text, sizeof(shown.text), node->text, node->length, false);
		break;
	case NODE_STRING:
		strcpy(shown.text, "the string \"");
		append_escaped(shown.text, sizeof(shown.text) - 1, node->text, node->length, true);
		strcat(shown.text, "\"");
		break;
	case NODE_SEQUENCE:
		strcpy(shown.text, "a list");
		break;
	case NODE_MAPPING:
		strcpy(shown.text, "a map");
		break;
	}
	return shown;
}

struct config_place
config_enter(struct config_reader *reader, const struct node *key, size_t index, struct mark mark)
{
	struct config_place place = {.path_length = strlen(reader->path), .mark = reader->mark};
	char *end = reader->path + place.path_length;
	size_t room = sizeof(reader->path) - place.path_length;

	reader->mark = mark;
	if (!key) {
		snprintf(end, room, "[%zu]", index);
		return place;
	}
	if (place.path_length > 0 && room > 1)
		strcpy(end, ".");
	if (key->kind == NODE_SEQUENCE || key->kind == NODE_MAPPING)
		snprintf(end + strlen(end), room - strlen(end), "?");
	else
		append_escaped(reader->path, sizeof(reader->path), key->text, key->length, false);
	return place;
}

void
config_leave(struct config_reader *reader, struct config_place place)
{
	reader->path[place.path_length] = '\0';
	reader->mark = place.mark;
}

static int
compare_problems(const void *a, const void *b)
{
	const struct config_problem *left = a, *right = b;

	if (left->mark.line != right->mark.line)
		return left->mark.line < right->mark.line ? -1 : 1;
	if (left->mark.column != right->mark.column)
		return left->mark.column < right->mark.column ? -1 : 1;
	return left->order < right->order ? -1 : 1;
}

void
config_problems_take(struct config_reader *reader, const char *file, struct config_errors *ret_errors)
{
	size_t n_lines = MIN(reader->n_problems, CONFIG_ERRORS_MAX);

	qsort(reader->problems, reader->n_problems, sizeof(*reader->problems), compare_problems);
	ret_errors->lines = xcalloc(n_lines, sizeof(*ret_errors->lines));
	ret_errors->n_lines = n_lines;
	ret_errors->n_more = reader->n_more + reader->n_problems - n_lines;
	for (size_t i = 0; i < reader->n_problems; i++) {
		const struct config_problem *problem = &reader->problems[i];

		if (i < n_lines)
			ret_errors->lines[i] = xasprintf(
			    "%s:%d:%d: %s", file, problem->mark.line, problem->mark.column, problem->text);
		free(problem->text);
	}
	free(reader->problems);
	reader->problems = NULL;
	reader->n_problems = 0;
}

void
config_errors_set(struct config_errors *ret_errors, const char *file, const char *text)
{
	ret_errors->lines = xcalloc(1, sizeof(*ret_errors->lines));
	ret_errors->n_lines = 1;
	ret_errors->lines[0] = xasprintf("%s: %s", file, text);
}

void
config_errors_done(struct config_errors *errors)
{
	for (size_t i = 0; i < errors->n_lines; i++)
		free(errors->lines[i]);
	free(errors->lines);
	memset(errors, 0, sizeof(*errors));
}
