/*
 * start_record - see start_record.h.
 */
#include "common/start_record.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/scoreboard.h"

static const char *const preload_names[] = {"none", "module", "init"};
static const char *const kind_names[] = {"predictor", "onnx", "tensorflow"};

static const char *const tracker_names[] = {"none", "classification", "regression"};

static bool
find_name(const char *const *names, size_t n_names, const char *name, size_t *ret_index)
{
	for (size_t i = 0; i < n_names; i++)
		if (!strcmp(name, names[i])) {
			*ret_index = i;
			return true;
		}
	return false;
}

const char *
preload_name(enum preload preload)
{
	return preload_names[preload];
}

bool
preload_parse(const char *name, enum preload *ret_preload)
{
	size_t i;

	if (!find_name(preload_names, N_ELEMENTS(preload_names), name, &i))
		return false;
	*ret_preload = (enum preload)i;
	return true;
}

const char *
api_kind_name(enum api_kind kind)
{
	return kind_names[kind];
}

bool
api_kind_parse(const char *name, enum api_kind *ret_kind)
{
	size_t i;

	if (!find_name(kind_names, N_ELEMENTS(kind_names), name, &i))
		return false;
	*ret_kind = (enum api_kind)i;
	return true;
}

const char *
tracker_type_name(enum tracker_type type)
{
	return tracker_names[type];
}

bool
tracker_type_parse(const char *name, enum tracker_type *ret_type)
{
	size_t i;

	if (!find_name(tracker_names, N_ELEMENTS(tracker_names), name, &i))
		return false;
	*ret_type = (enum tracker_type)i;
	return true;
}

const char *
start_record_subject(const struct start_record *start)
{
	const char *slash = start->model_path ? strrchr(start->model_path, '/') : NULL;

	if (start->implementation)
		return start->implementation;
	return slash ? slash + 1 : "the model";
}

char *
start_record_encode(const struct start_record *start)
{
	json_t *root, *env = json_array();
	char *text;

	for (size_t i = 0; i < start->n_env; i++)
		json_array_append_new(env, json_pack("[ss]", start->env[i].name, start->env[i].value));
	root = json_pack(
	    "{ss ss si ss ss ss ss* ss* ss* ss* ss ss* ss ss so si sb si sI sI sI sI sI si sI ss ss ss ss}", "api",
	    start->api, "preload", preload_name(start->preload), "replica", start->replica, "endpoint", start->endpoint,
	    "project_folder", start->project_folder, "kind", api_kind_name(start->kind), "implementation",
	    start->implementation, "model_path", start->model_path, "signature_key", start->signature_key,
	    "python_path", start->python_path, "tracker", tracker_type_name(start->tracker), "tracker_key",
	    start->tracker_key, "metadata", start->metadata_json, "python", start->python, "env", env, "n_listeners",
	    start->n_listeners, "accepts", (int)start->accepts, "slot", start->slot, "max_body_bytes",
	    (json_int_t)start->max_body_bytes, "timeout_ms", (json_int_t)start->timeout_ms, "cpu_millicpu",
	    (json_int_t)start->cpu_millicpu, "stop_timeout_ms", (json_int_t)start->stop_timeout_ms, "recycle_requests",
	    (json_int_t)start->recycle_requests, "recycle_jitter_percent", start->recycle_jitter_percent,
	    "recycle_mem_bytes", (json_int_t)start->recycle_mem_bytes, "log_format", log_format_name(start->log_format),
	    "log_level", log_level_name(start->log_level), "log_access", log_access_name(start->log_access),
	    "log_secret", start->log_secret);
	ASSERT(root); /* every string was checked to be UTF-8 when the config was read */
	text = json_dumps(root, JSON_COMPACT);
	ASSERT(text);
	json_decref(root);
	return text;
}

/* Copy the list of [name, value] pairs. */
static int
decode_env(const json_t *list, struct start_record *start, struct error *err)
{
	size_t n = json_array_size(list);

	if (!json_is_array(list))
		return error_set(err, -EBADMSG, "start record: env is not a list");
	start->env = xcalloc(n, sizeof(*start->env));
	for (size_t i = 0; i < n; i++) {
		const json_t *pair = json_array_get(list, i);
		const char *name = json_string_value(json_array_get(pair, 0));
		const char *value = json_string_value(json_array_get(pair, 1));

		if (!name || !*name || strchr(name, '=') || !value || json_array_size(pair) != 2)
			return error_set(err, -EBADMSG, "start record: env[%zu] is not a pair of strings", i);
		start->env[start->n_env].name = xstrdup(name);
		start->env[start->n_env++].value = xstrdup(value);
	}
	return 0;
}

