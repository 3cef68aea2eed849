/*
 * turn - the turn word between the main thread and the helper (replica/turn.c): safety and, under weak fairness, progress.
 *
 * One word decides who may touch the connections; the helper sleeps when nothing can need it. Deadlines are kept as the
 * time that is left, in two units that mean no more than "not over yet"; the clock may take a unit off everything at any
 * moment. So `parked_until <= deadline` is a comparison of what is left of both, and the model stays finite without a bound.
 *
 * BOUND=n  n predictions with exact sequence numbers: also checks that no evacuation hits a prediction that saw one tick.
 *          Without it the numbers wrap at 3, where a wrap can make a short prediction look long, which is harmless.
 * LTL      with the properties at the end.
 * FROZEN   time may stand still: what must happen without a deadline, happens.
 *
 * Broken on purpose:
 *   STORE_LOOP         main ends a prediction by a store, not a compare-and-swap
 *   DROP_NOTHING       main answers although the helper has timed the request out
 *   NO_SEQUENCE        the helper compares the kind of the word only
 *   LAST_REREAD        the helper remembers a second load after an evacuation, not what it stored
 *   PARK_NO_RECHECK    the helper does not load the word again after parked := 1
 *   WAKE_NO_CLEAR      main wakes the helper without parked := 0 before
 *   QUIET_ANY_WORD     whatever stays the same counts as quiet
 *   PARK_FOREVER       after an evacuation the helper parks without a limit
 *   UNTIL_LAST         parked_until is stored after the word was loaded again
 *   ALONE_NO_COMPARE   alone: the helper is left asleep whatever it waits for
 *   ALONE_ALWAYS       the helper is left asleep by those who are not alone, too
 *   GIVE_NO_WAKE       the turn is given back without a wake-up
 *   HURRY_LOAD_FIRST   give_back loads hurry before it stores the word
 *   HURRY_NOT_SET      main does not say that it waits
 */
#define LOOP       0
#define PREDICT    1
#define EVACUATING 2
#define EVACUATED  3
#define TIMED_OUT  4
#define WORD(kind, s) ((kind) + 8 * (s))
#define KIND(word)    ((word) % 8)
#define SEQUENCE(word) ((word) / 8)

#ifdef BOUND
#define N_SEQUENCES 16
#else
#define N_SEQUENCES 3
#endif
#define QUIET_TICKS 2
#define UNITS       2 /* left at most of a deadline */
#define FOR_EVER    7

byte word = WORD(LOOP, 0);
bit parked, hurry;
byte parked_until;      /* parked_until, as what is left of it */
byte deadline;   /* of main's prediction, the same */
byte deadline_h; /* the helper's copy, read at the evacuation */
bit helper_sleeps, main_sleeps; /* in futex_wait */

/* What only the checks look at. */
bit main_in, helper_in; /* touches connections */
byte current;           /* number of the prediction that runs, or ran last */
byte n_answers;         /* it got */
byte n_ticks;           /* of the helper, that fell into it */
bit is_long, is_overdue; /* main waits for the evacuation, for the time-out */
bit over;

inline main_touches() { atomic { assert(!helper_in); main_in = 1 }; main_in = 0 }
inline helper_touches() { atomic { assert(!main_in); helper_in = 1 }; helper_in = 0 }
inline answer() { n_answers++; assert(n_answers == 1) }

inline turn_begin() {
  deadline = UNITS;
  word = WORD(PREDICT, s); /* seq_cst */
  if
  :: parked -> /* seq_cst */
#ifdef ALONE_ALWAYS
     if :: parked_until <= deadline -> skip
#elif defined(ALONE_NO_COMPARE)
     if :: alone -> skip
#else
     if :: alone && parked_until <= deadline -> skip
#endif
     :: else ->
#ifndef WAKE_NO_CLEAR
        parked = 0;
#endif
        helper_sleeps = 0 /* futex_wake */
     fi
  :: else
  fi
}

inline turn_end() {
#ifdef STORE_LOOP
  word = WORD(LOOP, s);
#else
  do
  :: atomic { word == WORD(PREDICT, s) -> word = WORD(LOOP, s) }; break
  :: atomic { word == WORD(EVACUATED, s) -> word = WORD(LOOP, s) }; break
  :: atomic { word == WORD(TIMED_OUT, s) -> word = WORD(LOOP, s); dropped = 1 }; break
  :: word == WORD(EVACUATING, s) ->
#ifndef HURRY_NOT_SET
     hurry = 1; /* seq_cst */
#endif
     atomic { if :: word == WORD(EVACUATING, s) -> main_sleeps = 1 :: else fi };
     !main_sleeps
  od;
  hurry = 0;
#endif
}

