/*
 * backoff - when may a replica that died be started again?
 *
 * A replica that had been ready for reset_ms is started again at once; each death after that, until one has been ready
 * that long again, doubles the delay from first_ms to limit_ms. Jitter keeps a host full of replicas that died together
 * from coming back together. A start that did not even get as far as a process counts as a death.
 *
 * One that gets ready and dies before it is of any use is started again within limit_ready_ms: it may have been somebody
 * else's doing, and whoever asks it next is told soon.
 *
 * And one that has done something useful in its life (a replica: ended a prediction) is worth having: it is started again
 * first_ms after its last start, that is at once if it lived longer, however often it dies.
 */
#ifndef SUPERVISOR_BACKOFF_H
#define SUPERVISOR_BACKOFF_H

#include "common/util.h"

#define BACKOFF_JITTER_PERCENT 20
#define BACKOFF_MAX_SHIFT      20

#ifndef CORTEXD_BACKOFF_FIRST_MS
#define CORTEXD_BACKOFF_FIRST_MS 1000
#endif
#ifndef CORTEXD_BACKOFF_LIMIT_MS
#define CORTEXD_BACKOFF_LIMIT_MS (5 * 60 * 1000)
#endif

#define CORTEXD_BACKOFF_LIMIT_READY_MS MIN(10 * 1000, CORTEXD_BACKOFF_LIMIT_MS)

struct backoff {
	int64_t first_ms; /* > 0 */
	int64_t limit_ms; /* at most INT64_MAX >> BACKOFF_MAX_SHIFT */
	int64_t limit_ready_ms;
	int64_t reset_ms;
	unsigned deaths_in_a_row;
	bool was_ready;    /* the last one */
	int64_t useful_ms; /* and it was useful and lived so long; -1: it was not */
};

#define BACKOFF_DEFAULT                                         \
	((struct backoff){.first_ms = CORTEXD_BACKOFF_FIRST_MS, \
	    .limit_ms = CORTEXD_BACKOFF_LIMIT_MS,               \
	    .limit_ready_ms = CORTEXD_BACKOFF_LIMIT_READY_MS,   \
	    .reset_ms = 60 * 1000,                              \
	    .useful_ms = -1})

/* A child died after it had been ready for ready_ms (0: it never was). */
void backoff_note_death(struct backoff *backoff, int64_t ready_ms, bool was_useful);

/* The earliest time of the next start, on the clock of now_ms. random is any number. */
int64_t backoff_next_start(const struct backoff *backoff, int64_t now_ms, uint32_t random);

#endif
