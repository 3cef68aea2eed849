/*
 * monitor - the child that people and Prometheus talk to: how it is started, watched and told.
 *
 * It knows nothing of its own: what there is to see it asks for (ASK, answered with the text of status.h), and what somebody
 * wants to be done it passes on. It is there from the beginning of the start to the very end of the stop. Nobody needs it to be
 * served, so whatever happens to it, the rest goes on: it is started again when it dies, and killed when it does not answer.
 */
#ifndef SUPERVISOR_MONITOR_H
#define SUPERVISOR_MONITOR_H

#include <event2/event_struct.h>

#include "common/util.h"

struct supervisor;

#define MONITOR_PING_MS     1000
#define MONITOR_PATIENCE_MS 5000 /* for PONG; for READY; for its end */

struct monitor_watch {
	struct event ping;
	bool pinged;   /* and it has not answered */
	bool replaced; /* it knows that another cortexd has its sockets */
	bool shut;     /* it was started without the admin sockets: another cortexd is still the one */
	bool outdated; /* it was started with what is not so any more */
};

/* Make supervisor->monitor an empty slot. 0 or a negative errno. */
MUSTCHECK int monitor_init(struct supervisor *supervisor);

/* With each comparison: start it, or end it. */
void monitor_compare(struct supervisor *supervisor);

/* What it must know has changed: another one takes its place. */
void monitor_outdate(struct supervisor *supervisor);

/* For the end of the supervisor. */
void monitor_done(struct supervisor *supervisor);

#endif
