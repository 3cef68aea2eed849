/*
 * deploy - cortex deploy: check the config, have it read, follow what comes of it.
 *
 * Waits for the reload to be over: then every api is replaced, or the reason why it is not is known. On a terminal the apis are lines that
 * change; in a pipe each change is a line.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/daemon.h"
#include "cli/text.h"
#include "cli/view.h"
#include "common/clock.h"
#include "common/config.h"

#define LOOK_MS   150
#define GONE_MS   3000 /* so long may the admin interface be away: what serves it is started again when it dies */
#define SHOWN_MAX 20   /* apis that are shown while they change */

struct follow {
	const struct cli *cli;
	double number; /* of the reload */
	double pid;    /* of the cortexd that was asked for it */
	int n_lines;   /* on the terminal, to be painted over */
	struct {
		char name[64];
		char text[160];
	} said[SHOWN_MAX];
	int n_said;
};

static int
check_config(const char *path)
{
	struct config_errors errors;
	struct config *config = NULL;
	int r = config_load(path, &config, &errors);

	for (size_t i = 0; i < errors.n_lines; i++)
		fprintf(stderr, "%s\n", errors.lines[i]);
	if (errors.n_more > 0)
		fprintf(stderr, "and %zu more errors\n", errors.n_more);
	config_unref(config);
	config_errors_done(&errors);
	return r;
}

