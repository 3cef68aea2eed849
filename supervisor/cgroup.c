/*
 * cgroup - see cgroup.h.
 */
#include "supervisor/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"

#define FILE_MAX   (64 * 1024)
#define PREFIX     "cortexd-"
#define MAIN       ".main"
#define SHARES_MIN 2 /* of version 1, as the kernel has them */
#define SHARES_MAX 262144
#define WEIGHT_MAX 10000 /* of version 2; the least is 1 */

/* One replica's. The folders are those of the hierarchies that it has; they are the same in version 2. */
struct cgroup {
	struct cgroups *cgroups;
	char *memory;
	char *cpu; /* version 1, when CPU is weighed; else NULL */
	bool dropped;
	struct cgroup *next;
};

struct cgroups {
	int version;
	bool weigh_cpu;
	char *own;    /* version 2: the folder that cortexd was in */
	char *main;   /* version 2: the folder that it is in now; NULL: it has not moved */
	char *memory; /* folder of all replicas */
	char *cpu;    /* version 1, when CPU is weighed; else NULL */
	uint64_t n_made;
	struct cgroup *all;
};

/* ---- files ---- */

static int
write_file(const char *folder, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", folder, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC), r = fd < 0 ? -errno : 0;

	if (r == 0)
		r = fd_write_all(fd, text, strlen(text));
	fd_close(&fd);
	free(path);
	return r;
}

static int
write_number(const char *folder, const char *name, int64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", (long long)number);
	return write_file(folder, name, text);
}

/* The caller frees; NULL: it cannot be read. */
static char *
read_file(const char *folder, const char *name)
{
	char *path = xasprintf("%s/%s", folder, name), *text = NULL;

	if (file_read_all(path, FILE_MAX, &text, NULL) < 0)
		text = NULL;
	free(path);
	return text;
}

static bool
has_word(const char *text, const char *word, const char *separators)
{
	size_t length = strlen(word);

	while (*text) {
		size_t n = strcspn(text, separators);

		if (n == length && strncmp(text, word, n) == 0)
			return true;
		text += n;
		text += *text != '\0';
	}
	return false;
}

static int
make_folder(const char *path)
{
	return mkdir(path, 0755) < 0 ? -errno : 0;
}

/* True: it is not there any more. */
static bool
remove_folder(const char *path)
{
	return !path || rmdir(path) == 0 || errno == ENOENT;
}

/* ---- where are we? ---- */

/* mountinfo writes blanks and the like as \040. */
static void
unescape(char *text)
{
	char *to = text;

	for (; *text; to++) {
		unsigned value;

		if (*text == '\\' && strnlen(text, 4) == 4 && sscanf(text + 1, "%3o", &value) == 1 && value < 256) {
			*to = (char)value;
			text += 4;
		} else {
			*to = *text++;
		}
	}
	*to = '\0';
}

/* The path of our group in the hierarchy of a controller of version 1; "": that of version 2. The caller frees; or NULL. */
static char *
own_path(const char *groups, const char *controller)
{
	char *copy = xstrdup(groups), *rest = copy, *line, *found = NULL;

	while (!found && (line = strsep(&rest, "\n"))) {
		char *number = strsep(&line, ":"), *controllers = strsep(&line, ":");

		if (!number || !controllers || !line)
			continue;
		if (*controller ? has_word(controllers, controller, ",") : strcmp(controllers, "") == 0)
			found = xstrdup(line);
	}
	free(copy);
	return found;
}

/* One line of mountinfo: "36 35 98:0 ROOT POINT OPTIONS TAG... - TYPE SOURCE OPTIONS". The folder of the path when it is in this
 * mount of the controller, else NULL. */
static char *
folder_in_mount(char *line, const char *controller, const char *path)
{
	char *tail = strstr(line, " - "), *root, *point, *type, *options;
	size_t length;

	if (!tail)
		return NULL;
	*tail = '\0';
	tail += strlen(" - ");
	for (int i = 0; i < 3; i++)
		strsep(&line, " ");
	root = strsep(&line, " ");
	point = strsep(&line, " ");
	type = strsep(&tail, " ");
	strsep(&tail, " ");
	options = tail;
	if (!root || !point || !type || !options)
		return NULL;
	if (*controller ? strcmp(type, "cgroup") || !has_word(options, controller, ",") : strcmp(type, "cgroup2"))
		return NULL;
	unescape(root);
	unescape(point);
	length = strcmp(root, "/") ? strlen(root) : 0;
	if (strncmp(path, root, length) || (path[length] != '/' && path[length] != '\0'))
		return NULL;
	path += length;
	return xasprintf("%s%s", point, strcmp(path, "/") ? path : "");
}

