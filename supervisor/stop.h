/*
 * stop - the way out.
 *
 * The first SIGTERM or SIGINT drains all replicas. What is left after the stop timeout gets SIGTERM, and SIGKILL
 * CHILD_EXIT_GRACE_MS later (the deadlines of the slots see to that); each further signal takes the next of these
 * steps at once, but not within a second of the one before: timeout(1) sends each signal twice. The level only rises. The
 * stop is complete when every slot is empty and no job runs; the monitor, which shows it all, ends last.
 */
#ifndef SUPERVISOR_STOP_H
#define SUPERVISOR_STOP_H

#include "supervisor/supervisor.h"

/* Assign the timer. */
void stop_init(struct supervisor *supervisor);

/* Begin to stop, or go one level further; nothing within a second of the last time. reason for the log: "SIGTERM". */
void stop_request(struct supervisor *supervisor, const char *reason);

/* Another cortexd has taken over (upgrade.h): drain, and let the clients go there. */
void stop_replaced(struct supervisor *supervisor);

/* Called by the comparison once a stop was requested: is all of it over, but for the monitor? And that, too? */
bool stop_all_others_are_gone(struct supervisor *supervisor);
bool stop_is_complete(struct supervisor *supervisor);

/* After the loop: kill and reap children that are nobody's, such as daemons that a predictor started; all but these: 0, or a cortexd
 * that has taken over. May wait. */
void stop_kill_leftovers(const pid_t spared[2]);

#endif
