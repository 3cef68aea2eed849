/*
 * job - a short-lived child whose output is read line by line while the loop runs.
 *
 * Each line of its standard output and standard error goes to a callback, and the last ones are kept to be shown when
 * it fails. A job is over when it was reaped; whatever is left of its process group has been killed by then. The
 * storage is the caller's and may be used for the next job once one is over.
 */
#ifndef SUPERVISOR_JOB_H
#define SUPERVISOR_JOB_H

#include <event2/event_struct.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/util.h"

#define JOB_LINE_MAX   1024 /* bytes; the rest of a longer line is dropped */
#define JOB_KEPT_LINES 20

/* One line, without its end. */
typedef void job_line_cb(void *arg, const char *line);

/* It is over: NULL when it exited with 0, else why not. The last thing that happens to a job. */
typedef void job_over_cb(void *arg, const struct error *failure);

struct job_plan {
	const char *const *argv; /* argv[0] is the path of the program */
	int program;             /* as in struct spawn_plan */
	char *const *envp;
	const char *folder; /* working directory */
	job_line_cb *line_cb;
	job_over_cb *over_cb;
	void *arg;
};

struct job {
	pid_t pid; /* 0: none runs */
	char *program;
	int output;
	int notice;
	struct event output_event;
	char line[JOB_LINE_MAX + 1];
	size_t line_length;
	char *kept[JOB_KEPT_LINES]; /* a ring; */
	size_t n_lines;             /* the next one goes to n_lines % JOB_KEPT_LINES */
	job_line_cb *line_cb;
	job_over_cb *over_cb;
	void *arg;
};

/* Start one in *job, which must be all zero or over. 0, or a negative errno and err; then no callback comes. */
MUSTCHECK int job_start(struct job *job, struct event_base *base, const struct job_plan *plan, struct error *err);

/* Its pid was reaped with this status. Reads what is left of its output, then calls over_cb. */
void job_reaped(struct job *job, int wait_status);

/* Send a signal to its process group; nothing when none runs. */
void job_signal(const struct job *job, int number);

/* Log the kept lines, oldest first, at level error. */
void job_log_kept_lines(const struct job *job, const char *prefix);

/* Release what it holds. It must not run any more. */
void job_done(struct job *job);

#endif
