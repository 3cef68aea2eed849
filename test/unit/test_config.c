/*
 * test_config - cortex.yaml in, struct config or the complete list of errors out.
 *
 * configs/bad/ holds most of what may be wrong, a file per rule with the messages it must give in its first lines; this
 * file holds what needs a folder of its own, and what must be right. It runs in the repository root. One long file, because it is one
 * question, asked of each key.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/config.h"
#include "common/config_reader.h"
#include "common/fd.h"
#include "supervisor/board.h"

#define API              \
	"- kind: api\n"  \
	"  name: iris\n" \
	"  predictor:\n" \
	"    path: predictor.py\n"

/* --- a project folder of the test --------------------------------------------------------------------------------- */

static char folder[64];

static void
write_file(const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void
make_folder(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static void
make_link(const char *target, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(symlink(target, path), 0);
}

static int
set_up(UNUSED void **state)
{
	strcpy(folder, "/tmp/test-config-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	write_file("predictor.py", "def predict(sample, metadata):\n    return sample\n");
	return 0;
}

static int
tear_down(UNUSED void **state)
{
	return path_remove_all(folder);
}

static int
parse(const char *text, struct config **ret_config, struct config_errors *ret_errors)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/cortex.yaml", folder);
	return config_parse(path, text, strlen(text), ret_config, ret_errors);
}

static struct config *
parse_good(const char *text)
{
	struct config *config = NULL;
	struct config_errors errors;

	if (parse(text, &config, &errors) < 0)
		fail_msg("%s\nfor:\n%s", errors.lines[0], text);
	assert_int_equal(errors.n_lines, 0);
	config_errors_done(&errors);
	return config;
}

/* The first error, without the name of the file. */
static void
assert_bad(const char *text, const char *expected)
{
	struct config *config = NULL;
	struct config_errors errors;
	const char *line;

	if (parse(text, &config, &errors) == 0)
		fail_msg("accepted:\n%s", text);
	assert_null(config);
	assert_true(errors.n_lines > 0);
	line = errors.lines[0] + strlen(folder) + strlen("/cortex.yaml:");
	if (!strstr(line, expected))
		fail_msg("%s\ninstead of\n%s", line, expected);
	config_errors_done(&errors);
}

/* --- what is right ------------------------------------------------------------------------------------------------ */

static void
defaults_fill_what_is_left_out(UNUSED void **state)
{
	struct config *config = parse_good(API);
	const struct api_config *api = &config->apis[0];
	char text[128];

	assert_string_equal(config->folder, folder);
	assert_int_equal(strncmp(config->deployment, "test-config-", 12), 0);
	assert_int_equal(config->server.n_listen, 1);
	assert_string_equal(config->server.listen[0].text, "127.0.0.1:8888");
	assert_string_equal(config->server.listen[0].host, "127.0.0.1");
	assert_int_equal(config->server.listen[0].port, 8888);
	snprintf(text, sizeof(text), "%s/.cortex", folder);
	assert_string_equal(config->server.state_dir, text);
	assert_null(config->server.user);
	assert_null(config->server.packages.folder);
	assert_false(config->server.packages.none);
	assert_int_equal(config->server.log_format, LOG_TEXT);
	assert_int_equal(config->server.log_level, LOG_INFO);
	assert_int_equal(config->server.log_access, LOG_ACCESS_NONE);
	assert_int_equal(config->server.log_files, 5);
	assert_int_equal(config->server.log_file_bytes, 10 << 20);
	assert_null(config->requirements);
	assert_int_equal(config->n_apis, 1);
	assert_string_equal(api->name, "iris");
	snprintf(text, sizeof(text), "/%s/iris", config->deployment);
	assert_string_equal(api->endpoint, text);
	assert_string_equal(api->predictor.path, "predictor.py");
	assert_null(api->predictor.python_path);
	assert_string_equal(api->predictor.metadata_json, "{}");
	assert_int_equal(api->predictor.n_env, 0);
	assert_int_equal(api->compute.min_replicas, 1);
	assert_int_equal(api->compute.init_replicas, 1);
	assert_int_equal(api->compute.max_replicas, 100);
	assert_int_equal(api->compute.target_cpu_utilization, 80);
	assert_int_equal(api->compute.cpu_millicpu, 200);
	assert_int_equal(api->compute.mem_bytes, 0);
	assert_int_equal(api->max_body_bytes, 32 << 20);
	assert_int_equal(api->compute.gpu, 0);
	assert_int_equal(api->autoscaling.target_in_flight_milli, 0);
	assert_int_equal(api->autoscaling.window_ms, 60000);
	assert_int_equal(api->autoscaling.downscale_stabilization_ms, 300000);
	assert_int_equal(api->autoscaling.upscale_stabilization_ms, 0);
	assert_int_equal(api->autoscaling.tolerance_percent, 10);
	assert_int_equal(api->update_strategy.max_surge.value, 25);
	assert_true(api->update_strategy.max_surge.is_percent);
	assert_int_equal(api->update_strategy.max_unavailable.value, 25);
	assert_true(api->update_strategy.max_unavailable.is_percent);
	assert_int_equal(api->recycle.max_requests, 0);
	assert_int_equal(api->recycle.jitter_percent, 10);
	assert_int_equal(api->recycle.max_mem_bytes, 0);
	assert_int_equal(api->preload, PRELOAD_NONE);
	assert_int_equal(config->server.capacity.cpu_millicpu, 0);
	assert_int_equal(config->server.capacity.mem_bytes, 0);
	assert_int_equal(config->server.capacity.gpu, -1);
	config_unref(config);
}

static void
every_value_arrives(UNUSED void **state)
{
	struct config *config;
	const struct api_config *api;
	char text[128];

	make_folder("lib");
	write_file("requirements.txt", "numpy\n");
	config = parse_good("- kind: server\n"
			    "  listen: [\"[::1]:80\", unix:run/http.sock, \"*:0\"]\n"
			    "  state_dir: ../state/./x\n"
			    "  user: cortex\n"
			    "  packages: base/./\n"
			    "  log: {format: json, level: debug, access: combined, files: 0, file_size: 1Ti}\n"
			    "  capacity: {cpu: 1.5, mem: 2Gi, gpu: 0}\n" API "    python_path: lib/\n"
			    "    metadata: {a: 1}\n"
			    "    env: {PATH: /bin, N: 010, B: True, F: 1e3, _x1: '', Y: yes}\n"
			    "  endpoint: a.b/C-d_/\n"
			    "  compute: {min_replicas: 2, init_replicas: 0x3, max_replicas: 4, cpu: 1.5, mem: 1Gi,\n"
			    "    target_cpu_utilization: 100, gpu: 2}\n"
			    "  requests: {max_body_size: 1Gi}\n"
			    "  autoscaling: {target_in_flight: 1.5, window: 90s, downscale_stabilization_period: 1h,\n"
			    "    upscale_stabilization_period: 500ms, tolerance: 0%}\n"
			    "  update_strategy: {max_surge: 3, max_unavailable: 0%}\n"
			    "  recycle: {max_requests: 1000, jitter: 100%, max_mem: 3Gi}\n"
			    "  preload: init\n"
			    "- kind: deployment\n"
			    "  name: 2flowers\n");
	api = &config->apis[0];
	assert_string_equal(config->deployment, "2flowers");
	assert_int_equal(config->server.n_listen, 3);
	assert_string_equal(config->server.listen[0].text, "[::1]:80");
	assert_string_equal(config->server.listen[0].host, "::1");
	assert_int_equal(config->server.listen[1].kind, LISTEN_UNIX);
	snprintf(text, sizeof(text), "%s/run/http.sock", folder);
	assert_string_equal(config->server.listen[1].path, text);
	assert_string_equal(config->server.listen[2].host, "");
	assert_int_equal(config->server.listen[2].port, 0);
	assert_string_equal(config->server.state_dir, "/tmp/state/x");
	assert_string_equal(config->server.user, "cortex");
	snprintf(text, sizeof(text), "%s/base", folder);
	assert_string_equal(config->server.packages.folder, text);
	assert_false(config->server.packages.none);
	assert_int_equal(config->server.log_format, LOG_JSON);
	assert_int_equal(config->server.log_level, LOG_DEBUG);
	assert_int_equal(config->server.log_access, LOG_ACCESS_COMBINED);
	assert_int_equal(config->server.log_files, 0);
	assert_int_equal(config->server.log_file_bytes, (int64_t)1 << 40);
	snprintf(text, sizeof(text), "%s/requirements.txt", folder);
	assert_string_equal(config->requirements, text);
	assert_string_equal(api->endpoint, "/a.b/C-d_");
	snprintf(text, sizeof(text), "%s/lib", folder);
	assert_string_equal(api->predictor.python_path, text);
	assert_string_equal(api->predictor.metadata_json, "{\"a\":1}");
	assert_int_equal(api->predictor.n_env, 6);
	assert_string_equal(api->predictor.env[1].name, "N");
	assert_string_equal(api->predictor.env[1].value, "010");
	assert_string_equal(api->predictor.env[2].value, "True");
	assert_string_equal(api->predictor.env[3].value, "1e3");
	assert_string_equal(api->predictor.env[4].name, "_x1");
	assert_string_equal(api->predictor.env[4].value, "");
	assert_string_equal(api->predictor.env[5].value, "yes");
	assert_int_equal(api->compute.min_replicas, 2);
	assert_int_equal(api->compute.init_replicas, 3);
	assert_int_equal(api->compute.max_replicas, 4);
	assert_int_equal(api->compute.cpu_millicpu, 1500);
	assert_int_equal(api->compute.mem_bytes, 1 << 30);
	assert_int_equal(api->compute.target_cpu_utilization, 100);
	assert_int_equal(api->max_body_bytes, 1 << 30);
	assert_int_equal(api->compute.gpu, 2);
	assert_int_equal(api->autoscaling.target_in_flight_milli, 1500);
	assert_int_equal(api->autoscaling.window_ms, 90000);
	assert_int_equal(api->autoscaling.downscale_stabilization_ms, 3600000);
	assert_int_equal(api->autoscaling.upscale_stabilization_ms, 500);
	assert_int_equal(api->autoscaling.tolerance_percent, 0);
	assert_int_equal(api->update_strategy.max_surge.value, 3);
	assert_false(api->update_strategy.max_surge.is_percent);
	assert_int_equal(api->update_strategy.max_unavailable.value, 0);
	assert_true(api->update_strategy.max_unavailable.is_percent);
	assert_int_equal(api->recycle.max_requests, 1000);
	assert_int_equal(api->recycle.jitter_percent, 100);
	assert_int_equal(api->recycle.max_mem_bytes, 3ll << 30);
	assert_int_equal(api->preload, PRELOAD_INIT);
	assert_int_equal(config->server.capacity.cpu_millicpu, 1500);
	assert_int_equal(config->server.capacity.mem_bytes, 2ll << 30);
	assert_int_equal(config->server.capacity.gpu, 0);
	config_unref(config);
}

static void
targets_in_flight_are_exact(UNUSED void **state)
{
	static const struct {
		const char *text;
		int64_t milli;
	} examples[] = {{"1", 1000}, {"0x10", 16000}, {"1000000", 1000000000}, {"0.001", 1}, {"1e6", 1000000000},
	    {".5", 500}, {"2.", 2000}, {"1.0001", 1001}};
	static const char *const bad[] = {
	    "0", "0.0", "-1", "-0.5", "1000001", "1000000.001", "1e30", ".inf", ".nan", "\"2\"", "500m", "[1]"};
	char text[256];

	for (size_t i = 0; i < N_ELEMENTS(examples); i++) {
		struct config *config;

		snprintf(text, sizeof(text), API "  autoscaling: {target_in_flight: %s}\n", examples[i].text);
		config = parse_good(text);
		assert_int_equal(config->apis[0].autoscaling.target_in_flight_milli, examples[i].milli);
		config_unref(config);
	}
	for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
		snprintf(text, sizeof(text), API "  autoscaling: {target_in_flight: %s}\n", bad[i]);
		assert_bad(text, "autoscaling.target_in_flight: found ");
	}
}

/* What could not be replaced is refused, whichever way zero is written; one zero is fine, beside a default as well. */
static void
an_update_must_be_possible(UNUSED void **state)
{
	static const char *const good[] = {"max_surge: 0", "max_unavailable: 0", "max_surge: 0, max_unavailable: 1",
	    "max_surge: 1%, max_unavailable: 0%", "max_surge: 0, max_unavailable: null"};
	static const char *const bad[] = {"max_surge: 0, max_unavailable: 0", "max_surge: 0%, max_unavailable: 0",
	    "max_surge: 0, max_unavailable: 0%"};
	char text[256];

	for (size_t i = 0; i < N_ELEMENTS(good); i++) {
		snprintf(text, sizeof(text), API "  update_strategy: {%s}\n", good[i]);
		config_unref(parse_good(text));
	}
	for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
		snprintf(text, sizeof(text), API "  update_strategy: {%s}\n", bad[i]);
		assert_bad(text, "update_strategy.max_unavailable: 0 as max_surge is");
	}
}

