/*
 * child - what the supervisor does to the process in a slot, and what it hears from it, whatever kind of child it is.
 *
 * Every event goes through slot_handle; the functions here carry out the action and keep the deadline of the state.
 * They run in the supervisor's loop, never block, and never free a slot.
 */
#ifndef SUPERVISOR_CHILD_H
#define SUPERVISOR_CHILD_H

#include "common/error.h"
#include "common/record.h"
#include "supervisor/slot.h"

#define CHILD_START_TIMEOUT_MS (10 * 60 * 1000) /* from fork to READY */
#define CHILD_BIRTH_TIMEOUT_MS 30000            /* from being asked for to being there, of one that a template forks */
#define CHILD_EXIT_GRACE_MS    5000             /* from one signal to the next stronger one */

struct program;

/* What differs from kind to kind. */
struct child_kind {
	/* Fork and exec it with this end of its control socket; ours is slot->control. Sets slot->pid and slot->notice, or
	 * slot->unborn. 0, or a negative errno and err. */
	int (*spawn)(struct slot *slot, int control, struct error *err);
	/* It is READY. */
	void (*on_ready)(struct slot *slot);
	/* A record other than READY and FAILED, while it is not on its way out. False: that is nonsense. */
	bool (*on_record)(struct slot *slot, const struct record *record);
	/* It is dead: had it done anything useful since it was ready? */
	bool (*was_useful)(const struct slot *slot);
	/* It has died although nobody had asked for it, or could not be started: why. May be NULL. */
	void (*on_death)(struct slot *slot, enum death_kind kind, const char *text);
	/* The process is gone, and so is its control socket; or it was never there, because spawn failed. */
	void (*on_gone)(struct slot *slot);
	int64_t start_ms;       /* from fork to READY; 0: CHILD_START_TIMEOUT_MS */
	int64_t drain_ms;       /* how long it may drain at most; 0: --stop-timeout */
	int64_t extra_drain_ms; /* how much longer than others it may drain */
	/* How long it may drain at least while cortexd goes on; or NULL. */
	int64_t (*unhurried_drain_ms)(const struct slot *slot);
	const char *overdue; /* what a ready one has done that did not get well in time, for the log */
};

/* Start with an empty slot. supervisor->base must be there already. */
void child_init(struct slot *slot, struct supervisor *supervisor, const struct child_kind *kind, const char *name);

/* The slot is empty and should not be: start a process, or wait until its backoff is over. */
void child_start(struct slot *slot);

/* The slot should be empty and is not: end the process, the gentle way. Nothing when that is under way. */
void child_unwanted(struct slot *slot);

/* cortexd stops: one that drains already may take no longer than those that begin now, and is told. Nothing in other states. */
void child_stopping(struct slot *slot);

/* Do not wait for the deadline of a drain (kill false), or of SIGTERM (kill true). Nothing in other states. */
void child_hurry(struct slot *slot, bool kill);

/* It broke a protocol: say so and kill it. Nothing when it is on its way out. */
void child_spoke_nonsense(struct slot *slot, const char *what);

/* A ready child has so long to get well, or is killed. 0: it is well. */
void child_set_patience(struct slot *slot, int64_t ms);

/* For spawn: fork and exec a program of ours with these descriptors (spawn.h); program must outlive the slot. */
MUSTCHECK int child_exec(
    struct slot *slot, const struct program *program, const int *fds, size_t n_fds, struct error *err);

/* Hear now what an unborn process has said: it may be dead already, and nobody else knows whose it is. */
void child_hear_unborn(struct slot *slot);

/* waitpid gave this status for the slot's pid. */
void child_reaped(struct slot *slot, int wait_status);

/* Let go of descriptors and events. For the end of the supervisor. */
void child_done(struct slot *slot);

#endif
