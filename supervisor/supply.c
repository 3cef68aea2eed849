/*
 * supply - see supply.h.
 */
#include "supervisor/supply.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "supervisor/activator.h"
#include "supervisor/packages.h"
#include "supervisor/supervisor.h"

#ifndef CORTEXD_FETCH_RETRY_FIRST_MS
#define CORTEXD_FETCH_RETRY_FIRST_MS 10000
#endif
#define RETRY_LIMIT_MS 300000

/* ---- finding ---- */

static void find_models(struct supervisor *supervisor);

/* The addresses of some apis: all of a config, or those of the supervisor that await theirs. The caller frees the list. */
static const char **
list_addresses(const struct config *config, size_t *ret_n)
{
	const char **addresses = xcalloc(config->n_apis, sizeof(*addresses));

	*ret_n = 0;
	for (size_t i = 0; i < config->n_apis; i++) {
		const char *model = config->apis[i].predictor.model;

		if (model && config_model_is_remote(model))
			addresses[(*ret_n)++] = model;
	}
	return addresses;
}

static void
models_done_cb(void *arg)
{
	struct supervisor *supervisor = arg;

	supervisor->supply.config = NULL;
	supervisor_supplied(supervisor, true);
}

static void
find_models(struct supervisor *supervisor)
{
	struct supply *supply = &supervisor->supply;
	const char **addresses;
	size_t n;

	if (models_are_busy(supply->models)) {
		supply->models_next = true;
		return;
	}
	addresses = list_addresses(supply->config, &n);
	models_fetch(supply->models, addresses, n, !supervisor->serving, models_done_cb, supervisor);
	free(addresses);
}

/* NULL: the environment could not be built, as was logged, or a stop was requested. */
static void
environment_done_cb(void *arg, const char *python)
{
	struct supervisor *supervisor = arg;
	struct supply *supply = &supervisor->supply;

	if (python) {
		free(supply->python);
		supply->python = xstrdup(python);
	}
	if (python && supply->models && supervisor->stop_level == STOP_NO) {
		find_models(supervisor);
		return;
	}
	supply->config = NULL;
	supervisor_supplied(supervisor, python != NULL);
}

int
supply_find(struct supervisor *supervisor, const struct config *config, const char *may_not_build, struct error *err)
{
	struct supply *supply = &supervisor->supply;
	struct packages packages;
	const struct environment_plan plan = {
	    .interpreter = CORTEXD_PYTHON,
	    .requirements = config->requirements,
	    .project_folder = config->folder,
	    .state_dir = config->server.state_dir,
	    .packages = &packages,
	    .may_not_build = may_not_build,
	    .cb = environment_done_cb,
	    .arg = supervisor,
	};
	int r;

	environment_free(take_ptr(&supply->environment));
	r = packages_find(&config->server.packages, CORTEXD_PACKAGES, &packages, err);
	if (r < 0)
		return r;
	supply->config = config;
	if (!config->requirements) {
		environment_done_cb(supervisor, packages.folder ? packages.python : CORTEXD_PYTHON);
		packages_done(&packages);
		return 0;
	}
	supply->environment = environment_new(supervisor->base, &plan);
	r = environment_start(supply->environment, err);
	if (r < 0)
		supply->config = NULL;
	return r;
}

struct generation *
supply_make_generation(struct supervisor *supervisor, unsigned number, struct config *config,
    const struct api_config *api, const char *files)
{
	const struct supply *supply = &supervisor->supply;
	const char *model = generation_local_model(api), *why = NULL;
	struct generation *generation;
	char *path = NULL;

	if (!model && api->predictor.model)
		path = models_path(supply->models, api->predictor.model, &why);
	generation = generation_new(
	    number, config, api, supply->python, model ? model : path, supervisor->listeners, files);
	if (!path && why)
		generation->failure = xasprintf("its model cannot be had: %s", why);
	free(path);
	return generation;
}

/* ---- trying again ---- */

void
supply_retry(struct supervisor *supervisor)
{
	struct supply *supply = &supervisor->supply;
	int64_t ms = MIN((int64_t)CORTEXD_FETCH_RETRY_FIRST_MS << MIN(supply->n_retries, 8), RETRY_LIMIT_MS);
	struct timeval later = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	supply->n_retries++;
	log_info("fetch: trying again in %lld s", (long long)(ms + 999) / 1000);
	evtimer_add(&supply->retry_event, &later);
}

