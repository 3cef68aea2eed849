/*
 * report - what the service manager (systemd) is told about the supervisor, through notify.h.
 *
 * Level-triggered like the rest: after each comparison the state that should be known (starting, ready, reloading,
 * stopping) and the status line are compared with what was said last, and the difference is said. What could not be sent
 * is said a moment later: a service manager that is slow to read must not miss READY.
 *
 *	STARTING	until all replicas have been ready once; or until those that are not have failed and wait, while at
 *			least one serves: what works must not be killed at the end of TimeoutStartSec for what does not
 *	READY		READY=1
 *	RELOADING	RELOADING=1, from report_reload_begins to report_reload_ends
 *	STOPPING	STOPPING=1, and how long the stop may take
 *
 * While something proceeds that may take long (an environment is built, a predictor loads) the manager's timeout is
 * extended again and again. Waiting to start again what has failed does not extend it.
 */
#ifndef SUPERVISOR_REPORT_H
#define SUPERVISOR_REPORT_H

#include <event2/event_struct.h>

#include "supervisor/notify.h"

#define REPORT_STATUS_MAX 128 /* bytes of the status line */

enum report_state {
	REPORT_STARTING,
	REPORT_READY,
	REPORT_RELOADING,
	REPORT_STOPPING,
};

struct supervisor;

struct report {
	struct notify notify;
	struct event watchdog_event;
	struct event again_event;
	bool silent;             /* another cortexd is the main process, yet (takeover.h) */
	bool has_started;        /* it was ready once */
	bool reloading;          /* between the two calls */
	int64_t reload_us;       /* when a reload began that was not said yet; 0: none */
	enum report_state state; /* that was said last */
	char status[REPORT_STATUS_MAX];
	int64_t extended_ms; /* when the timeout was extended last; 0: never */
};

/* Read the environment, and begin to answer the watchdog. supervisor->base must be there. */
void report_init(struct supervisor *supervisor);

/* Say what has changed. After every comparison of the supervisor; cheap when nothing has. */
void report_changes(struct supervisor *supervisor);

/* A reload begins: said at once. Again before the end: another one, which supersedes it. */
void report_reload_begins(struct supervisor *supervisor);

/* The reload is over, whether it did what it should or not. */
void report_reload_ends(struct supervisor *supervisor);

/* Another process is the main one from now on, and speaks. False: that could not be said now. */
MUSTCHECK bool report_new_main(struct supervisor *supervisor, pid_t pid);

/* We are the main process now. */
void report_take_over(struct supervisor *supervisor);

/* Fine for one that is all zero but for notify.fd, which is -1. */
void report_done(struct supervisor *supervisor);

#endif
