/*
 * output - a pipe for what each child prints and logs, whose read end goes to the monitor.
 *
 * The write end is the child's standard output and error. The supervisor keeps a duplicate of the read end until the process is gone and a
 * monitor has the pipe: a new monitor is given all of them again, and what was written meanwhile is still there. It never reads
 * them itself, with one exception: while there is no monitor for longer than it takes to start one, pipes that are about to be full are
 * emptied, and the loss is counted and logged, because nobody may wait for ever in print().
 *
 * The monitor itself and programs that are no slots (cortexd-fetch, pip) write to cortexd's own standard error, and so does a child for
 * which no pipe can be made.
 */
#ifndef SUPERVISOR_OUTPUT_H
#define SUPERVISOR_OUTPUT_H

#include <event2/event_struct.h>
#include <sys/queue.h>

#include "common/log.h"
#include "common/util.h"

#define OUTPUT_PIPE_BYTES  (256 << 10) /* room of a pipe, if the system allows */
#define OUTPUT_ORPHANS     256         /* processes that are gone, of which no monitor has heard the rest yet */
#define OUTPUT_PATIENCE_MS 2000        /* without a monitor, after which full pipes are emptied */

struct slot;
struct supervisor;

/* The pipe of one process. */
struct output {
	TAILQ_ENTRY(output) in_all;
	int fd;
	char source[80]; /* "<role> <api>" */
	uint32_t replica;
	uint32_t generation;
	char name[96];   /* for the log */
	bool given;      /* the present monitor has it */
	bool gone;       /* the process is */
	uint64_t n_lost; /* bytes, not told yet */
};

struct outputs {
	struct supervisor *supervisor;
	TAILQ_HEAD(, output) all;
	unsigned n_orphans;
	struct event again;  /* what could not be given is tried once more */
	struct event rescue; /* while there is no monitor */
	int64_t alone_since_ms;
	bool has_monitor;
	char secret[LOG_SECRET_MAX + 1]; /* of what our children log there (log.h) */
	char *waste;                     /* room for what is thrown away */
};

void outputs_init(struct supervisor *supervisor);

/*
 * Make a pipe for the process that slot is about to start: its write end, for the caller to give to the child and to close. slot->output is
 * the rest. -1: there is none, and the process writes where cortexd itself does.
 */
MUSTCHECK int output_open(struct slot *slot, const char *role, const char *api);

/* The process of the slot is gone, or was never there. */
void output_close(struct slot *slot);

/* Give what it does not have to the monitor, if there is one. To be called when a process was started. */
void outputs_give(struct supervisor *supervisor);

/* A monitor is ready: it is given all of them. Or the one that was there is gone. */
void outputs_monitor_ready(struct supervisor *supervisor);
void outputs_monitor_gone(struct supervisor *supervisor);

/* For the end of the supervisor. */
void outputs_done(struct supervisor *supervisor);

#endif