static char *
own_folder(const char *groups, const char *mounts, const char *controller)
{
	char *path = own_path(groups, controller), *copy = xstrdup(mounts), *rest = copy, *line, *found = NULL;

	/* A path out of a namespace of another process begins with "/..": there is no folder for it. */
	if (path && path[0] == '/' && strncmp(path, "/..", 3))
		while (!found && (line = strsep(&rest, "\n")))
			found = folder_in_mount(line, controller, path);
	free(copy);
	free(path);
	return found;
}

int
cgroup_find(const char *groups, const char *mounts, struct cgroup_place *ret, struct error *err)
{
	char *leaf;

	*ret = (struct cgroup_place){.version = 1};
	ret->memory = own_folder(groups, mounts, "memory");
	ret->cpu = own_folder(groups, mounts, "cpu");
	if (ret->memory)
		return 0;
	free(ret->cpu);
	*ret = (struct cgroup_place){.version = 2};
	ret->memory = own_folder(groups, mounts, "");
	if (!ret->memory)
		return error_set(err, -ENOENT, "no hierarchy of cgroups that has this process is mounted");
	/* Of one that we have moved, as when another version of cortexd takes over: the new one goes beside it. */
	leaf = strrchr(ret->memory, '/');
	if (leaf && strncmp(leaf, "/" PREFIX, strlen("/" PREFIX)) == 0 && strlen(leaf) > strlen(MAIN) &&
	    strcmp(leaf + strlen(leaf) - strlen(MAIN), MAIN) == 0)
		*leaf = '\0';
	return 0;
}

void
cgroup_place_done(struct cgroup_place *place)
{
	free(place->memory);
	free(place->cpu);
	*place = (struct cgroup_place){0};
}

static bool
is_delegated(const char *folder)
{
	char value[8];
	ssize_t n = getxattr(folder, "user.delegate", value, sizeof(value));

	if (n < 0)
		n = getxattr(folder, "trusted.delegate", value, sizeof(value));
	return n == 1 && value[0] == '1';
}

/* Is nobody else in the group? */
static bool
is_alone(const char *folder)
{
	char *processes = read_file(folder, "cgroup.procs"), own[24];
	bool alone;

	snprintf(own, sizeof(own), "%d\n", (int)getpid());
	alone = processes && !strcmp(processes, own);
	free(processes);
	return alone;
}

bool
cgroup_is_ours(const struct cgroup_place *place)
{
	/* Version 1 has no word for it. A group that was made for a daemon has nobody else in it; a login session's has. */
	if (place->version == 1)
		return is_alone(place->memory);
	/* systemd's rule: it is the only one to write in its tree, unless it says otherwise. Its older versions say so to
	 * root alone; to others the folder is writable only then. */
	return access("/run/systemd/system", F_OK) < 0 || is_delegated(place->memory) ||
	    (geteuid() != 0 && access(place->memory, W_OK) == 0);
}

/* ---- the group of all replicas ---- */

/* A cortexd that was killed has left its groups; they are empty when all of its processes are gone. */
static void
remove_abandoned(const char *own)
{
	DIR *folder = opendir(own), *inner;
	struct dirent *entry;

	while (folder && (entry = readdir(folder))) {
		char *path, *end;
		long pid;

		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)))
			continue;
		pid = strtol(entry->d_name + strlen(PREFIX), &end, 10);
		if (pid <= 0 || pid > INT32_MAX || (*end != '\0' && strcmp(end, MAIN)) || kill((pid_t)pid, 0) == 0 ||
		    errno != ESRCH)
			continue;
		path = xasprintf("%s/%s", own, entry->d_name);
		inner = opendir(path);
		while (inner && (entry = readdir(inner)))
			if (entry->d_name[0] != '.')
				unlinkat(dirfd(inner), entry->d_name, AT_REMOVEDIR);
		if (inner)
			closedir(inner);
		remove_folder(path);
		free(path);
	}
	if (folder)
		closedir(folder);
}

