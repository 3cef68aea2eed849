/*
 * config_api - the resource of kind api: what is served where, by what code, with how many replicas.
 *
 * The tables hold all of the schema. What cortexd does not do yet is checked like the rest, so that a file is ready
 * for the version that does it, and then refused.
 */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config_reader.h"
#include "common/quantity.h"

/* --- predictor, onnx, tensorflow ---------------------------------------------------------------------------------- */

static bool
read_file(struct config_reader *reader, UNUSED const struct config_key *key, const struct node *value, void *field)
{
	return config_find_path(reader, value, CONFIG_FILE, field, NULL);
}

static bool
read_folder(struct config_reader *reader, UNUSED const struct config_key *key, const struct node *value, void *field)
{
	return config_find_path(reader, value, CONFIG_FOLDER, NULL, field);
}

/* What follows the scheme of an address, or NULL. */
static const char *
skip_scheme(const char *text)
{
	static const char *const schemes[] = {"s3://", "https://", "http://"};

	for (size_t i = 0; i < N_ELEMENTS(schemes); i++)
		if (strncmp(text, schemes[i], strlen(schemes[i])) == 0)
			return text + strlen(schemes[i]);
	return NULL;
}

bool
config_model_is_remote(const char *model)
{
	return skip_scheme(model) != NULL;
}

/* HOST/PATH, neither of them empty. */
static bool
read_address(struct config_reader *reader, const struct config_key *key, const struct node *value, const char *rest)
{
	const char *slash = strchr(rest, '/');

	if (value->length > CONFIG_ADDRESS_MAX) {
		config_error(reader, "%s is longer than %d characters", config_show(value->text, value->length).text,
		    CONFIG_ADDRESS_MAX);
		return false;
	}
	for (const char *at = rest; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f || (*at == ' ' && *value->text == 'h')) {
			config_error(reader, "%s has a blank or a control character in it",
			    config_show(value->text, value->length).text);
			return false;
		}
	if (!slash || slash == rest || !slash[1] || (*value->text == 'h' && *rest == ':'))
		return config_wrong_type(reader, value, key->allowed);
	if (memchr(rest, '@', (size_t)(slash - rest))) {
		config_error(
		    reader, "has a user name or a password in it, which would be shown in messages; remove it");
		return false;
	}
	return true;
}

static bool
read_model_of_kind(struct config_reader *reader, const struct config_key *key, const struct node *value,
    enum config_path_kind kind, char **ret_model)
{
	const char *text = config_text(reader, value, key->allowed), *rest;

	if (!text)
		return false;
	if (!strstr(text, "://"))
		return config_find_model(reader, value, kind, ret_model);
	rest = skip_scheme(text);
	if (!rest)
		return config_wrong_type(reader, value, key->allowed);
	if (!read_address(reader, key, value, rest))
		return false;
	*ret_model = xstrdup(text);
	return true;
}

static bool
read_model(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	return read_model_of_kind(reader, key, value, CONFIG_FILE_OR_FOLDER, field);
}

static bool
read_model_file(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	return read_model_of_kind(reader, key, value, CONFIG_FILE, field);
}

static bool
is_env_name(const char *text)
{
	static const char allowed[] = "_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

	return *text && !(*text >= '0' && *text <= '9') && strspn(text, allowed) == strlen(text);
}

/* field is the whole predictor: env has two members. */
static bool
read_env(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	struct predictor_config *predictor = field;
	size_t size = 0;
	bool valid = true;

	if (value->kind != NODE_MAPPING)
		return config_wrong_type(reader, value, key->allowed);
	predictor->env = xcalloc(value->n, sizeof(*predictor->env));
	for (size_t i = 0; i < value->n && size <= CONFIG_ENV_MAX; i++) {
		const struct pair *pair = &value->pairs[i];
		struct config_place place = config_enter(reader, pair->key, 0, pair->key->mark);
		const char *text = NULL;

		if (config_check_key(reader, pair)) {
			if (is_env_name(pair->key->text))
				text = config_text(reader, pair->value, "a string, a number, true or false");
			else
				config_error(reader, "not a name; must be letters, digits and _, no digit first");
		}
		if (text) {
			size += pair->key->length + pair->value->length + 2;
			predictor->env[predictor->n_env++] = (struct env_var){
			    .name = xstrdup(pair->key->text), .value = xstrdup(text)};
		}
		valid &= text != NULL;
		config_leave(reader, place);
	}
	if (size > CONFIG_ENV_MAX) {
		config_error(reader, "larger than %d KiB in all", CONFIG_ENV_MAX / 1024);
		return false;
	}
	return valid;
}

