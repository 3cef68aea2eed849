/*
 * oom - whom the kernel should kill first when memory is short.
 *
 * compute.mem is a request, not a limit: a replica may use more while there is some. When there is none, the kernel kills the
 * process with the most memory, corrected by its oom_score_adj: thousandths of the memory of the machine. Replicas get what
 * Kubernetes gives to a container with this request: the request is taken off, and everything on the machine that has
 * promised nothing comes after them. So a replica that has outgrown its request dies before one that has not, a replica
 * without a request dies as if it had asked for nothing, and the supervisor, the activator and the rest of the machine live.
 */
#ifndef SUPERVISOR_OOM_H
#define SUPERVISOR_OOM_H

#include "common/util.h"

/* What a replica that has asked for so many bytes (0: for none) writes into its oom_score_adj. Never less than own, that
 * of the supervisor: lowering takes a privilege. */
int oom_score_adj(int64_t request_bytes, int64_t machine_bytes, int own);

/* The memory of the machine; 0: not known. */
int64_t oom_machine_bytes(void);

/* oom_score_adj of this process; 0 also when it cannot be read. */
int oom_own_score_adj(void);

#endif
