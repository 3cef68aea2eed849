/*
 * scoreboard - replicas, the activator, the states on the scoreboard, `waiting`, notes, the listener, draining.
 *
 * What main and helper of a replica do is one process here: turn.pml shows that they take turns. A connection is with
 * exactly one owner: the backlog, a replica, the activator, or in flight in a record. Its requests come one after the other;
 * "arrives" is the moment when its owner reads it.
 *
 * A prediction is short, or longer than a tick but not evacuated, or evacuated, or presumed long and alone. So that whatever
 * is stuck behind a long one shows as a deadlock, a long prediction lasts until every connection has come and was accepted,
 * and one for connection 0, with a second replica, until every request of the others is answered. Monitor looks at every state
 * in which nothing can move (pan -E: instead of the usual check of end states).
 *
 * The activator presumes what it likes, offers are made whatever the ages (starve.pml), and the listener can be accepted from
 * by everybody who looks (accept.pml has its wake-ups). Deaths are not here (keeper.pml, restart.pml).
 *
 * N replicas, Q0 Q1 Q2 requests of the connections (C of them).
 * DRAIN_ONE   replica 0 is drained at any time, and another one is started in its slot
 * STOP        cortexd stops: everybody is drained
 * TIME_OUTS   a prediction may be answered by the helper, at its deadline, and a request without one
 * NO_SHARE    replicas that are busy do not give connections to idle ones (fewer states)
 *
 * Broken on purpose:
 *   IDLE_OVER_CLAIMED  the loop stores IDLE whenever it has nothing to do, also when it has stored it before
 *   RECEIVE_TWICE      who was claimed waits for the request, even if it has it
 *   WAITING_FIRST      a replica loads waiting before it stores IDLE
 *   NO_SECOND_SCAN     the activator stores waiting and does not scan again
 *   NO_NOTE_AFTER_LONG IDLE is noted only when somebody waits
 *   LONG_NOTED_FIRST   the note about LONG (or the MOVE) leaves before the state is stored
 *   PENDING_STAYS      an evacuation leaves complete requests where they are
 *   SILENT_EVACUATION  no LONG note even if nothing was moved and nobody presumed it
 *   PRESUMED_SILENTLY  the replica takes LONG by itself, but the activator does not count it as out
 *   STALE_LOOK         a record that was sent before the claim makes the activator forget that it presumed
 *   PRESUMED_FOR_EVER  the activator counts it as out until it has sent it another request
 *   SHARE_LEAVING      a connection that waits to leave is given away once more
 *   FORGOTTEN_FLUSH    a connection that is to leave stays in the departure while predictions go on
 *   NO_REARM           the listener is not armed when all replicas are out
 *   DRAIN_STORE        DRAINING is stored over IDLE or CLAIMED
 *   DRAIN_DROPS        a drained replica closes connections instead of moving them
 *   STOP_NO_ANSWER     the activator does not answer what is queued when the last replica is gone
 */
#ifndef N
#define N 2
#endif
#ifndef C
#define C 2
#endif
#ifndef Q0
#define Q0 1
#endif
#ifndef Q1
#define Q1 1
#endif
#ifndef Q2
#define Q2 0
#endif

#define DEAD     0
#define STARTING 1
#define IDLE     2
#define CLAIMED  3
#define BUSY     4
#define LONG     5
#define DRAINING 6
#define OUT(s) ((s) == LONG || (s) == STARTING || (s) == DRAINING || (s) == DEAD)

/* Owners beside the replicas. */
#define ACTIVATOR 8
#define BACKLOG   9
#define FLIGHT    10
#define CLOSED    11
#define NOT_YET   12 /* connected */

#define NOTE 1 /* IDLE or LONG: they say the same */
#define MOVE 2
#define END  3 /* of the channel */

#define NONE 7
#define BIT(n)     (1 << (n))
#define IN(n, set) ((set) & BIT(n))
#define ALL_SLOTS  (BIT(N) - 1)

chan to_replica[N] = [1] of { byte, bit };    /* REQUEST: connection, presumed long */
chan to_activator[N] = [4] of { byte, byte }; /* kind, connections */

byte state[N];
bit waiting;
byte owner[C];
byte quota[C];  /* requests that are still to come */
byte asked;     /* set of connections with a request that has arrived and is not answered */
byte told_to_drain; /* set of replicas */
bit stopping;