static void
nothing_means_the_default(UNUSED void **state)
{
	struct config *config = parse_good("- kind: server\n  listen:\n  state_dir: ~\n  admin: null\n  log:\n" API
					   "    model: null\n    python_path:\n    metadata:\n    env:\n"
					   "  endpoint:\n  onnx:\n  tracker: ~\n  compute: {cpu: , mem: null}\n"
					   "  requests:\n  autoscaling: {target_in_flight: null, window: ~}\n"
					   "  update_strategy: {max_surge: null}\n  recycle: {jitter: null}\n");

	assert_int_equal(config->server.n_listen, 1);
	assert_int_equal(config->apis[0].compute.cpu_millicpu, 200);
	assert_string_equal(config->apis[0].predictor.metadata_json, "{}");
	assert_int_equal(config->apis[0].autoscaling.window_ms, 60000);
	assert_int_equal(config->apis[0].update_strategy.max_surge.value, 25);
	assert_int_equal(config->apis[0].recycle.jitter_percent, 10);
	config_unref(config);
}

static void
no_packages_is_something_else_than_a_folder_called_none(UNUSED void **state)
{
	struct config *config = parse_good("- kind: server\n  packages: none\n" API);
	char text[128];

	assert_true(config->server.packages.none);
	assert_null(config->server.packages.folder);
	config_unref(config);
	config = parse_good("- kind: server\n  packages: ./none\n" API);
	snprintf(text, sizeof(text), "%s/none", folder);
	assert_false(config->server.packages.none);
	assert_string_equal(config->server.packages.folder, text);
	config_unref(config);
	config = parse_good("- kind: server\n  packages:\n" API);
	assert_false(config->server.packages.none);
	assert_null(config->server.packages.folder);
	config_unref(config);
}

