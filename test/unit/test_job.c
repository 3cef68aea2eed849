/*
 * Jobs: real children of /bin/sh, their lines, their end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/job.h"

struct run {
	struct event_base *base;
	struct job job;
	char lines[8192]; /* each with a | behind it */
	int n_lines;
	bool over;
	char failure[ERROR_TEXT_MAX];
};

static void
line_cb(void *arg, const char *line)
{
	struct run *run = arg;
	size_t length = strlen(run->lines);

	run->n_lines++;
	snprintf(run->lines + length, sizeof(run->lines) - length, "%s|", line);
}

static void
over_cb(void *arg, const struct error *failure)
{
	struct run *run = arg;

	run->over = true;
	snprintf(run->failure, sizeof(run->failure), "%s", failure ? failure->text : "");
}

/* Start /bin/sh -c script, or program when that is not NULL. */
static void
start(struct run *run, const char *program, const char *script)
{
	const char *argv[] = {program ? program : "/bin/sh", "-c", script, NULL};
	struct job_plan plan = {
	    .argv = argv, .envp = environ, .folder = "/", .line_cb = line_cb, .over_cb = over_cb, .arg = run};
	struct error err;

	run->base = event_base_new();
	assert_int_equal(job_start(&run->job, run->base, &plan, &err), 0);
}

static void
finish(struct run *run)
{
	siginfo_t info = {.si_pid = 0};
	int status;

	while (info.si_pid == 0) {
		event_base_loop(run->base, EVLOOP_NONBLOCK);
		assert_int_equal(waitid(P_PID, (id_t)run->job.pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
	}
	assert_int_equal(waitpid(run->job.pid, &status, 0), info.si_pid);
	job_reaped(&run->job, status);
	assert_true(run->over);
	job_done(&run->job);
	event_base_free(run->base);
}

static void
test_lines_of_both_outputs_arrive(UNUSED void **state)
{
	struct run run = {.over = false};

	start(&run, NULL, "echo one; echo two >&2; echo; printf 'three  \\r\\nno end'; pwd >&2; cat");
	finish(&run);
	assert_string_equal(run.lines, "one|two|three|no end/|");
	assert_string_equal(run.failure, "");
}

static void
test_failures_are_described(UNUSED void **state)
{
	static const struct {
		const char *program;
		const char *script;
		const char *failure;
	} cases[] = {
	    {NULL, "exit 3", "exit code 3"},
	    {NULL, "kill -SEGV $$", "killed by SIGSEGV"},
	    {"/no/such/program", "", "cannot run /no/such/program: No such file or directory"},
	};

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct run run = {.over = false};

		start(&run, cases[i].program, cases[i].script);
		finish(&run);
		assert_string_equal(run.failure, cases[i].failure);
	}
}

static void
test_a_signal_reaches_the_whole_group(UNUSED void **state)
{
	struct run run = {.over = false};

	start(&run, NULL, "sleep 1000 & echo begun; wait");
	while (run.n_lines == 0)
		event_base_loop(run.base, EVLOOP_ONCE);
	job_signal(&run.job, SIGTERM);
	finish(&run);
	assert_string_equal(run.failure, "killed by SIGTERM");
}

static void
test_long_lines_are_cut_and_only_the_last_are_kept(UNUSED void **state)
{
	struct run run = {.over = false};

	start(&run, NULL,
	    "head -c 100000 /dev/zero | tr '\\0' x; i=0; while [ $i -lt 50 ]; do echo; echo $i; i=$((i+1)); done");
	while (run.job.n_lines < 51)
		event_base_loop(run.base, EVLOOP_ONCE);
	assert_int_equal(strcspn(run.lines, "|"), JOB_LINE_MAX);
	assert_string_equal(run.job.kept[50 % JOB_KEPT_LINES], "49");
	assert_string_equal(run.job.kept[31 % JOB_KEPT_LINES], "30");
	finish(&run);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lines_of_both_outputs_arrive),
	    cmocka_unit_test(test_failures_are_described),
	    cmocka_unit_test(test_a_signal_reaches_the_whole_group),
	    cmocka_unit_test(test_long_lines_are_cut_and_only_the_last_are_kept),
	};

	return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
