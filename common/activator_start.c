/*
 * activator_start - see activator_start.h.
 */
#include "common/activator_start.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/scoreboard.h"

char *
activator_start_encode(const struct activator_start *start)
{
	json_t *root, *apis = json_array();
	char *text;

	for (size_t i = 0; i < start->n_apis; i++) {
		const struct activator_api *api = &start->apis[i];

		json_array_append_new(apis,
		    json_pack("{si ss ss sb sb sI sI si}", "number", (int)api->number, "name", api->name, "endpoint",
			api->endpoint, "routed", (int)api->routed, "describes", (int)api->describes, "timeout_ms",
			(json_int_t)api->timeout_ms, "max_body_bytes", (json_int_t)api->max_body_bytes,
			"max_queue_length", api->max_queue_length));
	}
	root = json_pack("{so si sb sI ss ss ss ss}", "apis", apis, "n_listeners", start->n_listeners, "accepts",
	    (int)start->accepts, "stop_timeout_ms", (json_int_t)start->stop_timeout_ms, "log_format",
	    log_format_name(start->log_format), "log_level", log_level_name(start->log_level), "log_access",
	    log_access_name(start->log_access), "log_secret", start->log_secret);
	ASSERT(root); /* every string was checked to be UTF-8 when the config was read */
	text = json_dumps(root, JSON_COMPACT);
	ASSERT(text);
	json_decref(root);
	return text;
}

static int
decode_api(json_t *object, struct activator_api *ret_api, struct error *err)
{
	json_int_t timeout, max_body;
	const char *name, *endpoint;
	json_error_t json_error;
	int number, routed, describes;

	if (json_unpack_ex(object, &json_error, JSON_STRICT, "{si ss ss sb sb sI sI si}", "number", &number, "name",
		&name, "endpoint", &endpoint, "routed", &routed, "describes", &describes, "timeout_ms", &timeout,
		"max_body_bytes", &max_body, "max_queue_length", &ret_api->max_queue_length) < 0)
		return error_set(err, -EBADMSG, "start record: %s", json_error.text);
	if (number < 0 || number >= SCOREBOARD_APIS_MAX || timeout < 1 || max_body < 1 ||
	    ret_api->max_queue_length < 0 || *endpoint != '/')
		return error_set(err, -EBADMSG, "start record: a value is out of range");
	ret_api->number = (uint32_t)number;
	ret_api->routed = routed;
	ret_api->describes = describes;
	ret_api->timeout_ms = timeout;
	ret_api->max_body_bytes = max_body;
	ret_api->name = xstrdup(name);
	ret_api->endpoint = xstrdup(endpoint);
	return 0;
}

int
activator_start_decode(const char *json, size_t length, struct activator_start *ret_start, struct error *err)
{
	struct activator_start start = {.apis = NULL};
	const char *format, *level, *access, *secret;
	json_error_t json_error;
	json_int_t stop_timeout;
	json_t *root, *apis;
	int accepts, r;

	root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &json_error);
	if (!root)
		return error_set(err, -EBADMSG, "start record: %s", json_error.text);
	if (json_unpack_ex(root, &json_error, JSON_STRICT, "{so si sb sI ss ss ss ss}", "apis", &apis, "n_listeners",
		&start.n_listeners, "accepts", &accepts, "stop_timeout_ms", &stop_timeout, "log_format", &format,
		"log_level", &level, "log_access", &access, "log_secret", &secret) < 0) {
		r = error_set(err, -EBADMSG, "start record: %s", json_error.text);
		goto out;
	}
	start.stop_timeout_ms = stop_timeout;
	start.accepts = accepts;
	snprintf(start.log_secret, sizeof(start.log_secret), "%s", secret);
	start.apis = xcalloc(json_array_size(apis), sizeof(*start.apis));
	r = json_is_array(apis) ? 0 : error_set(err, -EBADMSG, "start record: apis is not a list");
	for (size_t i = 0; r == 0 && i < json_array_size(apis); i++) {
		r = decode_api(json_array_get(apis, i), &start.apis[start.n_apis], err);
		start.n_apis += r == 0;
	}
	if (r < 0)
		goto out;
	if (!log_format_parse(format, &start.log_format) || !log_level_parse(level, &start.log_level) ||
	    !log_access_parse(access, &start.log_access) || start.n_listeners < 1 ||
	    start.n_listeners > ACTIVATOR_LISTENERS_MAX || stop_timeout < 0) {
		r = error_set(err, -EBADMSG, "start record: a value is out of range");
		goto out;
	}
	*ret_start = start;
	memset(&start, 0, sizeof(start));
out:
	activator_start_done(&start);
	json_decref(root);
	return r;
}

void
activator_start_done(struct activator_start *start)
{
	for (size_t i = 0; i < start->n_apis; i++) {
		free(start->apis[i].name);
		free(start->apis[i].endpoint);
	}
	free(start->apis);
	memset(start, 0, sizeof(*start));
}
