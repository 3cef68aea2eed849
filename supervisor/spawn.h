/*
 * spawn - fork and exec of a child with a fixed set of descriptors.
 *
 * The child gets exactly the descriptors 0 .. n_fds-1, a process group of its own, default signal actions, no signal
 * blocked, and SIGTERM when the supervisor dies; an independent one stays in the supervisor's group and hears nothing of its death.
 * Between fork and exec it does nothing but system calls. It runs also when it cannot enter its cgroup or change its oom_score_adj.
 *
 * exec happens after fork has returned, and the supervisor does not wait for it. It learns the outcome from the notice:
 * the read end of a pipe that ends empty when the program runs, and carries the error when it does not.
 */
#ifndef SUPERVISOR_SPAWN_H
#define SUPERVISOR_SPAWN_H

#include <sys/types.h>

#include "common/error.h"
#include "common/util.h"

#define SPAWN_EXIT_CODE 127 /* of a child that could not run its program */

/* A program of ours. */
struct program {
	char *path;
	int fd; /* of the file that was there when we started, O_PATH: ours, whatever an installation has put there since */
};

struct spawn_plan {
	const char *path; /* the program */
	int program; /* a descriptor (O_PATH) of it, in case that something else lies there by now; 0: run what is there */
	char *const *argv;
	char *const *envp;
	const char *folder;        /* working directory, or NULL: the supervisor's */
	const char *oom_score_adj; /* for the kernel (oom.h), or NULL: the supervisor's */
	const int *joins;          /* where it enters its cgroup (cgroup_open_joins); the caller's */
	size_t n_joins;
	const int *fds; /* fds[i] becomes the child's descriptor i; -1 is /dev/null */
	size_t n_fds;   /* at least 3 */
	bool independent;
};

/* Start it. 0, *ret_pid and *ret_notice (non-blocking; the caller owns it), or a negative errno and err. */
MUSTCHECK int spawn(const struct spawn_plan *plan, pid_t *ret_pid, int *ret_notice, struct error *err);

/* Read the notice: 0 the program runs or the child is dead, -EAGAIN not known yet, else the negative errno and err: why
 * the program could not be run. Closes the notice and sets it to -1 unless -EAGAIN. */
MUSTCHECK int spawn_read_notice(int *notice, const char *path, struct error *err);

#endif
