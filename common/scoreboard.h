/*
 * scoreboard - what all processes of one cortexd can see of each other, in shared memory.
 *
 * A slot per replica process, with the state that decides who may be given a request; a word per api, with how long its
 * queue has waited. Every word has few writers, named below; those that are loaded and stored crosswise are seq_cst, on
 * every machine (docs/dataplane.md). The scoreboard overtakes the channels: state is read here, a record only says "look".
 *
 * The supervisor makes it once, larger than it will ever be (only what is touched takes memory), gives each api a range
 * of slots, and a replica a slot of that range for its life. It clears the words of a slot before it forks the replica,
 * and uses a slot again when the process is gone and the activator has dealt with what it left: has set it to DEAD and
 * said so. Where no activator knew the replica, or the one that did has died, the supervisor itself sets it to DEAD.
 */
#ifndef COMMON_SCOREBOARD_H
#define COMMON_SCOREBOARD_H

#include <stdatomic.h>

#include "common/util.h"

#define SCOREBOARD_APIS_MAX  4096
#define SCOREBOARD_SLOTS_MAX (1 << 17)
#define SCOREBOARD_SPARE     16 /* slots of an api beyond compute.max_replicas: processes whose end is being dealt with */

/* Who may set it: S supervisor, R replica, A activator. */
enum replica_state {
	REPLICA_DEAD,     /* S, A: no process, or none that anything may be expected of */
	REPLICA_STARTING, /* S: forked; Python and init() may take minutes */
	REPLICA_IDLE,     /* R: blocks or is about to; A may claim it */
	REPLICA_CLAIMED,  /* A, from IDLE by compare-and-swap: a REQUEST is on its way */
	REPLICA_BUSY,     /* R: serves, and looks at its sockets in between */
	REPLICA_LONG,     /* R: a prediction takes long; its other connections have moved away */
	REPLICA_DRAINING, /* R: on its way out */
};

struct scoreboard_slot {
	_Alignas(128) _Atomic(uint32_t) state; /* enum replica_state */
	_Atomic(uint32_t) connections;         /* R: that it owns */
	_Atomic(int64_t) idle_since_ns;        /* R: CLOCK_MONOTONIC; INT64_MAX: it offers itself but is not idle */
	_Atomic(uint64_t) predictions;         /* R: that have ended */
	_Atomic(uint32_t) pending; /* R: requests that wait here for their prediction, as of the last turn */
	uint32_t api;              /* S: number of its api */
	uint32_t replica;          /* S: index within the api, for people */
	_Atomic(uint32_t) counts;  /* S: not 0: its metrics (metrics.h) are part of the api's */
};

struct scoreboard_api {
	_Alignas(64) _Atomic(int64_t) waiting_ns; /* A: arrival of the head of its queue while nobody is idle, else 0 */
	uint32_t first_slot;                      /* S */
	uint32_t n_slots;                         /* S: of its range */
	_Atomic(uint32_t) n_used;                 /* S: those beyond were never used */
	_Atomic(uint32_t) n_queued;               /* A: requests in its queue */
};

struct scoreboard {
	/* R, A: open client connections of all processes together, as far as that is known: it may be off by a few after an
	 * activator has died, even below 0. */
	_Alignas(64) _Atomic(int32_t) connections;
	_Atomic(uint64_t) log_lost_lines; /* the monitor: lines of logs that were lost; S: while there is none */
	struct scoreboard_api apis[SCOREBOARD_APIS_MAX];
	struct scoreboard_slot slots[SCOREBOARD_SLOTS_MAX];
};

const char *replica_state_name(enum replica_state state);

/* Can a replica in this state neither accept a connection soon nor be claimed? */
static inline bool
replica_state_is_out(enum replica_state state)
{
	return state == REPLICA_LONG || state == REPLICA_STARTING || state == REPLICA_DRAINING || state == REPLICA_DEAD;
}

/* Make one, with room for metrics.h behind it: 0, its mapping, and a descriptor for children; or a negative errno. */
MUSTCHECK int scoreboard_new(struct scoreboard **ret_scoreboard, int *ret_fd);

/* Map the one that a descriptor is of. 0 or a negative errno. */
MUSTCHECK int scoreboard_map(int fd, struct scoreboard **ret_scoreboard);
void scoreboard_unmap(struct scoreboard *scoreboard); /* NULL is fine */

#endif
