/*
 * Spawning: what a child inherits and what not, and every way in which it can go wrong. The child is this test itself,
 * which then prints what it sees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "supervisor/oom.h"
#include "supervisor/spawn.h"

static int fork_error;

pid_t __real_fork(void);
pid_t __wrap_fork(void);

pid_t
__wrap_fork(void)
{
	if (fork_error) {
		errno = fork_error;
		return -1;
	}
	return __real_fork();
}

/* In the child. */
static void
print_what_is_there(void)
{
	struct sigaction action;
	sigset_t blocked;
	char folder[4096];
	int death_signal = 0;

	printf("descriptors");
	for (int fd = 0; fd < 1000; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			printf(" %d", fd);
	printf("; group %s", getpgrp() == getpid() ? "own" : "shared");
	prctl(PR_GET_PDEATHSIG, &death_signal);
	printf("; death signal %d", death_signal);
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	for (int i = 1; i < NSIG; i++) {
		if (sigismember(&blocked, i) == 1)
			printf("; %d blocked", i);
		if (sigaction(i, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			printf("; %d ignored", i);
	}
	printf("; folder %s", getcwd(folder, sizeof(folder)));
	for (int fd = 3; fd <= 4; fd++) {
		char letter = '?';

		if (pread(fd, &letter, 1, 0) == 1)
			printf("; %d has %c", fd, letter);
	}
	printf("; oom score %d", oom_own_score_adj());
}

static int
count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(folder))
		n++;
	closedir(folder);
	return n;
}

/* Out of the way of the numbers that the test wants to use. */
static int
move_up(int fd)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, 20);

	close(fd);
	return moved;
}

static int
wait_for_notice(int *notice, const char *path, struct error *err)
{
	struct pollfd p = {.fd = *notice, .events = POLLIN};

	assert_int_equal(poll(&p, 1, 60000), 1);
	return spawn_read_notice(notice, path, err);
}

static int
wait_for_child(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void
test_a_child_gets_its_descriptors_and_nothing_else(UNUSED void **state)
{
	char *argv[] = {"whoever", "--child", NULL};
	int a, b, output[2], joins[2], notice, before, leaked;
	int fds[] = {-1, -1, STDERR_FILENO, -1, -1};
	struct spawn_plan plan = {.path = "/proc/self/exe",
	    .argv = argv,
	    .envp = environ,
	    .folder = "/",
	    .oom_score_adj = "1000",
	    .joins = joins,
	    .n_joins = N_ELEMENTS(joins),
	    .fds = fds,
	    .n_fds = N_ELEMENTS(fds)};
	sigset_t usr1, mask;
	struct error err;
	char *text;
	pid_t pid;

	assert_int_equal(pipe2(output, O_CLOEXEC), 0);
	output[0] = move_up(output[0]);
	output[1] = move_up(output[1]);
	a = move_up(memfd_sealed("a", "A", 1));
	b = move_up(memfd_sealed("b", "B", 1));
	joins[0] = move_up(open("/dev/full", O_WRONLY | O_CLOEXEC)); /* one that it cannot enter */
	joins[1] = move_up(memfd_create("join", MFD_CLOEXEC));
	leaked = dup(a); /* not close-on-exec, as if inherited from the shell */
	assert_int_equal(dup2(a, 4), 4);
	assert_int_equal(dup2(b, 3), 3); /* crosswise */
	fds[1] = output[1];
	fds[3] = 4;
	fds[4] = 3;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	before = count_descriptors();
	assert_int_equal(spawn(&plan, &pid, &notice, &err), 0);
	assert_int_equal(getpgid(pid), pid);
	sigprocmask(SIG_SETMASK, NULL, &mask);
	assert_int_equal(sigismember(&mask, SIGUSR1), 1);
	assert_int_equal(sigismember(&mask, SIGTERM), 0);
	assert_int_equal(wait_for_notice(&notice, plan.path, &err), 0);
	assert_int_equal(notice, -1);
	assert_int_equal(count_descriptors(), before);
	close(output[1]);
	assert_int_equal(fd_read_all(output[0], 10000, &text, NULL), 0);
	assert_int_equal(wait_for_child(pid), 0);
	assert_string_equal(
	    text, "descriptors 0 1 2 3 4; group own; death signal 15; folder /; 3 has A; 4 has B; oom score 1000");
	free(text);
	assert_int_equal(lseek(joins[1], 0, SEEK_SET), 0);
	assert_int_equal(fd_read_all(joins[1], 10, &text, NULL), 0);
	assert_string_equal(text, "0");
	free(text);
	close(joins[0]);
	close(joins[1]);
	close(output[0]);
	close(leaked);
	close(a);
	close(b);
	close(3);
	close(4);
}

static void
test_an_independent_child_outlives_us(UNUSED void **state)
{
	char *argv[] = {"whoever", "--child", NULL};
	int output[2], notice;
	int fds[] = {-1, -1, STDERR_FILENO};
	struct spawn_plan plan = {.path = "/proc/self/exe",
	    .argv = argv,
	    .envp = environ,
	    .folder = "/",
	    .fds = fds,
	    .n_fds = N_ELEMENTS(fds),
	    .independent = true};
	struct error err;
	char *text;
	pid_t pid;

	assert_int_equal(pipe2(output, O_CLOEXEC), 0);
	fds[1] = output[1];
	assert_int_equal(spawn(&plan, &pid, &notice, &err), 0);
	close(output[1]);
	assert_int_equal(wait_for_notice(&notice, plan.path, &err), 0);
	assert_int_equal(fd_read_all(output[0], 10000, &text, NULL), 0);
	assert_int_equal(wait_for_child(pid), 0);
	assert_string_equal(text, "descriptors 0 1 2; group shared; death signal 0; folder /; oom score 0");
	free(text);
	close(output[0]);
}

static void
test_a_program_that_cannot_be_run_is_named(UNUSED void **state)
{
	char *argv[] = {"x", NULL};
	const int fds[] = {-1, -1, -1};
	struct spawn_plan plan = {.path = "/no/such/program", .argv = argv, .envp = environ, .fds = fds, .n_fds = 3};
	struct error err;
	int notice;
	pid_t pid;

	assert_int_equal(spawn(&plan, &pid, &notice, &err), 0);
	assert_int_equal(wait_for_notice(&notice, plan.path, &err), -ENOENT);
	assert_string_equal(err.text, "cannot run /no/such/program: No such file or directory");
	assert_int_equal(notice, -1);
	assert_int_equal(WEXITSTATUS(wait_for_child(pid)), SPAWN_EXIT_CODE);

	plan.path = "/proc/self/exe";
	plan.folder = "/no/such/folder";
	assert_int_equal(spawn(&plan, &pid, &notice, &err), 0);
	assert_int_equal(wait_for_notice(&notice, plan.path, &err), -ENOENT);
	assert_string_equal(err.text, "cannot enter its folder: No such file or directory");
	assert_int_equal(WEXITSTATUS(wait_for_child(pid)), SPAWN_EXIT_CODE);
}

static void
test_a_failing_fork_leaves_nothing_behind(UNUSED void **state)
{
	static const int errors[] = {EAGAIN, ENOMEM};
	char *argv[] = {"x", NULL};
	const int fds[] = {-1, -1, -1};
	struct spawn_plan plan = {.path = "/proc/self/exe", .argv = argv, .envp = environ, .fds = fds, .n_fds = 3};
	sigset_t mask_before, mask;
	struct error err;
	pid_t pid = 0;
	int notice = -1, before = count_descriptors();

	sigprocmask(SIG_SETMASK, NULL, &mask_before);
	for (size_t i = 0; i < N_ELEMENTS(errors); i++) {
		fork_error = errors[i];
		assert_int_equal(spawn(&plan, &pid, &notice, &err), -errors[i]);
		fork_error = 0;
		assert_int_equal(strncmp(err.text, "cannot fork: ", 13), 0);
		assert_int_equal(pid, 0);
		assert_int_equal(notice, -1);
		assert_int_equal(count_descriptors(), before);
	}
	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int i = 1; i < NSIG; i++)
		assert_int_equal(sigismember(&mask, i), sigismember(&mask_before, i));
}

