/*
 * replica - see replica.h.
 */
#include "supervisor/replica.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/channel.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/start_record.h"
#include "supervisor/activator.h"
#include "supervisor/cgroup.h"
#include "supervisor/child.h"
#include "supervisor/supervisor.h"
#include "supervisor/template.h"

static bool
sets(const struct predictor_config *predictor, const char *name)
{
	for (size_t i = 0; i < predictor->n_env; i++)
		if (!strcmp(predictor->env[i].name, name))
			return true;
	return false;
}

/*
 * predictor.env and, where there are devices, those that the replica has to itself; none hides them all. A user who names
 * devices wants these.
 */
static size_t
make_environment(const struct slot *slot, struct env_var **ret_env, char devices[GPU_TEXT_MAX])
{
	static char name[] = "CUDA_VISIBLE_DEVICES";
	const struct predictor_config *predictor = &slot->generation->api->predictor;
	struct env_var *env = xcalloc(predictor->n_env + 1, sizeof(*env));
	size_t n = predictor->n_env;

	if (n > 0)
		memcpy(env, predictor->env, n * sizeof(*env));
	if (slot->supervisor->scale.host.gpus > 0 && !sets(predictor, name)) {
		gpu_name(&slot->gpus, getenv(name), devices);
		env[n++] = (struct env_var){.name = name, .value = devices};
	}
	*ret_env = env;
	return n;
}

/* In a memfd: the descriptor, or a negative errno and err. */
static int
make_start_record(const struct slot *slot, enum preload preload, struct error *err)
{
	char devices[GPU_TEXT_MAX], *text;
	int fd;
	struct env_var *env;
	size_t n_env = make_environment(slot, &env, devices);
	const struct generation *generation = slot->generation;
	const struct config *config = generation->config;
	const struct api_config *api = generation->api;
	struct start_record start = {
	    .api = api->name,
	    .replica = slot->index,
	    .preload = preload,
	    .endpoint = api->endpoint,
	    .project_folder = config->folder,
	    .kind = api->kind,
	    .implementation = api->predictor.path,
	    .model_path = generation->model_path,
	    .signature_key = api->predictor.signature_key,
	    .python_path = api->predictor.python_path,
	    .tracker = api->tracker.type,
	    .tracker_key = api->tracker.key,
	    .metadata_json = api->predictor.metadata_json,
	    .python = generation->python,
	    .env = env,
	    .n_env = n_env,
	    .n_listeners = (int)generation->listeners->n,
	    .accepts = slot->accepts,
	    .slot = MAX(slot->place, 0),
	    .max_body_bytes = api->max_body_bytes,
	    .timeout_ms = api->timeout_ms,
	    .cpu_millicpu = api->compute.cpu_millicpu,
	    .stop_timeout_ms = slot->supervisor->options.stop_timeout_ms,
	    .recycle_requests = api->recycle.max_requests,
	    .recycle_jitter_percent = api->recycle.jitter_percent,
	    .recycle_mem_bytes = api->recycle.max_mem_bytes,
	    .log_format = config->server.log_format,
	    .log_level = config->server.log_level,
	    .log_access = config->server.log_access,
	};

	if (slot->output)
		snprintf(start.log_secret, sizeof(start.log_secret), "%s", slot->supervisor->outputs.secret);
	text = start_record_encode(&start);
	free(env);
	fd = memfd_sealed("cortexd-start", text, strlen(text));
	free(text);
	return fd < 0 ? error_set(err, fd, "cannot make its start record: %s", strerror(-fd)) : fd;
}

/* With the descriptors that start_record.h fixes. */
int
replica_exec(struct slot *slot, enum preload preload, int control, int channel, struct error *err)
{
	const struct supervisor *supervisor = slot->supervisor;
	const struct listeners *listeners = slot->generation->listeners;
	size_t n_fds = REPLICA_FD_LISTENER + listeners->n;
	int output = output_open(slot, preload == PRELOAD_NONE ? "replica" : "template", slot->generation->api->name);
	int start = make_start_record(slot, preload, err), *fds, r;

	if (start < 0) {
		fd_close(&output);
		return start;
	}
	fds = xcalloc(n_fds, sizeof(*fds));
	fds[0] = -1;
	fds[1] = output >= 0 ? output : STDOUT_FILENO;
	fds[2] = output >= 0 ? output : STDERR_FILENO;
	fds[REPLICA_FD_CONTROL] = control;
	fds[REPLICA_FD_START] = start;
	fds[REPLICA_FD_SCOREBOARD] = supervisor->board.fd;
	fds[REPLICA_FD_CHANNEL] = channel;
	for (size_t i = 0; i < listeners->n; i++)
		fds[REPLICA_FD_LISTENER + i] = listeners->all[i]->listener.fd;
	r = child_exec(slot, &supervisor->replica_program, fds, n_fds, err);
	free(fds);
	fd_close(&start);
	fd_close(&output);
	outputs_give(slot->supervisor);
	return r;
}

