/*
 * get - cortex get: the apis as a table, one of them in detail, again and again, or as JSON.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/text.h"
#include "cli/view.h"

#define WATCH_MS 2000

static void
print_json(const json_t *value)
{
	char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(15));

	ASSERT(text);
	if (text_is_terminal()) {
		char *clean = text_clean(text, strlen(text), true);

		free(text);
		text = clean;
	}
	puts(text);
	free(text);
}

static void
print_names(const json_t *status)
{
	const json_t *api;
	size_t i;

	json_array_foreach(json_object_get(status, "apis"), i, api) puts(view_text(api, "name"));
}

/* One look. 0, or a negative errno and nothing was printed. */
static int
show(const struct cli *cli, const struct daemon *daemon, struct error *err)
{
	const char *name = cli->n_args > 0 ? cli->args[0] : NULL;
	const json_t *api = NULL;
	json_t *status;
	int r = daemon_status(daemon, &status, err);

	if (r < 0)
		return r;
	if (daemon->host && !daemon->config && !cli->output)
		view_from(status, daemon->host);
	if (name)
		api = view_find_newest(status, name);
	if (name && !api) {
		r = error_set(err, -ENOENT, "there is no api \"%s\"; cortex get lists those that there are", name);
	} else if (cli->output && !strcmp(cli->output, "json")) {
		print_json(api ? api : status);
	} else if (cli->output && api) {
		puts(name);
	} else if (cli->output) {
		print_names(status);
	} else if (api) {
		view_api(status, api, cli->verbose);
	} else {
		const json_t *each;
		size_t i;

		view_apis(status);
		view_messages(status, true);
		json_array_foreach(json_object_get(status, "apis"), i, each)
		{
			if (!cli->verbose)
				break;
			printf("\n%s%s%s\n", text_color(COLOR_BOLD), view_text(each, "name"), text_color(COLOR_NONE));
			view_api(status, each, true);
		}
	}
	json_decref(status);
	return r;
}

/* ---- watching ---- */

static volatile sig_atomic_t interrupted;
static bool has_keys;

static void
on_signal(int number)
{
	if (number != SIGWINCH) /* that is another look */
		interrupted = 1;
}

/* Over what is there on a terminal, and no more of it than so many rows. Returns how many it takes there, or 0. */
static int
print_line(const char *line, int rows)
{
	int width = text_width(), columns = text_columns(line);
	size_t n;

	if (!text_is_terminal()) {
		puts(line);
		return 0;
	}
	n = text_fit(line, rows * width);
	columns = MIN(columns, rows * width);
	/* Behind the last column there is nothing to erase, and some terminals would erase that. */
	printf("%.*s%s%s\n", (int)n, line, line[n] ? text_color(COLOR_NONE) : "",
	    columns == 0 || columns % width > 0 ? "\033[K" : "");
	return MAX((columns + width - 1) / width, 1);
}

/* What show prints, over what it printed last: the screen does not flicker, and nothing of it stays. Returns what show does. */
static int
repaint(const struct cli *cli, const struct daemon *daemon, bool first, struct error *err)
{
	char *text = NULL, *line, *rest;
	size_t length = 0;
	FILE *memory = open_memstream(&text, &length), *screen = stdout;
	int r, room = text_is_terminal() ? text_height() - 1 : INT_MAX;

	if (!memory)
		return error_set(err, -ENOMEM, "no memory");
	stdout = memory;
	r = show(cli, daemon, err);
	stdout = screen;
	fclose(memory);
	if (r < 0) {
		free(text);
		return r;
	}
	if (text_is_terminal())
		fputs(first ? "\033[H\033[2J" : "\033[H", stdout);
	for (line = rest = text; (line = strsep(&rest, "\n")) && rest && room > 0;)
		room -= print_line(line, room);
	if (text_is_terminal())
		fputs("\033[J", stdout);
	fflush(stdout);
	free(text);
	return 0;
}

/* Keys that were typed, or SIGINT. */
static bool
is_enough(void)
{
	struct pollfd keys = {.fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN};
	char key;

	while (!interrupted && poll(&keys, 1, 0) > 0)
		if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q')
			interrupted = 1;
	return interrupted;
}

/* Until the next look, which any key brings about. */
static void
wait_for_next(void)
{
	struct pollfd keys = {.fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN};

	if (!interrupted)
		poll(&keys, 1, WATCH_MS);
}

/* On a terminal that has shown something, a cortexd that does not answer is told, below that, and asked again: it may be starting. Keys are read
 * as they come only there: in a pipe its other end may end us, with the terminal as it is then. */
static int
watch(const struct cli *cli, struct daemon *daemon)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}; /* what is printed is not cut */
	struct termios before, raw;
	bool seen = false, told = false;
	int r, result = EXIT_SUCCESS;
	struct error err;

	has_keys = text_is_terminal() && tcgetattr(STDIN_FILENO, &before) == 0;
	daemon->is_enough = is_enough;
	sigaction(SIGWINCH, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (has_keys) {
		raw = before;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	while (!is_enough()) {
		r = told ? daemon_find_again(cli, daemon, &err) : 0;
		if (r == 0)
			r = repaint(cli, daemon, !seen, &err);
		if (r == 0) {
			seen = true;
			told = false;
			result = EXIT_SUCCESS;
		} else if (r != -ECANCELED && !told) {
			told = true;
			result = cli_fail("%s", err.text);
		}
		if (!seen || (told && !text_is_terminal()) || ferror(stdout))
			break;
		wait_for_next();
	}
	if (has_keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &before);
	return result;
}

int
run_get(struct cli *cli)
{
	struct daemon daemon;
	struct error err;
	int result;

	if (cli->output && strcmp(cli->output, "json") != 0 && strcmp(cli->output, "name") != 0) {
		cli_fail("-o is json or name, not \"%s\"", cli->output);
		return EXIT_USAGE;
	}
	if (daemon_find(cli, &daemon, &err) < 0)
		result = cli_fail("%s", err.text);
	else if (cli->watch)
		result = watch(cli, &daemon);
	else
		result = show(cli, &daemon, &err) < 0 ? cli_fail("%s", err.text) : EXIT_SUCCESS;
	daemon_done(&daemon);
	return result;
}
