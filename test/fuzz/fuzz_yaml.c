/*
 * fuzz_yaml - any bytes as a cortex.yaml, in a real project folder.
 *
 * Beside memory errors it looks for: a refusal without a message, a message that is not one line of valid text, and an
 * accepted config that a replica could not be started with.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/config.h"
#include "common/fd.h"
#include "common/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/cortexd-fuzz-XXXXXX";
static char path[sizeof(folder) + 16];

static void
remove_folder(void)
{
	if (path_remove_all(folder) < 0)
		perror(folder);
}

static void
make_file(const char *name)
{
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	ASSERT(fd >= 0);
	close(fd);
}

static void
make_project(void)
{
	ASSERT(mkdtemp(folder));
	atexit(remove_folder);
	make_file("predictor.py");
	snprintf(path, sizeof(path), "%s/lib", folder);
	ASSERT(mkdir(path, 0755) == 0);
	snprintf(path, sizeof(path), "%s/cortex.yaml", folder);
}

static void
check_start_record(const struct config *config)
{
	const struct api_config *api = &config->apis[0];
	struct start_record start = {.api = api->name,
	    .endpoint = api->endpoint,
	    .project_folder = config->folder,
	    .kind = api->kind,
	    .implementation = api->predictor.path,
	    .model_path = api->predictor.model,
	    .signature_key = api->predictor.signature_key,
	    .python_path = api->predictor.python_path,
	    .metadata_json = api->predictor.metadata_json,
	    .python = config->server.state_dir,
	    .env = api->predictor.env,
	    .n_env = api->predictor.n_env,
	    .n_listeners = (int)config->server.n_listen,
	    .max_body_bytes = api->max_body_bytes,
	    .timeout_ms = api->timeout_ms,
	    .cpu_millicpu = api->compute.cpu_millicpu,
	    .log_format = config->server.log_format,
	    .log_level = config->server.log_level};
	struct start_record decoded;
	struct error err;
	char *json = start_record_encode(&start);

	ASSERT(strlen(json) <= START_RECORD_MAX);
	ASSERT(start_record_decode(json, strlen(json), &decoded, &err) == 0);
	start_record_done(&decoded);
	free(json);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *config = NULL;
	struct config_errors errors;

	if (!path[0])
		make_project();
	if (config_parse(path, (const char *)data, size, &config, &errors) == 0) {
		ASSERT(errors.n_lines == 0);
		check_start_record(config);
		config_unref(config);
	} else {
		ASSERT(errors.n_lines > 0 && !config);
	}
	for (size_t i = 0; i < errors.n_lines; i++) {
		const char *line = errors.lines[i];

		ASSERT(utf8_is_valid(line, strlen(line)));
		ASSERT(line[strcspn(line, "\n\r\t\x1b")] == '\0');
		ASSERT(strlen(line) < 1024);
	}
	config_errors_done(&errors);
	return 0;
}