/* The group of all replicas competes with the rest of the machine as Kubernetes' does: one share for each processor. */
static int64_t
n_processors(void)
{
	return MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
}

static int
start_v1(struct cgroups *cgroups, const struct cgroup_place *place, struct error *err)
{
	char *cpu;
	int r;

	remove_abandoned(place->memory);
	cgroups->memory = xasprintf("%s/" PREFIX "%d", place->memory, (int)getpid());
	r = make_folder(cgroups->memory);
	if (r < 0) {
		error_set(err, r, "cannot make \"%s\": %s", cgroups->memory, strerror(-r));
		free(take_ptr(&cgroups->memory));
		return r;
	}
	if (!cgroups->weigh_cpu || !place->cpu)
		return 0;
	if (strcmp(place->cpu, place->memory) == 0) {
		cgroups->cpu = xstrdup(cgroups->memory);
	} else {
		remove_abandoned(place->cpu);
		cpu = xasprintf("%s/" PREFIX "%d", place->cpu, (int)getpid());
		if (make_folder(cpu) == 0)
			cgroups->cpu = take_ptr(&cpu);
		free(cpu);
	}
	if (cgroups->cpu && write_number(cgroups->cpu, "cpu.shares", 1024 * n_processors()) < 0)
		log_debug("cgroups: cannot set cpu.shares of \"%s\"", cgroups->cpu);
	return 0;
}

/* Controllers for the groups below. */
static int
enable(const char *folder, bool memory, bool cpu)
{
	int r = memory ? write_file(folder, "cgroup.subtree_control", "+memory") : 0;

	if (r == 0 && cpu)
		r = write_file(folder, "cgroup.subtree_control", "+cpu");
	return r;
}

static int
move_to_main(struct cgroups *cgroups)
{
	char *main = xasprintf("%s" MAIN, cgroups->memory);
	int r = make_folder(main);

	if (r == 0) {
		r = write_file(main, "cgroup.procs", "0");
		if (r == 0)
			cgroups->main = take_ptr(&main);
		else
			remove_folder(main);
	}
	free(main);
	return r;
}

static int
start_v2(struct cgroups *cgroups, const struct cgroup_place *place, struct error *err)
{
	char *controllers = read_file(place->memory, "cgroup.controllers"), *events = NULL;
	bool memory = controllers && has_word(controllers, "memory", " \n");
	bool cpu = cgroups->weigh_cpu && controllers && has_word(controllers, "cpu", " \n");
	int r;

	free(controllers);
	remove_abandoned(place->memory);
	cgroups->own = xstrdup(place->memory);
	cgroups->memory = xasprintf("%s/" PREFIX "%d", place->memory, (int)getpid());
	r = make_folder(cgroups->memory);
	if (r < 0) {
		error_set(err, r, "cannot make \"%s\": %s", cgroups->memory, strerror(-r));
		free(take_ptr(&cgroups->memory));
		return r;
	}
	events = read_file(place->memory, "cgroup.events"); /* the root has none, and may have processes */
	if (events)
		r = move_to_main(cgroups);
	free(events);
	if (r == 0)
		r = enable(place->memory, memory, cpu);
	if (r == 0)
		r = enable(cgroups->memory, memory, cpu);
	if (r < 0)
		return error_set(err, r, "cannot arrange groups in \"%s\": %s", place->memory, strerror(-r));
	if (cpu && write_number(cgroups->memory, "cpu.weight", MIN(100 * n_processors(), WEIGHT_MAX)) < 0)
		log_debug("cgroups: cannot set cpu.weight of \"%s\"", cgroups->memory);
	cgroups->weigh_cpu = cpu;
	return 0;
}

int
cgroups_new(const struct cgroup_place *place, bool weigh_cpu, struct cgroups **ret_cgroups, struct error *err)
{
	struct cgroups *cgroups = xcalloc(1, sizeof(*cgroups));
	int r;

	cgroups->version = place->version;
	cgroups->weigh_cpu = weigh_cpu;
	r = place->version == 1 ? start_v1(cgroups, place, err) : start_v2(cgroups, place, err);
	if (r < 0) {
		cgroups_free(cgroups);
		return r;
	}
	*ret_cgroups = cgroups;
	return 0;
}

