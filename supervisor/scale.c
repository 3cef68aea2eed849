/*
 * scale - see scale.h.
 */
#include "supervisor/scale.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "supervisor/host.h"
#include "supervisor/supervisor.h"
#include "supervisor/usage.h"

/* ---- room ---- */

static struct capacity
request_of(const struct generation *generation)
{
	const struct compute_config *compute = &generation->api->compute;

	return (struct capacity){
	    .cpu_millicpu = compute->cpu_millicpu, .mem_bytes = compute->mem_bytes, .gpus = compute->gpu};
}

static const struct generation *
newest_of(const struct api *api)
{
	return api->candidate ? api->candidate : api->generation;
}

/*
 * Two entries for an api: replicas of its newest generation, and all others, which hold what they have until they are gone.
 * These may have asked for different things; nearly always they have not, so the most that one of them has asked for counts.
 */
static void
fill_entries(const struct api *api, struct capacity_api *newest, struct capacity_api *others)
{
	const struct generation *generation = newest_of(api);
	int min = api->settings->compute.min_replicas;
	const struct slot *slot;

	*newest = *others = (struct capacity_api){.existing = 0};
	if (!generation) /* a new api whose candidate was dropped: only leavers are left */
		generation = TAILQ_EMPTY(&api->slots) ? NULL : TAILQ_FIRST(&api->slots)->generation;
	if (!generation)
		return;
	/* One that is to be replaced by another api gives way to that one's minimum. */
	if (api->config != api->supervisor->config && api_has_successor(api))
		min = 0;
	*newest = (struct capacity_api){
	    .request = request_of(generation),
	    .min = min,
	    .wanted = api->retired ? 0 : api->wanted,
	};
	TAILQ_FOREACH (slot, &api->slots, in_api) {
		struct capacity request = request_of(slot->generation);

		if (slot->generation == generation) {
			newest->existing++;
			newest->leaving += slot->dismissed || slot->recycle;
			continue;
		}
		others->existing++;
		others->leaving++;
		others->request.cpu_millicpu = MAX(others->request.cpu_millicpu, request.cpu_millicpu);
		others->request.mem_bytes = MAX(others->request.mem_bytes, request.mem_bytes);
		others->request.gpus = MAX(others->request.gpus, request.gpus);
	}
}

/* Say it once, and again when what is missing is something else. */
static void
explain(struct api *api, const struct capacity *host, const struct capacity *free)
{
	char text[CAPACITY_TEXT_MAX] = "";
	struct capacity request;

	if (!api->retired && newest_of(api) && api->allowed < api->wanted) {
		request = request_of(newest_of(api));
		capacity_explain(host, free, &request, text);
	}
	if (!strcmp(text, api->lacks))
		return;
	if (*text)
		log_warning("api \"%s\": %d of %d replicas: %s", api->name, api->allowed, api->wanted, text);
	else if (!api->retired)
		log_info("api \"%s\": there is room for all %d replicas", api->name, api->wanted);
	memcpy(api->lacks, text, sizeof(text));
}

void
scale_share(struct supervisor *supervisor)
{
	const struct capacity *host = &supervisor->scale.host;
	struct capacity_api *entries = xcalloc(2 * supervisor->n_apis + 1, sizeof(*entries));
	struct capacity free_room;
	size_t n = 0;

	for (size_t i = 0; i < supervisor->n_apis; i++, n += 2)
		fill_entries(supervisor->apis[i], &entries[n], &entries[n + 1]);
	capacity_share(host, entries, n, &free_room);
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		supervisor->apis[i]->allowed = entries[2 * i].allowed;
		supervisor->apis[i]->startable = entries[2 * i].startable;
		explain(supervisor->apis[i], host, &free_room);
	}
	free(entries);
}

/* ---- devices ---- */

bool
scale_equip(struct slot *slot)
{
	struct scale *scale = &slot->supervisor->scale;

	if (!gpu_take(&scale->gpus_in_use, scale->host.gpus, slot->generation->api->compute.gpu, &slot->gpus))
		return false;
	slot->process = ++scale->last_process;
	return true;
}

void
scale_unequip(struct slot *slot)
{
	gpu_give_back(&slot->supervisor->scale.gpus_in_use, &slot->gpus);
}

/* ---- load ---- */

/* As the settings are, but for the CPU request, which is that of the code that runs: a reload may have changed it, and its code not
 * work. */
static struct autoscale_policy
policy_of(const struct api *api)
{
	const struct compute_config *compute = &api->settings->compute;
	const struct autoscaling_config *autoscaling = &api->settings->autoscaling;
	const struct compute_config *running = api->generation ? &api->generation->api->compute : compute;

	return (struct autoscale_policy){
	    .min_replicas = compute->min_replicas,
	    .max_replicas = compute->max_replicas,
	    .target_cpu_percent = compute->target_cpu_utilization,
	    .cpu_millicpu = running->cpu_millicpu,
	    .tolerance_permille = autoscaling->tolerance_percent * 10,
	    .window_ms = autoscaling->window_ms,
	    .downscale_stabilization_ms = autoscaling->downscale_stabilization_ms,
	    .upscale_stabilization_ms = autoscaling->upscale_stabilization_ms,
	    .target_in_flight_milli = autoscaling->target_in_flight_milli,
	};
}

void
scale_add_api(struct api *api)
{
	const struct autoscale_policy policy = policy_of(api);

	autoscaler_init(&api->autoscaler, &policy, clock_ms());
}

void
scale_remove_api(struct api *api)
{
	autoscaler_done(&api->autoscaler);
}

void
scale_set_config(struct supervisor *supervisor)
{
	host_capacity(&supervisor->config->server.capacity, &supervisor->scale.host);
}