/* The activator's own. */
byte queue, out = ALL_SLOTS, presumed, greeted, gone;
bit armed = 1;

#define IN_BACKLOG(n) (owner[n] == BACKLOG)
#define OUTSIDE(n)    (owner[n] == BACKLOG || owner[n] == NOT_YET)
#if C > 2
#define EVERY(test) (test(0) && test(1) && test(2))
#define SOME(test)  (test(0) || test(1) || test(2))
#define PICK(n, set) if :: IN(0, set) -> n = 0 :: IN(1, set) -> n = 1 :: IN(2, set) -> n = 2 fi
#else
#define EVERY(test) (test(0) && test(1))
#define SOME(test)  (test(0) || test(1))
#define PICK(n, set) if :: IN(0, set) -> n = 0 :: IN(1, set) -> n = 1 fi
#endif
#define ANSWERED(n) (quota[n] == 0 && !IN(n, asked))
#define OTHERS_ANSWERED (ANSWERED(1) && (C < 3 || ANSWERED(C - 1)))

inline accept_one(who, n) { d_step { n = 0; do :: IN_BACKLOG(n) -> break :: else -> n++ od; owner[n] = who; n = 0 } }
inline accept_all(who, n) {
  d_step {
    n = 0;
    do
    :: n < C -> if :: IN_BACKLOG(n) -> owner[n] = who :: else fi; n++
    :: else -> break
    od;
    n = 0
  }
}
inline set_owner(set, who, n) {
  n = 0;
  do
  :: n < C -> if :: IN(n, set) -> owner[n] = who :: else fi; n++
  :: else -> break
  od;
  n = 0
}

/* ---- a replica ---- */

#define OWN(n) (owner[n] == me)
#define ARRIVES(n) OWN(n) && quota[n] > 0 && !IN(n, asked) -> quota[n]--; asked = asked | BIT(n); pending = pending | BIT(n)

/* Those that are to leave go, if there are any. */
inline flush() {
  if
  :: atomic { leaving != 0 -> set_owner(leaving, FLIGHT, k); to_activator[me]!MOVE, leaving; leaving = 0; sent = 1 }
  :: else
  fi
}

inline take_request() {
  atomic {
    to_replica[me]?request, is_presumed;
    assert(!received && owner[request] == FLIGHT);
    owner[request] = me; received = 1; pending = pending | BIT(request)
  }
}

inline go_idle() {
#ifdef IDLE_OVER_CLAIMED
  if :: true ->
#else
  if :: mine != IDLE ->
#endif
     sent = 0; received = 0;
     tell = (mine == LONG || mine == STARTING);
#ifdef WAITING_FIRST
     tell = tell || waiting;
#endif
     state[me] = IDLE; /* seq_cst */
     mine = IDLE;
     flush();
     if
#ifdef WAITING_FIRST
     :: !sent && tell ->
#elif defined(NO_NOTE_AFTER_LONG)
     :: !sent && waiting ->
#else
     :: !sent && (tell || waiting) -> /* seq_cst */
#endif
        to_activator[me]!NOTE, 0
     :: else
     fi;
     sent = 0; tell = 0
  :: else
  fi
}

inline leave_idle() {
  if
  :: mine == IDLE ->
     if
     :: atomic { state[me] == IDLE -> state[me] = BUSY }; mine = BUSY
     :: state[me] == CLAIMED ->
#ifdef RECEIVE_TWICE
        take_request();
#else
        if :: !received -> take_request() :: received fi;
#endif
        if :: is_presumed -> mine = LONG :: else -> mine = BUSY fi;
        is_presumed = 0;
        state[me] = mine
     fi;
     assert(empty(to_replica[me])) /* or it waits behind what we do now */
  :: else -> assert(!received)
  fi
}

/* Long: the helper moves the others. It may be stopped in the middle, when the prediction ends. */
inline evacuate() {
  sent = 0;
  tell = (state[me] != LONG); /* presumed */
#ifndef LONG_NOTED_FIRST
  state[me] = LONG;
#endif
  atomic {
    k = 0;
    do
#ifdef PENDING_STAYS
    :: k < C && OWN(k) && k != conn && !IN(k, pending) -> leaving = leaving | BIT(k); k++
    :: k < C && (!OWN(k) || k == conn || IN(k, pending)) -> k++
#else
    :: k < C && OWN(k) && k != conn -> assert(!IN(k, leaving)); leaving = leaving | BIT(k); k++
    :: k < C && (!OWN(k) || k == conn) -> k++
#endif
    :: k < C && hurry -> break
    :: k == C -> break
    od;
    k = 0;
    pending = pending & ~leaving
  };
  flush();
#ifndef SILENT_EVACUATION
  if :: tell && !sent -> to_activator[me]!NOTE, 0 :: else fi;
#endif
#ifdef LONG_NOTED_FIRST
  state[me] = LONG;
#endif
  mine = LONG;
  sent = 0; tell = 0
}

