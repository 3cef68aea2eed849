/*
 * activator - see activator.h.
 */
#include "supervisor/activator.h"

#include <errno.h>
#include <event2/event.h>
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

static char *
make_start_record(const struct supervisor *supervisor)
{
	const struct config *config = supervisor->config;
	struct activator_start start = {
	    .n_apis = config->n_apis,
	    .n_listeners = (int)supervisor->n_listeners,
	    .stop_timeout_ms = supervisor->options.stop_timeout_ms,
	    .log_format = config->server.log_format,
	    .log_level = config->server.log_level,
	};
	char *text;

	start.apis = xcalloc(config->n_apis, sizeof(*start.apis));
	for (size_t i = 0; i < config->n_apis; i++)
		start.apis[i] = (struct activator_api){
		    .name = config->apis[i].name,
		    .endpoint = config->apis[i].endpoint,
		    .timeout_ms = config->apis[i].timeout_ms,
		    .max_body_bytes = config->apis[i].max_body_bytes,
		    .max_queue_length = config->apis[i].max_queue_length,
		};
	text = activator_start_encode(&start);
	free(start.apis);
	return text;
}

static int
spawn_activator(struct slot *slot, int control, struct error *err)
{
	const struct supervisor *supervisor = slot->supervisor;
	size_t n_fds = ACTIVATOR_FD_LISTENER + supervisor->n_listeners;
	char *text = make_start_record(supervisor);
	int *fds, start, r;

	start = memfd_sealed("cortexd-start", text, strlen(text));
	free(text);
	if (start < 0)
		return error_set(err, start, "cannot make its start record: %s", strerror(-start));
	fds = xcalloc(n_fds, sizeof(*fds));
	fds[0] = -1;
	fds[1] = STDOUT_FILENO;
	fds[2] = STDERR_FILENO;
	fds[ACTIVATOR_FD_CONTROL] = control;
	fds[ACTIVATOR_FD_START] = start;
	fds[ACTIVATOR_FD_SCOREBOARD] = supervisor->board.fd;
	for (size_t i = 0; i < supervisor->n_listeners; i++)
		fds[ACTIVATOR_FD_LISTENER + i] = supervisor->listeners[i].fd;
	r = child_exec(slot, supervisor->activator_program, fds, n_fds, err);
	free(fds);
	fd_close(&start);
	return r;
}

void
activator_introduce(struct supervisor *supervisor, uint32_t number)
{
	struct slot *slot = &supervisor->activator;
	struct place *place = &supervisor->board.places[number];
	static const struct timeval moment = {0, 20000};
	int r;

	if (slot->state != SLOT_READY || place->state != PLACE_WAITING || place->channel < 0)
		return;
	r = record_send_numbers(slot->control, RECORD_PEER, number, 0, place->channel);
	if (r < 0) {
		/* It does not read as fast as we write, or is dying: tell it later, or the next one. */
		if (r != -EPIPE)
			evtimer_add(&supervisor->introduce_event, &moment);
		return;
	}
	fd_close(&place->channel);
	place->state = PLACE_GIVEN;
}

static void
introduce_all(struct supervisor *supervisor)
{
	for (uint32_t i = 0; i < supervisor->board.n_places; i++)
		activator_introduce(supervisor, i);
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

/* It has dealt with the end of a channel. The place is free again once the process is gone as well. */
static void
on_peer_gone(struct supervisor *supervisor, uint32_t number, bool bad)
{
	struct place *place = &supervisor->board.places[number];

	if (!place->slot) {
		board_release(&supervisor->board, number);
		return;
	}
	place->state = PLACE_WAITING;
	if (bad)
		child_spoke_nonsense(place->slot, "bad record on its channel");
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

/* Make a replica and the next activator a new channel. */
static void
renew_channel(struct supervisor *supervisor, struct place *place)
{
	int channel[2], r = channel_pair(channel);

	if (r < 0) {
		log_error("%s: cannot make its channel: %s", place->slot->name, strerror(-r));
		return;
	}
	r = record_send_numbers(place->slot->control, RECORD_CHANNEL, 0, 0, channel[1]);
	if (r < 0)
		log_debug("%s: cannot be given a channel: %s", place->slot->name, strerror(-r));
	fd_close(&channel[1]);
	place->channel = channel[0];
	place->state = PLACE_WAITING;
	activator_introduce(supervisor, (uint32_t)(place - supervisor->board.places));
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
	int32_t n_connections = 0;

	for (uint32_t i = 0; i < board->n_places; i++) {
		struct place *place = &board->places[i];

		if (place->state != PLACE_GIVEN)
			continue;
		if (place->slot) {
			n_connections += (int32_t)atomic_load(&board->scoreboard->slots[i].connections);
			if (supervisor->stop_level == STOP_NO)
				renew_channel(supervisor, place);
		} else {
			board_release(board, i);
		}
	}
	for (uint32_t i = 0; i < board->n_apis; i++)
		atomic_store(&board->scoreboard->apis[i].waiting_ns, 0);
	atomic_store(&board->scoreboard->connections, n_connections);
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