#define MODEL_ALLOWED "s3://bucket/key, https://host/path or the path of a file or folder"

#define SHARED_KEYS                                                                                  \
	{.name = "python_path",                                                                      \
	    .read = read_folder,                                                                     \
	    .offset = offsetof(struct predictor_config, python_path),                                \
	    .allowed = "the path of a folder"},                                                      \
	    {.name = "metadata",                                                                     \
		.read = config_read_metadata,                                                        \
		.offset = offsetof(struct predictor_config, metadata_json),                          \
		.allowed = "a map"},                                                                 \
	{                                                                                            \
		.name = "env", .read = read_env, .offset = 0, .allowed = "a map of names to strings" \
	}

static const struct config_key predictor_keys[] = {
    {.name = "path",
	.read = read_file,
	.offset = offsetof(struct predictor_config, path),
	.allowed = "the path of a Python file",
	.flags = CONFIG_REQUIRED},
    {.name = "model", .read = read_model, .offset = offsetof(struct predictor_config, model), .allowed = MODEL_ALLOWED},
    SHARED_KEYS,
};
static const struct config_map predictor_map = {.keys = predictor_keys, .n_keys = N_ELEMENTS(predictor_keys)};

static const struct config_key onnx_keys[] = {
    {.name = "model",
	.read = read_model_file,
	.offset = offsetof(struct predictor_config, model),
	.allowed = "s3://bucket/key, https://host/path or the path of a file",
	.flags = CONFIG_REQUIRED},
    {.name = "request_handler",
	.read = read_file,
	.offset = offsetof(struct predictor_config, path),
	.allowed = "the path of a Python file"},
    SHARED_KEYS,
};
static const struct config_map onnx_map = {.keys = onnx_keys, .n_keys = N_ELEMENTS(onnx_keys)};

static const struct config_key tensorflow_keys[] = {
    {.name = "model",
	.read = read_model,
	.offset = offsetof(struct predictor_config, model),
	.allowed = MODEL_ALLOWED,
	.flags = CONFIG_REQUIRED},
    {.name = "request_handler",
	.read = read_file,
	.offset = offsetof(struct predictor_config, path),
	.allowed = "the path of a Python file"},
    {.name = "signature_key",
	.read = config_read_string,
	.offset = offsetof(struct predictor_config, signature_key),
	.allowed = "a string",
	.max = CONFIG_KEY_MAX},
    SHARED_KEYS,
};
static const struct config_map tensorflow_map = {.keys = tensorflow_keys, .n_keys = N_ELEMENTS(tensorflow_keys)};

static void
predictor_done(struct predictor_config *predictor)
{
	for (size_t i = 0; i < predictor->n_env; i++) {
		free(predictor->env[i].name);
		free(predictor->env[i].value);
	}
	free(predictor->env);
	free(predictor->path);
	free(predictor->model);
	free(predictor->signature_key);
	free(predictor->python_path);
	free(predictor->metadata_json);
}

/* field is the whole api. Where there are two (check_api), what is wrong in the other one is reported as well. */
static bool
read_implementation(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	struct predictor_config predictor = {.path = NULL};
	struct api_config *api = field;

	if (!config_read_keys(reader, key->map, value, &predictor))
		return false;
	predictor_done(&api->predictor);
	api->predictor = predictor;
	ASSERT(api_kind_parse(key->name, &api->kind));
	return true;
}

static bool
read_tracker_type(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	return config_read_choice(reader, key, value, NULL) && tracker_type_parse(value->text, field);
}

static const struct config_key tracker_keys[] = {
    {.name = "key", .read = config_read_string, .offset = offsetof(struct tracker_config, key), .allowed = "a string"},
    {.name = "model_type",
	.read = read_tracker_type,
	.offset = offsetof(struct tracker_config, type),
	.allowed = "classification or regression",
	.flags = CONFIG_REQUIRED},
};
static const struct config_map tracker_map = {.keys = tracker_keys, .n_keys = N_ELEMENTS(tracker_keys)};

/* --- compute ------------------------------------------------------------------------------------------------------ */