static void
init_starts_at_min(UNUSED void **state)
{
	struct config *config = parse_good(API "  compute: {min_replicas: 7}\n");

	assert_int_equal(config->apis[0].compute.init_replicas, 7);
	config_unref(config);
	config = parse_good(API "  compute: {min_replicas: 1, max_replicas: 1}\n");
	assert_int_equal(config->apis[0].compute.init_replicas, 1);
	config_unref(config);
}

static void
aliases_serve_several_keys(UNUSED void **state)
{
	struct config *config = parse_good(API "    metadata: {a: &list [1, 2], b: *list, c: {d: *list}}\n"
					       "    env: {A: &text x, B: *text}\n");

	assert_string_equal(config->apis[0].predictor.metadata_json, "{\"a\":[1,2],\"b\":[1,2],\"c\":{\"d\":[1,2]}}");
	assert_string_equal(config->apis[0].predictor.env[1].value, "x");
	config_unref(config);
}

static void
a_config_lives_as_long_as_its_last_reference(UNUSED void **state)
{
	struct config *config = parse_good(API), *second = config_ref(config);

	config_unref(config);
	assert_string_equal(second->apis[0].name, "iris");
	config_unref(second);
	config_unref(NULL);
}

static void
endpoints_have_one_form(UNUSED void **state)
{
	static const char *const examples[][2] = {{"iris", "/iris"}, {"/iris", "/iris"}, {"/iris/", "/iris"},
	    {"a/b/", "/a/b"}, {"/v1.0/a_b-C", "/v1.0/a_b-C"}, {"5", "/5"}, {"/healthz2", "/healthz2"},
	    {"/a/healthz", "/a/healthz"}, {"/...", "/..."}, {"true", "/true"}, {"! abc", "/abc"}, {"! 5", "/5"}};

	for (size_t i = 0; i < N_ELEMENTS(examples); i++) {
		char text[256];
		struct config *config;

		snprintf(text, sizeof(text), API "  endpoint: %s\n", examples[i][0]);
		config = parse_good(text);
		assert_string_equal(config->apis[0].endpoint, examples[i][1]);
		config_unref(config);
	}
}

static void
addresses_have_one_form(UNUSED void **state)
{
	static const char *const examples[][2] = {{"0.0.0.0:80", "0.0.0.0:80"}, {"localhost:1", "127.0.0.1:1"},
	    {"\"*:65535\"", "*:65535"}, {"\"[0:0:0:0:0:0:0:1]:80\"", "[::1]:80"}, {"\"[::]:00080\"", "[::]:80"},
	    {"\"[::ffff:1.2.3.4]:8\"", "[::ffff:1.2.3.4]:8"}, {"unix:/run/./cortexd//sock", "unix:/run/cortexd/sock"},
	    {"unix:/run/../x:y", "unix:/x:y"}};

	for (size_t i = 0; i < N_ELEMENTS(examples); i++) {
		char text[256];
		struct config *config;

		snprintf(text, sizeof(text), "- kind: server\n  listen: %s\n" API, examples[i][0]);
		config = parse_good(text);
		assert_string_equal(config->server.listen[0].text, examples[i][1]);
		config_unref(config);
	}
}