/* All replica processes that there are, as roots. */
static size_t
list_roots(const struct supervisor *supervisor, struct usage_root **ret_roots)
{
	struct usage_root *roots = NULL;
	const struct slot *slot;
	size_t n = 0, size = 0;

	for (size_t i = 0; i < supervisor->n_apis; i++)
		TAILQ_FOREACH (slot, &supervisor->apis[i]->slots, in_api) {
			if (slot->pid == 0)
				continue;
			if (n == size) {
				size = size ? 2 * size : 16;
				roots = xrealloc(roots, size, sizeof(*roots));
			}
			roots[n++] = (struct usage_root){.id = slot->process, .pid = slot->pid};
		}
	*ret_roots = roots;
	return n;
}

/* In the order of list_roots. */
static void
keep_usage(struct supervisor *supervisor, const struct usage_root *roots, size_t n, int64_t now_ms)
{
	struct slot *slot;
	size_t at = 0;

	for (size_t i = 0; i < supervisor->n_apis; i++)
		TAILQ_FOREACH (slot, &supervisor->apis[i]->slots, in_api) {
			struct slot_usage *usage = &slot->usage;

			if (slot->pid == 0)
				continue;
			ASSERT(at < n && roots[at].id == slot->process);
			usage->cpu_us = MAX(usage->cpu_us, roots[at].cpu_us);
			usage->rss_kib = roots[at++].rss_kib;
			if (slot->state != SLOT_READY)
				continue;
			usage->readings[usage->n % SLOT_CPU_READINGS].at_ms = now_ms;
			usage->readings[usage->n++ % SLOT_CPU_READINGS].cpu_us = usage->cpu_us;
		}
}

void
scale_note_end(struct slot *slot)
{
	const struct usage *usage = slot->supervisor->scale.usage;

	if (usage && slot->place >= 0)
		slot->usage.cpu_us = MAX(slot->usage.cpu_us, usage_cpu_us(usage, slot->process));
}

int64_t
scale_cpu_millicpu(const struct api *api, int *ret_n)
{
	int64_t millicpu = 0;
	struct slot *slot;

	*ret_n = 0;
	TAILQ_FOREACH (slot, &api->slots, in_api) {
		const struct slot_usage *usage = &slot->usage;
		unsigned first = usage->n > SLOT_CPU_READINGS ? usage->n - SLOT_CPU_READINGS : 0;
		unsigned last = usage->n - 1;
		int64_t ms, us;

		if (slot->state != SLOT_READY || usage->n < 2)
			continue;
		first %= SLOT_CPU_READINGS;
		last %= SLOT_CPU_READINGS;
		ms = usage->readings[last].at_ms - usage->readings[first].at_ms;
		us = usage->readings[last].cpu_us - usage->readings[first].cpu_us;
		millicpu += us / MAX(ms, 1);
		++*ret_n;
	}
	return millicpu;
}

static void
feed(const struct supervisor *supervisor, struct api *api, int64_t now_ms)
{
	struct autoscale_sample *samples;
	const struct slot *slot;
	size_t n = 0;

	TAILQ_FOREACH (slot, &api->slots, in_api)
		n++;
	samples = xcalloc(n + 1, sizeof(*samples));
	n = 0;
	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (!slot->dismissed && slot->pid != 0)
			samples[n++] = (struct autoscale_sample){
			    .id = slot->process,
			    .ready_since_ms = slot->state == SLOT_READY ? slot->ready_since_ms : -1,
			    .cpu_us = usage_cpu_us(supervisor->scale.usage, slot->process),
			};
	autoscaler_sample(&api->autoscaler, now_ms, samples, n, board_in_flight(&supervisor->board, api->number));
	free(samples);
}

static void
decide(struct api *api, int64_t now_ms)
{
	const struct autoscale_policy policy = policy_of(api);
	const struct autoscale_decision *told;
	char reason[AUTOSCALE_REASON_MAX];
	int wanted;

	autoscaler_set_policy(&api->autoscaler, &policy);
	wanted = autoscaler_decide(&api->autoscaler, now_ms, api->wanted, &told);
	if (told) {
		autoscale_reason(told, reason);
		log_info("api \"%s\": %s", api->name, reason);
	}
	if (wanted != api->wanted) {
		api->wanted = wanted;
		supervisor_compare_soon(api->supervisor);
	}
}

static void
tick_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct supervisor *supervisor = arg;
	struct usage_root *roots;
	size_t n = list_roots(supervisor, &roots);
	int64_t now_ms = clock_ms();

	if (usage_sample(supervisor->scale.usage, roots, n) < 0)
		log_debug("the CPU time of some processes could not be read");
	keep_usage(supervisor, roots, n, now_ms);
	free(roots);
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		struct api *api = supervisor->apis[i];

		if (api->retired || !api->generation)
			continue;
		feed(supervisor, api, now_ms);
		decide(api, now_ms);
	}
}

int
scale_init(struct supervisor *supervisor, struct error *err)
{
	static const struct timeval second = {AUTOSCALE_SAMPLE_MS / 1000, 0};
	struct scale *scale = &supervisor->scale;

	scale->usage = usage_new(USAGE_READS_MAX);
	host_capacity(&supervisor->config->server.capacity, &scale->host);
	event_assign(&scale->tick, supervisor->base, -1, EV_PERSIST, tick_cb, supervisor);
	if (event_add(&scale->tick, &second) < 0)
		return error_set(err, -ENOMEM, "cannot set a timer");
	return 0;
}

void
scale_done(struct supervisor *supervisor)
{
	if (!supervisor->scale.usage)
		return;
	event_del(&supervisor->scale.tick);
	usage_free(supervisor->scale.usage);
}
