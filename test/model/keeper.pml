/*
 * keeper - a replica dies between any two of its steps, and its keeper sends on what it leaves (replica/keeper.c, http/kept.c).
 *
 * Two connections with a request each: 0 is the replica's own, 1 is queued at the activator, which may send it any time. The
 * main thread answers what it has; while a prediction runs the helper may move the others away, or answer in its stead.
 * Main dies at any step or not at all, the helper somewhat later, and then the keeper begins. `written` is what the kernel
 * knows of an answer and the replica has not written down yet. What the activator queues again is served by the next
 * replica in the slot, which the supervisor starts once the slot is DEAD and the process gone.
 *
 * At the end every connection is with one owner and every request answered once. One is closed without an answer only when a
 * part of it was out and the rest nowhere. No request is run twice, or failed before the predictor had it.
 *
 * Broken on purpose:
 *   NO_SHUTDOWN        the keeper leaves the receive side open: a request is sent to nobody
 *   READ_FIRST         it reads what is unread first, and shuts down then
 *   NO_AGAIN           what was leaving is sent once more without a word
 *   LEFT_SURELY        what was leaving is not sent again
 *   LEAVING_LATE       the number of the record is noted after the record has left
 *   FORGOTTEN_FIRST    the entry is given back before the record leaves
 *   NOTES_TAKE_NO_NUMBER  a note has the number of the next record, and that has it, too
 *   INBOX_PRIVATE      the keeper does not see a request that was received and not entered
 *   RELEASED_FIRST     the inbox is emptied before the connection is entered
 *   ENTERED_OR_NOT     the keeper sends what is in the inbox back even if it was entered
 *   FILE_CLOSED_EARLY  the file with the bytes of a large request is closed when it is mapped, the inbox is emptied later
 *   PREDICTING_LATE    the predictor gets the request before the phase says so
 *   ANSWERING_LATE     the answer is written before the phase says so
 *   KERNEL_NOT_ASKED   the keeper believes what is in memory about the bytes that were written
 *   HELPER_LIVES       the keeper does not wait until the helper is dead
 *   END_BEFORE_RECORDS the activator deals with the death before it has read all records
 *   DEAD_TOO_EARLY     it sets the slot to DEAD when a send fails, not at the end
 *   IDLE_AGAIN         it sets the slot to IDLE when a send fails
 */
#define DEAD    0
#define IDLE    1
#define CLAIMED 2
#define BUSY    3

#define FREE       0
#define OPEN       1
#define PREDICTING 2
#define ANSWERING  3

#define NOTHING 0
#define PART    1
#define WHOLE   2

/* What a record says of a connection; 0: it is not in it. */
#define ASKED   1 /* open, with a request */
#define AT_REST 2 /* open, all answered */
#define FAILED  3
#define WRITING 4

chan to_replica = [1] of { bit };
chan to_activator = [6] of { byte, bit, byte, byte }; /* sequence, again, connections 0 and 1 */

byte state = IDLE;
byte generation; /* of the process that has the slot */

/* Shared by replica and keeper. */
byte phase[2], leaving[2];
bit consumed[2]; /* the request at the front is answered and stepped over */
bit rest[2];     /* of the answer is kept */
bit inbox;       /* holds a REQUEST, of connection 1 */
bit file;        /* with its bytes is open */

bit main_dead, helper_dead, keeper_done, shut;
bit helpers_turn;
byte in_hand;    /* connection of the prediction */
byte sequence;

/* What the checks look at. */
byte written[2];
bit ran[2], closed[2], lost[2];
byte n_answers[2];
bit at_activator[2], queued[2];
bit gone;

inline write(c, how) {
  d_step {
    assert(written[c] != WHOLE && how > written[c]);
    written[c] = how;
    if :: how == WHOLE -> n_answers[c]++; assert(n_answers[c] == 1) :: else fi
  }
}

inline run_it(c) { atomic { assert(!ran[c]); ran[c] = 1 } }

inline describe(c, what) {
  if
  :: phase[c] == OPEN && !consumed[c] -> what = ASKED
  :: phase[c] == OPEN && consumed[c] -> what = AT_REST
  :: phase[c] == PREDICTING -> what = FAILED
  :: phase[c] == ANSWERING -> what = WRITING
  :: phase[c] == FREE -> what = 0
  fi
}

/* ---- the replica: whoever has the turn ---- */

inline forget(c) { phase[c] = FREE; atomic { leaving[c] = 0; consumed[c] = 0; rest[c] = 0 } }

