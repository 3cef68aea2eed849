/*
 * sink - standard error of cortexd, for a process that must never wait for it.
 *
 * Whoever reads it may have stopped: a terminal after Ctrl-S, a full pipe. So a thread does the writing, and waits; the rest of the process
 * puts lines into a buffer, and what finds no room there is lost and counted. When there is room again, a line says how many.
 *
 * Other processes write to the same place, so the thread writes whole lines, to a pipe at most PIPE_BUF bytes at once.
 */
#ifndef MONITOR_SINK_H
#define MONITOR_SINK_H

#include "common/util.h"

#define SINK_BUFFER   (2 << 20)
#define SINK_LEAVE_MS 1000 /* for sink_done */

/* Writes the line that tells of a loss; its length. */
typedef size_t sink_notice(char *to, size_t size, uint64_t n_lost);

/* Start the thread. 0 or a negative errno. One per process. */
MUSTCHECK int sink_init(int fd, sink_notice *notice);

/* Whole lines, from any thread. Never waits for the reader. */
void sink_put(const char *lines, size_t length);

/* Lines that were lost since the last call. */
uint64_t sink_take_lost(void);

/* Wait until all is written, but not longer than SINK_LEAVE_MS. The thread is left to the end of the process. */
void sink_done(void);

#endif
