/*
 * models - see models.h.
 */
#include "supervisor/models.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "supervisor/job.h"
#include "supervisor/sha256.h"
#include "supervisor/spawn.h"

#define JOBS_MAX  4  /* at a time; each has its own connections */
#define ID_DIGITS 40 /* of the hash of an address; as fetch/address.h has it */

static const char variable[] = "CORTEXD_MODEL=";
static const char warning[] = "warning: ", failure[] = "error: ";

enum model_state {
	MODEL_WAITS,
	MODEL_RUNS,
	MODEL_HERE,
	MODEL_FAILED,
};

struct model {
	struct models *models;
	char *address;
	char id[ID_DIGITS + 1];
	enum model_state state;
	struct job job;
	char *why; /* it failed */
};

struct models {
	struct event_base *base;
	const struct program *program;
	char *cache;
	bool at_start;
	bool fetching; /* cb is to come */
	bool canceled;
	struct model **all;
	size_t n;
	void (*cb)(void *arg);
	void *arg;
	struct job collector;
	uint64_t n_done, n_failed;
};

struct models *
models_new(struct event_base *base, const struct program *program, const char *state_dir)
{
	struct models *models = xcalloc(1, sizeof(*models));

	models->base = base;
	models->program = program;
	models->cache = xasprintf("%s/models", state_dir);
	job_done(&models->collector);
	return models;
}

static void
clear(struct models *models)
{
	for (size_t i = 0; i < models->n; i++) {
		job_done(&models->all[i]->job);
		free(models->all[i]->address);
		free(models->all[i]->why);
		free(models->all[i]);
	}
	free(take_ptr(&models->all));
	models->n = 0;
}

void
models_free(struct models *models)
{
	if (!models)
		return;
	clear(models);
	job_done(&models->collector);
	free(models->cache);
	free(models);
}

static void
hash_address(const char *address, char id[ID_DIGITS + 1])
{
	struct sha256 hash;

	sha256_init(&hash);
	sha256_add(&hash, address, strlen(address));
	sha256_hex(&hash, id, ID_DIGITS);
}

static struct model *
find(const struct models *models, const char *address)
{
	for (size_t i = 0; i < models->n; i++)
		if (!strcmp(models->all[i]->address, address))
			return models->all[i];
	return NULL;
}

/* ---- jobs ---- */

static void
line_cb(UNUSED void *arg, const char *line)
{
	if (!strncmp(line, warning, strlen(warning)))
		log_warning("fetch: %s", line + strlen(warning));
	else if (strncmp(line, failure, strlen(failure)) != 0)
		log_info("fetch: %s", line);
}

/* Our environment, and the address: not an argument, which everybody on the machine may read. */
static char **
make_environment(const char *address)
{
	size_t n = 0, n_kept = 0;
	char **envp;

	while (environ[n])
		n++;
	envp = xcalloc(n + 2, sizeof(*envp));
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], variable, strlen(variable)) != 0)
			envp[n_kept++] = environ[i];
	envp[n_kept] = xasprintf("%s%s", variable, address);
	return envp;
}

static void
free_environment(char **envp)
{
	size_t n = 0;

	while (envp[n])
		n++;
	free(envp[n - 1]);
	free(envp);
}

static void start_some(struct models *models);

/* Why it failed: the last line that it wrote, or how it ended. */
static void
over_cb(void *arg, const struct error *error)
{
	struct model *model = arg;
	const struct job *job = &model->job;
	const char *last = job->n_lines > 0 ? job->kept[(job->n_lines - 1) % JOB_KEPT_LINES] : "";

	model->state = error ? MODEL_FAILED : MODEL_HERE;
	model->models->n_done += !error;
	model->models->n_failed += error != NULL;
	if (error && !strncmp(last, failure, strlen(failure)))
		model->why = xstrdup(last + strlen(failure));
	else if (error)
		model->why = xasprintf("cortexd-fetch: %s%s%s", error->text, *last ? "; its last line: " : "", last);
	start_some(model->models);
}

static void
start_job(struct models *models, struct model *model)
{
	const char *argv[] = {models->program->path, "--cache", models->cache, "--copy",
	    models->at_start ? "always" : "unreachable", NULL};
	char **envp = make_environment(model->address);
	const struct job_plan plan = {.argv = argv,
	    .program = models->program->fd,
	    .envp = envp,
	    .line_cb = line_cb,
	    .over_cb = over_cb,
	    .arg = model};
	struct error err;

	model->state = MODEL_RUNS;
	if (job_start(&model->job, models->base, &plan, &err) < 0) {
		model->state = MODEL_FAILED;
		model->why = xasprintf("cannot start cortexd-fetch: %s", err.text);
		models->n_failed++;
	}
	free_environment(envp);
}

/* As many as may run; and when all are over, say so. */
static void
start_some(struct models *models)
{
	size_t running = 0, waiting = 0;

	if (models->collector.pid != 0) /* it does not know what is to come */
		return;
	for (size_t i = 0; i < models->n; i++)
		running += models->all[i]->state == MODEL_RUNS;
	for (size_t i = 0; i < models->n; i++) {
		struct model *model = models->all[i];

		if (model->state != MODEL_WAITS)
			continue;
		if (models->canceled) {
			model->state = MODEL_FAILED;
			model->why = xstrdup("it was given up");
		} else if (running < JOBS_MAX) {
			start_job(models, model);
			running += model->state == MODEL_RUNS;
		} else {
			waiting++;
		}
	}
	if (running > 0 || waiting > 0)
		return;
	models->fetching = false;
	models->cb(models->arg);
}

