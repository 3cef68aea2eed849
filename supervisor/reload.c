/*
 * reload - see reload.h.
 */
#include "supervisor/reload.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "supervisor/activator.h"
#include "supervisor/supervisor.h"

/* ---- what came of it ---- */

static const char *
result_path(const struct config *config, char path[PATH_MAX], const char *ending)
{
	snprintf(path, PATH_MAX, "%s/reload%s", config->server.state_dir, ending);
	return path;
}

/* For the command that waits. A state directory that is full costs the command its answer, and nothing else. */
static void
write_result(struct supervisor *supervisor, const char *state, const char *text)
{
	char path[PATH_MAX], next[PATH_MAX], *json;
	json_t *root = json_pack("{si si ss ss+}", "pid", (int)getpid(), "number", (int)supervisor->reload.number,
	    "state", state, "text", text, "");
	FILE *file;
	bool written;

	supervisor->reload.state = state;
	free(supervisor->reload.text);
	supervisor->reload.text = xstrdup(text);
	result_path(supervisor->config, path, "");
	file = fopen(result_path(supervisor->config, next, ".next"), "we");
	json = root ? json_dumps(root, JSON_COMPACT) : NULL;
	written = file && json && fprintf(file, "%s\n", json) > 0;
	if (file && fclose(file) != 0)
		written = false;
	if (!written || rename(next, path) < 0)
		log_warning("cannot write \"%s\": %s", path, strerror(errno));
	json_decref(root);
	free(json);
}

void
reload_starting(struct supervisor *supervisor)
{
	supervisor->reload.number = MAX(supervisor->takeover.handover.reload_number, 1);
	if (!takeover_is_pending(&supervisor->takeover)) /* else the file is still the old one's */
		write_result(supervisor, "running", "");
}

void
reload_started(struct supervisor *supervisor)
{
	write_result(supervisor, "done", supervisor->takeover.handover.reload_number > 0 ? "upgraded" : "started");
}

static void
end(struct supervisor *supervisor, bool good, const char *text)
{
	struct reload *reload = &supervisor->reload;

	reload->step = reload->rolling ? RELOAD_ROLLING : RELOAD_NONE;
	config_unref(take_ptr(&reload->config));
	listeners_unref(take_ptr(&reload->listeners));
	admin_tcp_done(&reload->admin);
	reload->n_done += good;
	reload->n_not_done += !good;
	if (good)
		log_info("reload: %s", text);
	else
		log_error("reload: %s", text);
	if (reload->step == RELOAD_NONE) {
		report_reload_ends(supervisor);
		supply_collect(supervisor);
	}
	supervisor_compare_soon(supervisor);
}

static void
fail(struct supervisor *supervisor, const char *why)
{
	char *text = xasprintf("failed: %s; the old config stays in effect", why);

	end(supervisor, false, text);
	write_result(supervisor, "failed", text);
	free(text);
}

/* ---- reading ---- */

static struct config *
load(struct supervisor *supervisor, struct error *err)
{
	const char *path = supervisor->config->path;
	struct config *config = NULL;
	struct config_errors errors;
	size_t n;

	if (config_load(path, &config, &errors) < 0) {
		n = errors.n_lines + errors.n_more;
		for (size_t i = 0; i < errors.n_lines; i++)
			log_error("%s", errors.lines[i]);
		error_set(err, -EINVAL, "%s%s%zu error%s in %s", n == 1 ? errors.lines[0] : "", n == 1 ? "; " : "", n,
		    n == 1 ? "" : "s", path);
	} else if (strcmp(config->server.state_dir, supervisor->config->server.state_dir) != 0) {
		error_set(err, -EINVAL, "server.state_dir cannot change while cortexd runs; restart it");
		config_unref(take_ptr(&config));
	} else if (strcmp(config->server.user ? config->server.user : "",
		       supervisor->config->server.user ? supervisor->config->server.user : "") != 0) {
		error_set(err, -EINVAL, "server.user cannot change while cortexd runs; restart it");
		config_unref(take_ptr(&config));
	}
	config_errors_done(&errors);
	return config;
}

static void
begin(struct supervisor *supervisor)
{
	struct reload *reload = &supervisor->reload;
	struct config *config;
	struct error err;

	reload->number++;
	log_info("reload: reading %s", supervisor->config->path);
	write_result(supervisor, "running", "");
	report_reload_begins(supervisor);
	config = load(supervisor, &err);
	if (!config) {
		fail(supervisor, err.text);
		return;
	}
	reload->config = config;
	reload->config_since_ms = clock_ms();
	reload->step = RELOAD_ENVIRONMENT;
	if (listeners_bind(config, &supervisor->open_listeners, NULL, &reload->listeners, &err) < 0 ||
	    admin_bind(&supervisor->admin, config, &reload->admin, &err) < 0 ||
	    supply_find(supervisor, config, NULL, &err) < 0)
		fail(supervisor, err.text);
}

