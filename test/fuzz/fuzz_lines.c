/*
 * fuzz_lines - any bytes from an output pipe, in any pieces.
 *
 * The pieces must not matter, every newline that is not part of a frame ends one line at most, and what is put into JSON is JSON.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/lines.h"

struct tally {
	uint64_t n_lines;
	uint64_t n_bytes;
	uint64_t hash;
	bool checks;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
hash_in(struct tally *tally, const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		tally->hash = (tally->hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
}

static void
check_escapes(const struct lines_line *line)
{
	size_t room = LINES_ESCAPED_MAX * line->length + 3, length;
	char *text = malloc(room);
	json_t *value;

	ASSERT(text);
	length = lines_put_text(text, room, line->bytes, line->length);
	ASSERT(length >= line->length && !memchr(text, '\n', length) && !memchr(text, '\x1b', length));
	text[0] = '"';
	length = 1 + lines_put_json(text + 1, room - 2, line->bytes, line->length);
	text[length++] = '"';
	value = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	ASSERT(value);
	json_decref(value);
	free(text);
}

static void
on_line(const struct lines_line *line, void *arg)
{
	struct tally *tally = arg;

	ASSERT(line->kind < LINES_N_KINDS && line->length <= LINES_MAX);
	tally->n_lines++;
	tally->n_bytes += line->length + line->n_cut;
	hash_in(tally, &line->kind, sizeof(line->kind));
	hash_in(tally, line->name, strlen(line->name) + 1);
	hash_in(tally, line->bytes, line->length);
	hash_in(tally, &line->n_cut, sizeof(line->n_cut));
	hash_in(tally, &line->n_lost, sizeof(line->n_lost));
	if (tally->checks && line->kind == LINES_RAW)
		check_escapes(line);
}

static struct tally
run(const char *bytes, size_t length, size_t piece)
{
	struct lines *lines = xcalloc(1, sizeof(*lines));
	struct tally tally = {.checks = piece == length};

	lines_init(lines, "", 0, on_line, &tally);
	for (size_t i = 0; i < length; i += piece) {
		size_t n = MIN(piece, length - i);
		char *copy = malloc(n); /* so that reading beyond it is noticed */

		ASSERT(copy);
		memcpy(copy, bytes + i, n);
		lines_feed(lines, copy, n, 0);
		free(copy);
	}
	lines_end(lines);
	free(lines);
	return tally;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data;
	struct tally whole, pieces;

	if (size < 2)
		return 0;
	whole = run(bytes + 1, size - 1, size - 1);
	pieces = run(bytes + 1, size - 1, 1 + data[0] % 64);
	ASSERT(whole.hash == pieces.hash && whole.n_lines == pieces.n_lines);
	ASSERT(whole.n_bytes < size);
	return 0;
}
