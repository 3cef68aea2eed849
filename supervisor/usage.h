/*
 * usage - what each replica has used, together with all processes that it has started and those have started.
 *
 * A *root* is a process that the caller has started and not waited for yet. A process belongs to a root when it descends
 * from it, also when it has left the process group and the session, and when those between have ended: the caller is
 * a subreaper, so an orphan becomes its child, and is known from before, by its process group, or by the mark in the
 * environment that it was started with. A replica's keeper (replica/keeper.h) belongs to nobody.
 *
 * How CPU time is counted. A sample reads, for each process that belongs to a root, first what it has got from children
 * that it waited for, then its own clock. The time of one that has ended is known twice: as it was seen last, and, if its
 * parent has waited for it, in the parent's sum, where it cannot be told from others. Both are lower bounds of what the
 * dead below the parent have used, so the larger one counts:
 *
 *   dead = max(sum in the parent, dead before + as seen last of those that have ended since)
 *
 * That counts nobody twice, never shrinks, and loses nothing when the parent ignores SIGCHLD, in which case the kernel's
 * sum forgets its children. (Hence the order of reading: a child that still has a clock was not in the sum that was read
 * before.) What is reaped by the caller, usage_before_reap takes down at the last moment.
 *
 * What is not seen: less than 20 ms for each process that waits for children, as the kernel's sum is read in ticks; what an
 * orphan has used that was started and ended between two samples and left its process group, or that left it and was
 * started with an environment without the mark; what children of a parent that ignores SIGCHLD have used since the last
 * sample. It is always too little, never too much.
 *
 * Bounds. A sample lists /proc and reads one file for each process that belongs to a root or is new; others are looked at
 * again every 16th time, because a pid may come back. No more than reads_max files are read, roots not counted; the rest
 * has its turn at the next sample. Processes beyond USAGE_PROCESSES_MAX on the host are not seen. Nothing here waits for a
 * process, except usage_memory, and a look at the environment of a new orphan, which can wait while that one changes its
 * memory mappings. One descriptor at a time is open, and none in between.
 *
 * Cost of a sample, in CPU time (Linux 6.18): 0.9 ms with 100 roots and 300 processes on the host, 3.4 ms the first time;
 * 1.8 ms with 100 roots and 1200 processes, 4.8 ms with 500 roots and 1200.
 */
#ifndef SUPERVISOR_USAGE_H
#define SUPERVISOR_USAGE_H

#include <sys/types.h>

#include "common/util.h"
#include "supervisor/proc.h"

#define USAGE_READS_MAX     2048 /* a good default: some 25 ms */
#define USAGE_PROCESSES_MAX 131072

struct usage;

struct usage_root {
	uint64_t id; /* the caller's name for this life of the process; never used for another one, and not 0 */
	pid_t pid;
	const char *mark; /* "NAME=value", as it is in its environment and in that of no other root; or NULL: none */

	/* Set by usage_sample. */
	int64_t cpu_us;  /* since it was started; never less than before */
	int64_t rss_kib; /* resident memory of all of them; what several share counts several times */
	int n_processes; /* itself included */
};

/* reads_max: how many files a sample may read, at least 1. */
struct usage *usage_new(size_t reads_max);
void usage_free(struct usage *usage);

/*
 * Sample. The roots are all that there are: one that is no longer among them is forgotten, with all that belongs to it.
 * The first sample of a root should follow soon after its start. 0, or a negative errno when something could not be read (no
 * descriptor, no memory): what is not known is as at the last sample then, and will be made up for by the next.
 */
MUSTCHECK int usage_sample(struct usage *usage, struct usage_root *roots, size_t n_roots);

/* A child of the caller is dead, and the caller is about to wait for it (waitid with WNOWAIT has said so): take down what it
 * has used, if it belongs to a root or is one. Nothing for other processes. */
void usage_before_reap(struct usage *usage, pid_t pid);

/* CPU time of a root as known now, in microseconds; -1: no root has this id. */
int64_t usage_cpu_us(const struct usage *usage, uint64_t id);

/*
 * Memory of all processes that belonged to a root at the last sample. Expensive, for status only: 50 us for each process,
 * and 13 us for each MiB that it has in small pages (3.4 ms for 256 MiB); it waits while a process changes its mappings.
 * 0, -ENOENT: no root has this id, or another negative errno: not all could be read, the rest is there.
 */
MUSTCHECK int usage_memory(const struct usage *usage, uint64_t id, struct proc_memory *ret);

#endif
