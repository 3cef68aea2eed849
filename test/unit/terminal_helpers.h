/*
 * A terminal that is none, and what is printed: included by the tests of what `cortex` prints, which are linked with --wrap=isatty,ioctl.
 */
#ifndef TEST_UNIT_TERMINAL_HELPERS_H
#define TEST_UNIT_TERMINAL_HELPERS_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "cli/text.h"

static int terminal_width; /* 0: standard output is none */
static int terminal_height = 24;
static char *printed;
static FILE *screen;

int __wrap_isatty(int fd);
int __wrap_ioctl(int fd, unsigned long request, ...);

int
__wrap_isatty(UNUSED int fd)
{
	return terminal_width > 0;
}

int
__wrap_ioctl(UNUSED int fd, unsigned long request, ...)
{
	va_list ap;

	va_start(ap, request);
	if (request == TIOCGWINSZ)
		*va_arg(ap, struct winsize *) = (struct winsize){
		    .ws_col = (unsigned short)terminal_width, .ws_row = (unsigned short)terminal_height};
	va_end(ap);
	return terminal_width > 0 && request == TIOCGWINSZ ? 0 : -1;
}

/* From here on, what goes to standard output is kept. */
static UNUSED void
capture(void)
{
	static size_t length;

	free(take_ptr(&printed));
	screen = stdout;
	stdout = open_memstream(&printed, &length);
	ASSERT(stdout);
}

/* What it was; it stays until the next capture. */
static UNUSED const char *
captured(void)
{
	fclose(stdout);
	stdout = screen;
	return printed;
}

/* A terminal so many columns wide, or none. */
static UNUSED void
use_terminal(int width, bool no_color)
{
	terminal_width = width;
	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	text_init(no_color);
}

#endif
