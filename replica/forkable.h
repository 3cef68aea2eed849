/*
 * forkable - may this process be forked, and its copies go on as if they were it?
 *
 * fork(2) copies memory and the thread that calls it; everything else is lost or shared. What a predictor may have by the
 * time that its template would fork:
 *
 *   another thread        is not there in a copy, and what it had locked stays locked: no
 *   a process it started  is nobody's child in a copy, and what it is for would be for all of them: no
 *   a GPU context         does not work after a fork, as the drivers document: no
 *   a socket, a pipe, an epoll or io_uring instance: bytes that are meant for one copy would go to any of them: no
 *   a file                its position would be shared: a copy opens it anew (forkable_open_anew)
 *   a mapped file, shared memory: that is what sharing is for: yes
 *
 * What cannot be seen is an object in a library that means something outside the process without holding a descriptor.
 */
#ifndef REPLICA_FORKABLE_H
#define REPLICA_FORKABLE_H

#include "common/util.h"

#define FORKABLE_TEXT_MAX 256

/* n_listeners: of the descriptors that are ours (common/start_record.h). True, or false and why, in words. A thread that is
 * just ending is waited for, at most a second. */
bool forkable_check(int n_listeners, char ret_why[FORKABLE_TEXT_MAX]);

/* In a copy: give it open files of its own, with the same positions. 0 or a negative errno. */
MUSTCHECK int forkable_open_anew(int n_listeners);

/* Would a process that has this open, as /proc/self/fd shows it, be unfit? What it is in words, or NULL. */
const char *forkable_judge(const char *link);

#endif