#define ALONE (EVERY(IS_ALONE))
#define IS_ALONE(n) (!OWN(n) || n == conn)
#define LASTS_NO_LONGER (stopping || (N > 1 && conn == 0 -> OTHERS_ANSWERED : !SOME(OUTSIDE)))

/* Give one to an idle replica, by way of the activator. */
inline share() {
  if
  :: !draining && N > 1 && state[1 - me] == IDLE ->
     atomic {
       if
       :: pending != 0 -> PICK(k, pending)
#ifdef SHARE_LEAVING
       :: OWN(0) -> k = 0
       :: OWN(1) -> k = 1
#else
       :: OWN(0) && !IN(0, leaving) -> k = 0
       :: OWN(1) && !IN(1, leaving) -> k = 1
#endif
       :: else -> k = NONE
       fi;
       if
       :: k != NONE -> assert(!IN(k, leaving)); leaving = leaving | BIT(k); pending = pending & ~BIT(k)
       :: else
       fi;
       k = 0
     };
     flush()
  :: true
  fi;
  sent = 0
}

proctype Replica(byte me) {
  byte mine = STARTING, pending, leaving, conn, request, k;
  bit received, is_presumed, served_own, draining, block, tell, sent, takes_a_tick, hurry;
top:
  if
  :: pending != 0 ->
     if
     :: served_own && waiting -> /* an offer */
        served_own = 0;
        go_idle();
        if :: nempty(to_replica[me]) -> take_request() :: true /* waits no longer */ fi
     :: true
     fi;
     block = 0
  :: pending == 0 && !draining -> go_idle(); block = 1
  :: pending == 0 && draining -> block = 0
  fi;
  assert(leaving == 0); /* nothing may happen to those */
  do /* a turn of the loop */
  :: nempty(to_replica[me]) -> take_request(); block = 0
  :: atomic { !draining && SOME(IN_BACKLOG) -> accept_one(me, k); block = 0 }
  :: atomic { ARRIVES(0); block = 0 }
  :: atomic { ARRIVES(1); block = 0 }
#if C > 2
  :: atomic { ARRIVES(2); block = 0 }
#endif
  :: atomic { IN(me, told_to_drain) && !draining -> draining = 1; accept_all(me, k); block = 0 }
  :: !block -> break
  od;
  if
  :: pending == 0 && draining -> goto leave
  :: pending == 0 && !draining -> goto top
  :: pending != 0 -> leave_idle()
  fi;
serve:
  atomic {
    if :: received -> conn = request :: else -> PICK(conn, pending) fi;
    pending = pending & ~BIT(conn);
    received = 0; served_own = 1; request = 0;
    assert(OWN(conn) && IN(conn, asked) && !IN(conn, leaving))
  };
  if
  :: true /* shorter than a tick */
#ifdef TIME_OUTS
  :: true -> asked = asked & ~BIT(conn); goto answered /* it has waited too long: no prediction */
#endif
  :: takes_a_tick = 1 /* and ends before the second one */
  :: !(mine == LONG && ALONE) -> takes_a_tick = 1;
     if :: hurry = 1 :: true fi;
     evacuate();
     if
     :: hurry -> hurry = 0
     :: !hurry -> LASTS_NO_LONGER
#ifdef TIME_OUTS
     :: !hurry -> /* the helper answers in its stead, and moves it */
        atomic { asked = asked & ~BIT(conn); leaving = BIT(conn); takes_a_tick = 0 };
        flush();
        LASTS_NO_LONGER;
        goto after
#endif
     fi
  :: mine == LONG && ALONE -> takes_a_tick = 1; LASTS_NO_LONGER /* the helper sleeps */
  fi;
  atomic {
    asked = asked & ~BIT(conn);
    if :: takes_a_tick && waiting -> leaving = leaving | BIT(conn) :: else fi
  };
after:
  if
  :: mine == LONG && pending != 0 ->
     state[me] = BUSY; mine = BUSY;
     flush();
     if :: !sent -> to_activator[me]!NOTE, 0 :: else fi
  :: else
  fi;
answered:
  sent = 0; conn = 0;
#ifdef FORGOTTEN_FLUSH
  if :: pending != 0 -> takes_a_tick = 0; goto serve :: else fi;
#endif
  if
  :: pending != 0 && !takes_a_tick -> goto serve
  :: true -> takes_a_tick = 0
  fi;
#ifndef NO_SHARE
  share();
#endif
  if :: pending != 0 || draining -> flush(); sent = 0 :: else fi;
  goto top;
leave:
  if
  :: stopping && waiting -> go_idle(); /* somebody waits, and may be given to us */
     if :: nempty(to_replica[me]) -> take_request(); leave_idle(); goto serve :: !waiting || state[me] == CLAIMED fi;
     goto top
  :: else ->
     if
#ifdef DRAIN_STORE
     :: true -> state[me] = DRAINING
#else
     :: mine != IDLE -> state[me] = DRAINING
     :: atomic { mine == IDLE && state[me] == IDLE -> state[me] = DRAINING }
     :: mine == IDLE && state[me] == CLAIMED -> leave_idle(); goto serve
#endif
     fi
  fi;
  mine = DRAINING;
  atomic {
    k = 0;
    do
#ifdef DRAIN_DROPS
    :: k < C && OWN(k) -> owner[k] = CLOSED; k++
#else
    :: k < C && OWN(k) -> leaving = leaving | BIT(k); k++
#endif
    :: k < C && !OWN(k) -> k++
    :: k == C -> break
    od;
    k = 0
  };
  flush(); sent = 0;
  assert(empty(to_replica[me]));
  to_activator[me]!END, 0;
  atomic { state[me] == STARTING -> mine = STARTING; draining = 0; served_own = 0 } /* the next one in this slot */
  goto top
}

