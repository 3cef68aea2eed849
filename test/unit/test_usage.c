/*
 * Usage: real processes burn CPU time by their own clock, say how much it was, and stop; the samples must say the same.
 *
 * This test is the supervisor: a subreaper, the parent of the roots. A process that is to be found by its mark is this test
 * itself, run again, because the environment that the kernel shows is that of the last exec. One long file, because all tests
 * need the same processes, which do as they are told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/usage.h"

#define BURN_US    100000
#define TICKS_US   20000         /* what the kernel's sum of children may lack */
#define SLACK_US   (BURN_US / 2) /* forking, exiting, talking: less than half of what anybody burns */
#define SHORT_US   3000
#define MEMORY_KIB (32 << 10)
#define ONE        "CORTEXD_TEST_MARK=one"
#define TWO        "CORTEXD_TEST_MARK=two"

/* What a process says about itself. */
struct report {
	pid_t pid;
	pid_t parent;
	int64_t cpu_us;
};

static int line[2]; /* [0] is the test's end, [1] that of all others */
static uint64_t last_id;
static struct usage *usage;
static int open_error;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

/* Wraps what usage opens: files of processes, to read. */
int
__wrap_open(const char *path, int flags, ...)
{
	if (open_error) {
		errno = open_error;
		return -1;
	}
	return __real_open(path, flags);
}

/* ---- in the processes ---- */

static int64_t
own_cpu_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void
burn(void)
{
	int64_t end_us = own_cpu_us() + BURN_US;

	while (own_cpu_us() < end_us)
		continue;
}

static void
report(void)
{
	struct report text = {.pid = getpid(), .parent = getppid(), .cpu_us = own_cpu_us()};

	if (send(line[1], &text, sizeof(text), MSG_NOSIGNAL) != sizeof(text))
		_exit(1);
}

/* Until the test says so, or has ended. */
static void
wait_for_test(void)
{
	const struct timespec moment = {.tv_nsec = 50 * 1000000};
	struct pollfd end = {.fd = line[1]};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	while (sigtimedwait(&set, NULL, &moment) < 0)
		if (poll(&end, 1, 0) == 1)
			_exit(1);
}

static pid_t
fork_or_die(void)
{
	pid_t pid = fork();

	if (pid < 0)
		_exit(1);
	return pid;
}

static void
burn_and_stay(void)
{
	burn();
	report();
	wait_for_test();
}

static void
burn_twice(void)
{
	burn_and_stay();
	burn();
	report();
}

static void
have_generations(int n)
{
	if (n > 1 && fork_or_die() == 0) {
		have_generations(n - 1);
		_exit(0);
	}
	burn_and_stay();
	while (wait(NULL) > 0)
		continue;
}

static void
have_three_generations(void)
{
	have_generations(3);
}

static void
ignore_a_generation(void)
{
	signal(SIGCHLD, SIG_IGN);
	have_generations(2);
}

static void
reap_two_children(void)
{
	for (int i = 0; i < 2; i++) {
		if (fork_or_die() == 0) {
			burn_twice();
			_exit(0);
		}
		wait(NULL);
		report();
		wait_for_test();
	}
}