void
reload_request(struct supervisor *supervisor)
{
	struct reload *reload = &supervisor->reload;

	if (upgrade_successor(supervisor) != 0) {
		kill(upgrade_successor(supervisor), SIGHUP);
		return;
	}
	if (supervisor->stop_level != STOP_NO)
		return;
	if (upgrade_is_under_way(supervisor) || takeover_is_pending(&supervisor->takeover)) {
		log_info("SIGHUP: reloading once the upgrade is over");
		reload->again = true;
		return;
	}
	if (!supervisor->serving || reload->step == RELOAD_ENVIRONMENT) {
		log_info("SIGHUP: reloading once %s",
		    supervisor->serving ? "what the last one needs is there" : "cortexd has started");
		reload->again = true;
		return;
	}
	begin(supervisor);
}

unsigned
reload_ask(struct supervisor *supervisor)
{
	unsigned before = supervisor->reload.number;

	if (supervisor->stop_level != STOP_NO && upgrade_successor(supervisor) == 0)
		return 0;
	reload_request(supervisor);
	return MAX(supervisor->reload.number, before + 1);
}

/* ---- applying ---- */

/* The one that has a place for these settings, which may be its name's next one (api_has_successor); or NULL. */
static struct api *
find(const struct supervisor *supervisor, const struct api_config *settings)
{
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		struct api *api = supervisor->apis[i];

		if (!api->retired && !strcmp(api->name, settings->name) && !strcmp(api->endpoint, settings->endpoint) &&
		    board_has_room(&supervisor->board, api->number, settings->compute.max_replicas))
			return api;
	}
	return NULL;
}

static struct api *
find_by_name(const struct supervisor *supervisor, const char *name)
{
	for (size_t i = 0; i < supervisor->n_apis; i++)
		if (!supervisor->apis[i]->retired && !strcmp(supervisor->apis[i]->name, name))
			return supervisor->apis[i];
	return NULL;
}

static void
change_api(struct supervisor *supervisor, struct api *api, struct config *config, const struct api_config *settings,
    struct generation *generation)
{
	struct reload *reload = &supervisor->reload;

	api_set_config(api, config, settings);
	if (api->generation && !strcmp(api->generation->fingerprint, generation->fingerprint) && api_verify(api)) {
		api_set_candidate(api, NULL);
		reload->n_unchanged++;
		return;
	}
	reload->n_changed++;
	if (api->candidate && !strcmp(api->candidate->fingerprint, generation->fingerprint))
		return;
	log_info("reload: api \"%s\" has changed", api->name);
	api_set_candidate(api, generation);
}

static void
add_api(struct supervisor *supervisor, struct config *config, const struct api_config *settings,
    struct generation *generation)
{
	struct reload *reload = &supervisor->reload;
	const struct api *old = find_by_name(supervisor, settings->name);
	struct error err;
	struct api *api;

	if (api_new(supervisor, config, settings, &api, &err) < 0) {
		log_error("reload: api \"%s\": %s", settings->name, err.text);
		if (reload->n_failed++ == 0)
			error_set(&reload->failure, -ENOSPC, "api \"%s\": %s", settings->name, err.text);
		return;
	}
	if (old) {
		api->wanted = MAX(MIN(old->wanted, settings->compute.max_replicas), settings->compute.min_replicas);
		reload->n_changed++;
		log_info("reload: api \"%s\" has changed: %s instead of %s", api->name, api->endpoint, old->endpoint);
	} else {
		reload->n_added++;
		log_info("reload: api \"%s\" is new", api->name);
	}
	api_set_candidate(api, generation);
	supervisor_add_api(supervisor, api);
}

static bool
is_listed(const struct config *config, const struct api *api)
{
	for (size_t i = 0; i < config->n_apis; i++)
		if (api->settings == &config->apis[i])
			return true;
	return false;
}

/*
 * What the new config does not have any more stays until its name, or its endpoint, has a successor that works. Those that are
 * not found by requests yet go first: they are nobody's successors.
 */
static void
retire_others(struct supervisor *supervisor, const struct config *config, bool routed)
{
	struct reload *reload = &supervisor->reload;

	for (size_t i = 0; i < supervisor->n_apis; i++) {
		struct api *api = supervisor->apis[i];

		if (api->retired || api->routed != routed || is_listed(config, api))
			continue;
		api_set_candidate(api, NULL);
		if (routed && api_has_successor(api))
			continue;
		reload->n_removed += routed;
		log_info("reload: api \"%s\" (%s) is removed", api->name, api->endpoint);
		api_retire(api);
	}
}

