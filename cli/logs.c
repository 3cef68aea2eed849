/*
 * logs - cortex logs: what the replicas of an api have written.
 *
 * One that is followed ends with what serves it: a monitor that dies or is replaced, or all of cortexd. What comes after that is waited for.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/daemon.h"
#include "cli/text.h"

#define LINE_MAX_BYTES 65536
#define LOOK_MS        300

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

/* Wait until somebody serves the log again, then follow what comes. As daemon_stream. */
static int
go_on(const struct cli *cli, struct daemon *daemon, const char *path, struct print *print, struct error *err)
{
	static const struct timespec moment = {0, LOOK_MS * 1000000};
	char *whole = xasprintf("%s&follow=1&lines=0", path);
	int r;

	cli_fail("the log has ended; waiting for cortexd to go on with it");
	do {
		nanosleep(&moment, NULL);
		r = daemon_find_again(cli, daemon, err);
		if (r == 0)
			r = daemon_stream(daemon, whole, on_bytes, print, err);
	} while (r < 0 && r != -EPIPE && r != -EACCES);
	print_line(print);
	free(whole);
	return r;
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
		while (cli->follow && (r == 0 || r == -EPIPE) && !ferror(stdout))
			r = go_on(cli, &daemon, path, &print, &err);
		free(whole);
		free(path);
	}
	daemon_done(&daemon);
	if (r == -ENOENT)
		return cli_fail("api \"%s\": %s; cortex get lists the apis", cli->args[0], err.text);
	return r < 0 ? cli_fail("%s", err.text) : EXIT_SUCCESS;
}