#define MIN_REPLICAS_DEFAULT 1
#define MAX_REPLICAS_DEFAULT 100
#define TARGET_CPU_DEFAULT   80
#define CPU_MILLI_DEFAULT    200
#define MAX_BODY_DEFAULT     (32 << 20)
#define MAX_QUEUE_DEFAULT    100
#define TIMEOUT_MS_DEFAULT   (60 * 1000)
#define TIMEOUT_MS_MAX       (720ll * 60 * 60 * 1000)

/* Report at the key name of the map if it is there, else at the map. */
static PRINTFLIKE(4) void report_key(
    struct config_reader *reader, const struct node *map, const char *name, const char *format, ...)
{
	const struct pair *pair = document_find(map, name);
	struct node key = {.kind = NODE_STRING, .text = (char *)name, .length = strlen(name)};
	struct config_place place = config_enter(reader, &key, 0, pair ? pair->key->mark : map->mark);
	char text[128];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	config_error(reader, "%s", text);
	config_leave(reader, place);
}

/* Is there a value for the key, right or wrong? */
static bool
is_given(const struct node *map, const char *name)
{
	const struct pair *pair = document_find(map, name);

	return pair && pair->value->kind != NODE_NULL;
}

/* min <= init <= max, of what could be read. */
static void
check_compute(struct config_reader *reader, const struct node *map, void *target)
{
	struct compute_config *compute = target;
	bool min_given = is_given(map, "min_replicas"), max_given = is_given(map, "max_replicas");
	int min = min_given ? compute->min_replicas : MIN_REPLICAS_DEFAULT;
	int max = max_given ? compute->max_replicas : MAX_REPLICAS_DEFAULT;
	int init = compute->init_replicas;

	if (min > 0 && max > 0 && min > max) {
		if (max_given)
			report_key(
			    reader, map, "max_replicas", "found %d; must be at least min_replicas, %d", max, min);
		else
			report_key(reader, map, "min_replicas", "found %d; must be at most max_replicas, %d%s", min,
			    max, " by default");
	}
	if (init > 0 && min > 0 && init < min)
		report_key(reader, map, "init_replicas", "found %d; must be at least min_replicas, %d", init, min);
	if (init > 0 && max > 0 && init > max)
		report_key(reader, map, "init_replicas", "found %d; must be at most max_replicas, %d%s", init, max,
		    max_given ? "" : " by default");
}

static const struct config_key compute_keys[] = {
    {.name = "min_replicas",
	.read = config_read_int,
	.offset = offsetof(struct compute_config, min_replicas),
	.allowed = "a whole number from 1 to 10000",
	.min = 1,
	.max = CONFIG_REPLICAS_MAX},
    {.name = "max_replicas",
	.read = config_read_int,
	.offset = offsetof(struct compute_config, max_replicas),
	.allowed = "a whole number from 1 to 2147483647",
	.min = 1,
	.max = INT_MAX},
    {.name = "init_replicas",
	.read = config_read_int,
	.offset = offsetof(struct compute_config, init_replicas),
	.allowed = "a whole number from 1 to 10000",
	.min = 1,
	.max = CONFIG_REPLICAS_MAX},
    {.name = "target_cpu_utilization",
	.read = config_read_int,
	.offset = offsetof(struct compute_config, target_cpu_utilization),
	.allowed = "a whole number from 1 to 100 (percent)",
	.min = 1,
	.max = 100},
    {.name = "cpu",
	.read = config_read_cpu,
	.offset = offsetof(struct compute_config, cpu_millicpu),
	.allowed = "a quantity"},
    {.name = "gpu",
	.read = config_read_int,
	.offset = offsetof(struct compute_config, gpu),
	.allowed = "a whole number, 0 or more",
	.min = 0,
	.max = INT_MAX},
    {.name = "mem",
	.read = config_read_bytes,
	.offset = offsetof(struct compute_config, mem_bytes),
	.allowed = "more than 0",
	.min = 1,
	.max = INT64_MAX},
};
static const struct config_map compute_map = {
    .keys = compute_keys, .n_keys = N_ELEMENTS(compute_keys), .check = check_compute};

/* --- requests ----------------------------------------------------------------------------------------------------- */

