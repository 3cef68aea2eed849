/*
 * lines - see lines.h.
 */
#include "monitor/lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"

#define FRAME_BEGIN 0x1e
#define FRAME_END   0x1f

static void
fill(struct lines_budget *budget, int64_t passed_ns)
{
	int64_t more = (int64_t)((double)passed_ns * (double)budget->rate / 1e9);

	budget->left = MIN(budget->left + more, budget->burst);
}

static void
tell_lost(struct lines *lines, struct lines_budget *budget)
{
	struct lines_line line = {
	    .kind = LINES_LOST,
	    .name = "",
	    .bytes = "",
	    .n_lost = budget->n_lost,
	    .n_lost_bytes = budget->n_lost_bytes,
	    .is_framed = budget == &lines->framed,
	};

	if (budget->n_lost == 0)
		return;
	budget->n_lost = budget->n_lost_bytes = 0;
	lines->on_line(&line, lines->arg);
}

static void
end_pause(struct lines *lines, struct lines_budget *budget)
{
	if (!budget->spent || budget->left < budget->burst / 4)
		return;
	budget->spent = false;
	tell_lost(lines, budget);
}

/* The budget pays for a line, or it is lost. */
static bool
pay(struct lines_budget *budget, uint64_t length, uint64_t n_cut)
{
	if (!budget->spent && budget->left >= (int64_t)length + LINES_LINE_COST) {
		budget->left -= (int64_t)length + LINES_LINE_COST;
		return true;
	}
	budget->spent = true;
	budget->n_lost++;
	budget->n_lost_bytes += length + n_cut;
	return false;
}

static void
begin_line(struct lines *lines, enum lines_kind kind)
{
	lines->kind = kind;
	lines->name[0] = '\0';
	lines->n_told_lost = 0;
	lines->begun = false;
	lines->n_cut = 0;
	lines->length = 0;
}

/* The line that has begun ends with these bytes, which come after those in the buffer, if any. */
static void
end_line(struct lines *lines, const char *bytes, size_t length)
{
	struct lines_line line = {.kind = lines->kind, .name = lines->name, .n_lost = lines->n_told_lost};
	struct lines_budget *budget = lines->kind == LINES_RAW ? &lines->raw : &lines->framed;
	bool after_half = lines->after_half;

	lines->after_half = false;
	if (after_half && lines->length + length == 0 && lines->kind == LINES_RAW) {
		begin_line(lines, LINES_RAW);
		return;
	}

	if (lines->length > 0) {
		size_t n = MIN(length, LINES_MAX - lines->length);

		memcpy(lines->buffer + lines->length, bytes, n);
		line.bytes = lines->buffer;
		line.length = lines->length + n;
		line.n_cut = lines->n_cut + (length - n);
	} else {
		line.bytes = bytes;
		line.length = MIN(length, LINES_MAX);
		line.n_cut = length - line.length;
	}
	/* What tells of loss must not be lost. */
	if (line.n_lost > 0 || pay(budget, line.length, line.n_cut)) {
		if (line.kind == LINES_RAW && line.n_cut == 0 && line.length > 0 && line.bytes[line.length - 1] == '\r')
			line.length--;
		lines->on_line(&line, lines->arg);
	}
	begin_line(lines, LINES_RAW);
}

static void
add(struct lines *lines, const char *bytes, size_t length)
{
	size_t n = MIN(length, LINES_MAX - lines->length);

	lines->begun = true;
	memcpy(lines->buffer + lines->length, bytes, n);
	lines->length += n;
	lines->n_cut += length - n;
}

void
lines_tick(struct lines *lines, int64_t now_ns)
{
	int64_t passed_ns = MIN(MAX(now_ns - lines->now_ns, 0), 3600 * (int64_t)1000000000);

	if (passed_ns < 1000000) /* what is less than a byte would be lost, so time is taken in larger pieces */
		return;
	lines->now_ns = now_ns;
	fill(&lines->raw, passed_ns);
	fill(&lines->framed, passed_ns);
	end_pause(lines, &lines->raw);
	end_pause(lines, &lines->framed);
	if (lines->begun && lines->kind == LINES_RAW && now_ns - lines->fed_ns >= LINES_HALF_NS) {
		end_line(lines, "", 0);
		lines->after_half = true;
	}
}

/* ---- frames ---- */

enum head {
	HEAD_MORE,
	HEAD_FRAME,
	HEAD_NONE,
};

static bool
is_of_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

bool
lines_is_name(const char *name)
{
	const char *at = name;

	while (is_of_name(*at))
		at++;
	return *at == '\0' && at - name <= LINES_NAME_MAX;
}

/* May this byte follow in the beginning of a frame? */
static enum head
judge(const struct lines *lines, char c)
{
	size_t n = lines->n_head;

	if (n <= lines->n_secret)
		return c == lines->secret[n - 1] ? HEAD_MORE : HEAD_NONE;
	n -= lines->n_secret;
	if (n == 1)
		return c == 'L' || c == 'A' || c == 'D' ? HEAD_MORE : HEAD_NONE;
	if (c == FRAME_END)
		return HEAD_FRAME;
	if (n >= LINES_NAME_MAX + 2)
		return HEAD_NONE;
	return is_of_name(c) ? HEAD_MORE : HEAD_NONE;
}