static void
ignore_child(void)
{
	signal(SIGCHLD, SIG_IGN);
	if (fork_or_die() == 0) {
		burn_and_stay();
		_exit(0);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		continue;
	burn_and_stay();
}

/* A child whose parent is gone before it says anything. */
static void
leave_behind(bool in_group, void (*run)(void))
{
	pid_t middle = fork_or_die();

	if (middle == 0) {
		pid_t self = getpid();

		if (!in_group)
			setsid();
		if (fork_or_die() != 0)
			_exit(0);
		while (getppid() == self)
			usleep(1000);
		run();
		_exit(0);
	}
	waitpid(middle, NULL, 0);
	wait_for_test();
	burn_and_stay();
}

static void
leave_in_group(void)
{
	leave_behind(true, burn_and_stay);
}

static void
leave_family(void)
{
	leave_behind(true, have_three_generations);
}

static void
leave_ignorant_family(void)
{
	leave_behind(true, ignore_a_generation);
}

static void
leave_group(void)
{
	leave_behind(false, burn_and_stay);
}

/* A child in a session of its own, whose parent lives until it is told to end. */
static void
leave_later(void)
{
	pid_t middle = fork_or_die();

	if (middle == 0) {
		setsid();
		if (fork_or_die() == 0) {
			burn_twice();
			wait_for_test();
			_exit(0);
		}
		burn_and_stay();
		_exit(0);
	}
	waitpid(middle, NULL, 0);
	report();
	wait_for_test();
	burn_and_stay();
}

static void
be_keeper(void)
{
	prctl(PR_SET_NAME, "cortexd-keeper");
	burn_and_stay();
}

static void
share_memory(void)
{
	size_t size = (size_t)MEMORY_KIB * 1024;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		_exit(1);
	memset(memory, 'x', size);
	report();
	wait_for_test();
	fork_or_die();
	report();
	wait_for_test();
}

/* Start one process after the other, and wait for each. */
static void
churn(void)
{
	for (;;) {
		if (fork_or_die() == 0) {
			int64_t end_us = own_cpu_us() + SHORT_US;

			while (own_cpu_us() < end_us)
				continue;
			_exit(0);
		}
		wait(NULL);
		report();
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} roles[] = {
    {"leave_group", leave_group},
    {"burn_and_stay", burn_and_stay},
};

static int
run_role(const char *name, const char *fd)
{
	line[1] = atoi(fd);
	for (size_t i = 0; i < N_ELEMENTS(roles); i++)
		if (strcmp(roles[i].name, name) == 0)
			roles[i].run();
	return 0;
}

/* ---- in the test ---- */

static struct usage_root
start(void (*run)(void))
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		close(line[0]);
		setpgid(0, 0);
		run();
		_exit(0);
	}
	setpgid(pid, pid);
	return (struct usage_root){.id = ++last_id, .pid = pid};
}

/* A role of this program, with a mark in its environment. */
static struct usage_root
start_marked(const char *role, char *mark)
{
	char *environment[] = {(char *)"PATH=/bin", mark, NULL}, number[16];
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		close(line[0]);
		setpgid(0, 0);
		snprintf(number, sizeof(number), "%d", line[1]);
		execve("/proc/self/exe", (char *[]){(char *)"test_usage", (char *)role, number, NULL}, environment);
		_exit(1);
	}
	setpgid(pid, pid);
	return (struct usage_root){.id = ++last_id, .pid = pid, .mark = mark};
}

static struct report
hear(void)
{
	struct report text;

	assert_int_equal(recv(line[0], &text, sizeof(text), 0), sizeof(text));
	return text;
}

static void
let_go(pid_t pid)
{
	assert_int_equal(kill(pid, SIGUSR1), 0);
}

static int64_t
sample(struct usage_root *root)
{
	int64_t before_us = root->cpu_us;

	assert_int_equal(usage_sample(usage, root, 1), 0);
	assert_true(root->cpu_us >= before_us);
	assert_int_equal(root->cpu_us, usage_cpu_us(usage, root->id));
	return root->cpu_us;
}

#define assert_about(us, expected_us)                                                                   \
	do {                                                                                            \
		int64_t is_ = (us), expected_ = (expected_us);                                          \
		if (is_ < expected_ - TICKS_US || is_ > expected_ + SLACK_US)                           \
			fail_msg("%lld us, expected about %lld", (long long)is_, (long long)expected_); \
	} while (0)