static const struct config_key requests_keys[] = {
    {.name = "timeout",
	.read = config_read_duration,
	.offset = offsetof(struct api_config, timeout_ms),
	.allowed = "a duration from 1ms to 720h: 500ms, 30s, 5m or 1h",
	.min = 1,
	.max = TIMEOUT_MS_MAX},
    {.name = "max_queue_length",
	.read = config_read_int,
	.offset = offsetof(struct api_config, max_queue_length),
	.allowed = "a whole number, 0 or more",
	.min = 0,
	.max = INT_MAX},
    {.name = "max_body_size",
	.read = config_read_bytes,
	.offset = offsetof(struct api_config, max_body_bytes),
	.allowed = "from 1 to 1Gi bytes",
	.min = 1,
	.max = CONFIG_BODY_MAX},
};
static const struct config_map requests_map = {.keys = requests_keys, .n_keys = N_ELEMENTS(requests_keys)};

/* --- autoscaling -------------------------------------------------------------------------------------------------- */

#define WINDOW_MS_DEFAULT         (60 * 1000)
#define WINDOW_MS_MIN             1000 /* the time between two samples */
#define DOWNSCALE_MS_DEFAULT      (5 * 60 * 1000)
#define STABILIZATION_MS_MAX      (60 * 60 * 1000) /* Kubernetes allows no more, too */
#define TOLERANCE_PERCENT_DEFAULT 10
#define STABILIZATION_ALLOWED     "a duration from 0s to 1h: 30s or 5m"

/* A whole or a decimal number, kept in thousandths. */
static bool
read_in_flight(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	int64_t milli = 0;
	int whole;

	if (value->kind == NODE_INTEGER) {
		if (!config_read_int(reader, key, value, &whole))
			return false;
		milli = whole * 1000ll;
	} else if (value->kind != NODE_FLOAT || quantity_parse_milli(value->text, &milli) < 0 || milli <= 0 ||
	    milli > key->max * 1000) {
		return config_wrong_type(reader, value, key->allowed);
	}
	*(int64_t *)field = milli;
	return true;
}

static const struct config_key autoscaling_keys[] = {
    {.name = "target_in_flight",
	.read = read_in_flight,
	.offset = offsetof(struct autoscaling_config, target_in_flight_milli),
	.allowed = "a number above 0, at most 1000000",
	.min = 1,
	.max = 1000000},
    {.name = "window",
	.read = config_read_duration,
	.offset = offsetof(struct autoscaling_config, window_ms),
	.allowed = "a duration from 1s to 1h: 30s or 5m",
	.min = WINDOW_MS_MIN,
	.max = STABILIZATION_MS_MAX},
    {.name = "downscale_stabilization_period",
	.read = config_read_duration,
	.offset = offsetof(struct autoscaling_config, downscale_stabilization_ms),
	.allowed = STABILIZATION_ALLOWED,
	.min = 0,
	.max = STABILIZATION_MS_MAX},
    {.name = "upscale_stabilization_period",
	.read = config_read_duration,
	.offset = offsetof(struct autoscaling_config, upscale_stabilization_ms),
	.allowed = STABILIZATION_ALLOWED,
	.min = 0,
	.max = STABILIZATION_MS_MAX},
    {.name = "tolerance",
	.read = config_read_percent,
	.offset = offsetof(struct autoscaling_config, tolerance_percent),
	.allowed = "a percentage from 0% to 100%",
	.min = 0,
	.max = 100},
};
static const struct config_map autoscaling_map = {.keys = autoscaling_keys, .n_keys = N_ELEMENTS(autoscaling_keys)};

/* --- update_strategy ---------------------------------------------------------------------------------------------- */

#define SURGE_PERCENT_DEFAULT 25
#define SURGE_ALLOWED         "a whole number, or a percentage up to 100%: 1 or 25%"

static bool
read_amount(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	const struct config_key percent = {.allowed = key->allowed, .min = 0, .max = 100};
	struct amount amount = {.is_percent = value->kind != NODE_INTEGER};

	if (!(amount.is_percent ? config_read_percent(reader, &percent, value, &amount.value)
				: config_read_int(reader, key, value, &amount.value)))
		return false;
	*(struct amount *)field = amount;
	return true;
}

static const struct config_key update_strategy_keys[] = {
    {.name = "max_surge",
	.read = read_amount,
	.offset = offsetof(struct update_strategy_config, max_surge),
	.allowed = SURGE_ALLOWED,
	.min = 0,
	.max = INT_MAX},
    {.name = "max_unavailable",
	.read = read_amount,
	.offset = offsetof(struct update_strategy_config, max_unavailable),
	.allowed = SURGE_ALLOWED,
	.min = 0,
	.max = INT_MAX},
};

