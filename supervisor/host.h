/*
 * host - what this process may use of the machine: CPUs, memory, GPUs.
 *
 *   CPU      the CPUs that sched_setaffinity (taskset, cpusets) leaves us, or the quota of a control group if that is less
 *   memory   MemTotal, or the limit of a control group if that is less; swap does not count
 *   GPUs     the devices /dev/nvidia0, /dev/nvidia1, ...; or those that CUDA_VISIBLE_DEVICES names
 *
 * Control groups are found where /proc/self/mountinfo says, versions 1 and 2, both in a hybrid; a limit of any ancestor
 * that can be seen counts as well. What cannot be read is no limit.
 */
#ifndef SUPERVISOR_HOST_H
#define SUPERVISOR_HOST_H

#include "common/config.h"
#include "supervisor/capacity.h"

#define HOST_MEM_UNKNOWN INT64_MAX

/* Find out; what the config gives counts instead. Reads some dozen small files, so it blocks for about a millisecond: when
 * a config is loaded, not for every decision. */
void host_capacity(const struct capacity_config *config, struct capacity *ret_capacity);

/* The part of it that reads files. root is put before their paths: "" is the real machine. visible_gpus is the value of
 * CUDA_VISIBLE_DEVICES, or NULL. */
void host_read(const char *root, int n_cpus, const char *visible_gpus, struct capacity *ret_capacity);

#endif
