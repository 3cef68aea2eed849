/*
 * status - see status.h.
 */
#include "supervisor/status.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "supervisor/death.h"
#include "supervisor/supervisor.h"

#ifndef CORTEXD_VERSION
#define CORTEXD_VERSION "unknown"
#endif

#define MANY_APIS      64 /* of more than these the past is told in less detail */
#define DECISIONS_MANY 3
#define CLOCK_SET_MS   500 /* more than two clocks drift apart without anybody's doing */

/* The two clocks at one moment. */
struct now {
	int64_t ms; /* clock_ms() */
	int64_t wall_ms;
};

int64_t
status_wall_ahead_ms(void)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	return (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000 - clock_ms();
}

/* ---- values ---- */

/* Text that may be of a child, or of a library: what is no UTF-8 becomes question marks. */
static json_t *
text_of(const char *text)
{
	json_t *string = json_string(text);
	char *copy;

	if (string)
		return string;
	copy = xstrdup(text);
	for (char *at = copy; *at; at++)
		if (*at & 0x80)
			*at = '?';
	string = json_string(copy);
	free(copy);
	return string;
}

/* Two clocks are not read at once: the same moment would be another millisecond in each status. So the difference between them is that of the
 * start, unless somebody has set the clock. */
static struct now
get_now(const struct supervisor *supervisor)
{
	int64_t ms = clock_ms(), ahead_ms = status_wall_ahead_ms();

	if (llabs(ahead_ms - supervisor->wall_ahead_ms) < CLOCK_SET_MS)
		ahead_ms = supervisor->wall_ahead_ms;
	return (struct now){.ms = ms, .wall_ms = ms + ahead_ms};
}

/* "2026-11-30T05:00:00.123Z", of a moment on the monotonic clock. */
static json_t *
time_of(const struct now *now, int64_t at_ms)
{
	int64_t wall_ms = now->wall_ms - (now->ms - at_ms);
	time_t seconds = (time_t)(wall_ms / 1000);
	char date[32];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	return json_sprintf("%s.%03dZ", date, (int)(wall_ms % 1000));
}

static json_t *
number_of(int64_t number)
{
	return json_integer((json_int_t)number);
}

/* ---- replicas ---- */

static bool
stays(const struct slot *slot)
{
	return !slot->dismissed;
}

static const struct generation *
newest_of(const struct api *api)
{
	return api->candidate ? api->candidate : api->generation;
}

static json_t *
slot_of(const struct supervisor *supervisor, const struct slot *slot, const struct now *now)
{
	const struct scoreboard_slot *words = slot->place >= 0 ? &supervisor->board.scoreboard->slots[slot->place]
							       : NULL;
	uint32_t activity = words ? atomic_load(&words->state) : REPLICA_DEAD;
	json_t *object = json_object();

	json_object_set_new(object, "replica", json_integer(slot->index));
	json_object_set_new(object, "generation", json_integer((json_int_t)slot->generation->number));
	json_object_set_new(object, "state", json_string(slot_state_name(slot->state)));
	json_object_set_new(object, "activity",
	    json_string(activity <= REPLICA_DRAINING ? replica_state_name((enum replica_state)activity) : "dead"));
	json_object_set_new(object, "pid", slot->pid ? json_integer(slot->pid) : json_null());
	json_object_set_new(object, "since", time_of(now, slot->since_ms ? slot->since_ms : now->ms));
	json_object_set_new(object, "cpu_seconds", json_real((double)slot->usage.cpu_us / 1e6));
	json_object_set_new(object, "memory_bytes", number_of(slot->usage.rss_kib * 1024));
	json_object_set_new(object, "predictions", number_of(words ? (int64_t)atomic_load(&words->predictions) : 0));
	json_object_set_new(object, "connections", number_of(words ? (int64_t)atomic_load(&words->connections) : 0));
	return object;
}

struct counts {
	int by_state[SLOT_N_STATES];
	int there, ready, up_to_date, failed, loading;
	const struct slot *failing; /* one of those that failed */
};

