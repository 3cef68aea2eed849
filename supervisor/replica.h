/*
 * replica - the child that runs one copy of a predictor: how it is started, and what its records mean.
 */
#ifndef SUPERVISOR_REPLICA_H
#define SUPERVISOR_REPLICA_H

#include "common/config.h"
#include "supervisor/slot.h"

/* How long a prediction may go on after its client was answered for it, until its replica is killed. */
#define REPLICA_OVERDUE_GRACE_MS 5000

/* Start with an empty slot; api_number is its number, config is borrowed. */
void replica_init(
    struct slot *slot, struct supervisor *supervisor, uint32_t api_number, const struct api_config *config, int index);

#endif
