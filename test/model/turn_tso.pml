/*
 * turn_tso - the pairs of words that two threads store and load crosswise, on a machine with store buffers (x86).
 *
 * The waker stores x and then loads y: whoever waits is woken. The sleeper stores y and then loads x: it sleeps if it sees
 * nothing new. seq_cst means that the store has left the buffer before the load. The other models take that for granted.
 *
 *   PAIR          waker              x := new              y                sleeper
 *   PARKED   (1)  main thread        word := PREDICT       parked           helper, in park()
 *   HURRY    (2)  helper             word := EVACUATED     hurry            main thread, in turn_end()
 *   WAITING  (3)  replica            state := IDLE         waiting          activator, in queue_dispatch()
 *
 * The sleeper of HURRY compares the word in the system call that puts it to sleep, which is a barrier by itself.
 *
 * Broken on purpose: WAKER_PLAIN, SLEEPER_PLAIN: that store is a release only, so it may still be in the buffer.
 */
#define PARKED  1
#define HURRY   2
#define WAITING 3

bit x, y;               /* memory */
bit x_buffer, y_buffer; /* 1: a store of 1 that nobody else sees yet */
bit asleep, woken;

active proctype Buffers() {
end: do
  :: atomic { x_buffer -> x = 1; x_buffer = 0 }
  :: atomic { y_buffer -> y = 1; y_buffer = 0 }
  od
}

active proctype Waker() {
  bit waits;
  x_buffer = 1;
#ifndef WAKER_PLAIN
  !x_buffer;
#endif
  waits = y;
  if
  :: waits -> !x_buffer; woken = 1 /* a system call */
  :: else
  fi;
  (woken || !asleep) /* else the sleeper is never needed again, but it is */
}

active proctype Sleeper() {
  bit new;
  y_buffer = 1;
#if PAIR == HURRY
  !y_buffer; /* the futex call */
#elif !defined(SLEEPER_PLAIN)
  !y_buffer;
#endif
  new = x;
  if
  :: new
  :: else -> !y_buffer; asleep = 1; woken; asleep = 0
  fi
}
