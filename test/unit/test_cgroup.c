/*
 * Cgroups: where this process is, from texts; and with the real kernel, where this machine lets us: groups for replicas,
 * a kill for want of memory, CPU time by request, and nothing left behind.
 *
 * The real tests work in a group of their own at the top of the hierarchy, and are skipped where it cannot be made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "supervisor/cgroup.h"
#include "supervisor/proc.h"

#define MIB (INT64_C(1) << 20)

/* ---- where are we? ---- */

#define V1_MOUNTS                                                                             \
	"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"                          \
	"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"         \
	"35 31 0:32 / /sys/fs/cgroup/memory rw shared:7 master:3 - cgroup cgroup rw,memory\n" \
	"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
#define V2_MOUNTS "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"

static const struct {
	const char *groups, *mounts;
	int version; /* 0: none */
	const char *memory, *cpu;
} places[] = {
    {"4:memory:/a/b\n2:cpu,cpuacct:/\n0::/x\n", V1_MOUNTS, 1, "/sys/fs/cgroup/memory/a/b",
	"/sys/fs/cgroup/cpu,cpuacct"},
    {"4:memory:/\n", V1_MOUNTS, 1, "/sys/fs/cgroup/memory", NULL},
    {"2:cpu,cpuacct:/c\n0::/x\n", V1_MOUNTS, 2, "/sys/fs/cgroup/unified/x", NULL},
    {"0::/system.slice/cortexd.service\n", V2_MOUNTS, 2, "/sys/fs/cgroup/system.slice/cortexd.service", NULL},
    {"0::/\n", V2_MOUNTS, 2, "/sys/fs/cgroup", NULL},
    {"0::/s/cortexd-17.main\n", V2_MOUNTS, 2, "/sys/fs/cgroup/s", NULL},
    {"0::/s/cortexd-17\n", V2_MOUNTS, 2, "/sys/fs/cgroup/s/cortexd-17", NULL},
    {"0::/docker/1/in\n", "30 23 0:26 /docker/1 /sys/fs/cg\\040roup rw - cgroup2 cgroup rw\n", 2, "/sys/fs/cg roup/in",
	NULL},
    {"0::/docker/12\n", "30 23 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n", 0, NULL, NULL},
    {"0::/../other\n", V2_MOUNTS, 0, NULL, NULL},
    {"4:memory:/a\n", V2_MOUNTS, 0, NULL, NULL},
    {"0::/\n", "30 23 0:26 / /sys/fs/cgroup\n\n - cgroup2\n", 0, NULL, NULL},
    {"", "", 0, NULL, NULL},
    {"0:\n::\n0", "- - -\n", 0, NULL, NULL},
};

static void
assert_text(const char *text, const char *expected)
{
	if (!expected)
		assert_null(text);
	else
		assert_string_equal(text, expected);
}

static void
test_where_we_are(UNUSED void **state)
{
	for (size_t i = 0; i < N_ELEMENTS(places); i++) {
		struct cgroup_place place;
		struct error err;
		int r = cgroup_find(places[i].groups, places[i].mounts, &place, &err);

		assert_int_equal(r, places[i].version ? 0 : -ENOENT);
		if (r == 0)
			assert_int_equal(place.version, places[i].version);
		assert_text(place.memory, places[i].memory);
		assert_text(place.cpu, places[i].cpu);
		cgroup_place_done(&place);
	}
}

/* ---- a group for the test ---- */

static struct cgroup_place place;
static struct cgroups *cgroups;
static pid_t started[8];
static size_t n_started;

static void
write_text(const char *folder, const char *file, const char *text)
{
	char *path = xasprintf("%s/%s", folder, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || fd_write_all(fd, text, strlen(text)) < 0)
		fail_msg("cannot write %s", path);
	close(fd);
	free(path);
}

static int64_t
read_number(const char *path)
{
	char *text;
	int64_t number;

	assert_int_equal(file_read_all(path, 4096, &text, NULL), 0);
	number = atoll(text);
	free(text);
	return number;
}

/* Folders in a folder. */
static int
count_folders(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	int n = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder)))
		n += entry->d_type == DT_DIR && entry->d_name[0] != '.';
	closedir(folder);
	return n;
}

/* A folder for this test at the top of the hierarchy in which a mount is; NULL: it cannot be made. */
static char *
make_base(const char *controller)
{
	char *mounts, *groups = xasprintf(*controller ? "1:%s:/\n" : "0:%s:/\n", controller), *base = NULL;
	char *memory_too = xasprintf("%s2:memory:/\n", groups);
	struct cgroup_place top;
	struct error err;

	assert_int_equal(file_read_all("/proc/self/mountinfo", 1 << 20, &mounts, NULL), 0);
	if (cgroup_find(*controller ? memory_too : groups, mounts, &top, &err) == 0) {
		const char *folder = strcmp(controller, "cpu") == 0 ? top.cpu : top.memory;

		if (folder)
			base = xasprintf("%s/cortexd-test-%d", folder, (int)getpid());
	}
	cgroup_place_done(&top);
	if (base && mkdir(base, 0755) < 0)
		free(take_ptr(&base));
	free(mounts);
	free(groups);
	free(memory_too);
	return base;
}

