/*
 * proc - see proc.h.
 */
#include "supervisor/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"

#define STAT_MAX        2048 /* 52 numbers and a name */
#define ROLLUP_MAX      (16 * 1024)
#define ENVIRONMENT_MAX (4 * 1024 * 1024) /* the kernel allows a quarter of the stack */

/* Numbers of fields as in proc(5); those after the name are read into an array that begins with the parent. */
#define FIELD_PARENT 4
#define FIELD_GROUP  5
#define FIELD_CUTIME 16
#define FIELD_CSTIME 17
#define FIELD_START  22
#define FIELD_RSS    24

static int
gone_or(int number)
{
	return number == ENOENT || number == ESRCH ? -ESRCH : -number;
}

bool
proc_parse_stat(const char *text, struct proc_stat *ret)
{
	const char *name = strchr(text, '('), *end = strrchr(text, ')'); /* the name may have either in it */
	const int64_t tick_ns = 1000000000 / sysconf(_SC_CLK_TCK), page_kib = sysconf(_SC_PAGESIZE) / 1024;
	int64_t field[FIELD_RSS + 1];
	size_t length;

	if (!name || !end || end < name || strlen(end) < 4)
		return false;
	length = MIN((size_t)(end - name - 1), sizeof(ret->name) - 1);
	memcpy(ret->name, name + 1, length);
	ret->name[length] = '\0';
	end += 3; /* ") S" */
	for (int i = FIELD_PARENT; i <= FIELD_RSS; i++) {
		char *rest;

		errno = 0;
		field[i] = strtoll(end, &rest, 10);
		if (rest == end || (errno && i >= FIELD_CUTIME))
			return false;
		end = rest;
	}
	if (field[FIELD_PARENT] < 0 || field[FIELD_PARENT] > INT32_MAX || field[FIELD_GROUP] > INT32_MAX ||
	    field[FIELD_START] <= 0)
		return false;
	if (field[FIELD_CUTIME] < 0 || field[FIELD_CUTIME] > INT64_MAX / 2 / tick_ns || field[FIELD_CSTIME] < 0 ||
	    field[FIELD_CSTIME] > INT64_MAX / 2 / tick_ns || field[FIELD_RSS] < 0 ||
	    field[FIELD_RSS] > INT64_MAX / page_kib)
		return false;
	ret->parent = (pid_t)field[FIELD_PARENT];
	ret->group = (pid_t)MAX(field[FIELD_GROUP], 0);
	ret->start = (uint64_t)field[FIELD_START];
	ret->reaped_ns = (field[FIELD_CUTIME] + field[FIELD_CSTIME]) * tick_ns;
	ret->rss_kib = field[FIELD_RSS] * page_kib;
	return true;
}

int
proc_read_stat(pid_t pid, struct proc_stat *ret)
{
	char path[32], text[STAT_MAX];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return gone_or(errno);
	n = read(fd, text, sizeof(text) - 1);
	fd_close(&fd);
	if (n < 0)
		return gone_or(errno);
	text[n] = '\0';
	return proc_parse_stat(text, ret) ? 0 : -EPROTO;
}

int
proc_read_cpu(pid_t pid, int64_t *ret_ns)
{
	struct timespec time;
	clockid_t clock;
	int number = clock_getcpuclockid(pid, &clock);

	if (number != 0)
		return -number;
	/* EINVAL is what the kernel calls a clock of nobody. */
	if (clock_gettime(clock, &time) < 0)
		return errno == EINVAL ? -ESRCH : -errno;
	*ret_ns = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
	return 0;
}

static int64_t
sum_of_lines(const char *text, const char *const names[2])
{
	int64_t sum = 0;

	for (int i = 0; i < 2; i++) {
		const char *line = names[i] ? strstr(text, names[i]) : NULL;

		if (line)
			sum += MAX(strtoll(line + strlen(names[i]), NULL, 10), 0);
	}
	return sum;
}

int
proc_read_memory(pid_t pid, struct proc_memory *ret)
{
	char path[40], *text;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	r = file_read_all(path, ROLLUP_MAX, &text, NULL);
	if (r < 0)
		return gone_or(-r);
	ret->pss_kib = sum_of_lines(text, (const char *const[2]){"\nPss:", NULL});
	ret->private_kib = sum_of_lines(text, (const char *const[2]){"\nPrivate_Clean:", "\nPrivate_Dirty:"});
	ret->shared_kib = sum_of_lines(text, (const char *const[2]){"\nShared_Clean:", "\nShared_Dirty:"});
	free(text);
	return 0;
}

int
proc_read_environment(pid_t pid, char **ret_text, size_t *ret_length)
{
	char path[40];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	r = file_read_all(path, ENVIRONMENT_MAX, ret_text, ret_length);
	return r < 0 ? gone_or(-r) : 0;
}

static int
compare_pids(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

/* Make room for one more. */
static int
grow(pid_t **pids, size_t *room, size_t n)
{
	pid_t *larger;

	if (n < *room)
		return 0;
	larger = realloc(*pids, sizeof(**pids) * MAX(*room * 2, 512));
	if (!larger)
		return -ENOMEM;
	*pids = larger;
	*room = MAX(*room * 2, 512);
	return 0;
}

int
proc_list(size_t limit, pid_t **pids, size_t *room, size_t *ret_n)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	size_t n = 0;
	bool sorted = true;
	int r = 0;

	if (!folder)
		return -errno;
	while (n < limit) {
		char *end;
		long pid;

		errno = 0;
		entry = readdir(folder);
		if (!entry) {
			r = -errno;
			break;
		}
		pid = strtol(entry->d_name, &end, 10);
		if (*end != '\0' || pid <= 0 || pid > INT32_MAX)
			continue;
		r = grow(pids, room, n);
		if (r < 0)
			break;
		sorted = sorted && (n == 0 || (*pids)[n - 1] < pid);
		(*pids)[n++] = (pid_t)pid;
	}
	closedir(folder);
	if (r < 0)
		return r;
	if (!sorted)
		qsort(*pids, n, sizeof(**pids), compare_pids);
	*ret_n = n;
	return 0;
}