int
run_check(struct cli *cli)
{
	struct error err;
	char *path;
	int r;

	if (daemon_find_config(cli, &path, &err) < 0)
		return cli_fail("%s", err.text);
	r = check_config(path);
	if (r == 0)
		printf("%s is good\n", path);
	free(path);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* True: that is news. */
static bool
note(struct follow *follow, const char *name, const char *text)
{
	int i = 0;

	while (i < follow->n_said && strcmp(follow->said[i].name, name) != 0)
		i++;
	if (i == SHOWN_MAX || (i < follow->n_said && !strcmp(follow->said[i].text, text)))
		return false;
	follow->n_said = MAX(follow->n_said, i + 1);
	snprintf(follow->said[i].name, sizeof(follow->said[i].name), "%s", name);
	snprintf(follow->said[i].text, sizeof(follow->said[i].text), "%s", text);
	return true;
}

static void
show_progress(struct follow *follow, const json_t *status)
{
	bool terminal = text_is_terminal();
	const json_t *api;
	size_t i;

	if (terminal && follow->n_lines > 0)
		printf("\033[%dA", follow->n_lines);
	follow->n_lines = 0;
	json_array_foreach(json_object_get(status, "apis"), i, api)
	{
		char text[160];
		bool settled = view_progress(api, text);
		int name = MIN(30, text_width() / 2), width = MIN(text_width() - name - 4, 160);

		if (terminal && follow->n_lines >= MIN(SHOWN_MAX, text_height() - 1))
			break;
		if (terminal) {
			printf("%s%-*.*s%s  %.*s\033[K\n", settled ? text_color(COLOR_GOOD) : text_color(COLOR_WARN),
			    name, name, view_text(api, "name"), text_color(COLOR_NONE), (int)text_fit(text, width),
			    text);
			follow->n_lines++;
		} else if (note(follow, view_text(api, "name"), text)) {
			printf("%s: %s\n", view_text(api, "name"), text);
		}
	}
	if (terminal)
		fputs("\033[J", stdout);
	fflush(stdout);
}

/* One that an upgrade has started goes on with the number, and with what was asked for; any other begins anew. */
static bool
was_restarted(const struct follow *follow, const json_t *status)
{
	const json_t *reload = view_member(status, "reload");

	return view_number(status, "pid") != follow->pid && view_number(reload, "number") < follow->number &&
	    !strcmp(view_text(reload, "text"), "started");
}

/* Until the reload is over. Its state in the last status, which is the caller's; NULL: nobody is there any more. */
static json_t *
wait_for_end(struct follow *follow, struct daemon *daemon, struct error *err)
{
	static const struct timespec moment = {0, LOOK_MS * 1000000};
	int64_t gone_ms = 0; /* since when; 0: it is there */

	for (;; nanosleep(&moment, NULL)) {
		const json_t *reload;
		json_t *status;

		if (daemon_status(daemon, &status, err) < 0) {
			gone_ms = gone_ms > 0 ? gone_ms : clock_ms();
			if (daemon_find_again(follow->cli, daemon, err) < 0 || clock_ms() - gone_ms > GONE_MS)
				return NULL;
			continue;
		}
		gone_ms = 0;
		reload = view_member(status, "reload");
		show_progress(follow, status);
		if (view_number(reload, "number") >= follow->number &&
		    strcmp(view_text(reload, "state"), "running") != 0)
			return status;
		if (was_restarted(follow, status)) {
			json_decref(status);
			error_set(err, -ESRCH, "cortexd was restarted meanwhile; cortex get shows what it serves");
			return NULL;
		}
		json_decref(status);
	}
}

static int
follow_reload(const struct cli *cli, struct daemon *daemon, double pid, double number)
{
	struct follow follow = {.cli = cli, .number = number, .pid = pid};
	const json_t *reload;
	struct error err;
	json_t *status = wait_for_end(&follow, daemon, &err);
	bool good;
	char *text;

	if (!status)
		return cli_fail("%s", err.text);
	reload = view_member(status, "reload");
	good = !strcmp(view_text(reload, "state"), "done");
	text = text_clean(view_text(reload, "text"), strlen(view_text(reload, "text")), false);
	putchar('\n');
	view_apis(status);
	view_messages(status, false);
	if (good)
		printf("\ndeployed: %s\n", text);
	else
		cli_fail("not everything is as the config says: %s", text);
	free(text);
	json_decref(status);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
request_reload(const struct cli *cli, struct daemon *daemon, double pid)
{
	struct daemon_answer answer;
	struct error err;
	json_t *json;
	double number;

	if (daemon_request(daemon, "POST", "/reload", NULL, 0, &answer, &err) < 0)
		return cli_fail("%s", err.text);
	if (answer.status != 202) {
		cli_fail("cortexd answers %ld: %.*s", answer.status, (int)strcspn(answer.body, "\r\n"), answer.body);
		daemon_answer_done(&answer);
		return EXIT_FAILURE;
	}
	json = json_loadb(answer.body, answer.length, 0, NULL);
	number = view_number(json, "number");
	json_decref(json);
	daemon_answer_done(&answer);
	return follow_reload(cli, daemon, pid, number);
}

/* Two configs in one folder have the same state directory, and only one of them is served. *ret_pid: by that cortexd. */
static bool
is_served(const struct daemon *daemon, const char *config, double *ret_pid)
{
	struct error err;
	char *served;
	json_t *status;
	bool same;

	if (daemon_status(daemon, &status, &err) < 0) {
		cli_fail("%s", err.text);
		return false;
	}
	served = realpath(view_text(status, "config"), NULL);
	same = !config || (served && !strcmp(served, config));
	if (!same)
		cli_fail("this cortexd serves \"%s\", not \"%s\"", view_text(status, "config"), config);
	*ret_pid = view_number(status, "pid");
	free(served);
	json_decref(status);
	return same;
}

int
run_deploy(struct cli *cli)
{
	struct daemon daemon;
	struct error err;
	char *config = NULL;
	double pid;
	int result = EXIT_FAILURE;

	if (daemon_find(cli, &daemon, &err) < 0)
		cli_fail("%s", err.text);
	else if ((cli->config || !cli->socket) && daemon_find_config(cli, &config, &err) < 0)
		cli_fail("%s", err.text);
	else if ((!config || check_config(config) == 0) && is_served(&daemon, config, &pid))
		result = request_reload(cli, &daemon, pid);
	free(config);
	daemon_done(&daemon);
	return result;
}