/* ---- the activator ---- */

inline consider_listening() {
#ifdef NO_REARM
  skip
#else
  if :: out == ALL_SLOTS && !stopping_seen -> armed = 1 :: else fi
#endif
}

inline claim(i) {
  if
  :: atomic { got == NONE && IN(i, greeted) && state[i] == IDLE -> state[i] = CLAIMED; got = i } /* seq_cst */
  :: else
  fi
}
#if N > 1
inline claim_idle() { if :: true -> claim(0); claim(1) :: true -> claim(1); claim(0) fi }
#else
inline claim_idle() { claim(0) }
#endif

inline dispatch() {
  do
  :: queue == 0 -> break
  :: queue != 0 ->
     claim_idle();
     if
     :: got == NONE && waiting -> break /* who went idle since it was stored has said so */
     :: got == NONE && !waiting ->
        waiting = 1; /* seq_cst */
#ifdef NO_SECOND_SCAN
        break
#else
        claim_idle();
        if :: got == NONE -> break :: else fi
#endif
     :: else
     fi;
     atomic {
       PICK(k, queue);
       queue = queue & ~BIT(k);
       assert(owner[k] == ACTIVATOR && empty(to_replica[got]));
       owner[k] = FLIGHT;
       if
       :: to_replica[got]!k, 0; presumed = presumed & ~BIT(got)
       :: to_replica[got]!k, 1; presumed = presumed | BIT(got);
#ifndef PRESUMED_SILENTLY
          out = out | BIT(got); consider_listening()
#endif
       fi;
       k = 0; got = NONE
     }
  od;
  atomic { waiting = (queue != 0); got = NONE }
}

#define READS(n) owner[n] == ACTIVATOR && quota[n] > 0 && !IN(n, asked) -> quota[n]--; asked = asked | BIT(n); queue = queue | BIT(n)
#define REFUSED(n) owner[n] == ACTIVATOR -> owner[n] = CLOSED; quota[n] = 0; asked = asked & ~BIT(n); queue = queue & ~BIT(n)