static void
retried_cb(void *arg)
{
	struct supervisor *supervisor = arg;
	struct supply *supply = &supervisor->supply;
	char files[FINGERPRINT_DIGITS + 1];
	bool again = false;

	if (supervisor->stop_level == STOP_NO)
		project_hash(supervisor->config, files);
	for (size_t i = 0; supervisor->stop_level == STOP_NO && i < supervisor->n_apis; i++) {
		struct api *api = supervisor->apis[i];
		struct generation *generation;

		if (!api->awaits_model || api->retired || api->candidate)
			continue;
		generation = supply_make_generation(
		    supervisor, supervisor->reload.number, api->config, api->settings, files);
		if (generation->failure) {
			log_error("api \"%s\": %s", api->name, generation->failure);
			again = true;
			generation_unref(generation);
		} else {
			api_begin(api, generation);
			activator_tell_apis(supervisor);
		}
	}
	if (again)
		supply_retry(supervisor);
	else
		supply->n_retries = 0;
	if (supply->models_next) {
		supply->models_next = false;
		find_models(supervisor);
	}
	supervisor_compare_soon(supervisor);
}

static void
retry_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct supervisor *supervisor = arg;
	struct supply *supply = &supervisor->supply;
	const char **addresses = xcalloc(supervisor->n_apis, sizeof(*addresses));
	size_t n = 0;

	for (size_t i = 0; i < supervisor->n_apis; i++) {
		const struct api *api = supervisor->apis[i];

		if (api->awaits_model && !api->retired && !api->candidate)
			addresses[n++] = api->settings->predictor.model;
	}
	/* What is being sought just now is the same, or newer. */
	if (n > 0 && !supply->config && supervisor->stop_level == STOP_NO) {
		models_fetch(supply->models, addresses, n, true, retried_cb, supervisor);
	} else if (n > 0 && supervisor->stop_level == STOP_NO) {
		supply_retry(supervisor);
	}
	free(addresses);
}

/* ---- the rest ---- */

void
supply_init(struct supervisor *supervisor, const struct program *program)
{
	struct supply *supply = &supervisor->supply;

	evtimer_assign(&supply->retry_event, supervisor->base, retry_cb, supervisor);
	if (program)
		supply->models = models_new(supervisor->base, program, supervisor->config->server.state_dir);
}

void
supply_done(struct supervisor *supervisor)
{
	struct supply *supply = &supervisor->supply;

	if (supply->retry_event.ev_base)
		evtimer_del(&supply->retry_event);
	environment_free(take_ptr(&supply->environment));
	models_free(take_ptr(&supply->models));
	free(take_ptr(&supply->python));
}

void
supply_collect(struct supervisor *supervisor)
{
	size_t n_addresses, n_paths = 0, room = 0;
	const char **addresses, **paths = NULL;
	const struct slot *slot;

	addresses = list_addresses(supervisor->config, &n_addresses);
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		const struct api *api = supervisor->apis[i];
		const struct generation *own[] = {api->generation, api->candidate};

		room += N_ELEMENTS(own);
		TAILQ_FOREACH (slot, &api->slots, in_api)
			room++;
		paths = xrealloc(paths, room, sizeof(*paths));
		for (size_t g = 0; g < N_ELEMENTS(own); g++)
			if (own[g] && own[g]->model_path)
				paths[n_paths++] = own[g]->model_path;
		TAILQ_FOREACH (slot, &api->slots, in_api)
			if (slot->generation->model_path)
				paths[n_paths++] = slot->generation->model_path;
	}
	models_collect(supervisor->supply.models, paths, n_paths, addresses, n_addresses);
	free(paths);
	free(addresses);
}

bool
supply_owns(const struct supply *supply, pid_t pid)
{
	return environment_owns(supply->environment, pid) || models_own(supply->models, pid);
}

void
supply_reaped(struct supply *supply, pid_t pid, int wait_status)
{
	if (environment_owns(supply->environment, pid))
		environment_reaped(supply->environment, wait_status);
	else
		models_reaped(supply->models, pid, wait_status);
}

bool
supply_is_busy(const struct supply *supply)
{
	return environment_is_busy(supply->environment) || models_have_children(supply->models);
}

void
supply_stop(struct supply *supply, int signal_number)
{
	environment_stop(supply->environment, signal_number);
	models_stop(supply->models, signal_number);
}
