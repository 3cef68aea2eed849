/*
 * supply - see supply.h.
 */
#include "supervisor/supply.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "supervisor/activator.h"
#include "supervisor/packages.h"
#include "supervisor/supervisor.h"

#ifndef CORTEXD_FETCH_RETRY_FIRST_MS
#define CORTEXD_FETCH_RETRY_FIRST_MS 10000
#endif
#define RETRY_LIMIT_MS  300000
#define COLLECT_AGAIN_S 1

/* ---- finding ---- */

/* Of all models of a config that lie elsewhere. The caller frees the list. */
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

	if (models_are_busy(supply->models)) { /* for a retry, whose apis are among these, or gone */
		supply->models_next = true;
		models_cancel(supply->models);
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

	if (supply->environment && python)
		supply->n_environments++;
	else if (supply->environment && supervisor->stop_level == STOP_NO)
		supply->n_environments_lost++;
	if (python) {
		free(supply->found_python);
		supply->found_python = xstrdup(python);
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

void
supply_commit(struct supply *supply)
{
	free(supply->python);
	supply->python = xstrdup(supply->found_python);
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

static void
retry_later(struct supply *supply, int64_t ms)
{
	const struct timeval later = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	evtimer_add(&supply->retry_event, &later);
}

void
supply_retry(struct supervisor *supervisor)
{
	struct supply *supply = &supervisor->supply;
	int64_t ms = MIN((int64_t)CORTEXD_FETCH_RETRY_FIRST_MS << MIN(supply->n_retries, 8), RETRY_LIMIT_MS);

	supply->n_retries++;
	log_info("fetch: trying again in %lld s", (long long)(ms + 999) / 1000);
	retry_later(supply, ms);
}

/* Can it be helped by a fetch? Not while a reload tries something else with it. */
static bool
awaits_fetch(const struct api *api)
{
	const char *model = api->settings->predictor.model;

	return api->awaits_model && !api->retired && !api->candidate && model && config_model_is_remote(model);
}

/* False: its model cannot be had yet, as is logged. */
static bool
begin_if_there(struct supervisor *supervisor, struct api *api, const char *files)
{
	struct generation *generation = supply_make_generation(
	    supervisor, supervisor->reload.number, api->config, api->settings, files);

	if (generation->failure) {
		log_error("api \"%s\": %s", api->name, generation->failure);
		generation_unref(generation);
		return false;
	}
	api_begin(api, generation);
	supervisor->announced = false;
	return true;
}

static void
retried_cb(void *arg)
{
	struct supervisor *supervisor = arg;
	struct supply *supply = &supervisor->supply;
	char files[FINGERPRINT_DIGITS + 1];
	bool again = false, begun = false;

	if (supervisor->stop_level != STOP_NO) {
		supervisor_compare_soon(supervisor);
		return;
	}
	if (supply->models_next) {
		supply->models_next = false;
		retry_later(supply, CORTEXD_FETCH_RETRY_FIRST_MS);
		find_models(supervisor);
		return;
	}
	project_hash(supervisor->config, files);
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		if (!awaits_fetch(supervisor->apis[i]))
			continue;
		if (begin_if_there(supervisor, supervisor->apis[i], files))
			begun = true;
		else
			again = true;
	}
	if (begun)
		activator_tell_apis(supervisor);
	if (again)
		supply_retry(supervisor);
	else
		supply->n_retries = 0;
	supervisor_compare_soon(supervisor);
}

static void
retry_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct supervisor *supervisor = arg;
	struct supply *supply = &supervisor->supply;
	const char **addresses = xcalloc(supervisor->n_apis, sizeof(*addresses));
	bool awaits = false;
	size_t n = 0;

	for (size_t i = 0; i < supervisor->n_apis; i++) {
		awaits = awaits || (supervisor->apis[i]->awaits_model && !supervisor->apis[i]->retired);
		if (awaits_fetch(supervisor->apis[i]))
			addresses[n++] = supervisor->apis[i]->settings->predictor.model;
	}
	if (supervisor->stop_level == STOP_NO && awaits) {
		if (n > 0 && !supply->config && !models_are_busy(supply->models))
			models_fetch(supply->models, addresses, n, true, retried_cb, supervisor);
		else /* a reload is about to bring it, or something else */
			retry_later(supply, CORTEXD_FETCH_RETRY_FIRST_MS);
	}
	free(addresses);
}

/* ---- removing ---- */

/* May replicas of another cortexd, before or after us, have models that we do not know of, or may we still get some? */
static bool
somebody_may_need_more(struct supervisor *supervisor)
{
	return !supervisor->serving || supervisor->supply.config || models_have_children(supervisor->supply.models) ||
	    upgrade_is_under_way(supervisor) || takeover_is_pending(&supervisor->takeover) ||
	    takeover_predecessor_lives(&supervisor->takeover);
}

static void
collect(struct supervisor *supervisor)
{
	const char **addresses, **paths = NULL;
	size_t n_addresses, n_paths = 0, room = 0;
	const struct slot *slot;

	addresses = list_addresses(supervisor->config, &n_addresses);
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		const struct api *api = supervisor->apis[i];
		const struct generation *own[] = {api->generation, api->candidate}, *last = NULL;

		room += N_ELEMENTS(own);
		TAILQ_FOREACH (slot, &api->slots, in_api)
			room++;
		paths = xrealloc(paths, MAX(room, 1), sizeof(*paths));
		for (size_t g = 0; g < N_ELEMENTS(own); g++)
			if (own[g] && own[g]->model_path)
				paths[n_paths++] = own[g]->model_path;
		TAILQ_FOREACH (slot, &api->slots, in_api)
			if (slot->generation != last && slot->generation->model_path) {
				last = slot->generation;
				paths[n_paths++] = last->model_path;
			}
	}
	models_collect(supervisor->supply.models, paths, n_paths, addresses, n_addresses);
	free(paths);
	free(addresses);
}

static void
collect_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	static const struct timeval later = {COLLECT_AGAIN_S, 0};
	struct supervisor *supervisor = arg;

	if (supervisor->stop_level != STOP_NO)
		return;
	if (somebody_may_need_more(supervisor))
		evtimer_add(&supervisor->supply.collect_event, &later);
	else
		collect(supervisor);
}

void
supply_collect(struct supervisor *supervisor)
{
	collect_cb(-1, 0, supervisor);
}

/* ---- the rest ---- */

void
supply_init(struct supervisor *supervisor, const struct program *program)
{
	struct supply *supply = &supervisor->supply;

	evtimer_assign(&supply->retry_event, supervisor->base, retry_cb, supervisor);
	evtimer_assign(&supply->collect_event, supervisor->base, collect_cb, supervisor);
	if (program)
		supply->models = models_new(supervisor->base, program, supervisor->config->server.state_dir);
}

void
supply_done(struct supervisor *supervisor)
{
	struct supply *supply = &supervisor->supply;

	if (supply->retry_event.ev_base) {
		evtimer_del(&supply->retry_event);
		evtimer_del(&supply->collect_event);
	}
	environment_free(take_ptr(&supply->environment));
	models_free(take_ptr(&supply->models));
	free(take_ptr(&supply->python));
	free(take_ptr(&supply->found_python));
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
