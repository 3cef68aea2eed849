/*
 * job - see job.h.
 */
#include "supervisor/job.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "supervisor/death.h"
#include "supervisor/spawn.h"

#define READS_PER_TURN 16
#define READS_AT_END   256

static void
end_line(struct job *job)
{
	char **kept = &job->kept[job->n_lines % JOB_KEPT_LINES];

	while (job->line_length > 0 && strchr(" \t\r", job->line[job->line_length - 1]))
		job->line_length--;
	job->line[job->line_length] = '\0';
	if (job->line_length == 0)
		return;
	job->line_length = 0;
	free(*kept);
	*kept = xstrdup(job->line);
	job->n_lines++;
	job->line_cb(job->arg, job->line);
}

/* Read at most n_reads buffers. False when there is nothing to be read for now, or ever again. */
static bool
read_output(struct job *job, int n_reads)
{
	char buffer[4096];

	while (n_reads-- > 0) {
		ssize_t n = read(job->output, buffer, sizeof(buffer));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n <= 0) {
			event_del(&job->output_event);
			return false;
		}
		for (ssize_t i = 0; i < n; i++) {
			if (buffer[i] == '\n')
				end_line(job);
			else if (job->line_length < JOB_LINE_MAX && buffer[i] != '\0')
				job->line[job->line_length++] = buffer[i];
		}
	}
	return true;
}

static void
output_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	read_output(arg, READS_PER_TURN);
}

int
job_start(struct job *job, struct event_base *base, const struct job_plan *plan, struct error *err)
{
	int output[2] = {-1, -1};
	int fds[3] = {-1, -1, -1};
	struct spawn_plan spawn_plan = {
	    .path = plan->argv[0],
	    .program = plan->program,
	    .argv = (char *const *)plan->argv,
	    .envp = plan->envp,
	    .folder = plan->folder,
	    .fds = fds,
	    .n_fds = N_ELEMENTS(fds),
	};
	int r;

	ASSERT(job->pid == 0);
	job_done(job);
	job->line_cb = plan->line_cb;
	job->over_cb = plan->over_cb;
	job->arg = plan->arg;
	if (pipe2(output, O_CLOEXEC) < 0)
		return error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	r = fd_set_nonblocking(output[0], true);
	if (r < 0) {
		error_set(err, r, "cannot set up a pipe: %s", strerror(-r));
		goto out;
	}
	event_assign(&job->output_event, base, output[0], EV_READ | EV_PERSIST, output_cb, job);
	if (event_add(&job->output_event, NULL) < 0) {
		r = error_set(err, -ENOMEM, "cannot watch a pipe");
		goto out;
	}
	fds[1] = fds[2] = output[1];
	r = spawn(&spawn_plan, &job->pid, &job->notice, err);
	if (r < 0) {
		event_del(&job->output_event);
		goto out;
	}
	job->output = output[0];
	output[0] = -1;
	job->program = xstrdup(plan->argv[0]);
out:
	fd_close(&output[0]);
	fd_close(&output[1]);
	return r;
}

void
job_reaped(struct job *job, int wait_status)
{
	struct error failure;
	bool failed;
	char name[32];

	job->pid = 0;
	read_output(job, READS_AT_END);
	end_line(job);
	event_del(&job->output_event);
	fd_close(&job->output);
	failed = spawn_read_notice(&job->notice, job->program, &failure) < 0;
	fd_close(&job->notice);
	if (!failed && WIFSIGNALED(wait_status)) {
		failed = true;
		error_set(&failure, 0, "killed by %s", death_signal_name(WTERMSIG(wait_status), name));
	} else if (!failed && WEXITSTATUS(wait_status) != 0) {
		failed = true;
		error_set(&failure, 0, "exit code %d", WEXITSTATUS(wait_status));
	}
	job->over_cb(job->arg, failed ? &failure : NULL);
}

void
job_signal(const struct job *job, int number)
{
	if (job->pid != 0)
		kill(-job->pid, number);
}

void
job_log_kept_lines(const struct job *job, const char *prefix)
{
	size_t first = job->n_lines > JOB_KEPT_LINES ? job->n_lines - JOB_KEPT_LINES : 0;

	for (size_t i = first; i < job->n_lines; i++)
		log_error("%s%s", prefix, job->kept[i % JOB_KEPT_LINES]);
}

void
job_done(struct job *job)
{
	ASSERT(job->pid == 0);
	for (size_t i = 0; i < JOB_KEPT_LINES; i++)
		free(job->kept[i]);
	free(job->program);
	*job = (struct job){.output = -1, .notice = -1};
}
