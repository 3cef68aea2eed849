/*
 * turn - whose turn it is to touch the connections of a replica: the main thread's or the helper thread's.
 *
 * The main thread runs the event loop and the predictions. While it is inside a prediction it touches no connection, so
 * the helper may, when the prediction takes long: it sees the same prediction at two of its ticks, 1 ms apart, takes the
 * turn, hands all other connections away (evacuate), and gives the turn back. When the deadline of the prediction comes
 * it takes the turn once more and answers in its stead (time_out). Everything is decided by one word; whether a
 * prediction was short or long, by who won a compare-and-swap on it, never by a clock.
 *
 *   word: LOOP -> PREDICT(s) -> LOOP                                        short
 *                 PREDICT(s) -> EVACUATING(s) -> EVACUATED(s) -> LOOP       long
 *                                EVACUATED(s) -> EVACUATING(s) -> TIMED_OUT(s) -> LOOP
 *
 * With nothing to look at for a few ticks the helper sleeps until the next prediction wakes it, and so it does when nothing
 * but the deadline of an evacuated prediction is left to wait for: an idle replica costs nothing, a long prediction next to
 * nothing. The rules and what breaks without each of them: test/model/turn.pml.
 */
#ifndef REPLICA_TURN_H
#define REPLICA_TURN_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/error.h"
#include "common/util.h"

#define TURN_TICK_NS     1000000
#define TURN_QUIET_TICKS 3 /* without a prediction, until the helper sleeps */

enum turn_outcome {
	TURN_SHORT,     /* nobody has touched anything */
	TURN_LONG,      /* the other connections have been handed away */
	TURN_TIMED_OUT, /* and the request was answered: its result is to be dropped */
};

struct turn {
	_Atomic(uint32_t) word;
	_Atomic(uint32_t) parked;         /* 1: the helper sleeps, or is about to */
	_Atomic(int64_t) parked_until_ns; /* and until when, CLOCK_MONOTONIC; INT64_MAX: for ever */
	_Atomic(bool) hurry;              /* the prediction has ended, and the main thread waits for its turn */
	uint32_t sequence;                /* main: of the prediction */
	int64_t deadline_ns; /* main: of the prediction, CLOCK_MONOTONIC; the helper reads it while EVACUATING */
	pthread_t helper;

	/* Called by the helper while it has the turn. */
	void (*evacuate)(void *arg); /* looks at turn_is_wanted_back() now and then, and ends early when it is true */
	void (*time_out)(void *arg);
	/* Called by the helper once, when it begins. */
	void (*on_start)(void *arg);
	void *arg;
};

/* Start the helper thread, all signals blocked in it. The callbacks are set by the caller before. 0, or a negative errno and
 * err. There is no end but that of the process. */
MUSTCHECK int turn_start(struct turn *turn, struct error *err);

/* Main thread: a prediction begins. Until turn_end nothing that the helper may touch is touched. alone: there is nothing to
 * evacuate, so a helper that sleeps need not wake up before the deadline. */
void turn_begin(struct turn *turn, int64_t deadline_ns, bool alone);

/* Main thread: it has ended; the turn is ours again. */
enum turn_outcome turn_end(struct turn *turn);

/* Helper thread, in evacuate: is somebody waiting? */
static inline bool
turn_is_wanted_back(struct turn *turn)
{
	return atomic_load_explicit(&turn->hurry, memory_order_relaxed);
}

/* One tick of the helper, for tests. last and quiet are its memory: 0 at first. True: it may park. */
struct turn_helper {
	uint32_t last;
	unsigned quiet;
	int64_t deadline_ns; /* of the prediction that was evacuated */
};
bool turn_tick(struct turn *turn, struct turn_helper *helper, int64_t now_ns);

#endif
