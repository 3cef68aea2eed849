/*
 * generation - see generation.h.
 */
#include "supervisor/generation.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"

#define FILES_MAX     20000
#define DEPTH_MAX     16
#define CODE_FILE_MAX (4 << 20)  /* bytes; a longer one is looked at like those that are not code */
#define CODE_MAX      (64 << 20) /* of all of them, in a folder; what comes after is looked at like that, too */

/* ---- files ---- */

struct walk {
	struct sha256 hash;
	const char *state_dir;
	const char *folder; /* the project's */
	const char *config; /* path of cortex.yaml */
	unsigned n_files;   /* and folders */
	size_t n_code;      /* bytes that were read */
};

static void
add_text(struct sha256 *hash, const char *text)
{
	sha256_add(hash, text ? text : "", text ? strlen(text) + 1 : 1);
}

static void
add_number(struct sha256 *hash, int64_t number)
{
	sha256_add(hash, &number, sizeof(number));
}

static bool
ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

/* Code by what it says: editors and version control touch files without changing them. Others, which may be large, by size and
 * time of their last change. */
static void
add_file(struct walk *walk, int folder, const char *name, const struct stat *st)
{
	char *text = NULL;
	size_t length;
	int fd = -1;

	walk->n_files++;
	add_text(&walk->hash, name);
	if (ends_with(name, ".py") && walk->n_code < CODE_MAX)
		fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0 && fd_read_all(fd, CODE_FILE_MAX, &text, &length) == 0) {
		walk->n_code += length;
		add_number(&walk->hash, (int64_t)length);
		sha256_add(&walk->hash, text, length);
	} else {
		add_number(&walk->hash, st->st_size);
		add_number(&walk->hash, st->st_mtim.tv_sec);
		add_number(&walk->hash, st->st_mtim.tv_nsec);
	}
	free(text);
	fd_close(&fd);
}

/* Not hidden, nor what lies about in project folders and changes while nobody changes the project. */
static int
is_interesting(const struct dirent *entry)
{
	static const char *const names[] = {"__pycache__", "log", "logs", "nohup.out"};
	static const char *const endings[] = {".pyc", ".log", ".pid", ".sock", ".tmp", "~"};

	if (entry->d_name[0] == '.')
		return 0;
	for (size_t i = 0; i < N_ELEMENTS(names); i++)
		if (!strcmp(entry->d_name, names[i]))
			return 0;
	for (size_t i = 0; i < N_ELEMENTS(endings); i++)
		if (ends_with(entry->d_name, endings[i]))
			return 0;
	return 1;
}

static bool
is_compared_elsewhere(const struct walk *walk, const char *folder, const char *name)
{
	const char *slash = strrchr(walk->config, '/');

	return !strcmp(folder, walk->folder) &&
	    (!strcmp(name, slash ? slash + 1 : walk->config) || !strcmp(name, "requirements.txt"));
}