static struct counts
count(const struct api *api)
{
	const struct generation *newest = newest_of(api);
	struct counts counts = {.there = 0};
	const struct slot *slot;

	TAILQ_FOREACH (slot, &api->slots, in_api) {
		bool failed = slot->deaths > 0 && slot->state != SLOT_READY && stays(slot);

		counts.by_state[slot->state]++;
		if (!stays(slot))
			continue;
		counts.there++;
		counts.ready += slot->state == SLOT_READY;
		counts.up_to_date += slot->state == SLOT_READY && slot->generation == newest;
		counts.loading += !failed && slot->state != SLOT_READY;
		counts.failed += failed;
		if (failed)
			counts.failing = slot;
	}
	TAILQ_FOREACH (slot, &api->templates, in_api)
		if (stays(slot) && slot->deaths > 0 && slot->state != SLOT_READY)
			counts.failing = slot;
	return counts;
}

/* ---- the word for an api ---- */

static bool
is_updating(const struct api *api)
{
	const struct slot *slot;

	if (api->candidate)
		return true;
	if (api->said_stuck)
		return false;
	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (stays(slot) && slot->generation != api->generation)
			return true;
	return false;
}

static const char *
error_word(enum death_kind kind)
{
	return kind == DEATH_OUT_OF_MEMORY ? "error (out of memory)" : "error";
}

/* Cortex's words, and "updating". *ret_message: why, in words, or "". */
static const char *
status_word(const struct api *api, const struct counts *counts, char *message, size_t size)
{
	const struct supervisor *supervisor = api->supervisor;
	bool ends = api->retired || supervisor->stop_level != STOP_NO;

	*message = '\0';
	if (ends)
		return TAILQ_EMPTY(&api->slots) ? "stopped" : "stopping";
	if (counts->failing)
		snprintf(
		    message, size, "%s: %.*s", counts->failing->name, API_DEATH_TEXT_MAX, counts->failing->last_death);
	else if (*api->lacks)
		snprintf(message, size, "%s", api->lacks);
	else if (*api->history.rejected)
		snprintf(message, size, "the last update failed: %s", api->history.rejected);
	if (counts->ready > 0)
		return is_updating(api) ? "updating" : "live";
	if (!supervisor->serving) {
		snprintf(message, size, "what it needs is fetched or built");
		return "pending";
	}
	if (api->awaits_model && !api->candidate) {
		snprintf(message, size, "its model could not be had; it is looked for again");
		return "error";
	}
	if (counts->failing)
		return error_word(counts->failing->last_death_kind);
	if (counts->there > 0)
		return "creating";
	return *api->lacks ? "compute unavailable" : "pending";
}

/* ---- an api ---- */

static json_t *
replicas_of(const struct api *api, const struct counts *counts)
{
	json_t *states = json_object();

	for (int state = 0; state < SLOT_N_STATES; state++)
		json_object_set_new(
		    states, slot_state_name((enum slot_state)state), json_integer(counts->by_state[state]));
	return json_pack("{si si si si si so}", "wanted", api->wanted, "requested", MIN(api->wanted, api->allowed),
	    "available", counts->ready, "up_to_date", counts->up_to_date, "failed", counts->failed, "by_state", states);
}

static json_t *
compute_of(const struct api *api)
{
	const struct compute_config *compute = &api->settings->compute;
	const struct compute_config *running = api->generation ? &api->generation->api->compute : compute;

	return json_pack("{si si si si sI sI si}", "min_replicas", compute->min_replicas, "max_replicas",
	    compute->max_replicas, "init_replicas", compute->init_replicas, "target_cpu_utilization",
	    compute->target_cpu_utilization, "cpu_millicpu", (json_int_t)running->cpu_millicpu, "mem_bytes",
	    (json_int_t)running->mem_bytes, "gpu", running->gpu);
}

static void
add_usage(json_t *object, const struct api *api)
{
	const struct compute_config *running = &(api->generation ? api->generation->api : api->settings)->compute;
	int64_t cpu_us = api->history.cpu_gone_us, rss_kib = 0, millicpu;
	const struct slot *slot;
	json_t *percent;
	int n;

	TAILQ_FOREACH (slot, &api->slots, in_api) {
		cpu_us += slot->usage.cpu_us;
		rss_kib += slot->usage.rss_kib;
	}
	millicpu = scale_cpu_millicpu(api, &n);
	percent = n > 0 ? number_of(millicpu * 100 / (running->cpu_millicpu * n)) : json_null();
	json_object_set_new(object, "cpu",
	    json_pack("{so so sf}", "percent", percent, "millicpu", n > 0 ? number_of(millicpu) : json_null(),
		"seconds_total", (double)cpu_us / 1e6));
	json_object_set_new(object, "memory_bytes", number_of(rss_kib * 1024));
}

