/*
 * spawn - see spawn.h.
 */
#include "supervisor/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"

enum step {
	STEP_SETUP,
	STEP_FOLDER,
	STEP_EXEC,
};

/* What a child that could not run its program writes into the notice. */
struct notice {
	int32_t error;
	int32_t step;
};

static __attribute__((noreturn)) void
give_up(int notice, enum step step)
{
	struct notice text = {.error = errno, .step = step};

	if (write(notice, &text, sizeof(text)) < 0)
		_exit(SPAWN_EXIT_CODE);
	_exit(SPAWN_EXIT_CODE);
}

static void
reset_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		sigaction(i, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Descriptors from first on do not survive exec, whoever opened them. */
static void
close_on_exec_from(unsigned first)
{
	struct rlimit limit;

	if (close_range(first, ~0u, CLOSE_RANGE_CLOEXEC) == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	for (rlim_t fd = first; fd < limit.rlim_cur; fd++)
		fcntl((int)fd, F_SETFD, FD_CLOEXEC);
}

/* In the child, and before it has any memory of its own: what is written now holds for all that it will ever use. It runs
 * without it, too. */
static void
enter_cgroup(const struct spawn_plan *plan)
{
	int fd = plan->oom_score_adj ? open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC) : -1;
	ssize_t n = 0;

	if (fd >= 0) {
		n = write(fd, plan->oom_score_adj, strlen(plan->oom_score_adj));
		close(fd);
	}
	for (size_t i = 0; i < plan->n_joins; i++)
		n = write(plan->joins[i], "0", 1);
	(void)n;
}

/* The program of the plan: by its path if that is still it, because it is then called by its name (ps, /proc/PID/comm). */
static void
exec_program(const struct spawn_plan *plan, int program)
{
	struct stat ours, theirs;

	if (program < 0 ||
	    (stat(plan->path, &theirs) == 0 && fstat(program, &ours) == 0 && ours.st_ino == theirs.st_ino &&
		ours.st_dev == theirs.st_dev))
		execve(plan->path, plan->argv, plan->envp);
	else
		syscall(SYS_execveat, program, "", plan->argv, plan->envp, AT_EMPTY_PATH);
}

/* In the child. moved is room for n_fds numbers: sources may lie where targets will be, so all move away first. */
static __attribute__((noreturn)) void
run_child(const struct spawn_plan *plan, int *moved, int notice, pid_t parent)
{
	int above = (int)plan->n_fds;
	int above_notice, null, program = -1;

	if (!plan->independent)
		setpgid(0, 0);
	enter_cgroup(plan);
	above_notice = fcntl(notice, F_DUPFD_CLOEXEC, above);
	if (above_notice < 0)
		give_up(notice, STEP_SETUP);
	notice = above_notice;
	if (plan->program > 0) {
		program = fcntl(plan->program, F_DUPFD_CLOEXEC, above);
		if (program < 0)
			give_up(notice, STEP_SETUP);
	}
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		give_up(notice, STEP_SETUP);
	for (size_t i = 0; i < plan->n_fds; i++) {
		moved[i] = fcntl(plan->fds[i] < 0 ? null : plan->fds[i], F_DUPFD_CLOEXEC, above);
		if (moved[i] < 0)
			give_up(notice, STEP_SETUP);
	}
	for (size_t i = 0; i < plan->n_fds; i++)
		if (dup2(moved[i], (int)i) < 0)
			give_up(notice, STEP_SETUP);
	close_on_exec_from((unsigned)above);
	if (plan->folder && chdir(plan->folder) < 0)
		give_up(notice, STEP_FOLDER);
	if (!plan->independent) {
		if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
			give_up(notice, STEP_SETUP);
		if (getppid() != parent)
			_exit(SPAWN_EXIT_CODE);
	}
	reset_signals();
	exec_program(plan, program);
	give_up(notice, STEP_EXEC);
}

int
spawn(const struct spawn_plan *plan, pid_t *ret_pid, int *ret_notice, struct error *err)
{
	int notice[2] = {-1, -1};
	sigset_t all, before;
	pid_t pid, parent = getpid();
	int *moved, r;

	ASSERT(plan->n_fds >= 3);
	moved = xcalloc(plan->n_fds, sizeof(*moved));
	if (pipe2(notice, O_CLOEXEC | O_NONBLOCK) < 0) {
		r = error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
		goto out;
	}
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	pid = fork();
	if (pid == 0)
		run_child(plan, moved, notice[1], parent);
	r = pid < 0 ? -errno : 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (r < 0) {
		error_set(err, r, "cannot fork: %s", strerror(-r));
		goto out;
	}
	if (!plan->independent) /* the child does it too: whoever comes first, the group is there when we go on */
		setpgid(pid, pid);
	*ret_pid = pid;
	*ret_notice = notice[0];
	notice[0] = -1;
out:
	fd_close(&notice[0]);
	fd_close(&notice[1]);
	free(moved);
	return r;
}

int
spawn_read_notice(int *notice, const char *path, struct error *err)
{
	struct notice text;
	ssize_t n;
	int r = 0;

	do
		n = read(*notice, &text, sizeof(text));
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (n == sizeof(text) && text.step == STEP_FOLDER)
		r = error_set(err, -text.error, "cannot enter its folder: %s", strerror(text.error));
	else if (n == sizeof(text) && text.step == STEP_SETUP)
		r = error_set(err, -text.error, "cannot prepare its descriptors: %s", strerror(text.error));
	else if (n == sizeof(text))
		r = error_set(err, -text.error, "cannot run %s: %s", path, strerror(text.error));
	fd_close(notice);
	return r;
}
