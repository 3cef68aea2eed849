/*
 * stop - see stop.h.
 */
#include "supervisor/stop.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "supervisor/child.h"

#define AGAIN_MS           1000 /* a signal sooner than this after the last is the same one: timeout(1) sends two */
#define LEFTOVERS_GRACE_MS 200  /* for those that were killed with their group and are about to be gone */
#define LEFTOVERS_WAIT_MS  2000

/* The job that builds an environment, or fetches a model, did not end on SIGTERM. */
static void
stop_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct supervisor *supervisor = arg;

	if (!supply_is_busy(&supervisor->supply))
		return;
	log_warning("what builds an environment, or fetches a model, does not end; sending SIGKILL");
	supply_stop(&supervisor->supply, SIGKILL);
	supervisor->stop_killed = true;
}

void
stop_init(struct supervisor *supervisor)
{
	evtimer_assign(&supervisor->stop_event, supervisor->base, stop_cb, supervisor);
}

static int
count_processes(const struct supervisor *supervisor)
{
	const struct slot *slot;
	int n = 0;

	for (size_t i = 0; i < supervisor->n_apis; i++)
		TAILQ_FOREACH (slot, &supervisor->apis[i]->slots, in_api)
			n += slot->pid != 0;
	return n;
}

static void
hurry_all(struct supervisor *supervisor, bool kill)
{
	struct slot *slot;

	for (size_t i = 0; i < supervisor->n_apis; i++)
		TAILQ_FOREACH (slot, &supervisor->apis[i]->slots, in_api)
			child_hurry(slot, kill);
	for (size_t i = 0; i < supervisor->n_apis; i++)
		TAILQ_FOREACH (slot, &supervisor->apis[i]->templates, in_api)
			child_hurry(slot, kill);
	child_hurry(&supervisor->activator, kill);
	child_hurry(&supervisor->monitor, kill);
}

static void
tell_draining(struct supervisor *supervisor)
{
	struct slot *slot;

	for (size_t i = 0; i < supervisor->n_apis; i++)
		TAILQ_FOREACH (slot, &supervisor->apis[i]->slots, in_api)
			child_stopping(slot);
}

/* Nothing new begins. */
static void
begin_to_drain(struct supervisor *supervisor, int64_t now_ms)
{
	supervisor->stop_level = STOP_DRAIN;
	supervisor->stop_since_ms = supervisor->stop_said_ms = now_ms;
	fd_close(&supervisor->reserve_fd);
	supervisor_compare_soon(supervisor);
}

void
stop_replaced(struct supervisor *supervisor)
{
	const struct timeval grace = {.tv_sec = CHILD_EXIT_GRACE_MS / 1000};
	int n = count_processes(supervisor);

	begin_to_drain(supervisor, clock_ms());
	supervisor->stop_said_ms -= AGAIN_MS; /* it was no signal */
	log_info("upgrade: process %d has taken over; draining %d replica%s, for %lld s at most",
	    (int)supervisor->upgrade.pid, n, n == 1 ? "" : "s", (long long)supervisor->options.stop_timeout_ms / 1000);
	tell_draining(supervisor);
	supply_stop(&supervisor->supply, SIGTERM);
	evtimer_add(&supervisor->stop_event, &grace);
	report_done(supervisor); /* the service manager hears the new one now */
}

void
stop_request(struct supervisor *supervisor, const char *reason)
{
	struct timeval grace = {.tv_sec = CHILD_EXIT_GRACE_MS / 1000};
	int n = count_processes(supervisor);
	int64_t now_ms = clock_ms();

	if (supervisor->stop_level != STOP_NO && now_ms - supervisor->stop_said_ms < AGAIN_MS)
		return;
	supervisor->stop_said_ms = now_ms;
	if (upgrade_has_replaced(supervisor) && !supervisor->upgrade.hurried) {
		supervisor->upgrade.hurried = true;
		log_info("%s: draining already", reason);
		return;
	}
	switch (supervisor->stop_level) {
	case STOP_NO:
		begin_to_drain(supervisor, now_ms);
		upgrade_cancel(supervisor);
		if (n > 0)
			log_info("%s: draining %d replica%s, for %lld s at most", reason, n, n == 1 ? "" : "s",
			    (long long)supervisor->options.stop_timeout_ms / 1000);
		else
			log_info("%s: stopping", reason);
		tell_draining(supervisor);
		supply_stop(&supervisor->supply, SIGTERM);
		evtimer_add(&supervisor->stop_event, &grace);
		break;
	case STOP_DRAIN:
		supervisor->stop_level = STOP_TERM;
		log_warning("%s again: ending %d replica%s without waiting", reason, n, n == 1 ? "" : "s");
		hurry_all(supervisor, false);
		stop_cb(-1, 0, supervisor);
		break;
	case STOP_TERM:
	case STOP_KILL:
		supervisor->stop_level = STOP_KILL;
		log_warning("%s again: killing %d replica%s", reason, n, n == 1 ? "" : "s");
		hurry_all(supervisor, true);
		stop_cb(-1, 0, supervisor);
		break;
	}
	supervisor_compare_soon(supervisor);
}

bool
stop_all_others_are_gone(struct supervisor *supervisor)
{
	for (size_t i = 0; i < supervisor->n_apis; i++)
		if (!TAILQ_EMPTY(&supervisor->apis[i]->slots) || !TAILQ_EMPTY(&supervisor->apis[i]->templates))
			return false;
	if (supervisor->activator.state != SLOT_EMPTY)
		return false;
	/* One that was replaced soon after it had taken over goes after the one before: else its successor would be left to that one,
	 * as a leftover. */
	if (upgrade_has_replaced(supervisor) && takeover_predecessor_lives(&supervisor->takeover)) {
		supervisor_compare_later(supervisor);
		return false;
	}
	return !supply_is_busy(&supervisor->supply) && supervisor->upgrade.step != UPGRADE_CANCELED;
}

bool
stop_is_complete(struct supervisor *supervisor)
{
	return stop_all_others_are_gone(supervisor) && supervisor->monitor.state == SLOT_EMPTY;
}

/* Are there children but for these? Kill them. */
static bool
look_for_children(const pid_t spared[2], bool kill_them)
{
	char *path = xasprintf("/proc/self/task/%d/children", (int)getpid());
	char *text, *rest, *word;
	bool found = true; /* if that cannot be found out: waiting for them is all that can be done */

	if (file_read_all(path, 1 << 16, &text, NULL) == 0) {
		rest = text;
		found = false;
		while ((word = strsep(&rest, " \n"))) {
			pid_t pid = (pid_t)atoi(word);

			if (pid <= 0 || pid == spared[0] || pid == spared[1])
				continue;
			found = true;
			if (kill_them && kill(pid, SIGKILL) == 0)
				log_warning("killed process %d, which was left behind", (int)pid);
		}
		free(text);
	}
	free(path);
	return found;
}

void
stop_kill_leftovers(const pid_t spared[2])
{
	const struct timespec nap = {.tv_nsec = 10 * 1000000};
	int64_t start_ms = clock_ms();
	pid_t pid;

	do {
		pid = waitpid(-1, NULL, WNOHANG);
		if (pid == 0 && !look_for_children(spared, clock_ms() - start_ms > LEFTOVERS_GRACE_MS))
			break;
		if (pid == 0)
			nanosleep(&nap, NULL);
	} while (pid >= 0 && clock_ms() - start_ms < LEFTOVERS_WAIT_MS);
}
