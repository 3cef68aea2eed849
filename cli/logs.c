/*
 * logs - cortex logs: what the replicas of an api have written.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/daemon.h"
#include "cli/text.h"

#define LINE_MAX_BYTES 65536

/* A line is printed when it is whole: half a character is none. */
struct print {
	char line[LINE_MAX_BYTES];
	size_t length;
};

static void
print_line(struct print *print)
{
	char *clean = text_clean(print->line, print->length, true);

	fputs(clean, stdout);
	free(clean);
	print->length = 0;
}

static bool
on_bytes(const char *bytes, size_t length, void *arg)
{
	struct print *print = arg;

	for (size_t i = 0; i < length; i++) {
		print->line[print->length++] = bytes[i];
		if (bytes[i] == '\n' || print->length == sizeof(print->line))
			print_line(print);
	}
	return fflush(stdout) == 0;
}

static bool
is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 10;
}

int
run_logs(struct cli *cli)
{
	static struct print print;
	double seconds = cli->since ? text_parse_duration(cli->since) : 0;
	struct daemon daemon;
	struct error err;
	char *path, *whole;
	int r;

	if (seconds < 0 || (cli->lines && !is_number(cli->lines))) {
		cli_fail(seconds < 0 ? "--since \"%s\" is not a duration; use 30s, 10m, 2h or 1d"
				     : "-n \"%s\" is not a number",
		    seconds < 0 ? cli->since : cli->lines);
		return EXIT_USAGE;
	}
	r = daemon_find(cli, &daemon, &err);
	if (r == 0) {
		char since[48] = "", lines[48] = "";

		if (cli->since)
			snprintf(since, sizeof(since), "&since=%.0f", seconds);
		if (cli->lines)
			snprintf(lines, sizeof(lines), "&lines=%s", cli->lines);
		path = daemon_path("/logs?api=", cli->args[0]);
		whole = xasprintf("%s%s%s%s", path, cli->follow ? "&follow=1" : "", since, lines);
		r = daemon_stream(&daemon, whole, on_bytes, &print, &err);
		print_line(&print);
		free(whole);
		free(path);
	}
	daemon_done(&daemon);
	if (r == -ENOENT)
		return cli_fail("api \"%s\": %s; cortex get lists the apis", cli->args[0], err.text);
	return r < 0 ? cli_fail("%s", err.text) : EXIT_SUCCESS;
}