static char *
copy(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

int
start_record_decode(const char *json, size_t length, struct start_record *ret_start, struct error *err)
{
	const char *api, *endpoint, *folder, *kind, *metadata, *python, *format, *level, *access, *secret, *tracker,
	    *preload = preload_name(PRELOAD_NONE);
	const char *implementation = NULL, *model_path = NULL, *signature_key = NULL, *python_path = NULL,
		   *tracker_key = NULL;
	json_int_t max_body, timeout, cpu, stop_timeout, recycle_requests, recycle_mem;
	struct start_record start = {.api = NULL};
	json_error_t json_error;
	json_t *root, *env;
	int accepts, r;

	root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &json_error);
	if (!root)
		return error_set(err, -EBADMSG, "start record: %s", json_error.text);
	if (json_unpack_ex(root, &json_error, JSON_STRICT,
		"{ss s?s si ss ss ss s?s s?s s?s s?s ss s?s ss ss so si sb si sI sI sI sI sI si sI ss ss ss ss}", "api",
		&api, "preload", &preload, "replica", &start.replica, "endpoint", &endpoint, "project_folder", &folder,
		"kind", &kind, "implementation", &implementation, "model_path", &model_path, "signature_key",
		&signature_key, "python_path", &python_path, "tracker", &tracker, "tracker_key", &tracker_key,
		"metadata", &metadata, "python", &python, "env", &env, "n_listeners", &start.n_listeners, "accepts",
		&accepts, "slot", &start.slot, "max_body_bytes", &max_body, "timeout_ms", &timeout, "cpu_millicpu",
		&cpu, "stop_timeout_ms", &stop_timeout, "recycle_requests", &recycle_requests, "recycle_jitter_percent",
		&start.recycle_jitter_percent, "recycle_mem_bytes", &recycle_mem, "log_format", &format, "log_level",
		&level, "log_access", &access, "log_secret", &secret) < 0) {
		r = error_set(err, -EBADMSG, "start record: %s", json_error.text);
		goto out;
	}
	start.api = xstrdup(api);
	start.endpoint = xstrdup(endpoint);
	start.project_folder = xstrdup(folder);
	start.implementation = copy(implementation);
	start.model_path = copy(model_path);
	start.signature_key = copy(signature_key);
	start.python_path = copy(python_path);
	start.tracker_key = copy(tracker_key);
	start.metadata_json = xstrdup(metadata);
	start.python = xstrdup(python);
	start.accepts = accepts;
	snprintf(start.log_secret, sizeof(start.log_secret), "%s", secret);
	start.max_body_bytes = max_body;
	start.timeout_ms = timeout;
	start.cpu_millicpu = cpu;
	start.stop_timeout_ms = stop_timeout;
	start.recycle_requests = recycle_requests;
	start.recycle_mem_bytes = recycle_mem;
	r = decode_env(env, &start, err);
	if (r < 0)
		goto out;
	if (!preload_parse(preload, &start.preload) || !api_kind_parse(kind, &start.kind) ||
	    !tracker_type_parse(tracker, &start.tracker) || (start.kind == API_PREDICTOR && !implementation) ||
	    !log_format_parse(format, &start.log_format) || !log_level_parse(level, &start.log_level) ||
	    !log_access_parse(access, &start.log_access) || start.n_listeners < 1 || start.n_listeners > 64 ||
	    max_body < 1 || timeout < 1 || start.slot < 0 || start.slot >= SCOREBOARD_SLOTS_MAX || cpu < 1 ||
	    stop_timeout < 0 || recycle_requests < 0 || start.recycle_jitter_percent < 0 ||
	    start.recycle_jitter_percent > 100 || recycle_mem < 0) {
		r = error_set(err, -EBADMSG, "start record: a value is out of range");
		goto out;
	}
	*ret_start = start;
	memset(&start, 0, sizeof(start));
out:
	start_record_done(&start);
	json_decref(root);
	return r;
}

void
start_record_done(struct start_record *start)
{
	for (size_t i = 0; i < start->n_env; i++) {
		free(start->env[i].name);
		free(start->env[i].value);
	}
	free(start->env);
	free(start->api);
	free(start->endpoint);
	free(start->project_folder);
	free(start->implementation);
	free(start->model_path);
	free(start->signature_key);
	free(start->python_path);
	free(start->tracker_key);
	free(start->metadata_json);
	free(start->python);
	memset(start, 0, sizeof(*start));
}