static void
metadata_becomes_json(UNUSED void **state)
{
	static const char *const examples[][2] = {
	    {"{}", "{}"},
	    {"{a: , b: ~, c: null}", "{\"a\":null,\"b\":null,\"c\":null}"},
	    {"{t: True, f: FALSE, y: yes, n: no}", "{\"t\":true,\"f\":false,\"y\":\"yes\",\"n\":\"no\"}"},
	    {"{n: [0, -0, +5, 007, -12, 0o17, 0x1F, 0x0, 0o0]}", "{\"n\":[0,-0,5,7,-12,15,31,0,0]}"},
	    {"{n: 123456789012345678901234567890}", "{\"n\":123456789012345678901234567890}"},
	    {"{n: 0xffffffffffffffffffffffff}", "{\"n\":79228162514264337593543950335}"},
	    {"{n: 0o7777777777777777777777777777}", "{\"n\":19342813113834066795298815}"},
	    {"{n: [0x3b9aca00, 0x8ac7230489e80000]}", "{\"n\":[1000000000,10000000000000000000]}"},
	    {"{x: [0.1, .5, 5., -1.50, +2.5, 1e3, 1E-3, 1.e+5, .5e5, 00.5, -.5]}",
		"{\"x\":[0.1,0.5,5.0,-1.50,2.5,1e3,1E-3,1.0e+5,0.5e5,0.5,-0.5]}"},
	    {"{x: [.nan, .inf, -.INF, +.Inf, !!float 5, !!float -05]}",
		"{\"x\":[NaN,Infinity,-Infinity,Infinity,5.0,-5.0]}"},
	    {"{x: 0.1234567890123456789012345678901234567890}", "{\"x\":0.1234567890123456789012345678901234567890}"},
	    {"{s: [1.2.3, '1', \"a\\\"b\\\\c\\/\", 'tab\t', \"\\n\\r\\e\\0\", \xc3\xbc, \"\\u2028\\U0001F600\"]}",
		"{\"s\":[\"1.2.3\",\"1\",\"a\\\"b\\\\c/\",\"tab\\u0009\",\"\\u000a\\u000d\\u001b\\u0000\",\"\xc3\xbc\","
		"\"\xe2\x80\xa8\xf0\x9f\x98\x80\"]}"},
	    {"{\"k\\\"\": {a: [], b: {}, \"\": [[1], {c: d}]}}",
		"{\"k\\\"\":{\"a\":[],\"b\":{},\"\":[[1],{\"c\":\"d\"}]}}"},
	    {"{\"<<\": 1}", "{\"<<\":1}"},
	    {"! {a: ! 5, b: ! , c: ! [1], d: ! \"x\"}", "{\"a\":\"5\",\"b\":\"\",\"c\":[1],\"d\":\"x\"}"},
	    {"\n      text: |\n        a\n         b\n      folded: >\n        a\n        b\n",
		"{\"text\":\"a\\u000a b\\u000a\",\"folded\":\"a b\\u000a\"}"},
	};

	for (size_t i = 0; i < N_ELEMENTS(examples); i++) {
		char text[512];
		struct config *config;

		snprintf(text, sizeof(text), API "    metadata: %s\n", examples[i][0]);
		config = parse_good(text);
		assert_string_equal(config->apis[0].predictor.metadata_json, examples[i][1]);
		config_unref(config);
	}
}

static void
the_longest_integer_is_pythons(UNUSED void **state)
{
	char *text = xcalloc(1, 8192), *end = stpcpy(text, API "    metadata: {n: -000"), *digits = end;
	struct config *config;

	memset(end, '9', 4300);
	strcpy(end + 4300, "}\n");
	config = parse_good(text);
	assert_int_equal(strlen(config->apis[0].predictor.metadata_json), strlen("{\"n\":-}") + 4300);
	config_unref(config);
	memset(digits, '9', 4301);
	strcpy(digits + 4301, "}\n");
	assert_bad(text, "5:16: api \"iris\": predictor.metadata.n: integer of 4301 digits");
	free(text);
}

/* The start record quotes metadata once more and holds env, too. */
static void
the_largest_config_fits_in_a_start_record(UNUSED void **state)
{
	static const char begin[] = "- kind: api\n  name: iris\n  predictor:\n    path: predictor.py\n"
				    "    env: {A: &e \"\\e\\e\\e\\e\\e\\e\\e\\e\\e\\e\\e\\e\\e\\e\\e\\e\"";
	char *text = xcalloc(1, CONFIG_FILE_MAX), *end = stpcpy(text, begin);
	struct start_record start = {.replica = 1, .n_listeners = 1, .timeout_ms = 1, .log_level = LOG_INFO};
	struct config *config;
	char *json;

	for (int i = 0; i < 5200; i++)
		end += sprintf(end, ", B%d: *e", i);
	end = stpcpy(end, "}\n    metadata:\n      a: &a '");
	memset(end, '\\', 7000);
	end = stpcpy(end + 7000, "'\n      b: [*a");
	for (int i = 0; i < 107; i++)
		end = stpcpy(end, ", *a");
	strcpy(end, "]\n");
	config = parse_good(text);
	assert_true(strlen(config->apis[0].predictor.metadata_json) > CONFIG_METADATA_MAX - 70000);
	start.api = start.endpoint = start.project_folder = start.implementation = start.python = (char *)"/x";
	start.metadata_json = config->apis[0].predictor.metadata_json;
	start.env = config->apis[0].predictor.env;
	start.n_env = config->apis[0].predictor.n_env;
	json = start_record_encode(&start);
	assert_true(strlen(json) <= START_RECORD_MAX);
	free(json);
	config_unref(config);
	free(text);
}

static void
env_is_limited(UNUSED void **state)
{
	char *text = xcalloc(1, 8 * CONFIG_ENV_MAX), *end = stpcpy(text, API "    env: {A: ");

	memset(end, 'x', CONFIG_ENV_MAX);
	strcpy(end + CONFIG_ENV_MAX, "}\n");
	assert_bad(text, "5:5: api \"iris\": predictor.env: larger than 128 KiB in all");
	strcpy(end + CONFIG_ENV_MAX - 3, "}\n");
	config_unref(parse_good(text));
	free(text);
}

/* --- many apis ---------------------------------------------------------------------------------------------------- */

/* n apis with so many replicas each; the caller frees. */
static char *
write_apis(int n, int max_replicas)
{
	char *text = xcalloc((size_t)n + 2, 128),
	     *end = stpcpy(text, "- {kind: deployment, name: d}\n- kind: server\n");

	for (int i = 0; i < n; i++)
		end += sprintf(end,
		    "- {kind: api, name: a%d, predictor: {path: predictor.py}, compute: {max_replicas: %d}}\n", i,
		    max_replicas);
	return text;
}

