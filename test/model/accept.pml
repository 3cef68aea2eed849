/*
 * accept - one listener, two replicas and the activator: is a connection in the backlog always seen by somebody?
 *
 * The kernel as it is with EPOLLEXCLUSIVE: an arrival walks along the processes that have the listener in their epoll, in
 * any order; it marks those that are not asleep and goes on, wakes the first that is asleep, and stops there. Who was not
 * marked is never told of that connection, even at its next epoll_wait. A mark stays until a look finds the backlog empty.
 * DEL and ADD of the listener, after each accept, looks again. Who was woken is out of line at once.
 *
 * A replica accepts one connection in a turn, and may then run a long prediction, which lasts until everybody has come and was
 * accepted; or die, or be drained. The activator may claim it while it is idle, and presume that the prediction is long: then
 * there is no record about it, unless the replica has another connection to move. A drained replica says so, and takes its
 * time to exit.
 *
 * OLD_KERNEL  (before 5.7) who was woken stays in line until it runs, and may take the wake-up of the next arrival, too
 * ENDS        an accepted connection may have ended by the end of the turn (/healthz, and closed)
 *
 * Broken on purpose:
 *   NO_SWEEP_AT_LONG   the activator does not accept when a replica says that it is LONG (with OLD_KERNEL)
 *   NO_SWEEP_AT_END    nor when a channel ends
 *   DRAIN_NO_SWEEP     a replica stops listening without accepting what is there
 *   DRAIN_SILENTLY     a replica that has nothing to move says nothing between DRAINING and its end
 *   DISARM_NO_SWEEP    the activator, too
 *   NO_ARM             the activator does not listen when all replicas are out
 *   ACCEPT_NOTHING_NEW after an accept the listener is registered anew without a look at what is there
 * A known hole, caught likewise: OLD_KERNEL with ENDS, the price of saying nothing about a presumed prediction.
 */
#ifndef ARRIVALS
#define ARRIVALS 3
#endif
#define ACTIVATOR 2
#define IDLE 0
#define BUSY 1
#define LONG 2
#define GONE 3
#define DRAINING 4

byte backlog, to_come = ARRIVALS;
bit listens[3], asleep[3], marked[3];
byte woken_in_line = 7; /* OLD_KERNEL */
byte state[2] = IDLE;
bit request[2]; /* sent and not received: it was claimed */
byte out;       /* set, as the activator sees it */
chan records = [6] of { byte };

#define BIT(i) (1 << (i))

inline accept_all() { backlog = 0 }
inline look_again(i) { marked[i] = (listens[i] && backlog > 0) }

inline leave_line() { if :: woken_in_line == i -> woken_in_line = 7 :: else fi }

inline begin_drain() {
  drains = 1; listens[i] = 0; marked[i] = 0;
#ifndef DRAIN_NO_SWEEP
  accept_all()
#endif
}

proctype Replica(byte i) {
  bit stays, is_presumed, drains;
  atomic { listens[i] = 1; look_again(i) };
  do
  :: !drains || request[i] ->
     atomic { /* epoll_wait */
       if
       :: marked[i] && backlog == 0 -> marked[i] = 0
       :: else
       fi;
       if :: !marked[i] && !request[i] -> asleep[i] = 1 :: else fi
     };
     if
     :: atomic { (marked[i] || request[i]) -> asleep[i] = 0; leave_line() }
     :: (marked[i] || request[i]) -> break /* killed, after it was woken */
     :: atomic { marked[i] && !drains -> asleep[i] = 0; leave_line(); begin_drain(); goto more } /* woken, and told to drain in that turn */
     fi;
     atomic {
       if
       :: marked[i] && backlog > 0 ->
          backlog--;
#ifndef ACCEPT_NOTHING_NEW
          look_again(i);
#else
          marked[i] = 0;
#endif
#ifdef ENDS
          if :: stays = 1 :: stays = 0 fi
#else
          stays = 1
#endif
       :: marked[i] && backlog == 0 -> marked[i] = 0
       :: !marked[i]
       fi
     };
     if
     :: atomic { request[i] -> request[i] = 0; state[i] = LONG; is_presumed = 1 }
     :: atomic { !request[i] && stays -> state[i] = BUSY }
     :: !request[i] && !stays -> goto more
     fi;
     if
     :: true /* short */
     :: true ->
        if
        :: is_presumed && !stays /* nothing to move: nothing is said */
        :: else -> state[i] = LONG; records!i
        fi;
        (to_come == 0 && backlog == 0)
     fi;
     if
     :: state[i] == LONG -> state[i] = IDLE; records!i
     :: else -> state[i] = IDLE
     fi;
more:
     stays = 0; is_presumed = 0
  :: atomic { !drains -> begin_drain() }
  :: atomic { drains && !request[i] -> state[i] = DRAINING };
#ifndef DRAIN_SILENTLY
     records!i;
#endif
     (to_come == 0 && backlog == 0);
     break
  od;
  atomic { /* a request that it was sent goes back: its keeper sees to that */
    state[i] = GONE; request[i] = 0; listens[i] = 0; marked[i] = 0; asleep[i] = 0;
    leave_line()
  };
  records!i
}

