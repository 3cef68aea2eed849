/*
 * signals - the signals that the replica itself uses, kept through whatever a predictor does to them.
 *
 * main.c sets them up before the interpreter starts. Libraries like to install handlers of their own when they are
 * imported; a replica whose SIGTERM is gone could not be drained.
 */
#ifndef REPLICA_SIGNALS_H
#define REPLICA_SIGNALS_H

#include <signal.h>

#define SIGNALS_KEPT 4

struct signals {
	struct sigaction actions[SIGNALS_KEPT]; /* SIGTERM, SIGINT, SIGHUP, SIGPIPE */
	sigset_t mask;                          /* of the main thread */
};

/* Remember what is set now. */
void signals_save(struct signals *ret_signals);

/* After init(): put back what was changed since, with a warning in the log for each. Returns how many were. */
int signals_restore(const struct signals *signals);

#endif
