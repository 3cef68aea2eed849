/*
 * proc - what the kernel says about one process: who it is, what it has used.
 *
 * A process is its pid *and* its start time: pids come back. A file of /proc that cannot be opened or read because the
 * process is gone gives -ESRCH, whatever the kernel called it; every other error means "not known", never "gone".
 *
 * CPU time comes from the process' own clock (clock_getcpuclockid): nanoseconds, all threads, those that have ended
 * too, two system calls and no file. /proc/PID/schedstat has nanoseconds as well, but of the first thread only, and the
 * files of the other threads forget those that have ended. What reaped children have used is only in /proc/PID/stat, in
 * ticks; the kernel adds it up in nanoseconds and rounds down when it is read (twice: user and system), so the figure is
 * up to 20 ms too small, however many children there were, and never too large.
 */
#ifndef SUPERVISOR_PROC_H
#define SUPERVISOR_PROC_H

#include <sys/types.h>

#include "common/util.h"

struct proc_stat {
	pid_t parent;
	pid_t group;       /* process group */
	char name[16];     /* cut by the kernel */
	uint64_t start;    /* ticks since boot; never 0 */
	int64_t reaped_ns; /* CPU time of children that it has waited for, with what those had waited for */
	int64_t rss_kib;
};

struct proc_memory {
	int64_t pss_kib; /* a page shared by n processes counts 1/n */
	int64_t private_kib;
	int64_t shared_kib;
};

/* The text of /proc/PID/stat. False: it is not one. */
bool proc_parse_stat(const char *text, struct proc_stat *ret);

/* 0 or a negative errno. A zombie still answers. One descriptor for a moment, no allocation, never waits for the process. */
MUSTCHECK int proc_read_stat(pid_t pid, struct proc_stat *ret);

/* CPU time that the process itself has used, in nanoseconds. 0 or a negative errno. A zombie still answers. */
MUSTCHECK int proc_read_cpu(pid_t pid, int64_t *ret_ns);

/* From /proc/PID/smaps_rollup: the kernel walks through all of its memory, and this waits while the process changes its
 * mappings. 0 or a negative errno; a zombie is gone. */
MUSTCHECK int proc_read_memory(pid_t pid, struct proc_memory *ret);

/* The environment that it was started with: strings, each with a NUL, one after the other; empty while exec is under way, and
 * for a zombie. 0 and *ret_text (caller frees), or a negative errno. */
MUSTCHECK int proc_read_environment(pid_t pid, char **ret_text, size_t *ret_length);

/* All processes in ascending order. *pids is reallocated as needed; *room is its size. At most limit are listed, those
 * with the smallest numbers. 0 and *ret_n, or a negative errno. */
MUSTCHECK int proc_list(size_t limit, pid_t **pids, size_t *room, size_t *ret_n);

#endif
