/*
 * gpu - which devices a replica has to itself.
 *
 * Devices are numbered as CUDA numbers those that cortexd itself may use, from 0: not by the names in /dev, which may
 * have gaps in a container. When cortexd was started with CUDA_VISIBLE_DEVICES, device i is the i-th entry of that, which
 * may be any name that CUDA takes (a number, GPU-..., MIG-...).
 *
 * Pure: a set of those in use, and the lowest free ones for the next replica.
 */
#ifndef SUPERVISOR_GPU_H
#define SUPERVISOR_GPU_H

#include "common/config.h"

#define GPU_TEXT_MAX 16384 /* the names of CONFIG_GPUS_MAX devices: GPU-<UUID> has 40 characters, MIG-<UUID> too */

struct gpu_set {
	uint64_t words[CONFIG_GPUS_MAX / 64];
};

/* Take count of the devices 0 .. n_devices - 1 that are not in use, the lowest ones. False, and nothing happens, when there
 * are not so many. count 0 gives the empty set. */
MUSTCHECK bool gpu_take(struct gpu_set *in_use, int n_devices, int count, struct gpu_set *ret_taken);

/* They are free again; *taken is empty afterwards. */
void gpu_give_back(struct gpu_set *in_use, struct gpu_set *taken);

/* The value of CUDA_VISIBLE_DEVICES for a replica: "0,2", or "", which hides every device. inherited is the value that
 * cortexd was started with, or NULL. */
void gpu_name(const struct gpu_set *set, const char *inherited, char ret_text[GPU_TEXT_MAX]);

/* How many devices such a value names: as CUDA reads it, up to the first entry that is empty or negative. */
int gpu_count_named(const char *inherited);

#endif