/* One record with those of the two that are to go. */
inline move(zero, one) {
  atomic {
    what0 = 0; what1 = 0;
    if :: zero -> describe(0, what0) :: else fi;
    if :: one -> describe(1, what1) :: else fi;
  };
#ifdef FORGOTTEN_FIRST
  if :: what0 -> forget(0) :: else fi;
  if :: what1 -> forget(1) :: else fi;
#elif !defined(LEAVING_LATE)
  if :: what0 -> leaving[0] = sequence + 1 :: else fi;
  if :: what1 -> leaving[1] = sequence + 1 :: else fi;
#endif
  if :: what0 || what1 -> to_activator!sequence + 1, 0, what0, what1 :: else fi;
#ifdef LEAVING_LATE
  if :: what0 -> leaving[0] = sequence + 1 :: else fi;
  if :: what1 -> leaving[1] = sequence + 1 :: else fi;
#endif
#ifndef FORGOTTEN_FIRST
  if :: what0 -> forget(0) :: else fi;
  if :: what1 -> forget(1) :: else fi;
#endif
  atomic { if :: what0 || what1 -> sequence++ :: else fi; what0 = 0; what1 = 0 }
}

inline note() {
  to_activator!sequence + 1, 0, 0, 0;
#ifndef NOTES_TAKE_NO_NUMBER
  sequence++
#endif
}

/* Any of it at once or by and by. */
inline answer(c) {
#ifndef ANSWERING_LATE
  phase[c] = ANSWERING;
#endif
  if
  :: write(c, WHOLE)
  :: write(c, PART); rest[c] = 1 /* a copy of what the socket did not take */
  :: rest[c] = 1
  fi;
#ifdef ANSWERING_LATE
  phase[c] = ANSWERING;
#endif
  if
  :: written[c] == WHOLE -> atomic { consumed[c] = 1; rest[c] = 0 }; phase[c] = OPEN
  :: else /* the rest is written by events, or travels with a move */
  fi
}

inline receive_request() { atomic { to_replica?file; inbox = 1 } }
inline enter_request() {
#ifdef FILE_CLOSED_EARLY
  file = 0;
#endif
#ifdef RELEASED_FIRST
  atomic { inbox = 0; file = 0 };
#endif
  phase[1] = OPEN; /* all of it, file and descriptor, was copied before */
  inbox = 0;
  file = 0
}

#define HAS_REQUEST(c) (phase[c] == OPEN && !consumed[c])

proctype Main() {
  byte what0, what1, c;
  bit noted;
  {
again:
    do
    :: state == IDLE && !noted -> noted = 1; note()
    :: atomic { state == IDLE && (HAS_REQUEST(0) || HAS_REQUEST(1)) -> state = BUSY }
    :: state == CLAIMED -> receive_request(); enter_request(); state = BUSY
    :: atomic { state == BUSY && HAS_REQUEST(0) -> c = 0 }; break
    :: atomic { state == BUSY && HAS_REQUEST(1) -> c = 1 }; break
    :: atomic { phase[0] == ANSWERING -> c = 0 }; goto write_more
    :: atomic { phase[1] == ANSWERING -> c = 1 }; goto write_more
    :: state == BUSY && sequence < 3 && phase[0] && phase[1] -> move(1, 1) /* to share, or because it drains */
    :: state == BUSY && sequence < 3 && phase[0] -> move(1, 0)
    :: state == BUSY && sequence < 3 && phase[1] -> move(0, 1)
    :: atomic { state == BUSY && !HAS_REQUEST(0) && !HAS_REQUEST(1) -> state = IDLE; noted = 0 }
    od;
#ifdef PREDICTING_LATE
    run_it(c);
    phase[c] = PREDICTING;
#else
    atomic { phase[c] = PREDICTING; run_it(c) }; /* from here on the predictor has it */
#endif
    if
    :: true
    :: atomic { in_hand = c; helpers_turn = 1 }; !helpers_turn
    fi;
    if
    :: phase[c] == PREDICTING -> answer(c)
    :: else /* the helper has answered */
    fi;
    c = 0;
    goto again;
write_more:
    write(c, WHOLE);
    atomic { consumed[c] = 1; rest[c] = 0 };
    phase[c] = OPEN;
    c = 0;
    goto again
  } unless { main_dead }
}

proctype Helper() {
  byte what0, what1;
  {
    do
    :: helpers_turn ->
       if
       :: in_hand == 0 && phase[1] -> move(0, 1) /* evacuate */
       :: in_hand == 1 && phase[0] -> move(1, 0)
       :: true
       fi;
       if
       :: in_hand == 0 -> answer(0); move(1, 0) /* time out */
       :: in_hand == 1 -> answer(1); move(0, 1)
       :: true
       fi;
       helpers_turn = 0
    od
  } unless { helper_dead }
}

/* ---- the end ---- */

proctype Killer() {
  if
  :: main_dead = 1;
     helper_dead = 1
  :: true /* it lives */
  fi
}

/* Bring what is in memory up to what the kernel knows. False: cannot be gone on with. */
inline settle(c, ok) {
  ok = 1;
  if
  :: phase[c] == ANSWERING && written[c] == WHOLE -> consumed[c] = 1; phase[c] = OPEN
  :: phase[c] == ANSWERING && written[c] != WHOLE && !rest[c] && written[c] == PART -> ok = 0
  :: phase[c] == ANSWERING && written[c] != WHOLE && !rest[c] && written[c] == NOTHING -> phase[c] = PREDICTING
  :: else
  fi
}
inline believe(c, ok) {
  ok = 1;
  if
  :: phase[c] == ANSWERING && !rest[c] -> phase[c] = PREDICTING
  :: else
  fi
}

