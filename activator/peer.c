/*
 * peer - the channel to one replica.
 *
 * A replica that dies does not end its channel at once: its keeper still sends what it left (replica/keeper.h). The end
 * comes after that, when every copy of the other side is closed, and it means that all is dealt with: then, and not before,
 * the replica's slot is DEAD and may be used again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "activator/activator.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/record.h"

/*
 * Rule: whether anybody can accept follows from the states, which are looked at when a record says so, and at the end. One
 * that is sent a request after a long prediction is presumed to begin another one, and told so: it takes the state LONG by
 * itself, and need not send a record for it. A record that is read while it is CLAIMED has left before the claim, and says
 * nothing about that.
 */
static void
set_out(struct peer *peer, bool out)
{
	struct activator *activator = peer->api->activator;

	if (out != peer->out) {
		peer->out = out;
		activator->n_out += out ? 1 : -1u;
	}
	activator_consider_listening(activator);
}

static enum replica_state
look(struct peer *peer)
{
	enum replica_state state = (enum replica_state)atomic_load(&peer->slot->state);

	peer->was_long = peer->was_long || state == REPLICA_LONG;
	if (state != REPLICA_CLAIMED)
		peer->presumed = false;
	set_out(peer, !peer->greeted || peer->presumed || replica_state_is_out(state));
	return state;
}

/* Everything that it sent was read. */
static void
end_peer(struct peer *peer, bool bad)
{
	struct activator *activator = peer->api->activator;
	struct api *api = peer->api;

	event_del(&peer->event);
	fd_close(&peer->channel);
	atomic_store(&peer->slot->state, REPLICA_DEAD);
	set_out(peer, true);
	activator->n_out--;
	activator->n_peers--;
	TAILQ_REMOVE(&api->peers, peer, in_api);
	if (record_send_numbers(ACTIVATOR_FD_CONTROL, RECORD_GONE, peer->slot_number, bad, -1) < 0)
		log_debug("the supervisor cannot be told");
	log_debug("replica %s/%u: channel ended", api->config.name, peer->slot->replica);
	free(peer);
	activator_consider_listening(activator);
	activator_sweep(activator);
	if (!api->config.routed && TAILQ_EMPTY(&api->peers))
		apis_route_queue(api);
	else
		queue_dispatch(api);
}

static void
take_connections(struct peer *peer, const struct channel_record *record, const int *fds)
{
	struct activator *activator = peer->api->activator;
	const uint8_t *bytes = record->bytes;

	for (unsigned i = 0; i < record->n_conns; i++) {
		const struct channel_conn *conn = &record->conns[i];

		if (!http_is_stream_socket(fds[i])) { /* the predictor has closed it, and opened something else */
			log_warning("replica %s/%u: lost a connection, whose descriptor is something else now",
			    peer->api->config.name, peer->slot->replica);
			close(fds[i]);
			atomic_fetch_sub(&activator->scoreboard->connections, 1);
			bytes += conn->n_request + conn->n_answer;
			continue;
		}
		activator->arriving = conn->arrival_ns != 0;
		activator->failed = conn->state == CHANNEL_CONN_FAILED ? peer->api : NULL;
		http_conns_arrive(&activator->conns, conn, fds[i], bytes);
		activator->arriving = false;
		activator->failed = NULL;
		bytes += conn->n_request + conn->n_answer;
		if (conn->state != CHANNEL_CONN_FAILED)
			continue;
		log_warning("500 POST %s: replica %s/%u died while it ran this prediction", peer->api->config.endpoint,
		    peer->api->config.name, peer->slot->replica);
		activator_log_answer(activator, peer->api, 500, conn->since_ms * 1000000);
	}
}

/* False: it has no sense, coming from a replica. */
static bool
take_record(struct peer *peer, const struct channel_record *record, const int *fds)
{
	bool had = record->again && record->sequence <= peer->sequence;

	if (!record->again && record->sequence != 0)
		peer->sequence = record->sequence;
	peer->greeted = true;
	switch (record->kind) {
	case CHANNEL_REQUEST:
		close(fds[0]);
		return false;
	case CHANNEL_MOVE:
		if (!had)
			take_connections(peer, record, fds);
		for (unsigned i = 0; had && i < record->n_conns; i++)
			close(fds[i]); /* a second descriptor of what came with the first record */
		break;
	case CHANNEL_STATE:
		break; /* what it says is on the scoreboard */
	case CHANNEL_IDLE:
		/* It has kept its connection: either it was short, or there was nobody to give it to. */
		if (peer->presumed && atomic_load(&peer->slot->state) != REPLICA_CLAIMED)
			peer->was_long = false;
		break;
	}
	return true;
}