/* No replica more and no replica fewer: none could ever be replaced. Two zeros mean that both keys are there. */
static void
check_update_strategy(struct config_reader *reader, const struct node *map, void *target)
{
	const struct update_strategy_config *strategy = target;

	if (strategy->max_surge.value == 0 && strategy->max_unavailable.value == 0)
		report_key(reader, map, "max_unavailable", "0 as max_surge is; one of them must be more than 0");
}

static const struct config_map update_strategy_map = {
    .keys = update_strategy_keys, .n_keys = N_ELEMENTS(update_strategy_keys), .check = check_update_strategy};

/* --- recycle ------------------------------------------------------------------------------------------------------ */

#define JITTER_PERCENT_DEFAULT 10

static bool
read_max_requests(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	int max_requests;

	if (!config_read_int(reader, key, value, &max_requests))
		return false;
	*(int64_t *)field = max_requests;
	return true;
}

static const struct config_key recycle_keys[] = {
    {.name = "max_requests",
	.read = read_max_requests,
	.offset = offsetof(struct recycle_config, max_requests),
	.allowed = "a whole number, 1 or more",
	.min = 1,
	.max = INT_MAX},
    {.name = "jitter",
	.read = config_read_percent,
	.offset = offsetof(struct recycle_config, jitter_percent),
	.allowed = "a percentage from 0% to 100%",
	.min = 0,
	.max = 100},
    {.name = "max_mem",
	.read = config_read_bytes,
	.offset = offsetof(struct recycle_config, max_mem_bytes),
	.allowed = "more than 0",
	.min = 1,
	.max = INT64_MAX},
};
static const struct config_map recycle_map = {.keys = recycle_keys, .n_keys = N_ELEMENTS(recycle_keys)};

/* --- api ---------------------------------------------------------------------------------------------------------- */

static bool
read_name(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	const char *text = config_text(reader, value, key->allowed);

	if (!text)
		return false;
	if (!config_is_dns_label(text, true))
		return config_wrong_type(reader, value, key->allowed);
	if (field)
		*(char **)field = xstrdup(text);
	return true;
}

/* What is wrong with an endpoint, or NULL. */
static const char *
endpoint_problem(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./";

	if (strlen(text) > CONFIG_ENDPOINT_MAX)
		return "is longer than 255 characters";
	if (strspn(text, allowed) != strlen(text))
		return "has a character that is not allowed; use letters, digits, _ - . /";
	if (strstr(text, "//"))
		return "has an empty part; remove one /";
	if (!text[strspn(text, "/")])
		return "has no name; use a path like /iris";
	for (const char *at = text; *at;) {
		size_t length = strcspn(at, "/");

		if ((length == 1 && *at == '.') || (length == 2 && strncmp(at, "..", 2) == 0))
			return "has a part . or .., which clients remove";
		at += length;
		at += *at == '/';
	}
	return NULL;
}

static bool
read_endpoint(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	const char *text = config_text(reader, value, key->allowed), *problem;
	size_t length;
	char *endpoint;

	if (!text)
		return false;
	problem = endpoint_problem(text);
	if (problem) {
		config_error(reader, "%s %s", config_show(text, value->length).text, problem);
		return false;
	}
	endpoint = xasprintf("/%s", text + (*text == '/'));
	length = strlen(endpoint);
	if (endpoint[length - 1] == '/')
		endpoint[length - 1] = '\0';
	if (strcmp(endpoint, "/healthz") == 0 || strcmp(endpoint, "/readyz") == 0) {
		config_error(reader, "\"%s\" is taken: it answers health checks", endpoint);
		free(endpoint);
		return false;
	}
	*(char **)field = endpoint;
	return true;
}

static bool
read_preload(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	return config_read_choice(reader, key, value, NULL) && preload_parse(value->text, field);
}

static void
check_api(struct config_reader *reader, const struct node *map, UNUSED void *target)
{
	static const char *const implementations[] = {"predictor", "onnx", "tensorflow"};
	const char *first = NULL;

	for (size_t i = 0; i < N_ELEMENTS(implementations); i++) {
		const char *name = implementations[i];

		if (!is_given(map, name))
			continue;
		if (first)
			report_key(reader, map, name,
			    "given beside %s; an api has exactly one of predictor, onnx, tensorflow", first);
		else
			first = name;
	}
	if (!first)
		report_key(reader, map, "predictor", "missing; an api has exactly one of predictor, onnx, tensorflow");
}