static void
add_decisions(json_t *object, const struct api *api, const struct now *now, size_t limit)
{
	const struct autoscale_decision *decision = autoscaler_last(&api->autoscaler);
	char reason[AUTOSCALE_REASON_MAX] = "";
	json_t *list = json_array();

	if (decision)
		autoscale_reason(decision, reason);
	json_object_set_new(object, "decision", text_of(reason));
	for (size_t i = 0; i < limit && (decision = autoscaler_told(&api->autoscaler, i)); i++) {
		autoscale_reason(decision, reason);
		json_array_append_new(list,
		    json_pack("{so si si so}", "at", time_of(now, decision->at_ms), "from", decision->from, "to",
			decision->to, "reason", text_of(reason)));
	}
	json_object_set_new(object, "decisions", list);
}

static void
add_deaths(json_t *object, const struct api *api, const struct now *now)
{
	const struct api_history *history = &api->history;
	json_t *restarts = json_object(), *list = json_array();

	for (int kind = DEATH_TOLD + 1; kind < DEATH_N_KINDS; kind++)
		json_object_set_new(
		    restarts, death_kind_name((enum death_kind)kind), number_of((int64_t)history->n_deaths[kind]));
	json_object_set_new(object, "restarts", restarts);
	for (size_t i = 0; i < MIN(history->n_noted, API_DEATHS_MAX); i++) {
		const struct api_death *death = &history->deaths[(history->n_noted - 1 - i) % API_DEATHS_MAX];

		json_array_append_new(list,
		    json_pack("{so so ss so}", "at", time_of(now, death->at_ms), "replica",
			death->replica >= 0 ? json_integer(death->replica) : json_null(), "cause",
			death_kind_name(death->kind), "text", text_of(death->text)));
	}
	json_object_set_new(object, "deaths", list);
}

static json_t *
tracker_of(const struct api *api)
{
	const struct tracker_config *tracker = &(api->generation ? api->generation->api : api->settings)->tracker;

	if (tracker->type == TRACKER_NONE)
		return json_null();
	return json_pack("{so ss}", "key", tracker->key ? text_of(tracker->key) : json_null(), "model_type",
	    tracker_type_name(tracker->type));
}

static json_t *
api_of(const struct api *api, const struct now *now, size_t n_decisions)
{
	static const char *const kinds[] = {
	    [API_PREDICTOR] = "predictor", [API_ONNX] = "onnx", [API_TENSORFLOW] = "tensorflow"};
	const struct generation *newest = newest_of(api);
	struct counts counts = count(api);
	char message[API_DEATH_TEXT_MAX + SLOT_NAME_MAX + 32];
	const char *word = status_word(api, &counts, message, sizeof(message));
	json_t *object = json_object(), *slots = json_array();
	const struct slot *slot;

	json_object_set_new(object, "name", text_of(api->name));
	json_object_set_new(object, "endpoint", text_of(api->endpoint));
	json_object_set_new(object, "kind", json_string(kinds[api->settings->kind]));
	json_object_set_new(object, "number", json_integer((json_int_t)api->number));
	json_object_set_new(object, "status", json_string(word));
	json_object_set_new(object, "message", text_of(message));
	json_object_set_new(object, "generation", newest ? json_integer((json_int_t)newest->number) : json_null());
	json_object_set_new(
	    object, "updated", api->history.serves_since_ms ? time_of(now, api->history.serves_since_ms) : json_null());
	json_object_set_new(object, "replicas", replicas_of(api, &counts));
	json_object_set_new(object, "compute", compute_of(api));
	add_usage(object, api);
	add_decisions(object, api, now, n_decisions);
	add_deaths(object, api, now);
	TAILQ_FOREACH (slot, &api->slots, in_api)
		json_array_append_new(slots, slot_of(api->supervisor, slot, now));
	json_object_set_new(object, "slots", slots);
	json_object_set_new(object, "tracker", tracker_of(api));
	return object;
}

/* ---- the whole ---- */

static const char *
state_of(const struct supervisor *supervisor)
{
	if (supervisor->stop_level != STOP_NO)
		return "stopping";
	if (!supervisor->serving)
		return "starting";
	return supervisor->reload.step != RELOAD_NONE ? "reloading" : "serving";
}