static int
fork_replica(struct slot *slot, int control, int channel, struct error *err)
{
	int output = output_open(slot, "replica", slot->generation->api->name);
	int start = make_start_record(slot, PRELOAD_NONE, err), r = start;

	if (start >= 0)
		r = template_fork(slot->template, slot, control, start, output, channel, err);
	fd_close(&start);
	fd_close(&output);
	outputs_give(slot->supervisor);
	return r;
}

static int
spawn_replica(struct slot *slot, int control, struct error *err)
{
	struct board *board = &slot->supervisor->board;
	int channel[2] = {-1, -1}, r;

	if (!scale_equip(slot))
		return error_set(err, -EBUSY, "too few gpus are free");
	slot->place = board_take(board, slot->api, (uint32_t)slot->index, slot);
	if (slot->place < 0)
		return error_set(err, slot->place, "all its places are taken by processes that have not ended yet");
	r = channel_pair(channel);
	if (r < 0)
		return error_set(err, r, "cannot make its channel: %s", strerror(-r));
	if (!slot->template) /* which has forked it into its own group */
		slot->cgroup = cgroup_new(slot->supervisor->cgroups,
		    &(struct cgroup_request){.api = slot->generation->api->name,
			.index = slot->index,
			.cpu_millicpu = slot->generation->api->compute.cpu_millicpu,
			.mem_bytes = slot->generation->api->compute.mem_bytes});
	r = slot->template ? fork_replica(slot, control, channel[1], err)
			   : replica_exec(slot, PRELOAD_NONE, control, channel[1], err);
	if (r == 0) {
		board->places[slot->place].channel = channel[0];
		channel[0] = -1;
		activator_introduce(slot->supervisor, (uint32_t)slot->place);
	}
	fd_close(&channel[0]);
	fd_close(&channel[1]);
	return r;
}

static void
on_ready(struct slot *slot)
{
	struct api *api = supervisor_find_api(slot->supervisor, slot->api);

	if (slot->generation == api->generation && api->history.serves_since_ms == 0)
		api->history.serves_since_ms = slot->ready_since_ms;
}

static void
on_death(struct slot *slot, enum death_kind death, const char *text)
{
	api_note_death(supervisor_find_api(slot->supervisor, slot->api), slot, death, text);
}

static bool
on_record(struct slot *slot, const struct record *record)
{
	switch (record->kind) {
	case RECORD_OVERDUE:
		child_set_patience(slot, REPLICA_OVERDUE_GRACE_MS);
		return true;
	case RECORD_BACK:
		child_set_patience(slot, 0);
		return true;
	case RECORD_RECYCLE:
		log_info("%s: asks to be replaced: %s", slot->name, record->text);
		slot->recycle = true;
		supervisor_compare_soon(slot->supervisor);
		return true;
	default:
		return false;
	}
}

static bool
was_useful(const struct slot *slot)
{
	const struct scoreboard *scoreboard = slot->supervisor->board.scoreboard;

	return slot->place >= 0 && atomic_load(&scoreboard->slots[slot->place].predictions) > 0;
}

static void
on_gone(struct slot *slot)
{
	struct board *board = &slot->supervisor->board;
	struct place *place;

	slot->recycle = false;
	supervisor_find_api(slot->supervisor, slot->api)->history.cpu_gone_us += slot->usage.cpu_us;
	slot->usage = (struct slot_usage){.n = 0};
	scale_unequip(slot);
	cgroup_drop(slot->cgroup);
	slot->cgroup = NULL;
	if (slot->place < 0)
		return;
	place = &board->places[slot->place];
	place->slot = NULL;
	/* Whoever was started may have left connections in its channel: an activator has to look at it first. */
	if (place->state == PLACE_WAITING && place->channel < 0)
		board_release(board, (uint32_t)slot->place);
	slot->place = -1;
}

/* What it has accepted is answered by then, with a 504 if need be. */
static int64_t
unhurried_drain_ms(const struct slot *slot)
{
	return slot->generation->api->timeout_ms + REPLICA_OVERDUE_GRACE_MS;
}

static const struct child_kind kind = {
    .spawn = spawn_replica,
    .on_ready = on_ready,
    .on_record = on_record,
    .was_useful = was_useful,
    .on_death = on_death,
    .on_gone = on_gone,
    .unhurried_drain_ms = unhurried_drain_ms,
    .overdue = "its prediction still runs",
};

void
replica_init(struct slot *slot, struct api *api, struct generation *generation, int index)
{
	char name[SLOT_NAME_MAX];

	snprintf(name, sizeof(name), "replica %.63s/%d", api->name, index);
	child_init(slot, api->supervisor, &kind, name);
	slot->generation = generation_ref(generation);
	slot->api = api->number;
	slot->index = index;
}

bool
replica_is_idle(const struct slot *slot)
{
	const struct scoreboard *scoreboard = slot->supervisor->board.scoreboard;

	return slot->place >= 0 && atomic_load(&scoreboard->slots[slot->place].state) == REPLICA_IDLE;
}
