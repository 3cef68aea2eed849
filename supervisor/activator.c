/*
 * activator - see activator.h.
 */
#include "supervisor/activator.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/activator_start.h"
#include "common/channel.h"
#include "common/fd.h"
#include "common/log.h"
#include "supervisor/child.h"
#include "supervisor/supervisor.h"

/* It has nothing to lose by being there again soon. */
#define BACKOFF_FIRST_MS 50
#define BACKOFF_LIMIT_MS 5000
#define BACKOFF_RESET_MS 10000

#define AGAIN_MS 50 /* after which what could not be given to a child is tried once more */

static char *
make_start_record(const struct supervisor *supervisor)
{
	const struct config *config = supervisor->config;
	struct activator_start start = {
	    .n_apis = supervisor->n_apis,
	    .n_listeners = (int)supervisor->listeners->n,
	    .accepts = supervisor->activator.accepts,
	    .stop_timeout_ms = supervisor->options.stop_timeout_ms,
	    .log_format = config->server.log_format,
	    .log_level = config->server.log_level,
	    .log_access = config->server.log_access,
	};
	char *text;

	if (supervisor->activator.output)
		snprintf(start.log_secret, sizeof(start.log_secret), "%s", supervisor->outputs.secret);
	start.apis = xcalloc(MAX(start.n_apis, 1), sizeof(*start.apis));
	for (size_t i = 0; i < start.n_apis; i++) {
		const struct api *api = supervisor->apis[i];
		const struct api_config *limits = api->generation ? api->generation->api : api->settings;

		start.apis[i] = (struct activator_api){
		    .number = api->number,
		    .name = api->name,
		    .endpoint = api->endpoint,
		    .routed = api->routed,
		    .describes = limits->kind != API_PREDICTOR,
		    .timeout_ms = limits->timeout_ms,
		    .max_body_bytes = limits->max_body_bytes,
		    .max_queue_length = api->settings->max_queue_length,
		};
	}
	text = activator_start_encode(&start);
	free(start.apis);
	return text;
}

static bool
has_new_listeners(const struct supervisor *supervisor)
{
	for (size_t i = 0; i < supervisor->listeners->n; i++)
		if (supervisor->listeners->all[i]->is_new)
			return true;
	return false;
}

static int
spawn_activator(struct slot *slot, int control, struct error *err)
{
	struct supervisor *supervisor = slot->supervisor;
	const struct listeners *listeners = supervisor->listeners;
	size_t n_fds = ACTIVATOR_FD_LISTENER + listeners->n;
	int output = output_open(slot, "activator", ""), *fds, start, r;
	char *text = make_start_record(supervisor);

	start = memfd_sealed("cortexd-start", text, strlen(text));
	free(text);
	if (start < 0) {
		fd_close(&output);
		return error_set(err, start, "cannot make its start record: %s", strerror(-start));
	}
	fds = xcalloc(n_fds, sizeof(*fds));
	fds[0] = -1;
	fds[1] = output >= 0 ? output : STDOUT_FILENO;
	fds[2] = output >= 0 ? output : STDERR_FILENO;
	fds[ACTIVATOR_FD_CONTROL] = control;
	fds[ACTIVATOR_FD_START] = start;
	fds[ACTIVATOR_FD_SCOREBOARD] = supervisor->board.fd;
	for (size_t i = 0; i < listeners->n; i++)
		fds[ACTIVATOR_FD_LISTENER + i] = listeners->all[i]->listener.fd;
	supervisor->apis_untold = false;
	supervisor->listeners_untold = has_new_listeners(supervisor);
	r = child_exec(slot, &supervisor->activator_program, fds, n_fds, err);
	free(fds);
	fd_close(&start);
	fd_close(&output);
	outputs_give(supervisor);
	return r;
}

static void
introduce_later(struct supervisor *supervisor)
{
	static const struct timeval moment = {0, AGAIN_MS * 1000};

	if (!evtimer_pending(&supervisor->introduce_event, NULL))
		evtimer_add(&supervisor->introduce_event, &moment);
}

