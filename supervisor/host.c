/*
 * host - see host.h.
 */
#include "supervisor/host.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "supervisor/gpu.h"

#define PROC_FILE_MAX   (4 << 20) /* mountinfo of a host with very many containers */
#define LIMIT_FILE_MAX  4096
#define CPUS_MAX        (1 << 16)
#define CGROUP_PATH_MAX 4096

/* --- control groups ----------------------------------------------------------------------------------------------- */

/* Where one controller is mounted, and where we are in it. */
struct cgroup {
	bool is_v2;
	char folder[CGROUP_PATH_MAX]; /* ours, under the root */
	size_t mount_length;          /* of it, the mount point: the topmost that can be seen */
};

/* Is word one of the list, which is separated by commas? */
static bool
is_listed(const char *list, size_t length, const char *word)
{
	for (const char *at = list; at < list + length; at += strcspn(at, ",") + 1)
		if (!strncmp(at, word, strlen(word)) && strcspn(at, ", \n:") == strlen(word))
			return true;
	return false;
}

/* Our path in the hierarchy of that controller ("": version 2), from the text of /proc/self/cgroup. False: we have none. */
static bool
find_own_path(const char *cgroups, const char *controller, char ret_path[CGROUP_PATH_MAX])
{
	for (const char *line = cgroups; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *list = line + strcspn(line, ":\n") + 1, *path;
		size_t length, n_list;

		if (list[-1] != ':')
			continue;
		n_list = strcspn(list, ":\n");
		path = list + n_list + 1;
		if (list[n_list] != ':' || *path != '/' ||
		    (*controller ? !is_listed(list, n_list, controller) : n_list != 0))
			continue;
		length = strcspn(path, "\n");
		if (length >= CGROUP_PATH_MAX)
			return false;
		memcpy(ret_path, path, length);
		ret_path[length] = '\0';
		return true;
	}
	return false;
}

/* path without the part of the hierarchy that is mounted at the mount point; "" when we are not below it, as far as can be
 * seen: then the topmost is the best we have. */
static const char *
below_mount(const char *path, const char *mounted)
{
	size_t length = strlen(mounted);

	if (strstr(path, "/.."))
		return "";
	if (!strcmp(mounted, "/"))
		return strcmp(path, "/") ? path : "";
	return !strncmp(path, mounted, length) && (path[length] == '/' || !path[length]) ? path + length : "";
}

/* The numbers of a small file, at most 2; how many there were. "max" is none. */
static int
read_numbers(const char *folder, const char *name, int64_t ret_numbers[2])
{
	char path[CGROUP_PATH_MAX + 64], *text = NULL, *at, *end;
	int n = 0;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (file_read_all(path, LIMIT_FILE_MAX, &text, NULL) < 0)
		return 0;
	for (at = text; n < 2; at = end, n++) {
		errno = 0;
		ret_numbers[n] = strtoll(at, &end, 10);
		if (end == at || errno)
			break;
	}
	free(text);
	return n;
}

/* Cut the last part of the path off. False: it is the topmost already. */
static bool
go_up(struct cgroup *cgroup)
{
	char *slash = strrchr(cgroup->folder, '/');

	if (strlen(cgroup->folder) <= cgroup->mount_length)
		return false;
	*slash = '\0';
	return true;
}

static void
use_cpu_limits(const struct cgroup *own, struct capacity *capacity)
{
	struct cgroup cgroup = *own;

	do {
		int64_t quota[2] = {-1, 100000}, period[2];

		if (cgroup.is_v2) {
			if (read_numbers(cgroup.folder, "cpu.max", quota) < 2)
				continue;
		} else {
			if (read_numbers(cgroup.folder, "cpu.cfs_quota_us", quota) < 1 ||
			    read_numbers(cgroup.folder, "cpu.cfs_period_us", period) < 1)
				continue;
			quota[1] = period[0];
		}
		if (quota[0] > 0 && quota[0] <= INT64_MAX / 1000 && quota[1] > 0)
			capacity->cpu_millicpu = MIN(capacity->cpu_millicpu, MAX(quota[0] * 1000 / quota[1], 1));
	} while (go_up(&cgroup));
}

static void
use_mem_limits(const struct cgroup *own, struct capacity *capacity)
{
	struct cgroup cgroup = *own;

	do {
		int64_t limit[2];

		if (read_numbers(cgroup.folder, cgroup.is_v2 ? "memory.max" : "memory.limit_in_bytes", limit) > 0 &&
		    limit[0] >= 0)
			capacity->mem_bytes = MIN(capacity->mem_bytes, limit[0]);
	} while (go_up(&cgroup));
}

