/*
 * upgrade - another build of cortexd replaces this one while clients are served. This is the old one's side; takeover.h is the
 * new one's.
 *
 * SIGUSR2 runs the program that lies by now where ours was, with the same arguments, and hands it (handover.h) the listening sockets
 * and the lock of the state directory. It starts as always, beside us, but takes no connection and says nothing to the service
 * manager. Whatever goes wrong until all of its replicas are ready - a bad config, an init that fails, a program that
 * does not even run - ends the new one and nothing else.
 *
 * Then we name it to the service manager as the main process, tell it that everything is its own, and drain: replicas finish what
 * they run, and all connections go by way of our activator to the new one (activator/succession.c). That is a stop with the
 * difference that nobody is told that connections end.
 *
 * The new supervisor is our child, so that we learn how it ended; it is in our process group, and outlives us. When we die before it
 * has taken over, it takes over at once.
 */
#ifndef SUPERVISOR_UPGRADE_H
#define SUPERVISOR_UPGRADE_H

#include <event2/event_struct.h>
#include <sys/types.h>

#include "common/util.h"

struct supervisor;

enum upgrade_step {
	UPGRADE_NONE,
	UPGRADE_STARTING, /* the new one starts; we serve */
	UPGRADE_READY,    /* it could take over; it is to be told */
	UPGRADE_TOLD,     /* it serves; our activator is to be told to hand over its clients */
	UPGRADE_REPLACED, /* we drain; there is no way back */
	UPGRADE_CANCELED, /* we stop, and it is to end; we wait for that */
};

struct upgrade {
	enum upgrade_step step;
	bool wanted;  /* SIGUSR2 came when it could not be served */
	pid_t pid;    /* of the new supervisor; 0: none, or reaped */
	bool hurried; /* we were told to stop when we drained already */
	int socket;   /* to it; -1: none */
	int notice;   /* of its fork (spawn.h); -1: none */
	int channel;  /* for our activator, once it is ready; -1: none */
	struct event socket_event;
	struct event kill_event; /* it does not end */
	int64_t since_ms;
};

/* supervisor->base must be there. */
void upgrade_init(struct supervisor *supervisor);

/* SIGUSR2. */
void upgrade_request(struct supervisor *supervisor);

/* After each comparison: take the next step. */
void upgrade_compare(struct supervisor *supervisor);

/* Is one under way that nothing may interfere with? */
bool upgrade_is_under_way(const struct supervisor *supervisor);

/* Do we end because of it? */
bool upgrade_has_replaced(const struct supervisor *supervisor);

/* The cortexd that serves in our place; 0: there is none. */
pid_t upgrade_successor(const struct supervisor *supervisor);

/* Is this child the new supervisor? It was reaped. */
bool upgrade_owns(const struct supervisor *supervisor, pid_t pid);
void upgrade_reaped(struct supervisor *supervisor, int wait_status);

/* We stop: the new one is to end, unless it has taken over. */
void upgrade_cancel(struct supervisor *supervisor);

/* Fine also when upgrade_init was never called. */
void upgrade_done(struct supervisor *supervisor);

#endif