active proctype Main() {
  byte s;
  bit alone, dropped;
#ifdef BOUND
  byte n;
#endif
  do
#ifdef BOUND
  :: n == BOUND -> break
  :: n < BOUND -> n++;
#else
  :: true ->
#endif
     main_touches(); /* turns of the event loop */
     atomic {
       s = (s + 1) % N_SEQUENCES;
       current = s; n_answers = 0; n_ticks = 0; dropped = 0;
       if :: alone = 0 :: alone = 1 fi
     };
     turn_begin();
     if /* predict() */
     :: skip
     :: !alone -> is_long = 1; (KIND(word) == EVACUATED || KIND(word) == TIMED_OUT); is_long = 0
#ifndef FROZEN
     :: is_overdue = 1; (KIND(word) == TIMED_OUT); is_overdue = 0
#endif
     fi;
     turn_end();
#ifdef DROP_NOTHING
     dropped = 0;
#endif
     if
     :: !dropped -> atomic { assert(!helper_in); main_in = 1; answer() }; main_in = 0
     :: dropped
     fi;
     assert(n_answers == 1)
  od;
  atomic { over = 1; helper_sleeps = 0 }
}

inline give_back(value) {
#ifdef HURRY_LOAD_FIRST
  wanted = hurry;
  word = value;
#else
  word = value; /* seq_cst */
  wanted = hurry; /* seq_cst */
#endif
#ifdef GIVE_NO_WAKE
  wanted = 0;
#endif
  if :: wanted -> main_sleeps = 0; wanted = 0 :: else fi
}

inline park(limit) {
#ifndef UNTIL_LAST
  parked_until = limit;
#endif
  parked = 1; /* seq_cst */
  if
#ifdef PARK_NO_RECHECK
  :: true ->
#else
  :: word == last -> /* seq_cst */
#endif
#ifdef UNTIL_LAST
     parked_until = limit;
#endif
     atomic { if :: parked && !over && parked_until > 0 -> helper_sleeps = 1 :: else fi };
     if
     :: !helper_sleeps
     :: helper_sleeps && parked_until == 0 -> helper_sleeps = 0 /* ETIMEDOUT */
     fi
  :: else
  fi;
  parked = 0
}

active proctype Helper() {
  byte last, seen, quiet;
  bit same, wanted;
  do
  :: over -> break
  :: else ->
     atomic { seen = word; if :: n_ticks < 3 -> n_ticks++ :: else fi };
#ifdef NO_SEQUENCE
     same = (KIND(seen) == KIND(last));
#else
     same = (seen == last);
#endif
     last = seen;
     if
     :: same && KIND(seen) == PREDICT ->
        if
        :: atomic { word == seen -> word = WORD(EVACUATING, SEQUENCE(seen)) };
#ifdef BOUND
           assert(n_ticks >= 2);
#endif
           deadline_h = deadline;
           helper_touches(); /* evacuate */
           last = WORD(EVACUATED, SEQUENCE(seen));
           give_back(WORD(EVACUATED, SEQUENCE(seen)));
#ifdef LAST_REREAD
           last = word
#endif
        :: word != seen
        fi
     :: same && KIND(seen) == EVACUATED && deadline_h == 0 ->
        if
        :: atomic { word == seen -> word = WORD(EVACUATING, SEQUENCE(seen)) };
           atomic { assert(!main_in && current == SEQUENCE(seen)); helper_in = 1; answer() }; helper_in = 0; /* time_out */
           last = WORD(TIMED_OUT, SEQUENCE(seen));
           give_back(WORD(TIMED_OUT, SEQUENCE(seen)))
        :: word != seen
        fi
     :: else
     fi;
     if
#ifdef QUIET_ANY_WORD
     :: same && quiet < QUIET_TICKS -> quiet++
     :: same && quiet == QUIET_TICKS
#else
     :: same && KIND(seen) == LOOP -> quiet++
#endif
     :: else -> quiet = 0
     fi;
     seen = 0; same = 0;
     if
     :: quiet == QUIET_TICKS -> park(FOR_EVER); quiet = 0
     :: quiet < QUIET_TICKS && KIND(last) == TIMED_OUT -> park(FOR_EVER)
#ifdef PARK_FOREVER
     :: quiet < QUIET_TICKS && KIND(last) == EVACUATED -> park(FOR_EVER)
#else
     :: quiet < QUIET_TICKS && KIND(last) == EVACUATED -> park(deadline_h)
#endif
     :: else /* a tick, 1 ms */
     fi
  od
}

#define RUNS(left) (left > 0 && left != FOR_EVER)
#define LESS(left) (RUNS(left) -> left - 1 : left)

active proctype Clock() {
end: do
  :: atomic { (RUNS(parked_until) || RUNS(deadline) || RUNS(deadline_h)) && !over ->
       parked_until = LESS(parked_until); deadline = LESS(deadline); deadline_h = LESS(deadline_h) }
#ifdef FROZEN
  :: break
#endif
  od
}

#ifdef LTL
ltl evacuated { [] (is_long -> <> !is_long) }
ltl timed_out { [] (is_overdue -> <> !is_overdue) }
ltl main_wakes { [] (main_sleeps -> <> !main_sleeps) }
#endif
