/*
 * text - what is printed: colours, the width of the terminal, texts that are not ours.
 *
 * Colours only when standard output is a terminal that has some (TERM, https://no-color.org). Whatever comes from cortexd may have been written
 * by anybody: it is printed with what could speak to the terminal, or turn the direction of text, escaped.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdio.h>

#include "common/util.h"

enum color {
	COLOR_NONE,
	COLOR_GOOD,
	COLOR_WARN,
	COLOR_BAD,
	COLOR_DIM,
	COLOR_BOLD,
};

void text_init(bool no_color);
bool text_is_terminal(void); /* standard output */
int text_width(void);        /* of the terminal in columns; INT_MAX when it is none */
int text_height(void);

/* The sequence that begins a colour, or ends all (COLOR_NONE); "" without colours. */
const char *text_color(enum color color);

/* A copy with what could do something to a terminal escaped; newlines as well unless keep_lines. The caller frees it. */
char *text_clean(const char *text, size_t length, bool keep_lines);

/* Columns that a clean text takes, where colours (text_color) take none, and the bytes of it that fit into so many columns, whole characters
 * only. */
int text_columns(const char *text);
size_t text_fit(const char *text, int columns);

/* Times for people, as the reference has them: "8s", "5m", "3h", "2d". Static buffer of the caller's. */
const char *text_age(double seconds, char room[16]);

/* "1.2 ms", "34 ms", "5.6 s"; "-" below 0. And "12.3 MiB". */
const char *text_ms(double ms, char room[24]);
const char *text_bytes(double bytes, char room[24]);

/* "30s", "10m", "2h", "1d", "90": seconds. -1: it is none of that. */
double text_parse_duration(const char *text);

#endif