static void
make_place(int version)
{
	place.version = version;
	place.memory = make_base(version == 1 ? "memory" : "");
	place.cpu = version == 1 ? make_base("cpu") : NULL;
	if (!place.memory)
		skip();
}

static void
begin(bool weigh_cpu)
{
	struct error err;

	if (cgroups_new(&place, weigh_cpu, &cgroups, &err) < 0)
		fail_msg("%s", err.text);
}

static int
tear_down(UNUSED void **state)
{
	int r = 0;

	/* After a failure some of them live on; whoever was waited for is nobody's child. */
	while (n_started > 0) {
		pid_t pid = started[--n_started];

		if (waitpid(pid, NULL, WNOHANG) == 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
	}
	cgroups_free(cgroups);
	cgroups = NULL;
	if (place.memory && rmdir(place.memory) < 0)
		r = -1;
	if (place.cpu && rmdir(place.cpu) < 0)
		r = -1;
	cgroup_place_done(&place);
	return r;
}

static struct cgroup *
make(const char *api, int64_t cpu_millicpu)
{
	return cgroup_new(cgroups, &(struct cgroup_request){.api = api, .index = 3, .cpu_millicpu = cpu_millicpu});
}

/* A child that enters the group as a replica does. */
static pid_t
start_in(const struct cgroup *cgroup, void (*run)(void))
{
	int fds[CGROUP_JOINS_MAX];
	size_t n = cgroup_open_joins(cgroup, fds);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		for (size_t i = 0; i < n; i++)
			if (write(fds[i], "0", 1) != 1)
				_exit(1);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run();
		_exit(0);
	}
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	if (n_started < N_ELEMENTS(started))
		started[n_started++] = pid;
	return pid;
}

static char *
path_of_replicas(const char *base, const char *rest)
{
	return xasprintf("%s/cortexd-%d%s", base, (int)getpid(), rest);
}

static void
sleep_for_ever(void)
{
	for (;;)
		pause();
}

static void
wait_for(pid_t pid, const char *path)
{
	char *text = NULL, *number = xasprintf("%d\n", (int)pid);

	for (int i = 0;; i++) {
		assert_int_equal(file_read_all(path, 4096, &text, NULL), 0);
		if (strcmp(text, number) == 0)
			break;
		if (i == 20000)
			fail_msg("process %s never came into %s", number, path);
		free(text);
		usleep(1000);
	}
	free(text);
	free(number);
}

static void
end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- with the kernel ---- */

static void
check_a_group_for_each(void)
{
	struct cgroup *first, *second;
	char *path, *replicas;
	pid_t pid;

	begin(false);
	replicas = path_of_replicas(place.memory, "");
	first = make("iris", 200);
	second = make("iris", 200);
	assert_non_null(first);
	assert_non_null(second);
	assert_int_equal(count_folders(replicas), 2);
	path = path_of_replicas(place.memory, "/iris-3-1/cgroup.procs");
	pid = start_in(first, sleep_for_ever);
	wait_for(pid, path);

	/* One with a process in it stays until that is gone. */
	cgroup_drop(first);
	cgroup_drop(second);
	assert_int_equal(count_folders(replicas), 1);
	end(pid);
	first = make("other", 200);
	assert_int_equal(count_folders(replicas), 1);
	cgroup_drop(first);
	assert_int_equal(count_folders(replicas), 0);
	free(path);
	free(replicas);
}

static void
test_version_1_a_group_for_each(UNUSED void **state)
{
	make_place(1);
	check_a_group_for_each();
	cgroups_free(take_ptr(&cgroups));
	assert_int_equal(count_folders(place.memory), 0);
}

