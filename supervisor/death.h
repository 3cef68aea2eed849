/*
 * death - why did a replica end? Evidence in, a class and words for the log out.
 *
 * Only what was seen is said. In particular a SIGKILL is called "out of memory" when the kernel has counted such a kill in
 * the cgroup of the replica (cgroup.h). Where it has none, it is called "perhaps out of memory" when the count of the
 * machine grew while the replica lived.
 */
#ifndef SUPERVISOR_DEATH_H
#define SUPERVISOR_DEATH_H

#include "common/record.h"
#include "common/util.h"

#define DEATH_TEXT_MAX (RECORD_TEXT_MAX + 128)

enum death_kind {
	DEATH_TOLD,          /* cortexd told it to end and it did */
	DEATH_START_FAILED,  /* it said FAILED before it was ready, or its program could not be run */
	DEATH_GAVE_UP,       /* it said FAILED later */
	DEATH_START_TIMEOUT, /* not ready in time, so cortexd ended it */
	DEATH_NONSENSE,      /* broke the protocol of the control socket, so cortexd killed it */
	DEATH_OVERDUE,       /* a prediction ran on long after its deadline, so cortexd killed it */
	DEATH_HUNG_UP,       /* closed its control socket and lived on, so cortexd ended it */
	DEATH_EXIT,          /* exit code other than 0 */
	DEATH_EXIT_UNTOLD,   /* exit code 0, but nobody had asked for it */
	DEATH_OUT_OF_MEMORY, /* killed by the kernel, because there was no memory */
	DEATH_SIGNAL,        /* killed by a signal that cortexd did not send */
	DEATH_N_KINDS,
};

struct death_evidence {
	int wait_status; /* as waitpid gave it */
	int signal_sent; /* the last signal that cortexd sent it, or 0 */
	bool was_ready;
	bool told; /* no longer wanted: drained, or signalled because of that */
	bool start_timed_out;
	bool spoke_nonsense;
	bool overdue;
	bool hung_up;
	int64_t oom_kills;         /* by which the kernel's count grew while it lived; 0 also when that is not known */
	bool oom_certain;          /* it is the count of its own cgroup */
	int64_t memory_peak_bytes; /* of its own cgroup; 0: not known */
	char failure[RECORD_TEXT_MAX + 1]; /* "", or the text of FAILED or why the program could not be run */
};

/* Classify; text gets one line without "replica X" and without a full stop, e.g. "killed by SIGSEGV (core dumped)". */
enum death_kind death_classify(const struct death_evidence *evidence, char text[DEATH_TEXT_MAX]);

/* The name of a kind in status and metrics: "out_of_memory"; of TOLD "told". */
const char *death_kind_name(enum death_kind kind);

/* "SIGKILL", or "signal 42" for one without a name. */
const char *death_signal_name(int number, char text[32]);

/* The kernel's count of out-of-memory kills since boot, or -1 when it does not say. */
int64_t death_read_oom_kills(void);

/* The count in the text of /proc/vmstat, or -1 when it is not there. */
int64_t death_parse_oom_kills(const char *vmstat);

#endif