static void
a_file_holds_up_to_4096_apis(UNUSED void **state)
{
	char *text = write_apis(4096, 16);
	struct config *config = parse_good(text);

	assert_int_equal(config->n_apis, 4096);
	assert_string_equal(config->apis[4095].endpoint, "/d/a4095");
	config_unref(config);
	free(text);
	text = write_apis(4097, 1);
	assert_bad(strstr(text, "- {kind: api"), "1:1: found 4097 apis; at most 4096");
	free(text);
	text = write_apis(4097, 1);
	assert_bad(text, "1:1: found a list of 4099 resources; at most 4098");
	free(text);
}

static void
each_duplicate_names_the_first_of_its_kind(UNUSED void **state)
{
	static const char *const expected[] = {
	    ":3:4: api \"b\": endpoint: duplicate; the api at 1:3 has \"/x\"",
	    ":4:15: api \"a\": name: duplicate; the api at 1:3 has it",
	    ":5:15: api \"a\": name: duplicate; the api at 1:3 has it",
	    ":6:3: api \"c\": endpoint: duplicate; the api at 2:3 has \"/d/c\"",
	};
	struct config *config = NULL;
	struct config_errors errors;

	assert_int_equal(parse("- {kind: api, name: a, endpoint: x, predictor: {path: predictor.py}}\n"
			       "- {kind: api, name: y, endpoint: d/c, predictor: {path: predictor.py}}\n"
			       "- {endpoint: /x/, kind: api, name: b, predictor: {path: predictor.py}}\n"
			       "- {kind: api, name: a, endpoint: x, predictor: {path: predictor.py}}\n"
			       "- {kind: api, name: a, endpoint: z, predictor: {path: predictor.py}}\n"
			       "- {kind: api, name: c, predictor: {path: predictor.py}}\n"
			       "- {kind: deployment, name: d}\n",
			     &config, &errors),
	    -EINVAL);
	assert_int_equal(errors.n_lines, N_ELEMENTS(expected));
	for (size_t i = 0; i < N_ELEMENTS(expected); i++)
		assert_non_null(strstr(errors.lines[i], expected[i]));
	config_errors_done(&errors);
}

/* What the check lets pass fits the scoreboard, and no more would. */
static void
replicas_together_have_a_limit(UNUSED void **state)
{
	struct board board;
	struct error err;

	for (int n = 1; n <= 4096; n *= 8) {
		int max = SCOREBOARD_SLOTS_MAX / n - SCOREBOARD_SPARE;
		char *text = write_apis(n, max), message[128];

		config_unref(parse_good(text));
		free(text);
		assert_int_equal(board_init(&board, &err), 0);
		for (int i = 0; i < n; i++)
			assert_int_equal(board_add_api(&board, max, &err), i);
		assert_int_equal(board.n_places, SCOREBOARD_SLOTS_MAX);
		board_done(&board);

		text = write_apis(n, max + 1);
		snprintf(message, sizeof(message), "plus 16 for each api, is %d together; must be at most 131072",
		    SCOREBOARD_SLOTS_MAX + n);
		assert_bad(text, message);
		free(text);
	}
	assert_bad(API "  compute: {cpu: 1, max_replicas: 131057}\n", "5:21: too many replicas: compute.max_replicas");
}

/* --- names and folders -------------------------------------------------------------------------------------------- */

static void
a_deployment_is_named_after_its_folder(UNUSED void **state)
{
	static const char *const examples[][2] = {{"Iris", "iris"}, {"iris_2", "iris-2"}, {"2 Flowers!", "2-flowers"},
	    {"--a--", "a"}, {"\xc3\x84pfel", "pfel"}, {"a.b.c", "a-b-c"},
	    {"m\xc3\xb6"
	     "dels",
		"m-dels"},
	    {"a\xe2\x82\xac\xf0\x9f\x98\x80z\xe2\x82\xac", "a--z"}};
	struct config *config = NULL;
	struct config_errors errors;
	char path[256], file[300];

	for (size_t i = 0; i < N_ELEMENTS(examples); i++) {
		make_folder(examples[i][0]);
		snprintf(path, sizeof(path), "%s/predictor.py", examples[i][0]);
		write_file(path, "");
		snprintf(path, sizeof(path), "%s/%s/cortex.yaml", folder, examples[i][0]);
		assert_int_equal(config_parse(path, API, strlen(API), &config, &errors), 0);
		assert_string_equal(config->deployment, examples[i][1]);
		config_unref(config);
		config_errors_done(&errors);
	}
	make_folder("___");
	write_file("___/predictor.py", "");
	write_file("___/cortex.yaml", API);
	snprintf(file, sizeof(file), "%s/___/cortex.yaml", folder);
	assert_int_equal(config_load(file, &config, &errors), -EINVAL);
	assert_non_null(strstr(errors.lines[0], ":1:1: deployment: missing, and the folder's name does not make one"));
	config_errors_done(&errors);
}

static void
paths_stay_in_the_project(UNUSED void **state)
{
	static const struct {
		const char *path;     /* %s is the project folder */
		const char *expected; /* relative to it */
	} good[] = {
	    {"predictor.py", "predictor.py"},
	    {"./predictor.py", "predictor.py"},
	    {"lib//./code.py", "lib/code.py"},
	    {"lib/../predictor.py", "predictor.py"},
	    {"inside.py", "inside.py"},
	    {"link/code.py", "link/code.py"},
	    {"link/../predictor.py", "predictor.py"},
	    {"deep/../code.py", "lib/code.py"}, /* deep leads to lib/deep, whose parent is lib */
	    {"%s/predictor.py", "predictor.py"},
	    {"%s/lib/../predictor.py", "predictor.py"},
	    {"with space.py", "with space.py"},
	};
	static const struct {
		const char *path;
		const char *message;
	} bad[] = {
	    {"outside.py", "leads out of the project folder"},
	    {"up/etc/passwd", "leads out of the project folder"},
	    {"/etc/passwd", "leads out of the project folder"},
	    {"../nowhere.py", "leads out of the project folder"},
	    {"%s.py", "leads out of the project folder"},
	    {"%s", "is a folder; must be a file"},
	    {"dangling.py", "does not exist in the project folder"},
	    {"loop.py", "Too many levels of symbolic links"},
	    {"fifo.py", "is not a regular file"},
	    {"predictor.py/", "Not a directory"},
	    {"lib", "is a folder; must be a file"},
	};
	char text[512], path[256];

	make_folder("lib");
	make_folder("lib/deep");
	write_file("lib/code.py", "");
	write_file("with space.py", "");
	make_link("lib/code.py", "inside.py");
	make_link("lib", "link");
	make_link("lib/deep", "deep");
	make_link("/etc/passwd", "outside.py");
	make_link("/", "up");
	make_link("nowhere.py", "dangling.py");
	make_link("loop.py", "loop.py");
	snprintf(path, sizeof(path), "%s/fifo.py", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	for (size_t i = 0; i < N_ELEMENTS(good); i++) {
		struct config *config;

		snprintf(path, sizeof(path), "%s%s", good[i].path[0] == '%' ? folder : "",
		    good[i].path + 2 * (good[i].path[0] == '%'));
		snprintf(text, sizeof(text), "- kind: api\n  name: iris\n  predictor: {path: \"%s\"}\n", path);
		config = parse_good(text);
		assert_string_equal(config->apis[0].predictor.path, good[i].expected);
		config_unref(config);
	}
	for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
		snprintf(path, sizeof(path), "%s%s", bad[i].path[0] == '%' ? folder : "",
		    bad[i].path + 2 * (bad[i].path[0] == '%'));
		snprintf(text, sizeof(text), "- kind: api\n  name: iris\n  predictor: {path: \"%s\"}\n", path);
		assert_bad(text, bad[i].message);
	}
}