static void
apply(struct supervisor *supervisor, struct config *config)
{
	char files[FINGERPRINT_DIGITS + 1];

	supply_commit(&supervisor->supply);
	project_hash(config, files);
	for (size_t i = 0; i < config->n_apis; i++) {
		const struct api_config *settings = &config->apis[i];
		struct api *api = find(supervisor, settings);
		struct generation *generation = supply_make_generation(
		    supervisor, supervisor->reload.number, config, settings, files);

		if (api)
			change_api(supervisor, api, config, settings, generation);
		else
			add_api(supervisor, config, settings, generation);
		generation_unref(generation);
	}
	retire_others(supervisor, config, false);
	retire_others(supervisor, config, true);
}

/* Was the monitor started with something else? */
static bool
changes_monitor(const struct server_config *old, const struct server_config *new)
{
	return old->admin_unix != new->admin_unix || old->log_format != new->log_format ||
	    old->log_level != new->log_level || old->log_files != new->log_files ||
	    old->log_file_bytes != new->log_file_bytes;
}

void
reload_go_on(struct supervisor *supervisor, bool found)
{
	struct reload *reload = &supervisor->reload;
	struct config *config;
	struct error err;
	int admin_changed;

	if (!found) {
		fail(supervisor, "its environment cannot be built");
		return;
	}
	if (listeners_listen(reload->listeners, "listening", &err) < 0) {
		fail(supervisor, err.text);
		return;
	}
	admin_changed = admin_use(supervisor, reload->config, &reload->admin, &err); /* the last thing that may fail */
	if (admin_changed < 0) {
		fail(supervisor, err.text);
		return;
	}
	config = take_ptr(&reload->config);
	if (!listeners_equal(reload->listeners, supervisor->listeners)) {
		listeners_unref(supervisor->listeners);
		supervisor->listeners = listeners_ref(reload->listeners);
		activator_tell_listeners(supervisor);
	}
	listeners_unref(take_ptr(&reload->listeners));
	log_set_format(config->server.log_format);
	log_set_level(config->server.log_level);
	if (admin_changed > 0 || changes_monitor(&supervisor->config->server, &config->server))
		monitor_outdate(supervisor);
	config_unref(supervisor->config);
	supervisor->config = config;
	reload->step = RELOAD_ROLLING;
	reload->rolling = true;
	reload->rolling_number = reload->number;
	reload->since_ms = reload->config_since_ms;
	reload->n_failed = reload->n_changed = reload->n_added = reload->n_removed = reload->n_unchanged = 0;
	apply(supervisor, config);
	scale_set_config(supervisor);
	activator_tell_apis(supervisor);
	supervisor_compare_soon(supervisor);
}

void
reload_note_failure(struct supervisor *supervisor, const struct api *api, const char *why)
{
	struct reload *reload = &supervisor->reload;

	log_error("reload: api \"%s\": %s; %s", api->name, why,
	    api->generation ? "its old replicas go on" : "it is not served");
	if (reload->n_failed++ == 0)
		error_set(&reload->failure, -EINVAL, "api \"%s\": %s", api->name, why);
}

/* ---- the end ---- */

static void
finish(struct supervisor *supervisor)
{
	struct reload *reload = &supervisor->reload;
	double seconds = (double)(clock_ms() - reload->since_ms) / 1000;
	char *text;

	reload->rolling = false;
	if (reload->n_failed > 0)
		text = xasprintf("failed for %u api%s: %s", reload->n_failed, reload->n_failed == 1 ? "" : "s",
		    reload->failure.text);
	else
		text = xasprintf("done after %.2f s: %u changed, %u added, %u removed, %u unchanged", seconds,
		    reload->n_changed, reload->n_added, reload->n_removed, reload->n_unchanged);
	end(supervisor, reload->n_failed == 0, text);
	if (reload->number == reload->rolling_number) /* else a later one came to nothing, and that was said */
		write_result(supervisor, reload->n_failed == 0 ? "done" : "failed", text);
	free(text);
}

void
reload_compare(struct supervisor *supervisor)
{
	struct reload *reload = &supervisor->reload;

	if (supervisor->stop_level != STOP_NO || !supervisor->serving || upgrade_is_under_way(supervisor) ||
	    takeover_is_pending(&supervisor->takeover))
		return;
	if (reload->again && reload->step != RELOAD_ENVIRONMENT) {
		reload->again = false;
		begin(supervisor);
	}
	if (reload->step != RELOAD_ROLLING)
		return;
	for (size_t i = 0; i < supervisor->n_apis; i++)
		if (!api_has_rolled(supervisor->apis[i]))
			return;
	finish(supervisor);
}

void
reload_done(struct supervisor *supervisor)
{
	config_unref(take_ptr(&supervisor->reload.config));
	listeners_unref(take_ptr(&supervisor->reload.listeners));
	admin_tcp_done(&supervisor->reload.admin);
	free(supervisor->reload.text);
}
