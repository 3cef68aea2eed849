/*
 * replica - the child that runs one copy of a predictor: how it is started, and what its records mean.
 */
#ifndef SUPERVISOR_REPLICA_H
#define SUPERVISOR_REPLICA_H

#include "supervisor/api.h"
#include "supervisor/slot.h"

/* How long a prediction may go on after its client was answered for it, until its replica is killed. */
#define REPLICA_OVERDUE_GRACE_MS 5000

/* Start with an empty slot of the api. */
void replica_init(struct slot *slot, struct api *api, struct generation *generation, int index);

/* For spawn: exec the program for a replica, or, when preload says so, a template. channel: the replica's end, or -1. 0, or a
 * negative errno and err. */
MUSTCHECK int replica_exec(struct slot *slot, enum preload preload, int control, int channel, struct error *err);

/* Does it wait for requests, as far as one can see? */
bool replica_is_idle(const struct slot *slot);

#endif