/* Where the model of an onnx api leads, or an error that holds expected. */
static void
check_model(const char *kind, const char *model, const char *expected, bool good)
{
	char text[512];
	struct config *config;

	snprintf(text, sizeof(text), "- kind: api\n  name: iris\n  %s: {model: \"%s\"}\n", kind, model);
	if (!good) {
		assert_bad(text, expected);
		return;
	}
	config = parse_good(text);
	assert_string_equal(config->apis[0].predictor.model, expected);
	config_unref(config);
}

static void
models_lie_anywhere(UNUSED void **state)
{
	static const char *const remote[] = {
	    "s3://bucket/key", "s3://b/with space", "https://host/m.onnx", "http://127.0.0.1:9/a@b/?c=d"};
	char path[256];

	make_folder("models");
	write_file("models/m.onnx", "");
	make_link("models", "current");
	snprintf(path, sizeof(path), "%s/models/m.onnx", folder);
	check_model("onnx", "models/m.onnx", path, true);
	check_model("onnx", "./current/../current/m.onnx", path, true);
	check_model("onnx", path, path, true);
	check_model("onnx", "/etc/passwd", "/etc/passwd", true);
	check_model("onnx", "models", "is a folder; must be a file", false);
	snprintf(path, sizeof(path), "%s/models", folder);
	check_model("tensorflow", "current", path, true);
	check_model("tensorflow", "/", "/", true);
	check_model("tensorflow", "/dev/null", "is neither a file nor a folder", false);
	check_model("tensorflow", "nowhere", "\"nowhere\" does not exist", false);
	check_model("tensorflow", "models/m.onnx/", "Not a directory", false);
	for (size_t i = 0; i < N_ELEMENTS(remote); i++) {
		check_model("onnx", remote[i], remote[i], true);
		assert_true(config_model_is_remote(remote[i]));
	}
	assert_false(config_model_is_remote("/s3://a/b"));
}

static void
addresses_and_keys_have_a_length(UNUSED void **state)
{
	char longest[CONFIG_ADDRESS_MAX + 2], text[CONFIG_ADDRESS_MAX + 200];

	memset(longest, 'k', sizeof(longest));
	memcpy(longest, "s3://b/", 7);
	longest[CONFIG_ADDRESS_MAX + 1] = '\0';
	snprintf(text, sizeof(text), "- {kind: api, name: a, onnx: {model: '%s'}}\n", longest);
	assert_bad(text, "is longer than 2048 characters");
	longest[CONFIG_ADDRESS_MAX] = '\0';
	snprintf(text, sizeof(text), "- {kind: api, name: a, onnx: {model: '%s'}}\n", longest);
	config_unref(parse_good(text));
	snprintf(text, sizeof(text), "- {kind: api, name: a, tensorflow: {model: 's3://b/m', signature_key: '%s'}}\n",
	    longest + CONFIG_ADDRESS_MAX - CONFIG_KEY_MAX);
	config_unref(parse_good(text));
	snprintf(text, sizeof(text), "- {kind: api, name: a, tensorflow: {model: 's3://b/m', signature_key: '%s'}}\n",
	    longest + CONFIG_ADDRESS_MAX - CONFIG_KEY_MAX - 1);
	assert_bad(text, "is longer than 1024 characters");
}

static void
an_api_is_of_one_kind(UNUSED void **state)
{
	struct config *config = parse_good(
	    "- {kind: api, name: a, predictor: {path: predictor.py, model: predictor.py}}\n"
	    "- {kind: api, name: b, onnx: {model: 's3://b/m', env: {A: 1}, metadata: {a: 1},\n"
	    "    request_handler: predictor.py}}\n"
	    "- {kind: api, name: c, tensorflow: {model: 's3://b/m', signature_key: 'yes'}}\n");

	assert_int_equal(config->apis[0].kind, API_PREDICTOR);
	assert_true(*config->apis[0].predictor.model == '/');
	assert_int_equal(config->apis[1].kind, API_ONNX);
	assert_string_equal(config->apis[1].predictor.path, "predictor.py");
	assert_string_equal(config->apis[1].predictor.metadata_json, "{\"a\":1}");
	assert_int_equal(config->apis[1].predictor.n_env, 1);
	assert_int_equal(config->apis[2].kind, API_TENSORFLOW);
	assert_null(config->apis[2].predictor.path);
	assert_string_equal(config->apis[2].predictor.signature_key, "yes");
	config_unref(config);
}

/* `cortexd --environment` comes before the script that makes the model. */
static void
a_project_is_prepared_before_its_model_is_there(UNUSED void **state)
{
	struct config *config = NULL;
	struct config_errors errors;
	char path[256], model[256];

	write_file("cortex.yaml", "- kind: api\n  name: iris\n  onnx: {model: ./none.onnx}\n");
	snprintf(path, sizeof(path), "%s/cortex.yaml", folder);
	assert_int_equal(config_load(path, &config, &errors), -EINVAL);
	config_errors_done(&errors);
	assert_int_equal(config_load_to_prepare(path, &config, &errors), 0);
	snprintf(model, sizeof(model), "%s/none.onnx", folder);
	assert_string_equal(config->apis[0].predictor.model, model);
	config_unref(config);
}