/* The listeners one by one, each with its number: the activator begins anew with number 0, should a later one not get through. */
static int
send_listeners(const struct supervisor *supervisor)
{
	const struct listeners *listeners = supervisor->listeners;
	int r = 0;

	for (size_t i = 0; r == 0 && i < listeners->n; i++)
		r = record_send_numbers(supervisor->activator.control, RECORD_LISTENER,
		    (uint32_t)i | (listeners->all[i]->is_new ? RECORD_LISTENER_NEW : 0), (uint32_t)listeners->n,
		    listeners->all[i]->listener.fd);
	return r;
}

static int
send_apis(const struct supervisor *supervisor)
{
	char *text = make_start_record(supervisor);
	int fd = memfd_sealed("cortexd-apis", text, strlen(text)), r = fd;

	if (fd >= 0)
		r = record_send_numbers(supervisor->activator.control, RECORD_APIS, 0, 0, fd);
	fd_close(&fd);
	free(text);
	return r;
}

/* What a reload has changed. False: it cannot be told now, and nothing that comes after it may be. */
static bool
tell(struct supervisor *supervisor)
{
	int r = 0;

	if (supervisor->activator.state != SLOT_READY)
		return false;
	if (supervisor->listeners_untold)
		r = send_listeners(supervisor);
	supervisor->listeners_untold = supervisor->listeners_untold && r < 0;
	if (r == 0 && supervisor->apis_untold)
		r = send_apis(supervisor);
	supervisor->apis_untold = supervisor->apis_untold && r < 0;
	if (r < 0 && r != -EPIPE)
		introduce_later(supervisor);
	return r == 0;
}

void
activator_tell_apis(struct supervisor *supervisor)
{
	supervisor->apis_untold = true;
	tell(supervisor);
}

void
activator_tell_listeners(struct supervisor *supervisor)
{
	supervisor->listeners_untold = true;
	tell(supervisor);
}

static bool
is_lacking(const struct supervisor *supervisor, const struct shared_listener *shared)
{
	const struct slot *slot;

	for (size_t i = 0; i < supervisor->n_apis; i++)
		TAILQ_FOREACH (slot, &supervisor->apis[i]->slots, in_api)
			if (slot->state == SLOT_READY && !listeners_have(slot->generation->listeners, shared))
				return true;
	return false;
}

void
activator_compare_listeners(struct supervisor *supervisor)
{
	bool changed = false;

	for (size_t i = 0; i < supervisor->listeners->n; i++) {
		struct shared_listener *shared = supervisor->listeners->all[i];
		bool is_new = is_lacking(supervisor, shared);

		changed = changed || is_new != shared->is_new;
		shared->is_new = is_new;
	}
	if (changed)
		activator_tell_listeners(supervisor);
}

void
activator_introduce(struct supervisor *supervisor, uint32_t number)
{
	struct slot *slot = &supervisor->activator;
	struct place *place = &supervisor->board.places[number];
	int r;

	if (place->state != PLACE_WAITING || place->channel < 0 || !tell(supervisor))
		return;
	r = record_send_numbers(slot->control, RECORD_PEER, number, 0, place->channel);
	if (r < 0) {
		/* It does not read as fast as we write, or is dying: tell it later, or the next one. */
		if (r != -EPIPE)
			introduce_later(supervisor);
		return;
	}
	fd_close(&place->channel);
	place->state = PLACE_GIVEN;
}

/* Make a replica and the activator a channel. 0 or a negative errno: -EPIPE the replica is dying. */
static int
make_channel(struct place *place)
{
	int channel[2], r = channel_pair(channel);

	if (r < 0)
		return r;
	r = record_send_numbers(place->slot->control, RECORD_CHANNEL, 0, 0, channel[1]);
	fd_close(&channel[1]);
	if (r < 0)
		fd_close(&channel[0]);
	else
		place->channel = channel[0];
	return r;
}

static bool
lacks_channel(const struct place *place)
{
	const struct slot *slot = place->slot;

	return place->state == PLACE_WAITING && place->channel < 0 && slot && (slot->pid != 0 || slot->unborn) &&
	    slot->control >= 0 && slot->state != SLOT_EXITING;
}

