/*
 * forkable - see forkable.h.
 */
#include "replica/forkable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/start_record.h"

#define NAPS_MAX  100 /* to wait for a thread that ends */
#define NAP_NS    10000000
#define MAPS_MAX  (64 << 20)
#define NAMES_MAX 100 /* bytes of the names of threads in a message */

/* ---- threads and processes ---- */

/* Threads besides this one, or a negative errno; their names. */
static int
count_others(char names[NAMES_MAX])
{
	DIR *folder = opendir("/proc/self/task");
	struct dirent *entry;
	int n = 0;

	names[0] = '\0';
	if (!folder)
		return -errno;
	while ((entry = readdir(folder))) {
		char path[300], *name = NULL;
		size_t length = strlen(names);

		if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
			continue;
		n++;
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		if (file_read_all(path, 64, &name, NULL) == 0) {
			name[strcspn(name, "\n")] = '\0';
			snprintf(names + length, NAMES_MAX - length, "%s%s", length ? ", " : "", name);
		}
		free(name);
	}
	closedir(folder);
	return n;
}

/* A thread that was joined may still be on its way out of the kernel. */
static bool
is_single(char why[FORKABLE_TEXT_MAX])
{
	const struct timespec nap = {.tv_nsec = NAP_NS};
	char names[NAMES_MAX];
	int n = count_others(names);

	for (int i = 0; n > 0 && i < NAPS_MAX; i++) {
		nanosleep(&nap, NULL);
		n = count_others(names);
	}
	if (n == 0)
		return true;
	if (n < 0)
		snprintf(why, FORKABLE_TEXT_MAX, "its threads cannot be counted: /proc/self/task: %s", strerror(-n));
	else
		snprintf(why, FORKABLE_TEXT_MAX, "it has started %d thread%s (%s)", n, n == 1 ? "" : "s", names);
	return false;
}

static bool
is_childless(char why[FORKABLE_TEXT_MAX])
{
	siginfo_t info = {.si_pid = 0};

	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
		return true;
	snprintf(why, FORKABLE_TEXT_MAX, "it has started a process and not waited for its end");
	return false;
}

/* ---- descriptors ---- */

static bool
begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static bool
is_accelerator(const char *path)
{
	static const char *const devices[] = {"/dev/nvidia", "/dev/kfd", "/dev/dri/", "/dev/accel"};

	for (size_t i = 0; i < N_ELEMENTS(devices); i++)
		if (begins_with(path, devices[i]))
			return true;
	return false;
}

const char *
forkable_judge(const char *link)
{
	if (is_accelerator(link))
		return "it uses a gpu";
	if (begins_with(link, "socket:"))
		return "it has a socket open";
	if (begins_with(link, "pipe:"))
		return "it has a pipe open";
	if (begins_with(link, "anon_inode:[eventpoll]") || begins_with(link, "anon_inode:[io_uring]"))
		return "it has an event loop open";
	return NULL;
}

static bool
is_ours(int fd, int n_listeners)
{
	if (fd <= STDERR_FILENO || fd == REPLICA_FD_CONTROL || fd == REPLICA_FD_SCOREBOARD || fd == REPLICA_FD_CHANNEL)
		return true;
	return fd >= REPLICA_FD_LISTENER && fd < REPLICA_FD_LISTENER + n_listeners;
}

/* Call do_one for each descriptor of the predictor until it does not give 0. A negative errno: they cannot be listed. */
static int
for_each_descriptor(int n_listeners, int (*do_one)(int fd, void *arg), void *arg)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	int r = 0;

	if (!folder)
		return -errno;
	while (r == 0 && (entry = readdir(folder))) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] != '.' && fd != dirfd(folder) && !is_ours(fd, n_listeners))
			r = do_one(fd, arg);
	}
	closedir(folder);
	return r;
}

static int
judge(int fd, void *arg)
{
	char path[64], link[PATH_MAX], *why = arg;
	const char *what;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return errno == ENOENT ? 0 : -errno;
	link[n] = '\0';
	what = forkable_judge(link);
	if (!what)
		return 0;
	snprintf(why, FORKABLE_TEXT_MAX, "%s (descriptor %d, %.100s)", what, fd, link);
	return 1;
}

/* A driver may keep its memory and close the descriptor. */
static bool
maps_accelerator(char why[FORKABLE_TEXT_MAX])
{
	char *text, *line, *rest, *path;
	bool found = false;

	if (file_read_all("/proc/self/maps", MAPS_MAX, &text, NULL) < 0)
		return false;
	rest = text;
	while (!found && (line = strsep(&rest, "\n"))) {
		path = strchr(line, '/');
		found = path && is_accelerator(path);
		if (found)
			snprintf(why, FORKABLE_TEXT_MAX, "it uses a gpu (%.100s is mapped)", path);
	}
	free(text);
	return found;
}

bool
forkable_check(int n_listeners, char ret_why[FORKABLE_TEXT_MAX])
{
	int r;

	if (!is_single(ret_why) || !is_childless(ret_why) || maps_accelerator(ret_why))
		return false;
	r = for_each_descriptor(n_listeners, judge, ret_why);
	if (r < 0)
		snprintf(ret_why, FORKABLE_TEXT_MAX, "its descriptors cannot be listed: %s", strerror(-r));
	return r == 0;
}

/* ---- files ---- */

/* Through /proc, which finds the file also when its name is gone or is another file's now. */
static int
open_anew(int fd, UNUSED void *arg)
{
	int flags = fcntl(fd, F_GETFL), descriptor_flags = fcntl(fd, F_GETFD), anew, r = 0;
	off_t position = lseek(fd, 0, SEEK_CUR);
	struct stat st;
	char path[64];

	if (flags < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (flags & O_PATH))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	anew = open(path, (flags & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECT | O_SYNC)) | O_CLOEXEC | O_NOCTTY);
	if (anew < 0)
		return -errno;
	if ((position > 0 && lseek(anew, position, SEEK_SET) < 0) ||
	    dup3(anew, fd, descriptor_flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
		r = -errno;
	fd_close(&anew);
	return r;
}

int
forkable_open_anew(int n_listeners)
{
	return for_each_descriptor(n_listeners, open_anew, NULL);
}