active proctype Activator() {
  byte k, peer, kind, set, seen, got = NONE;
  bit stopping_seen;
end:
  do
  :: atomic { to_activator[0]?kind, set -> peer = 0 }; goto record
#if N > 1
  :: atomic { to_activator[1]?kind, set -> peer = 1 }; goto record
#endif
  :: atomic { armed && SOME(IN_BACKLOG) -> accept_one(ACTIVATOR, k) }
  :: atomic { armed && out != ALL_SLOTS -> armed = 0; accept_all(ACTIVATOR, k) } /* a moment later */
  :: atomic { READS(0) }; dispatch()
  :: atomic { READS(1) }; dispatch()
#if C > 2
  :: atomic { READS(2) }; dispatch()
#endif
  :: atomic { stopping && !stopping_seen -> stopping_seen = 1; armed = 0; accept_all(ACTIVATOR, k) }
#ifndef STOP_NO_ANSWER
  :: atomic { stopping_seen && gone == ALL_SLOTS && REFUSED(0) }; waiting = (queue != 0)
  :: atomic { stopping_seen && gone == ALL_SLOTS && REFUSED(1) }; waiting = (queue != 0)
#if C > 2
  :: atomic { stopping_seen && gone == ALL_SLOTS && REFUSED(2) }; waiting = (queue != 0)
#endif
#endif
  od;
record:
  greeted = greeted | BIT(peer);
  if
  :: kind == MOVE ->
     atomic { /* with complete requests or without; one may follow in the bytes that came along */
       k = 0;
       do
       :: k < C && IN(k, set) -> assert(owner[k] == FLIGHT); owner[k] = ACTIVATOR;
          if
          :: IN(k, asked) -> queue = queue | BIT(k)
          :: !IN(k, asked) && quota[k] > 0 -> quota[k]--; asked = asked | BIT(k); queue = queue | BIT(k)
          :: !IN(k, asked)
          fi;
          k++
       :: k < C && !IN(k, set) -> k++
       :: k == C -> break
       od;
       k = 0; set = 0
     };
     dispatch()
  :: kind == END ->
     atomic {
       assert(empty(to_replica[peer]));
       state[peer] = DEAD; out = out | BIT(peer); gone = gone | BIT(peer); presumed = presumed & ~BIT(peer);
       consider_listening();
       if :: !stopping_seen -> accept_all(ACTIVATOR, k) :: else fi
     };
     if
     :: atomic { !stopping -> /* by the supervisor: another one in this slot */
          told_to_drain = told_to_drain & ~BIT(peer);
          gone = gone & ~BIT(peer); greeted = greeted & ~BIT(peer);
          state[peer] = STARTING }
     :: stopping
     fi;
     goto told
  :: else
  fi;
  atomic { /* look at its slot */
    seen = state[peer];
#ifdef STALE_LOOK
    presumed = presumed & ~BIT(peer);
#elif !defined(PRESUMED_FOR_EVER)
    if :: seen != CLAIMED -> presumed = presumed & ~BIT(peer) :: else fi;
#endif
    if
    :: OUT(seen) || IN(peer, presumed) -> out = out | BIT(peer); consider_listening()
    :: else -> out = out & ~BIT(peer)
    fi;
    if :: seen == LONG && !stopping_seen -> accept_all(ACTIVATOR, k) :: else fi;
    seen = 0
  };
told:
  kind = 0; peer = 0;
  dispatch();
  goto end
}

/* ---- the rest ---- */

init {
  atomic {
    owner[0] = BACKLOG; owner[1] = NOT_YET; quota[0] = Q0; quota[1] = Q1;
#if C > 2
    owner[2] = NOT_YET; quota[2] = Q2;
#endif
    state[0] = STARTING; run Replica(0);
#if N > 1
    state[1] = STARTING; run Replica(1);
#endif
#ifdef DRAIN_ONE
    told_to_drain = 1;
#endif
  };
#ifdef STOP
  atomic { stopping = 1; told_to_drain = ALL_SLOTS }
#endif
}

active proctype Clients() {
  atomic { owner[1] == NOT_YET -> owner[1] = BACKLOG };
#if C > 2
  atomic { owner[2] == NOT_YET -> owner[2] = BACKLOG }
#endif
}

/* In a stop a connection may come too late. */
#define AT_REST(n) (quota[n] == 0 && owner[n] != BACKLOG && owner[n] != FLIGHT || stopping && owner[n] == BACKLOG)
#define SILENT(i)  (empty(to_replica[i]) && empty(to_activator[i]))

/* Nothing can move: then everything must be in its place. */
active proctype Monitor() {
  timeout ->
  assert(EVERY(AT_REST) && asked == 0 && queue == 0);
  assert(SILENT(0) && SILENT(N - 1) && waiting == 0);
  assert(stopping || armed == (OUT(state[0]) && OUT(state[N - 1])))
}