static void
the_project_folder_may_be_a_link(UNUSED void **state)
{
	struct config *config = NULL;
	struct config_errors errors;
	char path[256], text[512];

	make_folder("real");
	make_link("real", "link");
	write_file("real/predictor.py", "");
	snprintf(path, sizeof(path), "%s/link/cortex.yaml", folder);
	snprintf(
	    text, sizeof(text), "- kind: api\n  name: iris\n  predictor:\n    path: %s/link/predictor.py\n", folder);
	assert_int_equal(config_parse(path, text, strlen(text), &config, &errors), 0);
	assert_string_equal(config->deployment, "real");
	assert_string_equal(config->apis[0].predictor.path, "predictor.py");
	snprintf(text, sizeof(text), "%s/real", folder);
	assert_string_equal(config->folder, text);
	config_unref(config);
	config_errors_done(&errors);
}

static void
a_folder_whose_name_is_no_text_is_refused(UNUSED void **state)
{
	struct config *config = NULL;
	struct config_errors errors;
	char path[256];

	make_folder("f\xff");
	snprintf(path, sizeof(path), "%s/f\xff/cortex.yaml", folder);
	assert_int_equal(config_parse(path, API, strlen(API), &config, &errors), -EILSEQ);
	assert_non_null(strstr(errors.lines[0], "the path of its folder is not valid UTF-8"));
	config_errors_done(&errors);
	make_link("f\xff", "good");
	assert_bad(API "    python_path: good\n", "with links resolved, is not UTF-8");
}

static void
requirements_must_be_a_file(UNUSED void **state)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/requirements.txt", folder);
	make_folder("requirements.txt");
	assert_bad(API, "1:1: requirements.txt is not a file");
	assert_int_equal(rmdir(path), 0);
	make_link("nowhere", "requirements.txt");
	assert_bad(API, "1:1: requirements.txt cannot be read: No such file");
}

/* --- what is wrong ------------------------------------------------------------------------------------------------ */

static void
assert_load_fails(const char *path, int error, const char *message)
{
	struct config *config = NULL;
	struct config_errors errors;

	assert_int_equal(config_load(path, &config, &errors), error);
	assert_null(config);
	assert_int_equal(errors.n_lines, 1);
	assert_int_equal(errors.n_more, 0);
	assert_string_equal(errors.lines[0], message);
	config_errors_done(&errors);
}

static void
a_file_that_cannot_be_read_gives_one_line(UNUSED void **state)
{
	char path[128], message[256];
	int fd;

	assert_load_fails("cortex.nowhere.yaml", -ENOENT, "cortex.nowhere.yaml: No such file or directory");
	assert_load_fails("nowhere/cortex.yaml", -ENOENT, "nowhere/cortex.yaml: No such file or directory");
	assert_load_fails("configs", -EISDIR, "configs: is a folder; name the file, for example cortex.yaml in it");
	assert_load_fails("/dev/null", -ENOTSUP, "/dev/null: is not a regular file");
	snprintf(path, sizeof(path), "%s/fifo", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(message, sizeof(message), "%s: is not a regular file", path);
	assert_load_fails(path, -ENOTSUP, message);
	write_file("cortex.yaml", "#");
	snprintf(path, sizeof(path), "%s/cortex.yaml", folder);
	fd = open(path, O_WRONLY);
	assert_int_equal(ftruncate(fd, CONFIG_FILE_MAX + 1), 0);
	close(fd);
	snprintf(message, sizeof(message), "%s: larger than 1 MiB", path);
	assert_load_fails(path, -EFBIG, message);
}

static void
errors_beyond_a_hundred_are_counted(UNUSED void **state)
{
	static const size_t counts[] = {99, 100, 101, 5000};

	for (size_t i = 0; i < N_ELEMENTS(counts); i++) {
		char *text = xcalloc(1, counts[i] * 32 + 256), *end = stpcpy(text, API), message[64];
		struct config *config = NULL;
		struct config_errors errors;

		for (size_t n = 0; n < counts[i]; n++)
			end += sprintf(end, "  wrong%zu: 1\n", n);
		assert_int_equal(parse(text, &config, &errors), -EINVAL);
		assert_int_equal(errors.n_lines, MIN(counts[i], 100u));
		assert_int_equal(errors.n_lines + errors.n_more, counts[i]);
		snprintf(message, sizeof(message), ":%d:3: api \"iris\": wrong98: unknown key", 4 + 99);
		assert_non_null(strstr(errors.lines[98], message));
		config_errors_done(&errors);
		free(text);
	}
}

/* Messages are one line each whatever the file holds. */
static void
messages_are_single_lines(UNUSED void **state)
{
	assert_bad(API "    env: {\"a\\nb\\e[1m\\u202e\": 1}\n", "predictor.env.a\\nb\\x1b[1m\\u202e: not a name");
	assert_bad(API "  compute: {cpu: \"1\\t\\r\\u0085\\\"\"}\n",
	    "compute.cpu: \"1\\t\\x0d\\u0085\\\"\" is not a quantity");
	assert_bad(API "  compute: {cpu: \xc3\xbc\xc3\xbc}\n", "\"\xc3\xbc\xc3\xbc\" is not a quantity");
	assert_bad(API
	    "    metadata: "
	    "{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: "
	    "{bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb: "
	    "{ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc: "
	    "{dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd: !x 1}}}}\n",
	    "ccc...");
}

/* The lines that begin with "# expect: " must be the errors of the file, all of them and in this order. */
static void
check_bad_file(const char *path)
{
	static const char mark[] = "# expect: ";
	struct config *config = NULL;
	struct config_errors errors;
	char *text = NULL, *line, *next;
	size_t n = 0;

	assert_int_equal(file_read_all(path, CONFIG_FILE_MAX, &text, NULL), 0);
	if (config_load(path, &config, &errors) == 0)
		fail_msg("%s is accepted", path);
	assert_null(config);
	for (line = text; strncmp(line, mark, strlen(mark)) == 0; line = next) {
		size_t length = strcspn(line, "\n") - strlen(mark);

		next = line + strlen(mark) + length + 1;
		line += strlen(mark);
		if (n == errors.n_lines)
			fail_msg("%s: missing: %.*s", path, (int)length, line);
		if (strlen(errors.lines[n]) != strlen(path) + 1 + length ||
		    strncmp(errors.lines[n] + strlen(path) + 1, line, length) != 0)
			fail_msg("%s\ninstead of\n%.*s", errors.lines[n], (int)length, line);
		n++;
	}
	if (n == 0 || n < errors.n_lines)
		fail_msg("not expected: %s", errors.lines[n]);
	config_errors_done(&errors);
	free(text);
}

static void
bad_files_give_the_messages_they_expect(UNUSED void **state)
{
	DIR *dir = opendir("configs/bad");
	struct dirent *entry;
	int n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		const char *suffix = strrchr(entry->d_name, '.');
		char path[512];

		if (!suffix || strcmp(suffix, ".yaml") != 0)
			continue;
		snprintf(path, sizeof(path), "configs/bad/%s", entry->d_name);
		check_bad_file(path);
		n++;
	}
	closedir(dir);
	assert_true(n > 100);
}

