/*
 * predict - cortex predict: a sample to the endpoint of an api, as any client would send it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/text.h"
#include "cli/view.h"
#include "common/fd.h"

#define SAMPLE_MAX (1u << 30) /* bytes; what an api takes is its requests.max_body_size */

static int
read_sample(const char *path, char **ret_text, size_t *ret_length, struct error *err)
{
	bool is_stdin = !strcmp(path, "-");
	int r = is_stdin ? fd_read_all(STDIN_FILENO, SAMPLE_MAX, ret_text, ret_length)
			 : file_read_all(path, SAMPLE_MAX, ret_text, ret_length);

	return r < 0 ? error_set(err, r, "cannot read the sample from \"%s\": %s", path, strerror(-r)) : 0;
}

/* On a terminal JSON is laid out, and nothing in it reaches the terminal as it is; in a pipe there is what came. */
static void
print_answer(const struct daemon_answer *answer)
{
	json_t *json = text_is_terminal() ? json_loadb(answer->body, answer->length, JSON_DECODE_ANY, NULL) : NULL;
	char *text = json ? json_dumps(json, JSON_ENCODE_ANY | JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;

	if (text_is_terminal()) {
		char *clean = text ? text_clean(text, strlen(text), true)
				   : text_clean(answer->body, answer->length, true);

		free(text);
		text = clean;
	}
	if (text)
		puts(text);
	else if (fwrite(answer->body, 1, answer->length, stdout) == answer->length)
		putchar('\n');
	json_decref(json);
	free(text);
}

static int
send_sample(const struct cli *cli, const struct daemon *daemon, const char *sample, size_t length)
{
	struct daemon_answer answer;
	char *url, *socket, *whole, *clean;
	const json_t *api;
	json_t *status;
	struct error err;
	int r, result = EXIT_SUCCESS;

	if (daemon_status(daemon, &status, &err) < 0)
		return cli_fail("%s", err.text);
	api = view_find_newest(status, cli->args[0]);
	if (!api || !view_endpoint(status, api, &url, &socket)) {
		json_decref(status);
		return cli_fail("there is no api \"%s\"; cortex get lists those that there are", cli->args[0]);
	}
	json_decref(status);
	whole = xasprintf("%s%s", url, cli->debug ? "?debug=true" : "");
	r = daemon_post(whole, socket, sample, length, &answer, &err);
	if (r < 0) {
		result = cli_fail("%s", err.text);
	} else if (answer.status == 200) {
		print_answer(&answer);
		daemon_answer_done(&answer);
	} else {
		clean = text_clean(answer.body, answer.length, true);
		result = cli_fail("%ld: %s", answer.status, clean);
		free(clean);
		daemon_answer_done(&answer);
	}
	free(whole);
	free(url);
	free(socket);
	return result;
}

int
run_predict(struct cli *cli)
{
	struct daemon daemon;
	struct error err;
	char *sample;
	size_t length;
	int result;

	if (read_sample(cli->args[1], &sample, &length, &err) < 0)
		return cli_fail("%s", err.text);
	if (daemon_find(cli, &daemon, &err) < 0)
		result = cli_fail("%s", err.text);
	else
		result = send_sample(cli, &daemon, sample, length);
	daemon_done(&daemon);
	free(sample);
	return result;
}