/* Does the hierarchy have what a kill is known by? Version 2 may be mounted beside version 1, without controllers. */
static bool
has_memory(const struct cgroup_place *place)
{
	char *controllers;
	bool found;

	if (place->version == 1)
		return true;
	controllers = read_file(place->memory, "cgroup.controllers");
	found = controllers && has_word(controllers, "memory", " \n");
	free(controllers);
	return found;
}

static bool
requests_differ(const struct config *config)
{
	for (size_t i = 1; i < config->n_apis; i++)
		if (config->apis[i].compute.cpu_millicpu != config->apis[0].compute.cpu_millicpu)
			return true;
	return false;
}

struct cgroups *
cgroups_start(const struct config *config)
{
	char *groups = read_file("/proc/self", "cgroup"), *mounts = read_file("/proc/self", "mountinfo");
	struct cgroups *cgroups = NULL;
	struct cgroup_place place = {0};
	struct error err;
	int r = -ENOENT;

	if (!groups || !mounts)
		error_set(&err, r, "/proc does not say where this process is");
	else
		r = cgroup_find(groups, mounts, &place, &err);
	if (r == 0 && (!has_memory(&place) || !cgroup_is_ours(&place)))
		r = error_set(&err, -EPERM, "\"%s\" %s", place.memory,
		    has_memory(&place) ? "is not delegated to cortexd" : "has no memory controller");
	if (r == 0)
		r = cgroups_new(&place, requests_differ(config), &cgroups, &err);
	if (r == 0)
		log_debug("cgroups: version %d, one for each replica below \"%s\"%s", place.version, cgroups->memory,
		    cgroups->cpu || (place.version == 2 && cgroups->weigh_cpu) ? ", CPU by request" : "");
	else
		log_debug("cgroups: none for replicas: %s", err.text);
	cgroup_place_done(&place);
	free(groups);
	free(mounts);
	return r == 0 ? cgroups : NULL;
}

/* ---- the group of one replica ---- */

static void
free_one(struct cgroup *cgroup)
{
	free(cgroup->memory);
	free(cgroup->cpu);
	free(cgroup);
}

/* Remove those that were dropped and are empty now. */
static void
sweep(struct cgroups *cgroups)
{
	struct cgroup **link = &cgroups->all;

	while (*link) {
		struct cgroup *cgroup = *link;
		bool gone = cgroup->dropped && remove_folder(cgroup->memory);

		gone = gone && remove_folder(cgroup->cpu);
		if (gone) {
			*link = cgroup->next;
			free_one(cgroup);
		} else {
			link = &cgroup->next;
		}
	}
}

void
cgroups_free(struct cgroups *cgroups)
{
	if (!cgroups)
		return;
	for (struct cgroup *cgroup = cgroups->all; cgroup; cgroup = cgroup->next)
		cgroup->dropped = true;
	sweep(cgroups);
	while (cgroups->all) {
		struct cgroup *cgroup = cgroups->all;

		cgroups->all = cgroup->next;
		log_debug("cgroups: \"%s\" is not empty and stays", cgroup->memory);
		free_one(cgroup);
	}
	remove_folder(cgroups->cpu);
	if (cgroups->memory)
		remove_folder(cgroups->memory);
	if (cgroups->main) {
		/* Back to where we came from: only a group that gives no controllers away may have processes. */
		write_file(cgroups->own, "cgroup.subtree_control", "-memory");
		write_file(cgroups->own, "cgroup.subtree_control", "-cpu");
		if (write_file(cgroups->own, "cgroup.procs", "0") == 0)
			remove_folder(cgroups->main);
	}
	free(cgroups->own);
	free(cgroups->main);
	free(cgroups->memory);
	free(cgroups->cpu);
	free(cgroups);
}

