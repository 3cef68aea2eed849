/*
 * state_dir - the folder where cortexd keeps what outlives it, and the lock that keeps a second cortexd out.
 *
 * The lock is flock(2) on <state_dir>/lock: the kernel drops it when the process ends, however it ends, so there is no
 * stale lock to clear away. The file holds the owner's pid, for messages only.
 */
#ifndef SUPERVISOR_STATE_DIR_H
#define SUPERVISOR_STATE_DIR_H

#include <sys/types.h>

#include "common/error.h"
#include "common/util.h"

/* Make the folder if needed and lock it. 0 and *ret_lock (keep it open; close-on-exec), or a negative errno and err. */
MUSTCHECK int state_dir_lock(const char *path, int *ret_lock, struct error *err);

/* Write our pid into the lock file, which is open. 0, or a negative errno and err. */
MUSTCHECK int state_dir_write_pid(int lock, struct error *err);

/* The pid in it, or 0 when there is none. */
pid_t state_dir_read_pid(int lock);

#endif
