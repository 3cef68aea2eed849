/*
 * death - see death.h.
 */
#include "supervisor/death.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "common/fd.h"

#define VMSTAT_MAX (256 * 1024)

static const char *const kind_names[DEATH_N_KINDS] = {
    [DEATH_TOLD] = "told",
    [DEATH_START_FAILED] = "start_failed",
    [DEATH_GAVE_UP] = "gave_up",
    [DEATH_START_TIMEOUT] = "start_timeout",
    [DEATH_NONSENSE] = "nonsense",
    [DEATH_OVERDUE] = "overdue",
    [DEATH_HUNG_UP] = "hung_up",
    [DEATH_EXIT] = "exit",
    [DEATH_EXIT_UNTOLD] = "exit_untold",
    [DEATH_OUT_OF_MEMORY] = "out_of_memory",
    [DEATH_SIGNAL] = "signal",
};

const char *
death_kind_name(enum death_kind kind)
{
	return kind_names[kind];
}

const char *
death_signal_name(int number, char text[32])
{
	const char *name = sigabbrev_np(number);

	if (name)
		snprintf(text, 32, "SIG%s", name);
	else
		snprintf(text, 32, "signal %d", number);
	return text;
}

static void
describe_status(int status, char *text, size_t size)
{
	char name[32];

	if (WIFSIGNALED(status))
		snprintf(text, size, "killed by %s%s", death_signal_name(WTERMSIG(status), name),
		    WCOREDUMP(status) ? " (core dumped)" : "");
	else
		snprintf(text, size, "exit code %d", WEXITSTATUS(status));
}

/* Somebody was killed for want of memory, though perhaps not this one. */
static void
add_oom_hint(const struct death_evidence *e, char text[DEATH_TEXT_MAX])
{
	size_t length = strlen(text);
	const char *plural = e->oom_kills == 1 ? "" : "es";

	if (e->oom_kills == 0)
		return;
	if (e->oom_certain)
		snprintf(text + length, DEATH_TEXT_MAX - length,
		    "; out of memory: the kernel killed %lld process%s that it had started", (long long)e->oom_kills,
		    plural);
	else if (WIFSIGNALED(e->wait_status) && WTERMSIG(e->wait_status) == SIGKILL)
		snprintf(text + length, DEATH_TEXT_MAX - length,
		    "; perhaps out of memory: the kernel killed %lld process%s for that meanwhile",
		    (long long)e->oom_kills, plural);
}

enum death_kind
death_classify(const struct death_evidence *e, char text[DEATH_TEXT_MAX])
{
	bool signalled = WIFSIGNALED(e->wait_status);
	bool ours = signalled && e->signal_sent != 0 && WTERMSIG(e->wait_status) == e->signal_sent;
	bool exit_0 = !signalled && WEXITSTATUS(e->wait_status) == 0;
	char status[64];

	describe_status(e->wait_status, status, sizeof(status));
	if (e->told && (exit_0 || ours)) {
		if (ours)
			snprintf(text, DEATH_TEXT_MAX, "ended by %s", death_signal_name(e->signal_sent, status));
		else
			snprintf(text, DEATH_TEXT_MAX, "stopped");
		return DEATH_TOLD;
	}
	if (e->failure[0] != '\0') {
		snprintf(text, DEATH_TEXT_MAX, "%s: %s", e->was_ready ? "gave up" : "start failed", e->failure);
		return e->was_ready ? DEATH_GAVE_UP : DEATH_START_FAILED;
	}
	if (e->spoke_nonsense) {
		snprintf(text, DEATH_TEXT_MAX, "%s: it broke the protocol of its control socket or channel", status);
		return DEATH_NONSENSE;
	}
	if (e->start_timed_out) {
		snprintf(text, DEATH_TEXT_MAX, "start timeout: %s", status);
		return DEATH_START_TIMEOUT;
	}
	if (e->overdue && ours) {
		snprintf(text, DEATH_TEXT_MAX, "%s: a prediction did not end after requests.timeout", status);
		return DEATH_OVERDUE;
	}
	if (e->hung_up && (exit_0 || ours)) {
		snprintf(text, DEATH_TEXT_MAX,
		    "%s: its control socket was closed while it ran; does the predictor close file descriptors?",
		    status);
		return DEATH_HUNG_UP;
	}
	if (exit_0) {
		snprintf(
		    text, DEATH_TEXT_MAX, "exit code 0 without being told to stop; does the predictor call os._exit?");
		return DEATH_EXIT_UNTOLD;
	}
	if (signalled && WTERMSIG(e->wait_status) == SIGKILL && !ours && e->oom_certain && e->oom_kills > 0) {
		snprintf(text, DEATH_TEXT_MAX, "%s: out of memory", status);
		if (e->memory_peak_bytes > 0)
			snprintf(text + strlen(text), DEATH_TEXT_MAX - strlen(text), "; it had used %lld MiB",
			    (long long)e->memory_peak_bytes >> 20);
		return DEATH_OUT_OF_MEMORY;
	}
	snprintf(text, DEATH_TEXT_MAX, "%s%s", status, e->told ? " when told to stop" : "");
	add_oom_hint(e, text);
	return signalled ? DEATH_SIGNAL : DEATH_EXIT;
}

int64_t
death_parse_oom_kills(const char *vmstat)
{
	for (const char *line = vmstat; line; line = strchr(line, '\n')) {
		char *end;
		long long count;

		line += *line == '\n';
		if (strncmp(line, "oom_kill ", 9))
			continue;
		errno = 0;
		count = strtoll(line + 9, &end, 10);
		return end == line + 9 || errno || count < 0 ? -1 : count;
	}
	return -1;
}

int64_t
death_read_oom_kills(void)
{
	int64_t count = -1;
	char *text;

	if (file_read_all("/proc/vmstat", VMSTAT_MAX, &text, NULL) < 0)
		return -1;
	count = death_parse_oom_kills(text);
	free(text);
	return count;
}
