/*
 * keeper - a small process beside each replica that outlives it and hands its connections on.
 *
 * The keeper shares the replica's table of descriptors (clone(2), CLONE_FILES) and the memory of its connections
 * (http/memory.h), but not the rest of its memory. So however the replica ends - SIGKILL, a crash, out of memory, os._exit,
 * exec - its connections are still open, and what it had read is still there. The keeper sleeps on a robust mutex that the
 * replica's main thread holds for life: the kernel wakes it at the very beginning of the end, before it has freed the
 * replica's memory (measured: 0.1 ms, where a replica of 1 GiB takes 66 ms to be gone). Then it sends the connections to
 * the activator, as the replica itself would have, and ends; only then does the activator see the end of the channel.
 *
 * What is lost with a replica is the prediction that ran, and nothing else: its client gets a 500.
 *
 * Nothing is paid for this while the replica lives but the stores into the shared memory.
 */
#ifndef REPLICA_KEEPER_H
#define REPLICA_KEEPER_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/channel.h"
#include "common/error.h"
#include "common/metrics.h"
#include "common/util.h"
#include "http/memory.h"

/* What replica and keeper share beside the connections. */
struct keeper {
	pthread_mutex_t main_alive;     /* robust: held by the main thread */
	pthread_mutex_t helper_alive;   /* robust: held by the helper thread once it runs */
	_Atomic(int32_t) *n_everywhere; /* open connections of all processes; mapped in both */
	_Atomic(uint32_t) *n_open; /* those of the replica: what is left in the end was lost with it; mapped in both */
	_Atomic(int) channel;      /* the descriptor to the activator */
	struct metrics_area *metrics; /* of the replica; mapped in both; NULL: none */
	struct channel_inbox inbox;   /* where the replica receives requests */
};

/*
 * Start it. Early, while the process is small (or shares what it has with its template), has no other thread and no client:
 * the keeper keeps a copy of its memory.
 * The calling thread is the main thread from now on. title: what the keeper is called in process lists. 0 and *ret_keeper,
 * or a negative errno and err. It is a child of the replica's parent, in a process group of its own.
 */
MUSTCHECK int keeper_start(struct http_memory *memory, _Atomic(int32_t) *n_everywhere, _Atomic(uint32_t) *n_open,
    struct metrics_area *metrics, int channel, const char *title, struct keeper **ret_keeper, struct error *err);

/* The helper thread has begun; to be called by it. */
void keeper_helper_runs(struct keeper *keeper);

/* Send on what the dead replica has left. For the keeper itself, and tests. The number of connections that were sent. */
unsigned keeper_hand_on(struct keeper *keeper, struct http_memory *memory);

#endif
