/*
 * cgroup - a cgroup of its own for each replica process.
 *
 * It tells for certain who was killed for want of memory: the kernel counts such kills for each group, whoever's limit it
 * was. And it gives each replica CPU time by its request (compute.cpu) when there is not enough for all. It limits
 * nothing: compute.mem is a request, and a replica may use what nobody else needs. (Where the kernel has memory.low, the
 * request is kept from being reclaimed; who is to be killed is oom.h's to say.)
 *
 * Two versions of the kernel's interface. Version 2 where a part of the tree was given to cortexd: by systemd
 * (Delegate=yes), or because there is no systemd, as in a container. Version 1 where its memory controller is in use and
 * can be written, and cortexd is alone in its group. Below cortexd's own group, then:
 *
 *   cortexd-PID/                   all replicas
 *   cortexd-PID/API-INDEX-SERIAL   one replica, with its keeper and all that it starts
 *   cortexd-PID.main/              version 2 only: cortexd itself, because a group with groups may have no processes
 *
 * Groups are removed when they are empty; those of a cortexd that was killed, by the next one that starts in the same
 * place. Nothing here is needed: where it cannot be done there are no groups, and functions take NULL for them.
 *
 * The CPU controller is used only when the requests of the apis differ: otherwise it would decide nothing, and
 * make each wake-up a little slower.
 */
#ifndef SUPERVISOR_CGROUP_H
#define SUPERVISOR_CGROUP_H

#include <sys/types.h>

#include "common/config.h"
#include "common/error.h"
#include "common/util.h"

#define CGROUP_JOINS_MAX 2

struct cgroups;
struct cgroup;

/* Where this process is. */
struct cgroup_place {
	int version;  /* 1 or 2 */
	char *memory; /* folder of its own group in the hierarchy that has memory */
	char *cpu;    /* the same for CPU; NULL: none. In version 2 they are one. */
};

struct cgroup_request {
	const char *api;
	int index;
	int64_t cpu_millicpu;
	int64_t mem_bytes; /* 0: none */
};

/* Find the place in the texts of /proc/self/cgroup and /proc/self/mountinfo. 0 and *ret (cgroup_place_done), or -ENOENT and err. */
MUSTCHECK int cgroup_find(const char *groups, const char *mounts, struct cgroup_place *ret, struct error *err);
void cgroup_place_done(struct cgroup_place *place);

/* May this process arrange the groups below its own in this place? */
bool cgroup_is_ours(const struct cgroup_place *place);

/* Make the group of all replicas. 0, or a negative errno and err, and everything is as it was. */
MUSTCHECK int cgroups_new(
    const struct cgroup_place *place, bool weigh_cpu, struct cgroups **ret_cgroups, struct error *err);

/* All of the above: the groups for the replicas of this process, or NULL. Says which, at debug. */
struct cgroups *cgroups_start(const struct config *config);

/* Remove what is empty; leave the rest. */
void cgroups_free(struct cgroups *cgroups);

/* A group for a process that is about to be started; NULL: none. Makes folders: some 0.1 ms. */
struct cgroup *cgroup_new(struct cgroups *cgroups, const struct cgroup_request *request);

/* Descriptors (the caller's, close-on-exec): a process that writes "0" into each belongs to the group from then on. It is
 * to be done between fork and exec, by the child, while it has one thread: in version 2 it may take 20 ms, in version 1 it
 * moves only that thread. How many; 0 without a group. */
size_t cgroup_open_joins(const struct cgroup *cgroup, int ret_fds[CGROUP_JOINS_MAX]);

/* How many processes of the group were killed for want of memory; -1: not known. */
int64_t cgroup_oom_kills(const struct cgroup *cgroup);

/* The most memory that the group has had, in bytes; 0: not known. */
int64_t cgroup_peak_bytes(const struct cgroup *cgroup);

/* The process is gone: the group is removed as soon as it is empty (its keeper may live a moment longer). */
void cgroup_drop(struct cgroup *cgroup);

#endif
