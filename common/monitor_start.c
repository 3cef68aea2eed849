/*
 * monitor_start - see monitor_start.h.
 */
#include "common/monitor_start.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

char *
monitor_start_encode(const struct monitor_start *start)
{
	json_t *root = json_pack("{sb si ss ss ss ss ss si sI}", "has_unix", (int)start->has_unix, "n_tcp",
	    start->n_tcp, "token", start->token, "state_dir", start->state_dir, "log_secret", start->log_secret,
	    "log_format", log_format_name(start->log_format), "log_level", log_level_name(start->log_level),
	    "log_files", start->log_files, "log_file_bytes", (json_int_t)start->log_file_bytes);
	char *text;

	ASSERT(root); /* every string was checked to be UTF-8 when the config was read */
	text = json_dumps(root, JSON_COMPACT);
	ASSERT(text);
	json_decref(root);
	return text;
}

int
monitor_start_decode(const char *json, size_t length, struct monitor_start *ret_start, struct error *err)
{
	const char *token, *state_dir, *secret, *format, *level;
	struct monitor_start start = {.token = NULL};
	json_error_t json_error;
	json_int_t file_bytes;
	int has_unix, r = 0;
	json_t *root;

	root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &json_error);
	if (!root)
		return error_set(err, -EBADMSG, "start record: %s", json_error.text);
	if (json_unpack_ex(root, &json_error, JSON_STRICT, "{sb si ss ss ss ss ss si sI}", "has_unix", &has_unix,
		"n_tcp", &start.n_tcp, "token", &token, "state_dir", &state_dir, "log_secret", &secret, "log_format",
		&format, "log_level", &level, "log_files", &start.log_files, "log_file_bytes", &file_bytes) < 0) {
		r = error_set(err, -EBADMSG, "start record: %s", json_error.text);
		goto out;
	}
	start.has_unix = has_unix;
	start.log_file_bytes = file_bytes;
	if (!log_format_parse(format, &start.log_format) || !log_level_parse(level, &start.log_level) ||
	    start.n_tcp < 0 || start.n_tcp > MONITOR_LISTENERS_MAX || strlen(token) > MONITOR_TOKEN_MAX ||
	    strlen(secret) > LOG_SECRET_MAX || (start.n_tcp > 0 && !*token) || start.log_files < 0 ||
	    start.log_files > 100 || file_bytes < 1) {
		r = error_set(err, -EBADMSG, "start record: a value is out of range");
		goto out;
	}
	start.token = xstrdup(token);
	start.state_dir = xstrdup(state_dir);
	start.log_secret = xstrdup(secret);
	*ret_start = start;
out:
	json_decref(root);
	return r;
}

void
monitor_start_done(struct monitor_start *start)
{
	free(start->token);
	free(start->state_dir);
	free(start->log_secret);
	memset(start, 0, sizeof(*start));
}
