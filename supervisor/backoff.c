/*
 * backoff - see backoff.h. Pure: the caller owns the clock and the dice, nothing sleeps.
 */
#include "supervisor/backoff.h"

#include <limits.h>

void
backoff_note_death(struct backoff *backoff, int64_t ready_ms, bool was_useful)
{
	backoff->was_ready = ready_ms > 0;
	backoff->useful_ms = was_useful ? ready_ms : -1;
	if (ready_ms >= backoff->reset_ms)
		backoff->deaths_in_a_row = 0;
	else if (backoff->deaths_in_a_row < UINT_MAX)
		backoff->deaths_in_a_row++;
}

int64_t
backoff_next_start(const struct backoff *backoff, int64_t now_ms, uint32_t random)
{
	int64_t delay_ms;

	if (backoff->deaths_in_a_row == 0)
		return now_ms;
	if (backoff->useful_ms >= 0)
		delay_ms = MAX(backoff->first_ms - backoff->useful_ms, 0);
	else
		delay_ms = MIN(backoff->first_ms << MIN(backoff->deaths_in_a_row - 1, BACKOFF_MAX_SHIFT),
		    backoff->was_ready ? backoff->limit_ready_ms : backoff->limit_ms);
	return now_ms + delay_ms - delay_ms * (random % (BACKOFF_JITTER_PERCENT + 1)) / 100;
}
