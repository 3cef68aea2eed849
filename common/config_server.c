/*
 * config_server - the resource of kind server: cortexd's own settings.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/config_reader.h"

/* The absolute path of a folder, which may not be there yet, or NULL and an error. The caller frees it. */
static char *
folder_path(struct config_reader *reader, const struct config_key *key, const struct node *value)
{
	const char *text = config_text(reader, value, key->allowed);
	struct stat status;
	char *path;

	if (!text)
		return NULL;
	if (!*text || strlen(reader->config->folder) + value->length + 2 > PATH_MAX / 2) {
		config_wrong_type(reader, value, key->allowed);
		return NULL;
	}
	path = config_join_path(reader->config->folder, text);
	if (stat(path, &status) == 0 && !S_ISDIR(status.st_mode)) {
		config_error(reader, "%s is not a folder", config_show(text, value->length).text);
		free(take_ptr(&path));
	}
	return path;
}

static bool
read_state_dir(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	char *path = folder_path(reader, key, value);
	bool valid = path != NULL;

	if (field)
		*(char **)field = take_ptr(&path);
	free(path);
	return valid;
}

static bool
read_packages(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	struct packages_config packages = {.folder = NULL};
	const char *text = config_text(reader, value, key->allowed);

	if (!text)
		return false;
	packages.none = !strcmp(text, "none");
	if (!packages.none)
		packages.folder = folder_path(reader, key, value);
	if (!packages.none && !packages.folder)
		return false;
	if (field)
		*(struct packages_config *)field = packages;
	else
		free(packages.folder);
	return true;
}

static bool
read_log_format(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	const char *text = config_text(reader, value, key->allowed);
	enum log_format format;

	if (!text)
		return false;
	if (!log_format_parse(text, &format))
		return config_wrong_type(reader, value, key->allowed);
	if (field)
		*(enum log_format *)field = format;
	return true;
}

static bool
read_log_level(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	const char *text = config_text(reader, value, key->allowed);
	enum log_level level;

	if (!text)
		return false;
	if (!log_level_parse(text, &level))
		return config_wrong_type(reader, value, key->allowed);
	if (field)
		*(enum log_level *)field = level;
	return true;
}

static bool
read_log_access(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	const char *text = config_text(reader, value, key->allowed);
	enum log_access access;

	if (!text)
		return false;
	if (!log_access_parse(text, &access))
		return config_wrong_type(reader, value, key->allowed);
	if (field)
		*(enum log_access *)field = access;
	return true;
}

static bool
read_admin_token(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	const char *text = config_text(reader, value, key->allowed);

	if (!text)
		return false;
	if (!*text || text[strlen(text) - 1] == '/' ||
	    strlen(reader->config->folder) + value->length + 2 > PATH_MAX / 2)
		return config_wrong_type(reader, value, key->allowed);
	if (field)
		*(char **)field = config_join_path(reader->config->folder, text);
	return true;
}

/* Between several keys. */
static void
check_server(struct config_reader *reader, UNUSED const struct node *map, void *target)
{
	if (target)
		config_check_listen(reader, target);
}

static const struct config_key log_keys[] = {
    {.name = "format",
	.read = read_log_format,
	.offset = offsetof(struct server_config, log_format),
	.allowed = "text or json"},
    {.name = "level",
	.read = read_log_level,
	.offset = offsetof(struct server_config, log_level),
	.allowed = "debug, info, warning or error"},
    {.name = "access",
	.read = read_log_access,
	.offset = offsetof(struct server_config, log_access),
	.allowed = "none, combined or json"},
    {.name = "files",
	.read = config_read_int,
	.offset = offsetof(struct server_config, log_files),
	.allowed = "a whole number from 0 to 100",
	.min = 0,
	.max = 100},
    {.name = "file_size",
	.read = config_read_bytes,
	.offset = offsetof(struct server_config, log_file_bytes),
	.allowed = "from 4Ki to 1Ti bytes",
	.min = 4096,
	.max = (int64_t)1 << 40},
};
static const struct config_map log_map = {.keys = log_keys, .n_keys = N_ELEMENTS(log_keys)};

static const struct config_key capacity_keys[] = {
    {.name = "cpu",
	.read = config_read_cpu,
	.offset = offsetof(struct capacity_config, cpu_millicpu),
	.allowed = "a quantity"},
    {.name = "mem",
	.read = config_read_bytes,
	.offset = offsetof(struct capacity_config, mem_bytes),
	.allowed = "more than 0",
	.min = 1,
	.max = INT64_MAX},
    {.name = "gpu",
	.read = config_read_int,
	.offset = offsetof(struct capacity_config, gpu),
	.allowed = "a whole number from 0 to 256",
	.min = 0,
	.max = CONFIG_GPUS_MAX},
};
static const struct config_map capacity_map = {.keys = capacity_keys, .n_keys = N_ELEMENTS(capacity_keys)};

static const struct config_key server_keys[] = {
    {.name = "kind", .read = config_read_nothing, .offset = CONFIG_NO_FIELD, .allowed = ""},
    {.name = "listen",
	.read = config_read_listen,
	.offset = 0,
	.allowed = "host:port, [v6]:port, unix:/path, or a list of them"},
    {.name = "state_dir",
	.read = read_state_dir,
	.offset = offsetof(struct server_config, state_dir),
	.allowed = "the path of a folder"},
    {.name = "log", .read = config_read_map, .offset = 0, .allowed = "a map", .map = &log_map},
    {.name = "admin",
	.read = config_read_admin,
	.offset = 0,
	.allowed = "unix, host:port, [v6]:port, a list of them, or none"},
    {.name = "admin_token",
	.read = read_admin_token,
	.offset = offsetof(struct server_config, admin_token),
	.allowed = "the path of a file"},
    {.name = "user",
	.read = config_read_string,
	.offset = offsetof(struct server_config, user),
	.allowed = "the name of a user"},
    {.name = "packages",
	.read = read_packages,
	.offset = offsetof(struct server_config, packages),
	.allowed = "the path of a folder, or none"},
    {.name = "capacity",
	.read = config_read_map,
	.offset = offsetof(struct server_config, capacity),
	.allowed = "a map",
	.map = &capacity_map},
};
const struct config_map config_server_map = {
    .keys = server_keys, .n_keys = N_ELEMENTS(server_keys), .check = check_server};

void
config_init_server(struct server_config *server)
{
	memset(server, 0, sizeof(*server));
	server->log_format = LOG_TEXT;
	server->log_level = LOG_INFO;
	server->log_access = LOG_ACCESS_NONE;
	server->log_files = 5;
	server->log_file_bytes = 10 << 20;
	server->capacity.gpu = -1; /* 0 means something */
}
