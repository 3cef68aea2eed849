/*
 * turn - see turn.h.
 */
#include "replica/turn.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

enum kind {
	LOOP,
	PREDICT,
	EVACUATING,
	EVACUATED,
	TIMED_OUT,
};

#define WORD(kind, sequence) ((uint32_t)(kind) | (sequence) << 3)
#define KIND(word)           ((enum kind)((word)&7))
#define SEQUENCE(word)       ((word) >> 3)

/* Sleep while the word has that value, at most until until_ns on CLOCK_MONOTONIC (0: no limit). May return early. */
static void
futex_wait(_Atomic(uint32_t) *word, uint32_t value, int64_t until_ns)
{
	const struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};

	syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, until_ns > 0 ? &until : NULL, NULL,
	    FUTEX_BITSET_MATCH_ANY);
}

static void
futex_wake(_Atomic(uint32_t) *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* acq_rel: who gets the turn sees what the other has done with the connections. */
static bool
swap(struct turn *turn, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong_explicit(
	    &turn->word, &from, to, memory_order_acq_rel, memory_order_acquire);
}

/* ---- the main thread ---- */

void
turn_begin(struct turn *turn, int64_t deadline_ns, bool alone)
{
	turn->sequence = (turn->sequence + 1) & (UINT32_MAX >> 3);
	turn->deadline_ns = deadline_ns;
	/* Rule: store the turn, then load parked; the helper does the two the other way round. seq_cst, all four: else both
	 * may see the old value, and the helper sleeps through the prediction. */
	atomic_store(&turn->word, WORD(PREDICT, turn->sequence));
	if (atomic_load(&turn->parked) == 1 && !(alone && atomic_load(&turn->parked_until_ns) <= deadline_ns)) {
		atomic_store(&turn->parked, 0); /* before the wake, or it finds 1 again and sleeps on */
		futex_wake(&turn->parked);
	}
}

enum turn_outcome
turn_end(struct turn *turn)
{
	enum turn_outcome outcome = TURN_SHORT;
	uint32_t s = turn->sequence;

	if (swap(turn, WORD(PREDICT, s), WORD(LOOP, s)))
		return outcome;
	for (;;) {
		if (swap(turn, WORD(EVACUATED, s), WORD(LOOP, s)))
			outcome = TURN_LONG;
		else if (swap(turn, WORD(TIMED_OUT, s), WORD(LOOP, s)))
			outcome = TURN_TIMED_OUT;
		if (outcome != TURN_SHORT)
			break;
		atomic_store(&turn->hurry, true);
		futex_wait(&turn->word, WORD(EVACUATING, s), 0);
	}
	atomic_store_explicit(&turn->hurry, false, memory_order_relaxed);
	return outcome;
}

/* ---- the helper thread ---- */

/* Rule: store the word, then load hurry; turn_end stores hurry before it waits for the word. */
static void
give_back(struct turn *turn, uint32_t word)
{
	atomic_store(&turn->word, word);
	if (atomic_load(&turn->hurry))
		futex_wake(&turn->word);
}

bool
turn_tick(struct turn *turn, struct turn_helper *helper, int64_t now_ns)
{
	uint32_t word = atomic_load_explicit(&turn->word, memory_order_acquire), s = SEQUENCE(word);
	bool unchanged = word == helper->last;

	helper->last = word;
	if (unchanged && KIND(word) == PREDICT && swap(turn, word, WORD(EVACUATING, s))) {
		helper->deadline_ns = turn->deadline_ns;
		turn->evacuate(turn->arg);
		/* What was stored, not what a second load would see: that may be the next prediction already. */
		helper->last = WORD(EVACUATED, s);
		give_back(turn, helper->last);
	} else if (unchanged && KIND(word) == EVACUATED && now_ns >= helper->deadline_ns &&
	    swap(turn, word, WORD(EVACUATING, s))) {
		turn->time_out(turn->arg);
		helper->last = WORD(TIMED_OUT, s);
		give_back(turn, helper->last);
	}
	/* Only a loop that stays one is quiet: an evacuated prediction still has a deadline. */
	helper->quiet = unchanged && KIND(word) == LOOP ? helper->quiet + 1 : 0;
	return helper->quiet >= TURN_QUIET_TICKS;
}

/* Sleep until a prediction begins, or until then. Rule: store parked, then load the word; turn_begin has it the other way
 * round. Only while the word is still what was seen: nothing happens meanwhile but the end of a prediction. */
static void
park(struct turn *turn, uint32_t seen, int64_t until_ns)
{
	atomic_store(&turn->parked_until_ns, until_ns > 0 ? until_ns : INT64_MAX);
	atomic_store(&turn->parked, 1);
	if (atomic_load(&turn->word) == seen)
		futex_wait(&turn->parked, 1, until_ns);
	atomic_store(&turn->parked, 0);
}

/* Until there may be something to do: a prediction begins; its next tick; the deadline of one that was evacuated. */
static void
wait(struct turn *turn, struct turn_helper *helper, bool quiet)
{
	static const struct timespec tick = {.tv_nsec = TURN_TICK_NS};

	if (quiet || KIND(helper->last) == TIMED_OUT)
		park(turn, helper->last, 0);
	else if (KIND(helper->last) == EVACUATED)
		park(turn, helper->last, helper->deadline_ns);
	else
		nanosleep(&tick, NULL);
	if (quiet)
		helper->quiet = 0;
}

static void *
help(void *arg)
{
	struct turn_helper helper = {.last = 0};
	struct turn *turn = arg;

	turn->on_start(turn->arg);
	for (;;)
		wait(turn, &helper, turn_tick(turn, &helper, clock_ns()));
	return NULL;
}

int
turn_start(struct turn *turn, struct error *err)
{
	sigset_t all, before;
	int r;

	atomic_init(&turn->word, WORD(LOOP, 0));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&turn->helper, NULL, help, turn);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return error_set(err, -r, "cannot start the helper thread: %s", strerror(r));
	return 0;
}
