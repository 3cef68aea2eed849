/*
 * predict - cortex predict: a sample to the endpoint of an api, as any client would send it. With a --socket HOST:PORT, which may be another
 * machine, it goes by way of the admin interface: the status tells how a client on that machine reaches the api.
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
post(const struct cli *cli, const struct daemon *daemon, const char *sample, size_t length,
    struct daemon_answer *ret_answer, struct error *err)
{
	char *url = NULL, *socket = NULL, *whole = NULL;
	const json_t *api;
	json_t *status;
	int r = daemon_status(daemon, &status, err);

	if (r < 0)
		return r;
	api = view_find_newest(status, cli->args[0]);
	if (!api) {
		r = error_set(
		    err, -ENOENT, "there is no api \"%s\"; cortex get lists those that there are", cli->args[0]);
	} else if (daemon->host && !daemon->config) {
		url = daemon_path("/predict?api=", cli->args[0]);
		whole = xasprintf("%s%s", url, cli->debug ? "&debug=true" : "");
		r = daemon_request(daemon, "POST", whole, sample, length, ret_answer, err);
	} else if (view_endpoint(status, api, &url, &socket)) {
		whole = xasprintf("%s%s", url, cli->debug ? "?debug=true" : "");
		r = daemon_post(whole, socket, sample, length, ret_answer, err);
	} else {
		r = error_set(err, -ENOENT, "cortexd does not listen anywhere");
	}
	json_decref(status);
	free(whole);
	free(url);
	free(socket);
	return r;
}

static int
send_sample(const struct cli *cli, const struct daemon *daemon, const char *sample, size_t length)
{
	struct daemon_answer answer;
	struct error err;
	int result = EXIT_SUCCESS;
	char *clean;

	if (post(cli, daemon, sample, length, &answer, &err) < 0)
		return cli_fail("%s", err.text);
	if (answer.status == 200) {
		print_answer(&answer);
	} else {
		clean = text_clean(answer.body, answer.length, true);
		result = cli_fail("%ld: %s", answer.status, clean);
		free(clean);
	}
	daemon_answer_done(&answer);
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