/* One line of mountinfo: "36 35 98:0 /mounted /mount/point rw - cgroup cgroup rw,memory". */
static void
look_at_mount(const char *root, const char *line, const char *cgroups, struct capacity *capacity)
{
	static const struct {
		const char *controller;
		void (*use_limits)(const struct cgroup *own, struct capacity *capacity);
	} wanted[] = {{"cpu", use_cpu_limits}, {"memory", use_mem_limits}};
	char mounted[CGROUP_PATH_MAX], point[CGROUP_PATH_MAX], type[32], options[1024], path[CGROUP_PATH_MAX];
	const char *rest = strstr(line, " - ");
	struct cgroup own;

	if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", mounted, point) != 2 ||
	    sscanf(rest, " - %31s %*s %1023s", type, options) != 2)
		return;
	own.is_v2 = !strcmp(type, "cgroup2");
	if (!own.is_v2 && strcmp(type, "cgroup") != 0)
		return;
	own.mount_length = strlen(root) + strlen(point);
	for (size_t i = 0; i < N_ELEMENTS(wanted); i++) {
		const char *controller = own.is_v2 ? "" : wanted[i].controller;

		if ((own.is_v2 || is_listed(options, strlen(options), controller)) &&
		    find_own_path(cgroups, controller, path) &&
		    snprintf(own.folder, sizeof(own.folder), "%s%s%s", root, point, below_mount(path, mounted)) <
			(int)sizeof(own.folder))
			wanted[i].use_limits(&own, capacity);
	}
}

static void
use_cgroups(const char *root, struct capacity *capacity)
{
	char *mounts = NULL, *cgroups = NULL, *rest, *line, path[CGROUP_PATH_MAX];

	snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
	if (file_read_all(path, PROC_FILE_MAX, &mounts, NULL) < 0)
		goto out;
	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	if (file_read_all(path, PROC_FILE_MAX, &cgroups, NULL) < 0)
		goto out;
	rest = mounts;
	while ((line = strsep(&rest, "\n")))
		look_at_mount(root, line, cgroups, capacity);
out:
	free(mounts);
	free(cgroups);
}

/* --- the machine -------------------------------------------------------------------------------------------------- */

static int64_t
read_mem_total(const char *root)
{
	char path[CGROUP_PATH_MAX], *text = NULL;
	int64_t total = HOST_MEM_UNKNOWN;
	long long kib;

	snprintf(path, sizeof(path), "%s/proc/meminfo", root);
	if (file_read_all(path, PROC_FILE_MAX, &text, NULL) < 0)
		return total;
	if (sscanf(text, "MemTotal: %lld kB", &kib) == 1 && kib > 0 && kib <= INT64_MAX / 1024)
		total = kib * 1024;
	free(text);
	return total;
}

static int
count_gpus(const char *root)
{
	static const char prefix[] = "nvidia";
	char path[CGROUP_PATH_MAX];
	struct dirent *entry;
	int n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/dev", root);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		const char *number = entry->d_name + strlen(prefix);

		if (!strncmp(entry->d_name, prefix, strlen(prefix)) && *number &&
		    strspn(number, "0123456789") == strlen(number))
			n++;
	}
	closedir(dir);
	return MIN(n, CONFIG_GPUS_MAX);
}

/* How many CPUs may we run on? */
static int
count_cpus(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	/* The kernel's own mask may be larger than that of the C library. */
	for (int n = 1024; n <= CPUS_MAX; n *= 2) {
		cpu_set_t *set = CPU_ALLOC((size_t)n);
		size_t size = CPU_ALLOC_SIZE((size_t)n);
		int count = 0;

		if (set && sched_getaffinity(0, size, set) == 0)
			count = CPU_COUNT_S(size, set);
		CPU_FREE(set);
		if (count > 0)
			return count;
	}
	return (int)MAX(online, 1);
}

void
host_read(const char *root, int n_cpus, const char *visible_gpus, struct capacity *ret_capacity)
{
	*ret_capacity = (struct capacity){
	    .cpu_millicpu = n_cpus * 1000ll,
	    .mem_bytes = read_mem_total(root),
	    .gpus = count_gpus(root),
	};
	use_cgroups(root, ret_capacity);
	if (visible_gpus && ret_capacity->gpus > 0)
		ret_capacity->gpus = gpu_count_named(visible_gpus);
}

void
host_capacity(const struct capacity_config *config, struct capacity *ret_capacity)
{
	const char *visible_gpus = getenv("CUDA_VISIBLE_DEVICES");

	host_read("", count_cpus(), visible_gpus, ret_capacity);
	if (config->cpu_millicpu > 0)
		ret_capacity->cpu_millicpu = config->cpu_millicpu;
	if (config->mem_bytes > 0)
		ret_capacity->mem_bytes = config->mem_bytes;
	if (config->gpu >= 0) /* but there are no names for more than are named */
		ret_capacity->gpus = visible_gpus ? MIN(config->gpu, gpu_count_named(visible_gpus)) : config->gpu;
}
