/*
 * link - a replica's side of its channel to the activator, and its slot of the scoreboard.
 *
 * Used by whoever has the turn (turn.h). When the activator dies the link is down until the supervisor brings a new channel;
 * the replica keeps its connections meanwhile.
 */
#ifndef REPLICA_LINK_H
#define REPLICA_LINK_H

#include "common/channel.h"
#include "common/scoreboard.h"
#include "common/util.h"
#include "http/conn.h"
#include "replica/keeper.h"

struct link {
	int channel;       /* -1: down */
	int spare;         /* a descriptor whose place a request may take */
	uint32_t sequence; /* of the last record that left */
	struct keeper *keeper;
	struct scoreboard *scoreboard;
	struct scoreboard_slot *slot; /* ours */
	struct scoreboard_api *api;   /* ours */
	struct http_departure departure;
};

void link_init(struct link *link, struct scoreboard *scoreboard, uint32_t slot, struct keeper *keeper, int channel);

/* Take another channel; the old one must have been read to its end. -1: none. */
void link_set_channel(struct link *link, int channel);

static inline bool
link_is_up(const struct link *link)
{
	return link->channel >= 0;
}

static inline enum replica_state
link_state(const struct link *link)
{
	return atomic_load(&link->slot->state);
}

/* seq_cst: the activator stores `waiting` and then scans the states, we store the state and then load `waiting`. */
static inline void
link_set_state(struct link *link, enum replica_state state)
{
	atomic_store(&link->slot->state, state);
}

/* False: it was another one by now. */
MUSTCHECK bool link_swap_state(struct link *link, enum replica_state from, enum replica_state to);

/* When the head of our api's queue arrived, while no replica is idle; 0: nobody waits. */
static inline int64_t
link_waiting_ns(const struct link *link)
{
	return atomic_load(&link->api->waiting_ns);
}

/* "Look at my slot": IDLE or STATE. */
void link_send_note(struct link *link, enum channel_kind kind);

/* Put a connection, which the caller has taken out of its own lists, into the next MOVE; sends when that is full. False: the
 * link is down; everything that was added and not sent is still here, as after link_flush. */
MUSTCHECK bool link_move(struct link *link, struct http_conn *conn);

static inline bool
link_is_empty(const struct link *link)
{
	return link->departure.parcel.n == 0;
}

/* Send what link_move has gathered. False: the link is down, and those connections are still here. */
MUSTCHECK bool link_flush(struct link *link);

/* The next record without waiting, as channel_receive does; into the keeper's inbox, where it is safe. -EMFILE: there is no
 * place for its descriptor; the record is where it was, and the keeper can send it back. */
MUSTCHECK int link_receive(struct link *link, struct channel_record *ret_record, int ret_fds[CHANNEL_CONNS_MAX]);

#endif