static void
set_request(const struct cgroup *cgroup, const struct cgroup_request *request)
{
	const struct cgroups *cgroups = cgroup->cgroups;
	int64_t cpu = request->cpu_millicpu;
	int r = 0;

	/* Only relations matter among the groups of one parent, so the request itself is the weight. */
	if (cgroup->cpu)
		r = write_number(cgroup->cpu, "cpu.shares", MAX(SHARES_MIN, MIN(cpu, SHARES_MAX)));
	else if (cgroups->version == 2 && cgroups->weigh_cpu)
		r = write_number(cgroup->memory, "cpu.weight", MAX(1, MIN(cpu, WEIGHT_MAX)));
	if (r < 0)
		log_debug("cgroups: cannot set the CPU weight of \"%s\": %s", cgroup->memory, strerror(-r));
	r = 0;
	if (cgroups->version == 2 && request->mem_bytes > 0)
		r = write_number(cgroup->memory, "memory.low", request->mem_bytes);
	if (r < 0)
		log_debug("cgroups: cannot set memory.low of \"%s\": %s", cgroup->memory, strerror(-r));
}

struct cgroup *
cgroup_new(struct cgroups *cgroups, const struct cgroup_request *request)
{
	struct cgroup *cgroup;
	char *name;
	int r;

	if (!cgroups)
		return NULL;
	sweep(cgroups);
	cgroup = xcalloc(1, sizeof(*cgroup));
	name = xasprintf("%s-%d-%llu", request->api, request->index, (unsigned long long)++cgroups->n_made);
	cgroup->cgroups = cgroups;
	cgroup->memory = xasprintf("%s/%s", cgroups->memory, name);
	r = make_folder(cgroup->memory);
	if (r < 0) {
		log_debug("cgroups: cannot make \"%s\": %s", cgroup->memory, strerror(-r));
		free_one(cgroup);
		free(name);
		return NULL;
	}
	if (cgroups->cpu)
		cgroup->cpu = xasprintf("%s/%s", cgroups->cpu, name);
	if (cgroup->cpu && strcmp(cgroup->cpu, cgroup->memory) && make_folder(cgroup->cpu) < 0)
		free(take_ptr(&cgroup->cpu));
	set_request(cgroup, request);
	cgroup->next = cgroups->all;
	cgroups->all = cgroup;
	free(name);
	return cgroup;
}

size_t
cgroup_open_joins(const struct cgroup *cgroup, int ret_fds[CGROUP_JOINS_MAX])
{
	const char *folders[CGROUP_JOINS_MAX] = {cgroup ? cgroup->memory : NULL, cgroup ? cgroup->cpu : NULL};
	/* A thread that moves itself needs none of the locks that make the other one wait for all processors; a process
	 * that was just forked is one thread. */
	const char *file = cgroup && cgroup->cgroups->version == 1 ? "tasks" : "cgroup.procs";
	size_t n = 0;

	for (size_t i = 0; i < CGROUP_JOINS_MAX; i++) {
		char *path;

		if (!folders[i] || (i > 0 && strcmp(folders[i], folders[0]) == 0))
			continue;
		path = xasprintf("%s/%s", folders[i], file);
		ret_fds[n] = open(path, O_WRONLY | O_CLOEXEC);
		n += ret_fds[n] >= 0;
		free(path);
	}
	return n;
}

/* The number behind a name at the beginning of a line, or -1. */
static int64_t
read_count(const char *folder, const char *file, const char *name)
{
	char *text = read_file(folder, file), *rest = text, *line;
	int64_t count = -1;

	while (count < 0 && rest && (line = strsep(&rest, "\n"))) {
		char *end, *word = strsep(&line, " ");

		if (!line || strcmp(word, name))
			continue;
		errno = 0;
		count = strtoll(line, &end, 10);
		if (end == line || errno)
			count = -1;
	}
	free(text);
	return count;
}

int64_t
cgroup_oom_kills(const struct cgroup *cgroup)
{
	if (!cgroup)
		return -1;
	if (cgroup->cgroups->version == 1)
		return read_count(cgroup->memory, "memory.oom_control", "oom_kill");
	return read_count(cgroup->memory, "memory.events", "oom_kill");
}

int64_t
cgroup_peak_bytes(const struct cgroup *cgroup)
{
	bool old = cgroup && cgroup->cgroups->version == 1;
	char *text = cgroup ? read_file(cgroup->memory, old ? "memory.max_usage_in_bytes" : "memory.peak") : NULL;
	int64_t bytes = text ? strtoll(text, NULL, 10) : 0;

	free(text);
	return MAX(bytes, 0);
}

void
cgroup_drop(struct cgroup *cgroup)
{
	if (!cgroup)
		return;
	cgroup->dropped = true;
	sweep(cgroup->cgroups);
}