static void
begin_frame(struct lines *lines)
{
	const char *head = lines->head + lines->n_secret;

	if (lines->begun)
		end_line(lines, "", 0);
	lines->after_half = false;
	begin_line(lines, head[1] == 'A' ? LINES_ACCESS : LINES_LOG);
	lines->begun = true;
	lines->head[lines->n_head] = '\0';
	if (head[1] == 'D')
		lines->n_told_lost = strtoul(head + 2, NULL, 10);
	else
		memcpy(lines->name, head + 2, lines->n_head - lines->n_secret - 1);
	lines->n_head = 0;
}

/* One byte of what may be the beginning of a frame. False: it is not part of one, and still to be looked at. */
static bool
take_head(struct lines *lines, char c)
{
	switch (judge(lines, c)) {
	case HEAD_MORE:
		lines->head[lines->n_head++] = c;
		return true;
	case HEAD_FRAME:
		begin_frame(lines);
		return true;
	default:
		add(lines, lines->head, lines->n_head);
		lines->n_head = 0;
		return false;
	}
}

void
lines_init(struct lines *lines, const char *secret, int64_t now_ns, lines_cb *on_line, void *arg)
{
	lines->on_line = on_line;
	lines->arg = arg;
	snprintf(lines->secret, sizeof(lines->secret), "%s", secret);
	lines->n_secret = strlen(lines->secret);
	lines->raw = (struct lines_budget){.burst = LINES_RAW_BURST, .rate = LINES_RAW_RATE, .left = LINES_RAW_BURST};
	lines->framed = (struct lines_budget){
	    .burst = LINES_FRAMED_BURST, .rate = LINES_FRAMED_RATE, .left = LINES_FRAMED_BURST};
	lines->now_ns = lines->fed_ns = now_ns;
	lines->n_head = 0;
	lines->after_half = false;
	begin_line(lines, LINES_RAW);
}

void
lines_feed(struct lines *lines, const char *bytes, size_t length, int64_t now_ns)
{
	const char *at = bytes, *end = bytes + length;
	const char *frame = memchr(bytes, FRAME_BEGIN, length);

	lines_tick(lines, now_ns);
	lines->fed_ns = now_ns;
	while (at < end) {
		const char *newline, *stop;

		if (lines->n_head > 0) {
			at += take_head(lines, *at);
			continue;
		}
		if (frame && frame < at)
			frame = memchr(at, FRAME_BEGIN, (size_t)(end - at));
		stop = frame ? frame : end;
		newline = memchr(at, '\n', (size_t)(stop - at));
		if (newline) {
			end_line(lines, at, (size_t)(newline - at));
			at = newline + 1;
			continue;
		}
		if (stop > at)
			add(lines, at, (size_t)(stop - at));
		at = stop;
		if (frame) {
			lines->head[0] = *at++;
			lines->n_head = 1;
		}
	}
}

void
lines_end(struct lines *lines)
{
	if (lines->n_head > 0)
		add(lines, lines->head, lines->n_head);
	lines->n_head = 0;
	if (lines->begun)
		end_line(lines, "", 0);
	tell_lost(lines, &lines->raw);
	tell_lost(lines, &lines->framed);
}

/* ---- printable form ---- */

/* The bytes of the next character, and whether it may stand as it is. */
static size_t
next_character(const char *bytes, size_t length, bool *ret_plain)
{
	uint32_t character;
	size_t n;

	if ((unsigned char)*bytes < 0x80) {
		*ret_plain = ((unsigned char)*bytes >= 0x20 && *bytes != 0x7f) || *bytes == '\t';
		return 1;
	}
	n = utf8_decode(bytes, length, &character);
	*ret_plain = n > 0 && character >= 0xa0; /* below are the controls of ISO 8859, which terminals obey, too */
	return MAX(n, 1);
}

static char *
put_hex(char *to, const char *before, unsigned char byte)
{
	static const char hex[] = "0123456789abcdef";
	size_t length = strlen(before);

	memcpy(to, before, length);
	to[length] = hex[byte >> 4];
	to[length + 1] = hex[byte & 15];
	return to + length + 2;
}

size_t
lines_put_text(char *to, size_t room, const char *bytes, size_t length)
{
	const char *end = bytes + length;
	char *at = to, *limit = to + room;
	bool plain;

	while (bytes < end) {
		size_t n = next_character(bytes, (size_t)(end - bytes), &plain);

		if ((size_t)(limit - at) < 4 * n)
			break;
		if (plain) {
			memcpy(at, bytes, n);
			at += n;
		} else {
			for (size_t i = 0; i < n; i++)
				at = put_hex(at, "\\x", (unsigned char)bytes[i]);
		}
		bytes += n;
	}
	return (size_t)(at - to);
}

size_t
lines_put_json(char *to, size_t room, const char *bytes, size_t length)
{
	const char *end = bytes + length;
	char *at = to, *limit = to + room;
	bool plain;

	while (bytes < end) {
		size_t n = next_character(bytes, (size_t)(end - bytes), &plain);
		unsigned char c = (unsigned char)*bytes;

		if ((size_t)(limit - at) < LINES_ESCAPED_MAX * n)
			break;
		if (c == '"' || c == '\\') {
			*at++ = '\\';
			*at++ = (char)c;
		} else if (c < 0x80 && (!plain || c == '\t')) {
			at = put_hex(at, "\\u00", c);
		} else if (plain) {
			memcpy(at, bytes, n);
			at += n;
		} else {
			for (size_t i = 0; i < n; i++)
				at = put_hex(at, "\\\\x", (unsigned char)bytes[i]);
		}
		bytes += n;
	}
	return (size_t)(at - to);
}
