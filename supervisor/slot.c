/*
 * slot - see slot.h.
 */
#include "supervisor/slot.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"

#define BIT(state) (1u << (state))

static const unsigned may_become[SLOT_N_STATES] = {
    [SLOT_EMPTY] = BIT(SLOT_SPAWNED) | BIT(SLOT_BACKOFF),
    [SLOT_SPAWNED] = BIT(SLOT_LOADING) | BIT(SLOT_READY) | BIT(SLOT_EXITING),
    [SLOT_LOADING] = BIT(SLOT_READY) | BIT(SLOT_EXITING),
    [SLOT_READY] = BIT(SLOT_DRAINING) | BIT(SLOT_EXITING),
    [SLOT_DRAINING] = BIT(SLOT_EXITING),
    [SLOT_EXITING] = BIT(SLOT_EMPTY),
    [SLOT_BACKOFF] = BIT(SLOT_EMPTY),
};

struct cell {
	enum slot_state next; /* SLOT_N_STATES: the same */
	enum slot_action action;
};

/*
 * READY may come before exec was noticed: the two arrive on different descriptors. A replica that is still loading has
 * nothing to drain and does not read its control socket, so it is terminated. A second READY is nonsense; FAILED may
 * come at any time and announces an exit. The end of the control socket is normally the first sign of a death, so
 * nothing is done about it; a replica that hung up but lives on is ended by the deadline of EXITING. A ready one has a
 * deadline only while a prediction of its runs on after it was answered for.
 */
/* clang-format off */
#define TO(state) {SLOT_##state, SLOT_DO_NOTHING}
#define STAY      {SLOT_N_STATES, SLOT_DO_NOTHING}
#define STRONGER  {SLOT_N_STATES, SLOT_DO_ESCALATE}
#define BUG       {SLOT_N_STATES, SLOT_DO_BUG}
#define DRAIN     {SLOT_DRAINING, SLOT_DO_DRAIN}
#define TERM      {SLOT_EXITING, SLOT_DO_TERMINATE}
#define KILL      {SLOT_EXITING, SLOT_DO_KILL}

static const struct cell table[SLOT_N_EVENTS][SLOT_N_STATES] = {
	/*                     EMPTY        SPAWNED      LOADING      READY        DRAINING     EXITING    BACKOFF */
	[SLOT_ON_FORK]     = { TO(SPAWNED), BUG,         BUG,         BUG,         BUG,         BUG,       BUG },
	[SLOT_ON_DELAY]    = { TO(BACKOFF), BUG,         BUG,         BUG,         BUG,         BUG,       BUG },
	[SLOT_ON_EXEC]     = { BUG,         TO(LOADING), BUG,         STAY,        STAY,        STAY,      BUG },
	[SLOT_ON_READY]    = { BUG,         TO(READY),   TO(READY),   KILL,        KILL,        STAY,      BUG },
	[SLOT_ON_FAILED]   = { BUG,         TO(EXITING), TO(EXITING), TO(EXITING), TO(EXITING), STAY,      BUG },
	[SLOT_ON_NONSENSE] = { BUG,         KILL,        KILL,        KILL,        KILL,        STAY,      BUG },
	[SLOT_ON_UNWANTED] = { STAY,        TERM,        TERM,        DRAIN,       STAY,        STAY,      TO(EMPTY) },
	[SLOT_ON_DEADLINE] = { BUG,         TERM,        TERM,        KILL,        TERM,        STRONGER,  TO(EMPTY) },
	[SLOT_ON_HANGUP]   = { BUG,         TO(EXITING), TO(EXITING), TO(EXITING), TO(EXITING), STAY,      BUG },
	[SLOT_ON_REAPED]   = { BUG,         TO(EXITING), TO(EXITING), TO(EXITING), TO(EXITING), STAY,      BUG },
	[SLOT_ON_FREE]     = { BUG,         BUG,         BUG,         BUG,         BUG,         TO(EMPTY), BUG },
};
/* clang-format on */

const char *
slot_state_name(enum slot_state state)
{
	static const char *const names[SLOT_N_STATES] = {
	    [SLOT_EMPTY] = "empty",
	    [SLOT_SPAWNED] = "spawned",
	    [SLOT_LOADING] = "loading",
	    [SLOT_READY] = "ready",
	    [SLOT_DRAINING] = "draining",
	    [SLOT_EXITING] = "exiting",
	    [SLOT_BACKOFF] = "backoff",
	};

	return names[state];
}

const char *
slot_event_name(enum slot_event event)
{
	static const char *const names[SLOT_N_EVENTS] = {
	    [SLOT_ON_FORK] = "fork",
	    [SLOT_ON_DELAY] = "delay",
	    [SLOT_ON_EXEC] = "exec",
	    [SLOT_ON_READY] = "record READY",
	    [SLOT_ON_FAILED] = "record FAILED",
	    [SLOT_ON_NONSENSE] = "bad record",
	    [SLOT_ON_UNWANTED] = "not wanted",
	    [SLOT_ON_DEADLINE] = "deadline",
	    [SLOT_ON_HANGUP] = "end of control socket",
	    [SLOT_ON_REAPED] = "reaped",
	    [SLOT_ON_FREE] = "gone",
	};

	return names[event];
}

void
slot_init(struct slot *slot, const char *name)
{
	memset(slot, 0, sizeof(*slot));
	snprintf(slot->name, sizeof(slot->name), "%s", name);
	slot->place = -1;
	slot->state = SLOT_EMPTY;
	slot->control = -1;
	slot->notice = -1;
	slot->backoff = BACKOFF_DEFAULT;
}

bool
slot_may_become(enum slot_state from, enum slot_state to)
{
	return may_become[from] & BIT(to);
}

void
slot_set_state(struct slot *slot, enum slot_state next, int64_t now_ms, const char *why)
{
	ASSERT(slot_may_become(slot->state, next));
	log_debug("%s: %s -> %s (%s)", slot->name, slot_state_name(slot->state), slot_state_name(next), why);
	slot->state = next;
	slot->since_ms = now_ms;
}

enum slot_action
slot_look_up(enum slot_state state, enum slot_event event, enum slot_state *ret_next)
{
	const struct cell *cell = &table[event][state];

	*ret_next = cell->next == SLOT_N_STATES ? state : cell->next;
	return cell->action;
}

enum slot_action
slot_handle(struct slot *slot, enum slot_event event, int64_t now_ms)
{
	enum slot_state next;
	enum slot_action action = slot_look_up(slot->state, event, &next);

	ASSERT(action != SLOT_DO_BUG);
	if (next != slot->state)
		slot_set_state(slot, next, now_ms, slot_event_name(event));
	return action;
}

bool
slot_is_free(const struct slot *slot)
{
	return slot->pid == 0 && slot->control == -1;
}