inline consider_listening() {
#ifndef NO_ARM
  if :: out == 3 && !listens[ACTIVATOR] -> listens[ACTIVATOR] = 1; look_again(ACTIVATOR) :: else fi
#else
  skip
#endif
}

inline wakes_up() { asleep[ACTIVATOR] = 0; if :: woken_in_line == ACTIVATOR -> woken_in_line = 7 :: else fi }

proctype Activator() {
  byte i;
  bit claimed;
end:
  do
  :: atomic { nempty(records) -> wakes_up(); records?i };
     atomic { /* look at its slot */
       if
       :: state[i] == LONG || state[i] == DRAINING || state[i] == GONE -> out = out | BIT(i); consider_listening()
       :: else -> if :: !request[i] -> out = out & ~BIT(i) :: else fi
       fi;
       if
#ifndef NO_SWEEP_AT_LONG
       :: state[i] == LONG -> accept_all()
#endif
#ifndef NO_SWEEP_AT_END
       :: state[i] == GONE -> accept_all()
#endif
       :: else
       fi;
       i = 0
     }
  :: atomic { marked[ACTIVATOR] -> wakes_up();
       if
       :: backlog > 0 -> backlog--; look_again(ACTIVATOR)
       :: else -> marked[ACTIVATOR] = 0
       fi }
  :: atomic { listens[ACTIVATOR] && out != 3 -> listens[ACTIVATOR] = 0; marked[ACTIVATOR] = 0; wakes_up();
#ifndef DISARM_NO_SWEEP
       accept_all()
#endif
     }
  :: atomic { !claimed && state[0] == IDLE && !request[0] -> claimed = 1; request[0] = 1; out = out | 1; consider_listening() }
  :: atomic { empty(records) && !marked[ACTIVATOR] && listens[ACTIVATOR] && !asleep[ACTIVATOR] -> asleep[ACTIVATOR] = 1 }
  od
}

/* A walk along those who listen, from any of them. */
active proctype Arrivals() {
  byte i, n, first;
  do
  :: atomic {
       to_come > 0 ->
       to_come--; backlog++;
       if :: first = 0 :: first = 1 :: first = 2 fi;
       n = 0;
       do
       :: n < 3 ->
          i = (first + n) % 3;
          if
          :: listens[i] && asleep[i] && !marked[i] ->
             marked[i] = 1;
#ifdef OLD_KERNEL
             if :: woken_in_line == 7 -> woken_in_line = i :: else fi;
#endif
             break
#ifdef OLD_KERNEL
          :: listens[i] && marked[i] && woken_in_line == i -> break
#endif
          :: else -> if :: listens[i] -> marked[i] = 1 :: else fi; n++
          fi
       :: n == 3 -> break
       od;
       n = 0; i = 0; first = 0
     }
  :: atomic { to_come == 0 -> break }
  od
}

init { atomic { run Replica(0); run Replica(1); run Activator() } }

active proctype Monitor() {
  timeout -> assert(backlog == 0 && to_come == 0)
}