static void
test_no_descriptors_left_is_an_error_not_an_end(UNUSED void **state)
{
	char *argv[] = {"x", NULL};
	const int fds[] = {-1, -1, -1};
	struct spawn_plan plan = {.path = "/proc/self/exe", .argv = argv, .envp = environ, .fds = fds, .n_fds = 3};
	struct rlimit before, none;
	struct error err;
	int notice, r;
	pid_t pid;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	r = spawn(&plan, &pid, &notice, &err);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(r, -EMFILE);
	assert_string_equal(err.text, "cannot make a pipe: Too many open files");
}

/* Whichever descriptor it is that cannot be had, the notice says so; never is there just an exit code. */
static void
test_a_child_without_descriptors_says_so(UNUSED void **state)
{
	char *argv[] = {"x", NULL};
	const int fds[] = {-1, -1, -1};
	struct spawn_plan plan = {.path = "/no/such/program", .argv = argv, .envp = environ, .fds = fds, .n_fds = 3};
	struct rlimit before, few;
	struct error err;
	int notice, r = 0, n_said = 0;
	pid_t pid;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	for (few.rlim_cur = 4; r != -ENOENT; few.rlim_cur++) {
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		r = spawn(&plan, &pid, &notice, &err);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		if (r < 0)
			continue;
		r = wait_for_notice(&notice, plan.path, &err);
		assert_int_equal(WEXITSTATUS(wait_for_child(pid)), SPAWN_EXIT_CODE);
		if (r == -ENOENT)
			break;
		assert_string_equal(err.text, "cannot prepare its descriptors: Too many open files");
		n_said++;
	}
	assert_true(n_said >= 5); /* the notice, /dev/null, and three more */
}

static void
test_nothing_is_known_before_exec(UNUSED void **state)
{
	struct error err;
	int notice[2];

	assert_int_equal(pipe2(notice, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(spawn_read_notice(&notice[0], "x", &err), -EAGAIN);
	assert_true(notice[0] >= 0);
	close(notice[1]);
	assert_int_equal(spawn_read_notice(&notice[0], "x", &err), 0);
	assert_int_equal(notice[0], -1);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_child_gets_its_descriptors_and_nothing_else),
	    cmocka_unit_test(test_an_independent_child_outlives_us),
	    cmocka_unit_test(test_a_program_that_cannot_be_run_is_named),
	    cmocka_unit_test(test_a_failing_fork_leaves_nothing_behind),
	    cmocka_unit_test(test_no_descriptors_left_is_an_error_not_an_end),
	    cmocka_unit_test(test_a_child_without_descriptors_says_so),
	    cmocka_unit_test(test_nothing_is_known_before_exec),
	};

	if (argc == 2 && !strcmp(argv[1], "--child")) {
		print_what_is_there();
		return 0;
	}
	return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