void
models_fetch(
    struct models *models, const char *const *addresses, size_t n, bool at_start, void (*cb)(void *arg), void *arg)
{
	ASSERT(!models_are_busy(models));
	clear(models);
	models->fetching = true;
	models->at_start = at_start;
	models->canceled = false;
	models->cb = cb;
	models->arg = arg;
	for (size_t i = 0; i < n; i++) {
		struct model *model;

		if (find(models, addresses[i]))
			continue;
		model = xcalloc(1, sizeof(*model));
		*model = (struct model){.models = models, .address = xstrdup(addresses[i])};
		hash_address(addresses[i], model->id);
		job_done(&model->job);
		models->all = xrealloc(models->all, models->n + 1, sizeof(struct model *));
		models->all[models->n++] = model;
	}
	start_some(models);
}

void
models_count(const struct models *models, uint64_t *ret_done, uint64_t *ret_failed)
{
	*ret_done = models ? models->n_done : 0;
	*ret_failed = models ? models->n_failed : 0;
}

char *
models_path(const struct models *models, const char *address, const char **ret_why)
{
	const struct model *model = find(models, address);
	char *link, *path;

	*ret_why = "it was not fetched";
	if (!model || model->state != MODEL_HERE) {
		*ret_why = model && model->why ? model->why : *ret_why;
		return NULL;
	}
	link = xasprintf("%s/latest/%s", models->cache, model->id);
	path = realpath(link, NULL);
	if (!path)
		*ret_why = "it is not in the cache any more";
	free(link);
	return path;
}

/* ---- removing ---- */

static void
collected_cb(void *arg, const struct error *error)
{
	struct models *models = arg;

	if (error)
		log_info("models: old ones stay until the next reload: %s", error->text);
	if (models_are_busy(models))
		start_some(models);
}

static void
collector_line_cb(UNUSED void *arg, const char *line)
{
	if (!strncmp(line, failure, strlen(failure)))
		log_warning("models: %s", line + strlen(failure));
	else
		log_info("models: %s", line);
}

void
models_collect(
    struct models *models, const char *const *paths, size_t n_paths, const char *const *addresses, size_t n_addresses)
{
	const char **argv;
	char(*ids)[ID_DIGITS + 1];
	struct job_plan plan = {.line_cb = collector_line_cb, .over_cb = collected_cb, .arg = models, .envp = environ};
	struct error err;
	size_t n = 0;

	if (models->collector.pid != 0 || models_are_busy(models) || access(models->cache, F_OK) < 0)
		return;
	argv = xcalloc(5 + 2 * (n_paths + n_addresses), sizeof(*argv));
	ids = xcalloc(n_addresses, sizeof(*ids));
	argv[n++] = models->program->path;
	argv[n++] = "--cache";
	argv[n++] = models->cache;
	argv[n++] = "--collect";
	for (size_t i = 0; i < n_paths; i++) {
		argv[n++] = "--keep";
		argv[n++] = paths[i];
	}
	for (size_t i = 0; i < n_addresses; i++) {
		hash_address(addresses[i], ids[i]);
		argv[n++] = "--address";
		argv[n++] = ids[i];
	}
	plan.argv = argv;
	plan.program = models->program->fd;
	if (job_start(&models->collector, models->base, &plan, &err) < 0)
		log_warning("old models cannot be removed: cannot start cortexd-fetch: %s", err.text);
	free(ids);
	free(argv);
}

/* ---- children ---- */

bool
models_own(const struct models *models, pid_t pid)
{
	if (!models)
		return false;
	for (size_t i = 0; i < models->n; i++)
		if (models->all[i]->job.pid == pid)
			return true;
	return models->collector.pid == pid;
}

void
models_reaped(struct models *models, pid_t pid, int wait_status)
{
	if (models->collector.pid == pid) {
		job_reaped(&models->collector, wait_status);
		return;
	}
	for (size_t i = 0; i < models->n; i++)
		if (models->all[i]->job.pid == pid) {
			job_reaped(&models->all[i]->job, wait_status);
			return;
		}
}

bool
models_are_busy(const struct models *models)
{
	return models && models->fetching;
}

const char *
models_progress(const struct models *models)
{
	for (size_t i = 0; i < models->n; i++) {
		const struct job *job = &models->all[i]->job;
		const char *last = "", *at;

		if (models->all[i]->state != MODEL_RUNS || job->n_lines == 0)
			continue;
		/* Behind the address, which may be long. */
		for (at = job->kept[(job->n_lines - 1) % JOB_KEPT_LINES]; (at = strstr(at, ": ")); last = at)
			at += 2;
		return last;
	}
	return "begins";
}

bool
models_have_children(const struct models *models)
{
	return models && (models_are_busy(models) || models->collector.pid != 0);
}

void
models_cancel(struct models *models)
{
	models->canceled = true;
	for (size_t i = 0; i < models->n; i++)
		job_signal(&models->all[i]->job, SIGTERM);
	start_some(models);
}

void
models_stop(struct models *models, int signal_number)
{
	if (!models)
		return;
	models->canceled = true;
	for (size_t i = 0; i < models->n; i++)
		job_signal(&models->all[i]->job, signal_number);
	job_signal(&models->collector, signal_number);
}
