/*
 * text - see text.h.
 */
#include "cli/text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

static struct {
	bool is_terminal, has_color;
} out;

void
text_init(bool no_color)
{
	const char *term = getenv("TERM"), *refused = getenv("NO_COLOR");

	out.is_terminal = isatty(STDOUT_FILENO);
	out.has_color = out.is_terminal && !no_color && !(refused && *refused) && term && *term &&
	    strcmp(term, "dumb") != 0;
}

bool
text_is_terminal(void)
{
	return out.is_terminal;
}

int
text_width(void)
{
	struct winsize size;

	if (!out.is_terminal)
		return INT_MAX;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

int
text_height(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 ? size.ws_row : 24;
}

const char *
text_color(enum color color)
{
	static const char *const codes[] = {
	    [COLOR_NONE] = "\033[0m",
	    [COLOR_GOOD] = "\033[32m",
	    [COLOR_WARN] = "\033[33m",
	    [COLOR_BAD] = "\033[31m",
	    [COLOR_DIM] = "\033[2m",
	    [COLOR_BOLD] = "\033[1m",
	};

	return out.has_color ? codes[color] : "";
}

/* Changes the direction of what follows, and so makes a line read as another than it is. */
static bool
turns_text(wchar_t c)
{
	return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* The next character: its length in bytes and its width; width -1: it must not be printed. */
static size_t
next_character(const char *text, size_t length, int *ret_width)
{
	mbstate_t state = {0};
	wchar_t c;
	size_t n = mbrtowc(&c, text, length, &state);

	if (n == 0 || n > length) { /* a NUL, or not UTF-8 */
		*ret_width = -1;
		return 1;
	}
	*ret_width = turns_text(c) ? -1 : wcwidth(c);
	return n;
}

/* The same of what we print ourselves, with our colours in it. */
static size_t
next_shown(const char *text, size_t length, int *ret_width)
{
	if (*text != '\033')
		return next_character(text, length, ret_width);
	*ret_width = 0;
	return MIN(strcspn(text, "m") + 1, length);
}

char *
text_clean(const char *text, size_t length, bool keep_lines)
{
	char *clean = malloc(4 * length + 1), *to = clean;

	ASSERT(clean);
	while (length > 0) {
		int width;
		size_t n = next_character(text, length, &width);

		if (width >= 0 || (keep_lines && *text == '\n') || *text == '\t') {
			memcpy(to, text, n);
			to += n;
		} else {
			for (size_t i = 0; i < n; i++)
				to += sprintf(to, "\\x%02x", (unsigned char)text[i]);
		}
		text += n;
		length -= n;
	}
	*to = '\0';
	return clean;
}

int
text_columns(const char *text)
{
	size_t length = strlen(text);
	int columns = 0, width;

	while (length > 0) {
		size_t n = next_shown(text, length, &width);

		columns += MAX(width, 0);
		text += n;
		length -= n;
	}
	return columns;
}

size_t
text_fit(const char *text, int columns)
{
	size_t length = strlen(text), at = 0;
	int width;

	while (at < length) {
		size_t n = next_shown(text + at, length - at, &width);

		columns -= MAX(width, 0);
		if (columns < 0)
			break;
		at += n;
	}
	return at;
}

const char *
text_age(double seconds, char room[16])
{
	static const struct {
		double seconds;
		char unit;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}};

	seconds = MIN(MAX(seconds, 0), 1e9);
	for (size_t i = 0; i < N_ELEMENTS(units); i++)
		if (seconds >= units[i].seconds) {
			snprintf(room, 16, "%lld%c", (long long)(seconds / units[i].seconds), units[i].unit);
			return room;
		}
	snprintf(room, 16, "%llds", (long long)seconds);
	return room;
}

const char *
text_ms(double ms, char room[24])
{
	if (!(ms >= 0))
		return "-";
	if (ms < 10)
		snprintf(room, 24, "%.2g ms", ms);
	else if (ms < 10000)
		snprintf(room, 24, "%.0f ms", ms);
	else
		snprintf(room, 24, "%.1f s", ms / 1000);
	return room;
}

const char *
text_bytes(double bytes, char room[24])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t unit = 0;

	while (bytes >= 1024 && unit + 1 < N_ELEMENTS(units)) {
		bytes /= 1024;
		unit++;
	}
	snprintf(room, 24, unit > 0 && bytes < 10 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
	return room;
}

double
text_parse_duration(const char *text)
{
	static const struct {
		const char *unit;
		double seconds;
	} units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
	size_t digits = strspn(text, "0123456789");
	double value;

	if (digits == 0 || digits > 9)
		return -1;
	value = atof(text);
	for (size_t i = 0; i < N_ELEMENTS(units); i++)
		if (!strcmp(text + digits, units[i].unit))
			return value * units[i].seconds;
	return -1;
}