/* One record: there is rarely more, and if there is, the next turn of the loop has it. */
static void
on_channel_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct peer *peer = arg;
	struct activator *activator = peer->api->activator;
	struct channel_record record;
	int fds[CHANNEL_CONNS_MAX], r;

	r = channel_receive(peer->channel, &activator->inbox, &record, fds);
	if (r == 1) {
		if (!take_record(peer, &record, fds))
			r = -EBADMSG;
		channel_release(&activator->inbox, &record);
	}
	if (r == 1) {
		if (look(peer) == REPLICA_LONG)
			activator_sweep(activator);
		queue_dispatch(peer->api);
	} else if (r == -EMFILE || r == -ENOMEM) {
		log_error("replica %s/%u: lost what it handed over: %s", peer->api->config.name, peer->slot->replica,
		    strerror(-r));
	} else if (r != -EAGAIN) {
		if (r < 0)
			log_error("replica %s/%u: bad record on its channel; ending it", peer->api->config.name,
			    peer->slot->replica);
		end_peer(peer, r < 0);
	}
}

void
peer_add(struct activator *activator, uint32_t slot_number, int channel)
{
	struct scoreboard_slot *slot = &activator->scoreboard->slots[MIN(slot_number, SCOREBOARD_SLOTS_MAX - 1)];
	uint32_t api = *(volatile uint32_t *)&slot->api; /* once: replicas can write to it */
	struct peer *peer;

	if (slot_number >= SCOREBOARD_SLOTS_MAX || api >= activator->n_apis || !activator->apis[api]) {
		log_error("a replica in slot %u of api %u, which there is not", slot_number, api);
		close(channel);
		if (record_send_numbers(ACTIVATOR_FD_CONTROL, RECORD_GONE, slot_number, true, -1) < 0)
			log_debug("the supervisor cannot be told");
		return;
	}
	peer = xcalloc(1, sizeof(*peer));
	peer->api = activator->apis[api];
	peer->slot = slot;
	peer->slot_number = slot_number;
	peer->channel = channel;
	peer->out = true;
	TAILQ_INSERT_TAIL(&peer->api->peers, peer, in_api);
	activator->n_peers++;
	activator->n_out++;
	event_assign(&peer->event, activator->base, channel, EV_READ | EV_PERSIST, on_channel_cb, peer);
	if (event_add(&peer->event, NULL) < 0) {
		log_error("cannot watch the channel of a replica");
		end_peer(peer, true);
		return;
	}
	activator_consider_listening(activator);
}

bool
peer_claim(struct peer *peer)
{
	uint32_t idle = REPLICA_IDLE;

	if (peer->owed) { /* it gives such a claim up after a second */
		peer->owed = false;
		if (atomic_load(&peer->slot->state) == REPLICA_CLAIMED)
			return true;
	}
	return atomic_compare_exchange_strong(&peer->slot->state, &idle, REPLICA_CLAIMED);
}

bool
peer_send(struct peer *peer, struct http_conn *conn)
{
	struct http_departure *departure = &peer->api->activator->departure;
	int r;

	ASSERT(http_departure_add(departure, conn)); /* nothing else is in it */
	peer->presumed = peer->was_long;
	r = http_departure_send(
	    departure, peer->channel, CHANNEL_REQUEST, 1, peer->presumed ? CHANNEL_PRESUMED_LONG : 0, false);
	if (r == 0) {
		if (peer->presumed)
			set_out(peer, true);
		return true;
	}
	/* It stays CLAIMED. Put back to IDLE, one that dies would be claimed for ever, until its end is read. */
	peer->presumed = false;
	if (r == -EPIPE) {
		peer->broken = true;
	} else {
		log_warning("replica %s/%u: cannot send it a request now: %s", peer->api->config.name,
		    peer->slot->replica, strerror(-r));
		peer->owed = true;
	}
	return false;
}
