/*
 * scale - how many replicas each api has: what its load asks for (autoscale.h), within what the host has room for
 * (capacity.h).
 *
 * Once a second the CPU time of all replicas is read (usage.h), with the requests that run and wait; every 15 s a decision is
 * made for each api. Room is shared anew with every comparison, before the apis take their steps: an api may have
 * `allowed` replicas, and start `startable` of them now.
 */
#ifndef SUPERVISOR_SCALE_H
#define SUPERVISOR_SCALE_H

#include <event2/event_struct.h>

#include "common/error.h"
#include "supervisor/capacity.h"
#include "supervisor/gpu.h"

struct api;
struct slot;
struct supervisor;
struct usage;

struct scale {
	struct capacity host;
	struct usage *usage;
	struct gpu_set gpus_in_use;
	struct event tick;
	uint64_t last_process; /* number of the last replica process */
};

/* 0, or a negative errno and err. */
MUSTCHECK int scale_init(struct supervisor *supervisor, struct error *err);
void scale_done(struct supervisor *supervisor);

/* The config is another one: its server.capacity counts. */
void scale_set_config(struct supervisor *supervisor);

/* For a new api, and one that ends. */
void scale_add_api(struct api *api);
void scale_remove_api(struct api *api);

/* Say how many replicas each api may have, and may start. Before each comparison. */
void scale_share(struct supervisor *supervisor);

/* A replica's process has ended, and usage_before_reap was told: what it has used in all. Nothing for other slots. */
void scale_note_end(struct slot *slot);

/* CPU that the replicas of an api use, as a mean over the last seconds, in thousandths of one; of those that are ready and were measured,
 * whose number is *ret_n. */
int64_t scale_cpu_millicpu(const struct api *api, int *ret_n);

/* A replica's process is about to be started: give it a number of its own, and the devices that it asks for; false: there are
 * not so many free. When it is gone, they are free again. */
MUSTCHECK bool scale_equip(struct slot *slot);
void scale_unequip(struct slot *slot);

#endif
