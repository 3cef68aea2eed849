/*
 * replica - what the supervisor does to the process in a slot, and what it hears from it.
 *
 * Every event goes through slot_handle; the functions here carry out the action and keep the deadline of the state.
 * They run in the supervisor's loop, never block, and never free a slot.
 */
#ifndef SUPERVISOR_REPLICA_H
#define SUPERVISOR_REPLICA_H

#include "common/config.h"
#include "supervisor/slot.h"

#define REPLICA_START_TIMEOUT_MS (10 * 60 * 1000) /* from fork to READY */
#define REPLICA_EXIT_GRACE_MS    5000             /* from one signal to the next stronger one */

/* Start with an empty slot. supervisor->base must be there already; api is borrowed. */
void replica_init(struct slot *slot, struct supervisor *supervisor, const struct api_config *api, int index);

/* The slot is empty and should not be: start a process, or wait until its backoff is over. */
void replica_start(struct slot *slot);

/* The slot should be empty and is not: end the process, the gentle way. Nothing when that is under way. */
void replica_unwanted(struct slot *slot);

/* Do not wait for the deadline of a drain (kill false), or of SIGTERM (kill true). Nothing in other states. */
void replica_hurry(struct slot *slot, bool kill);

/* waitpid gave this status for the slot's pid. */
void replica_reaped(struct slot *slot, int wait_status);

/* Let go of descriptors and events. For the end of the supervisor. */
void replica_done(struct slot *slot);

#endif