static const struct config_key api_keys[] = {
    {.name = "kind", .read = config_read_nothing, .offset = CONFIG_NO_FIELD, .allowed = ""},
    {.name = "name",
	.read = read_name,
	.offset = offsetof(struct api_config, name),
	.allowed = "1 to 63 lower-case letters, digits and dashes, a letter first, no dash at the end",
	.flags = CONFIG_REQUIRED},
    {.name = "endpoint",
	.read = read_endpoint,
	.offset = offsetof(struct api_config, endpoint),
	.allowed = "a path like /iris"},
    {.name = "predictor", .read = read_implementation, .offset = 0, .allowed = "a map", .map = &predictor_map},
    {.name = "onnx", .read = read_implementation, .offset = 0, .allowed = "a map", .map = &onnx_map},
    {.name = "tensorflow", .read = read_implementation, .offset = 0, .allowed = "a map", .map = &tensorflow_map},
    {.name = "tracker",
	.read = config_read_map,
	.offset = offsetof(struct api_config, tracker),
	.allowed = "a map",
	.map = &tracker_map},
    {.name = "compute",
	.read = config_read_map,
	.offset = offsetof(struct api_config, compute),
	.allowed = "a map",
	.map = &compute_map},
    {.name = "requests", .read = config_read_map, .offset = 0, .allowed = "a map", .map = &requests_map},
    {.name = "autoscaling",
	.read = config_read_map,
	.offset = offsetof(struct api_config, autoscaling),
	.allowed = "a map",
	.map = &autoscaling_map},
    {.name = "update_strategy",
	.read = config_read_map,
	.offset = offsetof(struct api_config, update_strategy),
	.allowed = "a map",
	.map = &update_strategy_map},
    {.name = "recycle",
	.read = config_read_map,
	.offset = offsetof(struct api_config, recycle),
	.allowed = "a map",
	.map = &recycle_map},
    {.name = "preload",
	.read = read_preload,
	.offset = offsetof(struct api_config, preload),
	.allowed = "none, module or init"},
};
const struct config_map config_api_map = {.keys = api_keys, .n_keys = N_ELEMENTS(api_keys), .check = check_api};

void
config_init_api(struct api_config *api)
{
	/* Where 0 means something, the default is there before the keys are read. */
	*api = (struct api_config){
	    .autoscaling =
		{
		    .window_ms = WINDOW_MS_DEFAULT,
		    .downscale_stabilization_ms = DOWNSCALE_MS_DEFAULT,
		    .tolerance_percent = TOLERANCE_PERCENT_DEFAULT,
		},
	    .update_strategy =
		{
		    .max_surge = {SURGE_PERCENT_DEFAULT, true},
		    .max_unavailable = {SURGE_PERCENT_DEFAULT, true},
		},
	    .recycle.jitter_percent = JITTER_PERCENT_DEFAULT,
	    .max_queue_length = MAX_QUEUE_DEFAULT,
	};
}

void
config_default_api(struct api_config *api, const char *deployment)
{
	struct compute_config *compute = &api->compute;

	if (!api->endpoint)
		api->endpoint = xasprintf("/%s/%s", deployment, api->name);
	if (!api->predictor.metadata_json)
		api->predictor.metadata_json = xstrdup("{}");
	if (compute->min_replicas == 0)
		compute->min_replicas = MIN_REPLICAS_DEFAULT;
	if (compute->max_replicas == 0)
		compute->max_replicas = MAX_REPLICAS_DEFAULT;
	if (compute->init_replicas == 0)
		compute->init_replicas = compute->min_replicas;
	if (compute->target_cpu_utilization == 0)
		compute->target_cpu_utilization = TARGET_CPU_DEFAULT;
	if (compute->cpu_millicpu == 0)
		compute->cpu_millicpu = CPU_MILLI_DEFAULT;
	if (api->max_body_bytes == 0)
		api->max_body_bytes = MAX_BODY_DEFAULT;
	if (api->timeout_ms == 0)
		api->timeout_ms = TIMEOUT_MS_DEFAULT;
}

void
config_api_done(struct api_config *api)
{
	predictor_done(&api->predictor);
	free(api->tracker.key);
	free(api->name);
	free(api->endpoint);
}