/*
 * Whoever lives and has no channel gets one, and the activator is told of those that it does not know. Level-triggered: it
 * does not matter why there is none, and what does not work now is tried again.
 */
static void
introduce_all(struct supervisor *supervisor)
{
	struct board *board = &supervisor->board;
	int failed = 0;

	tell(supervisor);
	for (uint32_t i = 0; i < board->n_places; i++) {
		struct place *place = &board->places[i];

		if (supervisor->stop_level == STOP_NO && lacks_channel(place)) {
			int r = make_channel(place);

			if (r < 0 && r != -EPIPE && failed == 0)
				failed = r;
		}
		activator_introduce(supervisor, i);
	}
	if (failed != 0) {
		if (!supervisor->channels_lack)
			log_error("cannot make channels for replicas: %s; trying again", strerror(-failed));
		introduce_later(supervisor);
	} else if (supervisor->channels_lack) {
		log_info("all replicas have their channels again");
	}
	supervisor->channels_lack = failed != 0;
}

static void
introduce_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	introduce_all(arg);
}

static void
on_ready(struct slot *slot)
{
	introduce_all(slot->supervisor);
}

/*
 * It has dealt with the end of a channel. The place is free again once the process is gone as well, which is soon as a rule.
 * If not, the replica has lost its channel and nothing else.
 */
static void
on_peer_gone(struct supervisor *supervisor, uint32_t number, bool bad)
{
	struct place *place = &supervisor->board.places[number];

	if (!place->slot) {
		board_release(&supervisor->board, number);
		supervisor_compare_soon(supervisor);
		return;
	}
	place->state = PLACE_WAITING;
	if (bad)
		child_spoke_nonsense(place->slot, "bad record on its channel");
	introduce_later(supervisor);
}

static bool
on_record(struct slot *slot, const struct record *record)
{
	struct board *board = &slot->supervisor->board;

	if (record->kind != RECORD_GONE || record->numbers[0] >= board->n_places ||
	    board->places[record->numbers[0]].state != PLACE_GIVEN)
		return false;
	on_peer_gone(slot->supervisor, record->numbers[0], record->numbers[1] != 0);
	return true;
}

static bool
was_useful(UNUSED const struct slot *slot)
{
	return true;
}

/* The connections that it owned are lost; those of the replicas are counted anew. */
static void
on_gone(struct slot *slot)
{
	struct supervisor *supervisor = slot->supervisor;
	struct board *board = &supervisor->board;
	uint64_t n_connections = 0;

	for (uint32_t i = 0; i < board->n_places; i++) {
		struct place *place = &board->places[i];

		if (place->slot)
			n_connections += atomic_load(&board->scoreboard->slots[i].connections);
		if (place->state == PLACE_GIVEN && place->slot)
			place->state = PLACE_WAITING;
		else if (place->state == PLACE_GIVEN)
			board_release(board, i);
	}
	for (uint32_t i = 0; i < board->n_apis; i++) {
		atomic_store(&board->scoreboard->apis[i].waiting_ns, 0);
		atomic_store(&board->scoreboard->apis[i].n_queued, 0);
	}
	atomic_store(&board->scoreboard->connections, (int32_t)MIN(n_connections, (uint64_t)INT32_MAX));
	introduce_all(supervisor);
}

static const struct child_kind kind = {
    .spawn = spawn_activator,
    .on_ready = on_ready,
    .on_record = on_record,
    .was_useful = was_useful,
    .on_gone = on_gone,
    .extra_drain_ms = 2 * CHILD_EXIT_GRACE_MS, /* it ends after the replicas */
};

void
activator_init(struct supervisor *supervisor)
{
	struct slot *slot = &supervisor->activator;

	child_init(slot, supervisor, &kind, "activator");
	evtimer_assign(&supervisor->introduce_event, supervisor->base, introduce_cb, supervisor);
	slot->backoff = (struct backoff){
	    .first_ms = BACKOFF_FIRST_MS,
	    .limit_ms = BACKOFF_LIMIT_MS,
	    .limit_ready_ms = BACKOFF_LIMIT_MS,
	    .reset_ms = BACKOFF_RESET_MS,
	    .useful_ms = -1,
	};
}