static void
test_version_2_a_group_for_each(UNUSED void **state)
{
	char *top, *main;
	pid_t pid;
	int status;

	make_place(2);
	pid = fork();
	if (pid == 0) {
		write_text(place.memory, "cgroup.procs", "0");
		check_a_group_for_each();
		main = path_of_replicas(place.memory, ".main/cgroup.procs");
		wait_for(getpid(), main);
		cgroups_free(take_ptr(&cgroups));
		top = xasprintf("%s/cgroup.procs", place.memory);
		wait_for(getpid(), top);
		assert_int_equal(count_folders(place.memory), 0);
		free(top);
		free(main);
		cgroup_place_done(&place);
		exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void
eat_memory(void)
{
	for (;;) {
		char *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			_exit(1);
		memset(memory, 'x', MIB);
	}
}

/* The limit is that of the group above: whoever's it is, the kill counts where the killed process was. */
static void
test_a_kill_for_want_of_memory_is_counted(UNUSED void **state)
{
	struct cgroup *eater, *other;
	int status;
	pid_t pid, bystander;

	make_place(1);
	begin(false);
	write_text(place.memory, "memory.limit_in_bytes", "64M");
	eater = make("eater", 200);
	other = make("other", 200);
	bystander = start_in(other, sleep_for_ever);
	pid = start_in(eater, eat_memory);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(cgroup_oom_kills(eater), 1);
	assert_int_equal(cgroup_oom_kills(other), 0);
	assert_in_range(cgroup_peak_bytes(eater), 32 * MIB, 65 * MIB);
	assert_true(cgroup_peak_bytes(other) < 32 * MIB);
	assert_int_equal(waitpid(bystander, &status, WNOHANG), 0);
	end(bystander);
}

static void
burn(void)
{
	for (;;)
		continue;
}

/* On one processor, two that never stop get their shares. */
static void
test_cpu_time_goes_by_request(UNUSED void **state)
{
	struct cgroup *small, *large;
	int64_t small_ns = 0, large_ns = 0;
	cpu_set_t all, one;
	char *path;
	pid_t pids[2];

	make_place(1);
	if (!place.cpu)
		skip();
	begin(true);
	small = make("small", 200);
	large = make("large", 800);
	path = path_of_replicas(place.cpu, "/large-3-2/cpu.shares");
	assert_int_equal(read_number(path), 800);
	free(path);
	path = path_of_replicas(place.cpu, "/cpu.shares");
	assert_int_equal(read_number(path), 1024 * sysconf(_SC_NPROCESSORS_ONLN));
	free(path);

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	pids[0] = start_in(small, burn);
	pids[1] = start_in(large, burn);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	while (small_ns + large_ns < 400000000) {
		usleep(10000);
		assert_int_equal(proc_read_cpu(pids[0], &small_ns), 0);
		assert_int_equal(proc_read_cpu(pids[1], &large_ns), 0);
	}
	end(pids[0]);
	end(pids[1]);
	assert_true(large_ns > 2 * small_ns);
}

static void
test_without_different_requests_cpu_is_left_alone(UNUSED void **state)
{
	make_place(1);
	begin(false);
	make("a", 200);
	if (place.cpu)
		assert_int_equal(count_folders(place.cpu), 0);
}

static void
test_what_a_killed_cortexd_left_is_removed(UNUSED void **state)
{
	char *left, *living, *inner;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	make_place(1);
	left = xasprintf("%s/cortexd-%d", place.memory, (int)pid);
	inner = xasprintf("%s/a-0-1", left);
	living = xasprintf("%s/cortexd-%d", place.memory, (int)getppid());
	assert_int_equal(mkdir(left, 0755), 0);
	assert_int_equal(mkdir(inner, 0755), 0);
	assert_int_equal(mkdir(living, 0755), 0);
	begin(false);
	assert_int_equal(access(left, F_OK), -1);
	assert_int_equal(access(living, F_OK), 0);
	assert_int_equal(rmdir(living), 0);
	free(left);
	free(inner);
	free(living);
}

static void
test_where_it_cannot_be_done_nothing_is(UNUSED void **state)
{
	struct cgroup_place nowhere = {.version = 1, .memory = (char *)"/nonexistent"};
	struct cgroups *none = NULL;
	int fds[CGROUP_JOINS_MAX];
	struct error err;

	assert_int_equal(cgroups_new(&nowhere, true, &none, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/cortexd-"));
	nowhere.version = 2;
	assert_int_equal(cgroups_new(&nowhere, true, &none, &err), -ENOENT);
	nowhere.memory = (char *)"/proc/self";
	assert_true(cgroups_new(&nowhere, true, &none, &err) < 0);
	assert_null(cgroup_new(NULL, NULL));
	assert_int_equal(cgroup_open_joins(NULL, fds), 0);
	assert_int_equal(cgroup_oom_kills(NULL), -1);
	assert_int_equal(cgroup_peak_bytes(NULL), 0);
	cgroup_drop(NULL);
	cgroups_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_where_we_are),
	    cmocka_unit_test_teardown(test_version_1_a_group_for_each, tear_down),
	    cmocka_unit_test_teardown(test_version_2_a_group_for_each, tear_down),
	    cmocka_unit_test_teardown(test_a_kill_for_want_of_memory_is_counted, tear_down),
	    cmocka_unit_test_teardown(test_cpu_time_goes_by_request, tear_down),
	    cmocka_unit_test_teardown(test_without_different_requests_cpu_is_left_alone, tear_down),
	    cmocka_unit_test_teardown(test_what_a_killed_cortexd_left_is_removed, tear_down),
	    cmocka_unit_test(test_where_it_cannot_be_done_nothing_is),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