/* --- documentation ------------------------------------------------------------------------------------------------ */

/* annotated names every key; docs/configuration.md has it with its path, in backquotes. */
static void
check_documented(const struct config_map *map, const char *prefix, const char *annotated, const char *manual)
{
	for (size_t i = 0; i < map->n_keys; i++) {
		const struct config_key *key = &map->keys[i];
		char path[128], text[256];

		snprintf(path, sizeof(path), "%s%s", prefix, key->name);
		snprintf(text, sizeof(text), "%s:", key->name);
		if (!strstr(annotated, text))
			fail_msg("configs/annotated/cortex.yaml does not have %s", path);
		snprintf(text, sizeof(text), "`%s`", path);
		if (!strstr(manual, text))
			fail_msg("docs/configuration.md does not have `%s`", path);
		if (key->map) {
			snprintf(text, sizeof(text), "%s%s.", prefix, key->name);
			check_documented(key->map, text, annotated, manual);
		}
	}
}

static void
every_key_is_documented(UNUSED void **state)
{
	char *annotated = NULL, *manual = NULL;

	assert_int_equal(file_read_all("configs/annotated/cortex.yaml", CONFIG_FILE_MAX, &annotated, NULL), 0);
	assert_int_equal(file_read_all("docs/configuration.md", CONFIG_FILE_MAX, &manual, NULL), 0);
	check_documented(&config_deployment_map, "", annotated, manual);
	check_documented(&config_server_map, "", annotated, manual);
	check_documented(&config_api_map, "", annotated, manual);
	free(annotated);
	free(manual);
}

/* Take the "# " out of lines that are keys in a comment. */
static void
uncomment(char *text)
{
	char *to = text;

	while (*text) {
		size_t indent = strspn(text, " "), rest = 0;

		if (indent > 0 && strncmp(text + indent, "# ", 2) == 0) {
			size_t word = 2 + strspn(text + indent + 2, " ");

			rest = strspn(text + indent + word, "abcdefghijklmnopqrstuvwxyz_");
			if (rest > 0 && text[indent + word + rest] == ':')
				memmove(text + 2, text, indent), text += 2;
		}
		rest = strcspn(text, "\n") + 1;
		memmove(to, text, rest);
		to += rest;
		text += rest;
	}
	*to = '\0';
}

static void
the_annotated_file_is_valid_with_and_without_its_comments(UNUSED void **state)
{
	static const char path[] = "configs/annotated/cortex.yaml";
	struct config *config = NULL;
	struct config_errors errors;
	char *text = NULL;

	assert_int_equal(config_load(path, &config, &errors), 0);
	config_unref(config);
	config = NULL;
	assert_int_equal(file_read_all(path, CONFIG_FILE_MAX, &text, NULL), 0);
	uncomment(text);
	assert_int_equal(config_parse(path, text, strlen(text), &config, &errors), -EINVAL);
	assert_true(errors.n_lines >= 4);
	for (size_t i = 0; i < errors.n_lines; i++) {
		if (!strstr(errors.lines[i], "not supported yet") &&
		    !strstr(errors.lines[i], "given beside predictor") &&
		    !strstr(errors.lines[i], "\"handler.py\" does not exist"))
			fail_msg("%s", errors.lines[i]);
	}
	config_errors_done(&errors);
	free(text);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(defaults_fill_what_is_left_out),
	    TEST(every_value_arrives),
	    TEST(targets_in_flight_are_exact),
	    TEST(an_update_must_be_possible),
	    TEST(nothing_means_the_default),
	    TEST(no_packages_is_something_else_than_a_folder_called_none),
	    TEST(init_starts_at_min),
	    TEST(aliases_serve_several_keys),
	    TEST(a_config_lives_as_long_as_its_last_reference),
	    TEST(endpoints_have_one_form),
	    TEST(addresses_have_one_form),
	    TEST(metadata_becomes_json),
	    TEST(the_longest_integer_is_pythons),
	    TEST(the_largest_config_fits_in_a_start_record),
	    TEST(env_is_limited),
	    TEST(a_file_holds_up_to_4096_apis),
	    TEST(each_duplicate_names_the_first_of_its_kind),
	    TEST(replicas_together_have_a_limit),
	    TEST(a_deployment_is_named_after_its_folder),
	    TEST(paths_stay_in_the_project),
	    TEST(models_lie_anywhere),
	    TEST(addresses_and_keys_have_a_length),
	    TEST(an_api_is_of_one_kind),
	    TEST(a_project_is_prepared_before_its_model_is_there),
	    TEST(the_project_folder_may_be_a_link),
	    TEST(a_folder_whose_name_is_no_text_is_refused),
	    TEST(requirements_must_be_a_file),
	    TEST(a_file_that_cannot_be_read_gives_one_line),
	    TEST(errors_beyond_a_hundred_are_counted),
	    TEST(messages_are_single_lines),
	    TEST(bad_files_give_the_messages_they_expect),
	    TEST(every_key_is_documented),
	    TEST(the_annotated_file_is_valid_with_and_without_its_comments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