inline send_back() {
  if
  :: !file -> lost[1] = 1 /* it cannot be read any more, and its descriptor is closed */
#ifdef ENTERED_OR_NOT
  :: file -> to_activator!0, 0, 0, ASKED
#else
  :: file && phase[1] == FREE -> to_activator!0, 0, 0, ASKED
  :: file && phase[1] != FREE
#endif
  fi;
  atomic { inbox = 0; file = 0 }
}

inline send_other(c) {
  if
  :: phase[c] != FREE && leaving[c] == 0 ->
#ifdef KERNEL_NOT_ASKED
     believe(c, ok);
#else
     settle(c, ok);
#endif
     if
     :: ok -> atomic { what0 = 0; what1 = 0; if :: c == 0 -> describe(0, what0) :: c == 1 -> describe(1, what1) fi };
        to_activator!0, 0, what0, what1
     :: else -> closed[c] = 1
     fi
  :: else
  fi
}

proctype Keeper() {
  byte what0, what1;
  bit ok;
end:
  main_dead;
#ifndef HELPER_LIVES
  helper_dead;
#endif
#ifdef READ_FIRST
  if :: nempty(to_replica) -> receive_request() :: empty(to_replica) fi;
  shut = 1;
#elif !defined(NO_SHUTDOWN)
  shut = 1;
#endif
  if
  :: (phase[0] && leaving[0]) || (phase[1] && leaving[1]) ->
     atomic {
       what0 = 0; what1 = 0;
       if :: leaving[0] -> describe(0, what0) :: else fi;
       if :: leaving[1] -> describe(1, what1) :: else fi
     };
#ifdef LEFT_SURELY
     skip
#elif defined(NO_AGAIN)
     to_activator!0, 0, what0, what1
#else
     to_activator!(leaving[0] -> leaving[0] : leaving[1]), 1, what0, what1
#endif
  :: else
  fi;
#ifndef INBOX_PRIVATE
  if :: inbox -> send_back() :: else fi;
#endif
#ifndef READ_FIRST
  if :: nempty(to_replica) -> receive_request(); send_back() :: empty(to_replica) fi;
#endif
  send_other(0);
  send_other(1);
  keeper_done = 1
}

/* ---- the activator ---- */

/* By the next replica. */
inline serve_queue(c) {
  if
  :: atomic { queued[c] -> queued[c] = 0; assert(!ran[c] && written[c] == NOTHING); ran[c] = 1 }; write(c, WHOLE)
  :: else
  fi
}

inline take(c, what) {
  if
  :: what ->
     assert(!at_activator[c]);
     at_activator[c] = 1;
     if
     :: what == ASKED -> queued[c] = 1
     :: what == FAILED -> assert(ran[c] && written[c] == NOTHING); write(c, WHOLE) /* 500 */
     :: what == WRITING -> write(c, WHOLE)
     :: else
     fi
  :: else
  fi
}

proctype Activator() {
  byte number, seen, what0, what1;
  bit again, broken;
end:
  do
  :: atomic { queued[1] && state == IDLE && !gone && generation == 0 -> state = CLAIMED; assert(!broken) };
     if
     :: atomic { shut ->
          broken = 1;
#ifdef IDLE_AGAIN
          state = IDLE
#elif defined(DEAD_TOO_EARLY)
          state = DEAD
#endif
        }
     :: atomic { !shut -> queued[1] = 0; at_activator[1] = 0; to_replica!1 }
     fi
  :: atomic { to_activator?number, again, what0, what1 ->
       if
       :: again && number <= seen
       :: else ->
          if :: !again && number != 0 -> seen = number :: else fi;
          take(0, what0);
          take(1, what1)
       fi;
       number = 0; again = 0; what0 = 0; what1 = 0 }
#ifdef END_BEFORE_RECORDS
  :: main_dead && !gone -> goto ended
#else
  :: keeper_done && empty(to_activator) && !gone -> goto ended
#endif
  od;
ended:
  atomic { assert(generation == 0); state = DEAD; gone = 1 };
  (generation == 1); /* the supervisor, below */
  serve_queue(0);
  serve_queue(1);
  goto end
}

proctype Supervisor() {
end:
  atomic { main_dead && helper_dead && keeper_done && state == DEAD -> generation = 1 }
}

init {
  atomic {
    phase[0] = OPEN;
    at_activator[1] = 1; queued[1] = 1;
    run Main();
    run Helper();
    run Killer();
    run Keeper();
    run Activator();
    run Supervisor()
  }
}

#define HERE(c)    (phase[c] != FREE && !main_dead)
#define OWNED(c)   (HERE(c) + at_activator[c] == 1)
#define FINISHED(c) (closed[c] && !at_activator[c] && written[c] == PART || !closed[c] && OWNED(c) && n_answers[c] == 1)
active proctype Monitor() {
  timeout ->
  assert(!lost[0] && !lost[1]);
  assert(!main_dead || gone);
  assert(!main_dead || (FINISHED(0) && FINISHED(1)))
}