static void
wait_until_dead(pid_t pid)
{
	siginfo_t info;

	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

/* As the supervisor does it. */
static void
reap(pid_t pid)
{
	wait_until_dead(pid);
	usage_before_reap(usage, pid);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int
set_up(UNUSED void **state)
{
	usage = usage_new(USAGE_READS_MAX);
	return socketpair(AF_UNIX, SOCK_SEQPACKET, 0, line);
}

/* All that are left come to us, and are ended. */
static int
tear_down(UNUSED void **state)
{
	usage_free(usage);
	shutdown(line[0], SHUT_RDWR); /* closing is not enough: some of them have it too */
	close(line[0]);
	close(line[1]);
	while (wait(NULL) > 0 || errno == EINTR)
		continue;
	return 0;
}

/* ---- CPU time ---- */

static void
test_one_process(UNUSED void **state)
{
	struct usage_root root = start(burn_twice);
	int64_t us = hear().cpu_us;

	assert_about(sample(&root), us);
	assert_int_equal(root.n_processes, 1);
	assert_about(sample(&root), us);
	let_go(root.pid);
	us = hear().cpu_us;
	assert_about(sample(&root), us);
}

static void
test_all_descendants(UNUSED void **state)
{
	struct usage_root root = start(have_three_generations);
	int64_t us = hear().cpu_us;

	us += hear().cpu_us;
	us += hear().cpu_us;
	assert_about(sample(&root), us);
	assert_int_equal(root.n_processes, 3);
}

static void
test_a_child_that_its_parent_waits_for_counts_once(UNUSED void **state)
{
	struct usage_root root = start(reap_two_children);
	struct report child = hear();
	int64_t us;

	assert_about(sample(&root), child.cpu_us);
	let_go(child.pid);
	us = hear().cpu_us;
	us += hear().cpu_us; /* the root's own */
	assert_about(sample(&root), us);
	assert_about(sample(&root), us);
	assert_int_equal(root.n_processes, 1);

	/* The second comes and goes between two samples. */
	let_go(root.pid);
	child = hear();
	let_go(child.pid);
	us += hear().cpu_us;
	hear();
	assert_about(sample(&root), us);
	assert_int_equal(root.n_processes, 1);
}

static void
test_what_was_seen_of_an_ignored_child_is_kept(UNUSED void **state)
{
	struct usage_root root = start(ignore_child);
	struct report child = hear();
	int64_t us;

	sample(&root);
	let_go(child.pid);
	us = child.cpu_us + hear().cpu_us;
	assert_about(sample(&root), us);
	assert_int_equal(root.n_processes, 1);
}

/* A parent and its child are gone at the same sample; the root has waited for the parent. */
static void
test_two_generations_that_end_together(UNUSED void **state)
{
	struct usage_root root = start(leave_later);
	struct report a = hear(), b = hear(), middle, orphan;
	int64_t us;

	sample(&root);
	middle = a.parent == root.pid ? a : b;
	orphan = middle.pid == a.pid ? b : a;
	let_go(orphan.pid);
	us = middle.cpu_us + hear().cpu_us;
	let_go(middle.pid);
	us += hear().cpu_us;
	let_go(orphan.pid);
	reap(orphan.pid);
	assert_about(sample(&root), us);
	assert_int_equal(root.n_processes, 1);
	let_go(root.pid);
	us += hear().cpu_us;
	assert_about(sample(&root), us);
}

static void
test_an_orphan_is_known_by_its_group(UNUSED void **state)
{
	struct usage_root root = start(leave_in_group);
	struct report orphan = hear();

	assert_about(sample(&root), orphan.cpu_us);
	assert_int_equal(root.n_processes, 2);
	let_go(orphan.pid);
	reap(orphan.pid);
	assert_about(usage_cpu_us(usage, root.id), orphan.cpu_us);
	assert_about(sample(&root), orphan.cpu_us);
	assert_int_equal(root.n_processes, 1);
}

static void
test_an_orphan_that_no_sample_saw_counts_when_it_is_reaped(UNUSED void **state)
{
	struct usage_root root = start(leave_in_group);
	struct report orphan;

	sample(&root);
	orphan = hear();
	let_go(orphan.pid);
	reap(orphan.pid);
	assert_about(sample(&root), orphan.cpu_us);
}

/* An orphan goes, with all below it, between two samples. */
static void
assert_family_counts_once(void (*leave)(void), int n)
{
	struct usage_root root = start(leave);
	struct report member[3];
	pid_t orphan = 0;
	int64_t us = 0;

	for (int i = 0; i < n; i++) {
		member[i] = hear();
		us += member[i].cpu_us;
		orphan = member[i].parent == getpid() ? member[i].pid : orphan;
	}
	assert_about(sample(&root), us);
	assert_int_equal(root.n_processes, n + 1);
	for (int i = 0; i < n; i++)
		let_go(member[i].pid);
	reap(orphan);
	assert_about(usage_cpu_us(usage, root.id), us);
	assert_about(sample(&root), us);
	assert_int_equal(root.n_processes, 1);
	let_go(root.pid);
	us += hear().cpu_us;
	assert_about(sample(&root), us);
}

static void
test_a_family_that_waits_for_each_other(UNUSED void **state)
{
	assert_family_counts_once(leave_family, 3);
}

static void
test_a_family_that_ignores_each_other(UNUSED void **state)
{
	assert_family_counts_once(leave_ignorant_family, 2);
}

static void
test_an_orphan_that_left_its_group_is_known_by_its_mark(UNUSED void **state)
{
	struct usage_root roots[2] = {
	    start_marked("leave_group", (char *)ONE), start_marked("leave_group", (char *)TWO)};
	int64_t us = hear().cpu_us;

	us += hear().cpu_us;
	assert_int_equal(usage_sample(usage, roots, 2), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(roots[i].n_processes, 2);
		assert_true(roots[i].cpu_us > BURN_US);
	}
	/* The roots run a program anew, which takes a while in a sanitizer's build; the orphan of the other would be more. */
	assert_in_range(roots[0].cpu_us + roots[1].cpu_us, us, us + 2 * BURN_US - 1);
}

static void
test_an_orphan_stays_with_its_root(UNUSED void **state)
{
	struct usage_root root = start(leave_later);
	struct report a = hear(), b = hear(), middle, orphan;
	int64_t us;

	assert_about(sample(&root), a.cpu_us + b.cpu_us);
	middle = a.parent == root.pid ? a : b;
	orphan = middle.pid == a.pid ? b : a;
	let_go(middle.pid);
	us = middle.cpu_us + hear().cpu_us;
	assert_about(sample(&root), us + orphan.cpu_us);
	assert_int_equal(root.n_processes, 2);
	let_go(orphan.pid);
	us += hear().cpu_us;
	assert_about(sample(&root), us);

	/* What was seen is kept even when nobody says that it is being reaped. */
	let_go(orphan.pid);
	assert_int_equal(waitpid(orphan.pid, NULL, 0), orphan.pid);
	assert_about(sample(&root), us);
	assert_int_equal(root.n_processes, 1);
	let_go(root.pid);
	us += hear().cpu_us;
	assert_about(sample(&root), us);
}

static void
test_roots_do_not_share(UNUSED void **state)
{
	struct usage_root roots[2] = {start(burn_and_stay), start(have_three_generations)};
	int64_t us[2] = {0, 0};

	for (int i = 0; i < 4; i++) {
		struct report who = hear();

		us[who.pid != roots[0].pid] += who.cpu_us;
	}
	assert_int_equal(usage_sample(usage, roots, 2), 0);
	assert_about(roots[0].cpu_us, us[0]);
	assert_about(roots[1].cpu_us, us[1]);
	assert_int_equal(roots[0].n_processes, 1);
	assert_int_equal(roots[1].n_processes, 3);
}

static void
test_a_successor_begins_at_nothing(UNUSED void **state)
{
	struct usage_root first = start(burn_twice), second;
	int64_t us;

	hear();
	sample(&first);
	let_go(first.pid);
	us = hear().cpu_us;
	reap(first.pid);
	assert_about(usage_cpu_us(usage, first.id), us);

	second = start(burn_and_stay);
	us = hear().cpu_us;
	assert_about(sample(&second), us);
	assert_int_equal(usage_cpu_us(usage, first.id), -1);
}

static void
test_a_root_that_is_gone_keeps_its_time(UNUSED void **state)
{
	struct usage_root root = start(burn_and_stay);
	int64_t us = hear().cpu_us;

	sample(&root);
	let_go(root.pid);
	assert_int_equal(waitpid(root.pid, NULL, 0), root.pid);
	assert_about(sample(&root), us);
	assert_int_equal(root.n_processes, 0);
	assert_int_equal(root.rss_kib, 0);
}

static void
test_keepers_do_not_count(UNUSED void **state)
{
	struct usage_root root = start(wait_for_test);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		setpgid(0, root.pid);
		be_keeper();
		_exit(0);
	}
	hear();
	assert_about(sample(&root), 0);
	assert_int_equal(root.n_processes, 1);
	let_go(pid);
	reap(pid);
	assert_about(sample(&root), 0);
}

static int64_t
reaped_us(void)
{
	struct rusage used;

	getrusage(RUSAGE_CHILDREN, &used);
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
}

/* Processes come and go all the time: the sum only grows, and is right in the end. */
static void
test_many_short_lives(UNUSED void **state)
{
	struct usage_root root = start(churn);
	int64_t us = reaped_us();

	for (int i = 0; i < 200; i++) {
		hear();
		sample(&root);
	}
	kill(root.pid, SIGKILL);
	reap(root.pid);
	us = reaped_us() - us;
	assert_true(us > 200 * SHORT_US);
	assert_about(usage_cpu_us(usage, root.id), us);
}

/* ---- pids that come back ---- */

/* fork, with a pid of our choice. */
static pid_t
fork_as(pid_t pid)
{
	struct clone_args args = {
	    .exit_signal = SIGCHLD,
	    .set_tid = (uint64_t)(uintptr_t)&pid,
	    .set_tid_size = 1,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* In the root: a child that takes the pid of a process that was nobody's. */
static pid_t pid_to_take;

static void
take_pid(void)
{
	pid_t pid;

	wait_for_test();
	pid = fork_as(pid_to_take);
	if (pid < 0)
		report();
	else if (pid == 0)
		burn_and_stay();
	wait_for_test();
}

static void
test_a_pid_that_was_another_process(UNUSED void **state)
{
	struct usage_root root;
	struct report child;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		wait_for_test();
		_exit(0);
	}
	pid_to_take = pid;
	root = start(take_pid);
	sample(&root);
	let_go(pid);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	let_go(root.pid);
	child = hear();
	if (child.pid == root.pid)
		skip(); /* not allowed to choose a pid */
	for (int i = 0; i < 16 && root.n_processes < 2; i++)
		sample(&root);
	assert_int_equal(root.n_processes, 2);
	assert_about(sample(&root), child.cpu_us);
}

static void
test_a_pid_that_was_a_member(UNUSED void **state)
{
	struct usage_root root = start(leave_in_group);
	struct report orphan = hear();
	pid_t pid;

	assert_about(sample(&root), orphan.cpu_us);
	let_go(orphan.pid);
	assert_int_equal(waitpid(orphan.pid, NULL, 0), orphan.pid);
	pid = fork_as(orphan.pid);
	if (pid == 0) {
		burn_and_stay();
		_exit(0);
	}
	if (pid < 0)
		skip();
	hear();
	assert_about(sample(&root), orphan.cpu_us);
	assert_int_equal(root.n_processes, 1);
}

/* ---- bounds and errors ---- */

static void
test_few_reads_in_a_sample(UNUSED void **state)
{
	struct usage_root root = start(have_three_generations);
	int64_t us = hear().cpu_us;
	int n_samples = 0;

	us += hear().cpu_us;
	us += hear().cpu_us;
	usage_free(usage);
	usage = usage_new(1);
	sample(&root);
	assert_true(root.n_processes <= 2);
	while (root.n_processes < 3 && n_samples++ < 100000)
		sample(&root);
	assert_about(sample(&root), us);
}

static void
test_what_cannot_be_read_is_as_it_was(UNUSED void **state)
{
	struct usage_root root = start(have_three_generations);
	int64_t us = hear().cpu_us;

	us += hear().cpu_us;
	us += hear().cpu_us;
	assert_about(sample(&root), us);
	open_error = EMFILE;
	for (int i = 0; i < 20; i++)
		assert_int_equal(usage_sample(usage, &root, 1), -EMFILE);
	open_error = 0;
	assert_about(root.cpu_us, us);
	assert_int_equal(root.n_processes, 3);
	assert_about(sample(&root), us);
	assert_int_equal(root.n_processes, 3);
}

/* ---- memory ---- */

static void
test_memory(UNUSED void **state)
{
	struct usage_root root = start(share_memory);
	struct proc_memory alone, shared;

	hear();
	sample(&root);
	assert_in_range(root.rss_kib, MEMORY_KIB, MEMORY_KIB * 4);
	assert_int_equal(usage_memory(usage, root.id, &alone), 0);
	assert_in_range(alone.private_kib, MEMORY_KIB, MEMORY_KIB + MEMORY_KIB / 2);
	assert_in_range(alone.pss_kib, alone.private_kib, alone.private_kib + alone.shared_kib);

	let_go(root.pid);
	hear();
	hear();
	sample(&root);
	assert_int_equal(root.n_processes, 2);
	assert_in_range(root.rss_kib, 2 * MEMORY_KIB, MEMORY_KIB * 8);
	assert_int_equal(usage_memory(usage, root.id, &shared), 0);
	assert_in_range(shared.shared_kib, 2 * MEMORY_KIB, MEMORY_KIB * 4);
	assert_in_range(shared.pss_kib, MEMORY_KIB, MEMORY_KIB + MEMORY_KIB / 2);
	assert_true(shared.private_kib < MEMORY_KIB);
	assert_int_equal(usage_memory(usage, root.id + 1, &shared), -ENOENT);
}

/* ---- the text of /proc/PID/stat ---- */

#define FIELDS " 5 1 0 -1 4194304 1 2 3 4 5 6 700 30 20 0 1 0 12345 4096000 "

static void
test_stat(UNUSED void **state)
{
	static const char *const bad[] = {"", "1", "1 (a", "1 (a)", "1 (a) R", "1 (a) R 4 5 6", "1 )a( R 4" FIELDS "9",
	    "1 (a) R x" FIELDS "9", "1 (a) R -4" FIELDS "9", "1 (a) R 4" FIELDS, "1 (a) R 4" FIELDS "-9",
	    "1 (a) R 4" FIELDS "99999999999999999999", "1 (a) R 99999999999" FIELDS "9"};
	struct proc_stat stat;

	assert_true(proc_parse_stat("7 (a) S) (b) R 4" FIELDS "9 18446744073709551615 1\n", &stat));
	assert_int_equal(stat.parent, 4);
	assert_int_equal(stat.group, 5);
	assert_string_equal(stat.name, "a) S) (b");
	assert_int_equal(stat.start, 12345);
	assert_int_equal(stat.reaped_ns, 730 * (1000000000 / sysconf(_SC_CLK_TCK)));
	assert_int_equal(stat.rss_kib, 9 * (sysconf(_SC_PAGESIZE) / 1024));
	assert_true(proc_parse_stat("7 (a name of more than fifteen letters) R 4" FIELDS "9", &stat));
	assert_string_equal(stat.name, "a name of more ");
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		assert_false(proc_parse_stat(bad[i], &stat));
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(test_one_process),
	    TEST(test_all_descendants),
	    TEST(test_a_child_that_its_parent_waits_for_counts_once),
	    TEST(test_what_was_seen_of_an_ignored_child_is_kept),
	    TEST(test_two_generations_that_end_together),
	    TEST(test_an_orphan_is_known_by_its_group),
	    TEST(test_an_orphan_that_no_sample_saw_counts_when_it_is_reaped),
	    TEST(test_a_family_that_waits_for_each_other),
	    TEST(test_a_family_that_ignores_each_other),
	    TEST(test_an_orphan_that_left_its_group_is_known_by_its_mark),
	    TEST(test_an_orphan_stays_with_its_root),
	    TEST(test_roots_do_not_share),
	    TEST(test_a_successor_begins_at_nothing),
	    TEST(test_a_root_that_is_gone_keeps_its_time),
	    TEST(test_keepers_do_not_count),
	    TEST(test_many_short_lives),
	    TEST(test_a_pid_that_was_another_process),
	    TEST(test_a_pid_that_was_a_member),
	    TEST(test_few_reads_in_a_sample),
	    TEST(test_what_cannot_be_read_is_as_it_was),
	    TEST(test_memory),
	    cmocka_unit_test(test_stat),
	};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (argc == 3)
		return run_role(argv[1], argv[2]);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return cmocka_run_group_tests_name("usage", tests, NULL, NULL);
}
