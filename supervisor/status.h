/*
 * status - what the supervisor knows, as JSON text for the monitor: its part of GET /status (docs/monitoring.md).
 *
 * Made only when the monitor asks. Everything in it is known already: nothing is read, and nothing waits. About 20 us, and 2 us for each
 * replica.
 */
#ifndef SUPERVISOR_STATUS_H
#define SUPERVISOR_STATUS_H

#include "common/util.h"

struct supervisor;

/* The text; the caller frees it. NULL: there is no memory for it. */
char *status_text(const struct supervisor *supervisor);

/* By how much the time of day, in ms since 1970, is ahead of clock_ms(). */
int64_t status_wall_ahead_ms(void);

#endif