static void
add_folder(struct walk *walk, const char *path, int depth)
{
	struct dirent **entries;
	int folder, n;

	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	n = folder >= 0 && depth < DEPTH_MAX ? scandir(path, &entries, is_interesting, alphasort) : -1;
	for (int i = 0; i < n; i++) {
		const char *name = entries[i]->d_name;
		char *inner = xasprintf("%s/%s", path, name);
		struct stat st;

		if (fstatat(folder, name, &st, 0) == 0 && walk->n_files < FILES_MAX) {
			if (S_ISREG(st.st_mode)) {
				if (!is_compared_elsewhere(walk, path, name))
					add_file(walk, folder, name, &st);
			} else if (S_ISDIR(st.st_mode) && strcmp(inner, walk->state_dir) != 0) {
				walk->n_files++;
				add_text(&walk->hash, name);
				add_folder(walk, inner, depth + 1);
			}
		}
		free(inner);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	fd_close(&folder);
}

static void
hash_folder(const struct config *config, const char *folder, char ret_files[FINGERPRINT_DIGITS + 1])
{
	struct walk walk = {.state_dir = config->server.state_dir, .folder = config->folder, .config = config->path};

	sha256_init(&walk.hash);
	add_folder(&walk, folder, 0);
	if (walk.n_files >= FILES_MAX)
		log_warning("more than %d files in \"%s\"; a change of the others is not noticed", FILES_MAX, folder);
	sha256_hex(&walk.hash, ret_files, FINGERPRINT_DIGITS);
}

void
project_hash(const struct config *config, char ret_files[FINGERPRINT_DIGITS + 1])
{
	hash_folder(config, config->folder, ret_files);
}

/* ---- generations ---- */

/* A model by size and time of change, or, a folder, as a project: what lies there, not only where. */
static void
add_model(struct sha256 *hash, const struct config *config, const char *path)
{
	char files[FINGERPRINT_DIGITS + 1];
	struct stat st;

	add_text(hash, path);
	if (!path || stat(path, &st) < 0)
		return;
	if (S_ISDIR(st.st_mode)) {
		hash_folder(config, path, files);
		add_text(hash, files);
	} else {
		add_number(hash, st.st_size);
		add_number(hash, st.st_mtim.tv_sec);
		add_number(hash, st.st_mtim.tv_nsec);
	}
}

static void
make_fingerprint(struct generation *generation, const char *files)
{
	const struct config *config = generation->config;
	const struct api_config *api = generation->api;
	char others[FINGERPRINT_DIGITS + 1];
	struct sha256 hash;

	sha256_init(&hash);
	add_text(&hash, files);
	add_text(&hash, config->folder);
	add_text(&hash, generation->python);
	add_text(&hash, api->endpoint);
	add_number(&hash, api->kind);
	add_text(&hash, api->predictor.path);
	add_text(&hash, api->predictor.model);
	add_text(&hash, api->predictor.signature_key);
	add_text(&hash, api->tracker.key);
	add_number(&hash, api->tracker.type);
	add_model(&hash, config, generation->model_path);
	add_text(&hash, api->predictor.python_path);
	if (api->predictor.python_path) {
		hash_folder(config, api->predictor.python_path, others);
		add_text(&hash, others);
	}
	add_text(&hash, api->predictor.metadata_json);
	add_number(&hash, (int64_t)api->predictor.n_env);
	for (size_t i = 0; i < api->predictor.n_env; i++) {
		add_text(&hash, api->predictor.env[i].name);
		add_text(&hash, api->predictor.env[i].value);
	}
	add_number(&hash, api->compute.cpu_millicpu);
	add_number(&hash, api->compute.mem_bytes);
	add_number(&hash, api->compute.gpu);
	add_number(&hash, api->preload);
	add_number(&hash, api->recycle.max_requests);
	add_number(&hash, api->recycle.jitter_percent);
	add_number(&hash, api->recycle.max_mem_bytes);
	add_number(&hash, api->max_body_bytes);
	add_number(&hash, api->timeout_ms);
	add_number(&hash, config->server.log_format);
	add_number(&hash, config->server.log_level);
	add_number(&hash, config->server.log_access);
	for (size_t i = 0; i < generation->listeners->n; i++)
		add_text(&hash, generation->listeners->all[i]->listener.text);
	sha256_hex(&hash, generation->fingerprint, FINGERPRINT_DIGITS);
}

struct generation *
generation_new(unsigned number, struct config *config, const struct api_config *api, const char *python,
    const char *model_path, struct listeners *listeners, const char *files)
{
	struct generation *generation = xcalloc(1, sizeof(*generation));

	*generation = (struct generation){.references = 1,
	    .number = number,
	    .config = config_ref(config),
	    .api = api,
	    .python = xstrdup(python),
	    .model_path = model_path ? xstrdup(model_path) : NULL,
	    .listeners = listeners_ref(listeners)};
	make_fingerprint(generation, files);
	return generation;
}

const char *
generation_local_model(const struct api_config *api)
{
	const char *model = api->predictor.model;

	return model && !config_model_is_remote(model) ? model : NULL;
}

struct generation *
generation_ref(struct generation *generation)
{
	generation->references++;
	return generation;
}

void
generation_unref(struct generation *generation)
{
	if (!generation || --generation->references > 0)
		return;
	listeners_unref(generation->listeners);
	config_unref(generation->config);
	free(generation->python);
	free(generation->model_path);
	free(generation->failure);
	free(generation);
}