static json_t *
listeners_of(const struct listeners *listeners)
{
	json_t *list = json_array();

	for (size_t i = 0; listeners && i < listeners->n; i++)
		json_array_append_new(list,
		    json_pack("{so so}", "text", text_of(listeners->all[i]->listener.text), "url",
			text_of(listeners->all[i]->listener.url)));
	return list;
}

static json_t *
process_of(const struct slot *slot, const char *role)
{
	return json_pack("{ss so ss sI}", "role", role, "pid", slot->pid ? json_integer(slot->pid) : json_null(),
	    "state", slot_state_name(slot->state), "restarts", (json_int_t)slot->deaths);
}

static json_t *
fetches_of(const struct supervisor *supervisor)
{
	uint64_t done, failed;

	models_count(supervisor->supply.models, &done, &failed);
	return json_pack("{s{sI sI} s{sI sI}}", "models", "done", (json_int_t)done, "failed", (json_int_t)failed,
	    "environments", "done", (json_int_t)supervisor->supply.n_environments, "failed",
	    (json_int_t)supervisor->supply.n_environments_lost);
}

/* It may have been given relative to a folder that was ours then. */
static json_t *
path_of_config(const struct config *config)
{
	const char *slash = strrchr(config->path, '/');
	char *path = xasprintf("%s/%s", config->folder, slash ? slash + 1 : config->path);
	json_t *string = text_of(path);

	free(path);
	return string;
}

static json_t *
make(const struct supervisor *supervisor)
{
	const struct config *config = supervisor->config;
	const struct reload *reload = &supervisor->reload;
	const struct capacity *host = &supervisor->scale.host;
	size_t n_decisions = supervisor->n_apis > MANY_APIS ? DECISIONS_MANY : AUTOSCALE_DECISIONS;
	json_t *root = json_object(), *apis = json_array();
	const struct now now = get_now(supervisor);

	json_object_set_new(root, "version", json_string(CORTEXD_VERSION));
	json_object_set_new(root, "python", json_string(CORTEXD_PYTHON_VERSION));
	json_object_set_new(root, "pid", json_integer(getpid()));
	json_object_set_new(root, "state", json_string(state_of(supervisor)));
	json_object_set_new(root, "now", time_of(&now, now.ms));
	json_object_set_new(root, "started", time_of(&now, supervisor->started_ms));
	json_object_set_new(root, "uptime_seconds", json_real((double)(now.ms - supervisor->started_ms) / 1000));
	json_object_set_new(root, "deployment", text_of(config->deployment));
	json_object_set_new(root, "config", path_of_config(config));
	json_object_set_new(root, "folder", text_of(config->folder));
	json_object_set_new(root, "state_dir", text_of(config->server.state_dir));
	json_object_set_new(root, "listeners", listeners_of(supervisor->listeners));
	json_object_set_new(root, "admin", listeners_of(supervisor->admin.tcp.listeners));
	json_object_set_new(root, "reload",
	    json_pack("{si ss so sI sI}", "number", (int)reload->number, "state",
		reload->state ? reload->state : "running", "text", text_of(reload->text ? reload->text : ""), "done",
		(json_int_t)reload->n_done, "failed", (json_int_t)reload->n_not_done));
	json_object_set_new(root, "host",
	    json_pack("{sI sI si}", "cpu_millicpu", (json_int_t)host->cpu_millicpu, "mem_bytes",
		(json_int_t)host->mem_bytes, "gpu", host->gpus));
	json_object_set_new(
	    root, "connections", json_integer(MAX(atomic_load(&supervisor->board.scoreboard->connections), 0)));
	json_object_set_new(root, "fetches", fetches_of(supervisor));
	json_object_set_new(root, "processes",
	    json_pack(
		"[oo]", process_of(&supervisor->activator, "activator"), process_of(&supervisor->monitor, "monitor")));
	for (size_t i = 0; i < supervisor->n_apis; i++)
		json_array_append_new(apis, api_of(supervisor->apis[i], &now, n_decisions));
	json_object_set_new(root, "apis", apis);
	return root;
}

char *
status_text(const struct supervisor *supervisor)
{
	json_t *root = make(supervisor);
	char *text = json_dumps(root, JSON_COMPACT);

	json_decref(root);
	return text;
}
