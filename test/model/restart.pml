/*
 * restart - the activator dies at any step, and a replica goes on with the next one (take_channel in replica/server.c).
 *
 * One replica, and activators one after the other with channels of their own, numbered alike. Each activator has two requests
 * in its queue. With it die those, and what is unread in its direction; a request that it has sent must still be served. The
 * replica has requests of its own, too, so the death meets it idle, busy, claimed, and waiting for what it was claimed for.
 *
 * Broken on purpose:
 *   UNGREETED      an activator claims a replica that has not said anything on its channel yet
 *   CLAIM_STAYS    a claim whose request died with the activator is not undone
 *   CLAIM_UNDONE   a claim is undone although its request was received
 *   OLD_UNREAD     the old channel is closed before it was read to its end
 *   NOTE_FIRST     the note on the new channel leaves before the claim is undone
 *   NO_NOTE        no note is sent on the new channel
 *   WAITS_FOR_EVER who was claimed waits for the request even when the activator is gone
 */
#define STARTING 0
#define IDLE     1
#define CLAIMED  2
#define BUSY     3

#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef N_OWN
#define N_OWN 2
#endif
#define ACTIVATORS (DEATHS + 1)

chan to_replica[ACTIVATORS] = [1] of { bit };
chan to_activator[ACTIVATORS] = [3] of { bit };
chan control = [ACTIVATORS] of { byte }; /* from the supervisor to the replica: the number of a channel */

byte state = STARTING;
bit waiting;
byte live;            /* the activator that lives, or died last */
bit dead[ACTIVATORS]; /* its ends are closed */
byte n_sent;          /* requests that have left an activator and are not served */
byte n_own = N_OWN, n_queued;

inline send_note() {
  if
  :: atomic { up && !dead[channel] && nfull(to_activator[channel]) -> to_activator[channel]!1 }
  :: !up || dead[channel] /* EPIPE */
  fi
}
inline receive_request() { atomic { to_replica[channel]?_ -> assert(!in_hand); received = 1; in_hand = 1 } }

inline take_channel() {
#ifndef OLD_UNREAD
  do
  :: up && nempty(to_replica[channel]) -> receive_request()
  :: !up || empty(to_replica[channel]) -> break
  od;
#endif
#ifdef NOTE_FIRST
  channel = new; up = 1;
  send_note();
#endif
  if
#ifdef CLAIM_STAYS
  :: false
#elif defined(CLAIM_UNDONE)
  :: mine == IDLE -> state = IDLE
#else
  :: mine == IDLE && !received -> state = IDLE
#endif
  :: else
  fi;
#ifndef NOTE_FIRST
  channel = new; up = 1;
#ifndef NO_NOTE
  send_note();
#endif
#endif
  new = 0
}

inline leave_idle() {
  if
  :: atomic { state == IDLE -> state = BUSY }
  :: state == CLAIMED ->
     do
     :: !received && up && nempty(to_replica[channel]) -> receive_request()
#ifndef WAITS_FOR_EVER
     :: !received && up && empty(to_replica[channel]) && dead[channel] -> up = 0
#endif
     :: received || !up -> break
     od;
     state = BUSY
  fi;
  assert(!up || empty(to_replica[channel])) /* or it waits behind what we do now */
}

proctype Replica() {
  byte mine = STARTING, channel, new;
  bit up = 1, received, in_hand, own, tell;
top:
  if
  :: mine != IDLE ->
     tell = (mine == STARTING); received = 0;
     state = IDLE; /* seq_cst */
     mine = IDLE;
     if :: tell || waiting -> send_note() :: else fi;
     tell = 0
  :: else
  fi;
  do /* a turn of the loop */
  :: up && nempty(to_replica[channel]) -> receive_request()
  :: up && empty(to_replica[channel]) && dead[channel] -> up = 0
  :: control?new -> take_channel()
  :: atomic { n_own > 0 && !own -> n_own--; own = 1 }
  :: in_hand || own -> break
  od;
  leave_idle();
  mine = BUSY;
  atomic { own = 0; if :: in_hand -> in_hand = 0; n_sent-- :: else fi };
  goto top
}

inline claim() {
  if
#ifdef UNGREETED
  :: atomic { state == IDLE -> state = CLAIMED; got = 1 }
#else
  :: atomic { greeted && state == IDLE -> state = CLAIMED; got = 1 }
#endif
  :: else
  fi
}

proctype Activator() {
  bit greeted, got;
  byte me;
born:
  {
    waiting = 0;
    n_queued = 2;
    do
    :: n_queued == 0 -> waiting = 0; to_activator[me]?_; greeted = 1
    :: n_queued > 0 ->
       claim();
       if
       :: !got && !waiting -> waiting = 1; claim()
       :: else
       fi;
       if
       :: got -> atomic { assert(empty(to_replica[me])); to_replica[me]!1; n_sent++; n_queued--; got = 0 }
       :: !got -> to_activator[me]?_; greeted = 1
       fi
    od
  } unless { dead[me] };
  atomic {
    do :: nempty(to_activator[me]) -> to_activator[me]?_ :: empty(to_activator[me]) -> break od;
    greeted = 0; got = 0; n_queued = 0
  };
  atomic { live == me + 1 -> me++ };
  goto born
}

active proctype Supervisor() {
end:
  do
  :: atomic { live < DEATHS -> dead[live] = 1 }; /* at any time */
     control!live + 1;
     waiting = 0;
     live++ /* and it starts the next */
  od
}

init { atomic { run Replica(); run Activator() } }

active proctype Monitor() {
  timeout ->
  assert(state == IDLE && n_own == 0 && n_queued == 0);
  assert(n_sent == 0 && empty(to_replica[live]) && empty(control))
}
