/*
 * starve - a replica that its own clients keep busy for ever, and requests that wait at the activator: offers, and ages.
 *
 * `line` holds all requests that wait, the replica's own and those of the queue, in the order of their arrival: so "the head
 * of the queue is older than the first of ours" is the question who stands first. New ones of both kinds keep coming while
 * there is room. The replica is the only one of its api that is not in a long prediction.
 *
 * Under weak fairness a request of the queue is served, and one of the replica's own is; and who is taken out of the queue by
 * an offer is the oldest of all (unless the offer met the activator between a send and storing the next head). The first
 * needs an activator that reacts before an offer ends; SLOW: it may not, any time, for ever.
 *
 * Broken on purpose:
 *   NO_OFFER       the replica can be claimed only when it has nothing to do
 *   OFFER_SILENTLY it sends no note with an offer
 *   OFFER_AGAIN    it may offer itself again without having served one of its own (with SLOW)
 *   OFFER_YOUNG    it offers itself whenever somebody waits, whatever the ages
 *   HEAD_STAYS     `waiting` is not stored again when the head of the queue changes
 */
#define OWN    0
#define QUEUED 1

#define IDLE    0
#define CLAIMED 1
#define BUSY    2

chan line = [4] of { bit };
chan to_replica = [1] of { bit };
chan notes = [2] of { bit };

byte state = BUSY;
byte n_own, n_queued;
bit waiting, stale; /* stale: it is the arrival of one that is gone, and was older than all in line */
bit looking;        /* the activator reacts to a note */
bit between;        /* it has sent a request and not stored `waiting` */
bit by_offer;       /* IDLE is an offer, with the ages as they are */
bit slow;
bit serves_own, serves_queued;

#ifdef OFFER_YOUNG
#define OLDER true
#else
#define OLDER (stale || line?[QUEUED])
#endif

inline serve_own() { atomic { line??eval(OWN); n_own--; serves_own = 1; offered = 0 }; serves_own = 0 }

inline leave_idle() {
  if
  :: atomic { state == IDLE -> state = BUSY; by_offer = 0 }
  :: state == CLAIMED -> to_replica?_; atomic { state = BUSY; by_offer = 0; serves_queued = 1 }; serves_queued = 0
  fi
}

active proctype Replica() {
  bit offered;
  do
#ifdef NO_OFFER
  :: n_own > 0 -> serve_own()
#else
#ifdef OFFER_AGAIN
  :: atomic { n_own > 0 && waiting && OLDER -> by_offer = !between };
#else
  :: atomic { n_own > 0 && waiting && OLDER && !offered -> by_offer = !between };
#endif
     atomic { state = IDLE; offered = 1 };
#ifndef OFFER_SILENTLY
     notes!1;
#endif
     (slow || nempty(to_replica) || (state == IDLE && empty(notes) && !looking)); /* 200 us */
     leave_idle()
  :: n_own > 0 && !(waiting && OLDER && !offered) -> serve_own()
#endif
  :: n_own == 0 ->
     state = IDLE;
     if :: waiting -> notes!1 :: else fi;
     (n_own > 0 || nempty(to_replica));
     leave_idle()
  od
}

inline dispatch() {
  if
  :: atomic { n_queued > 0 && state == IDLE -> state = CLAIMED };
     atomic {
       assert(line?[QUEUED] || !by_offer);
       line??eval(QUEUED); n_queued--;
       stale = 1; between = 1;
       to_replica!1
     }
  :: else
  fi;
#ifdef HEAD_STAYS
  atomic { waiting = (n_queued > 0); stale = stale && waiting; between = 0 }
#else
  atomic { waiting = (n_queued > 0); stale = 0; between = 0 }
#endif
}

active proctype Activator() {
  do
  :: atomic { notes?_ -> looking = 1 }; dispatch(); looking = 0
  :: atomic { n_queued < 2 -> n_queued++; line!QUEUED }; dispatch()
  od
}

active proctype Clients() {
  do
  :: atomic { n_own < 2 -> n_own++; line!OWN }
#ifdef SLOW
  :: slow = 1
#endif
  od
}

#ifndef SLOW
ltl queue_is_served { [] (n_queued > 0 -> <> serves_queued) }
#endif
ltl own_are_served { [] (n_own > 0 -> <> serves_own) }
