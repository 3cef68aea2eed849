/*
 * report - see report.h.
 */
#include "supervisor/report.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "supervisor/child.h"
#include "supervisor/supervisor.h"

#define AGAIN_MS          100         /* after which what could not be sent is tried once more */
#define EXTEND_EVERY_MS   10000       /* while something proceeds */
#define EXTEND_BY_MS      (30 * 1000) /* each time */
#define STOP_TAKES_MS     (30 * 1000) /* longer than --stop-timeout: signals, and the activator after the replicas */
#define STOP_TAKES_MAX_MS (1ll << 40) /* so that microseconds fit */

struct counts {
	int all;
	int ready;
	int failing;   /* wait to be started again */
	int under_way; /* neither of them */
	int processes;
};

static struct counts
count(const struct supervisor *supervisor)
{
	struct counts counts = {0};
	const struct slot *slot;

	for (size_t i = 0; i < supervisor->n_apis; i++)
		TAILQ_FOREACH (slot, &supervisor->apis[i]->slots, in_api) {
			counts.all++;
			counts.ready += slot->state == SLOT_READY;
			counts.failing += slot->state == SLOT_BACKOFF ||
			    api_waits_for_failing(supervisor->apis[i], slot);
			counts.processes += slot->pid != 0;
		}
	counts.under_way = counts.all - counts.ready - counts.failing;
	return counts;
}

/* See STARTING in report.h. */
static bool
has_started(const struct supervisor *supervisor, const struct counts *counts)
{
	if (supervisor->announced)
		return true;
	return supervisor->serving && supervisor->activator.state == SLOT_READY && counts->ready > 0 &&
	    counts->failing > 0 && counts->under_way == 0;
}

static enum report_state
find_state(const struct supervisor *supervisor)
{
	const struct report *report = &supervisor->report;

	if (supervisor->stop_level != STOP_NO)
		return REPORT_STOPPING;
	if (!report->has_started)
		return REPORT_STARTING;
	return report->reloading ? REPORT_RELOADING : REPORT_READY;
}

static void
make_status(const struct supervisor *supervisor, enum report_state state, const struct counts *counts,
    char status[REPORT_STATUS_MAX])
{
	char failing[32] = "";

	if (counts->failing > 0)
		snprintf(failing, sizeof(failing), ", %d failing", counts->failing);
	if (state == REPORT_STOPPING && counts->processes > 0)
		snprintf(status, REPORT_STATUS_MAX, "stopping: %d replica%s left", counts->processes,
		    counts->processes == 1 ? "" : "s");
	else if (state == REPORT_STOPPING)
		snprintf(status, REPORT_STATUS_MAX, "stopping");
	else if (!supervisor->serving && models_are_busy(supervisor->supply.models))
		snprintf(status, REPORT_STATUS_MAX, "fetching models: %s", models_progress(supervisor->supply.models));
	else if (!supervisor->serving)
		snprintf(status, REPORT_STATUS_MAX, "making the Python environment");
	else
		snprintf(status, REPORT_STATUS_MAX, "%s%d of %d replica%s ready%s",
		    state == REPORT_RELOADING ? "reloading: " : "", counts->ready, counts->all,
		    counts->all == 1 ? "" : "s", failing);
}

static void
try_again_later(struct report *report)
{
	static const struct timeval moment = {0, AGAIN_MS * 1000};

	evtimer_add(&report->again_event, &moment);
}

/* What a state has to say for itself when it is entered. */
static void
make_first_lines(const struct supervisor *supervisor, enum report_state state, char *text, size_t size)
{
	int64_t stop_ms = MIN(supervisor->options.stop_timeout_ms, STOP_TAKES_MAX_MS) + STOP_TAKES_MS;

	if (state == REPORT_READY)
		snprintf(text, size, "READY=1\n");
	else if (state == REPORT_STOPPING)
		snprintf(text, size, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld\n", (long long)stop_ms * 1000);
	else
		text[0] = '\0';
}

/* False: it has to be said again. */
static bool
say_reload(struct report *report)
{
	char text[NOTIFY_TEXT_MAX];

	if (report->reload_us == 0)
		return true;
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)report->reload_us);
	if (notify_send(&report->notify, text) < 0)
		return false;
	report->reload_us = 0;
	report->state = REPORT_RELOADING;
	return true;
}

/* False: it has to be said again. */
static bool
say_difference(struct supervisor *supervisor, enum report_state state, const struct counts *counts)
{
	struct report *report = &supervisor->report;
	char text[NOTIFY_TEXT_MAX], lines[NOTIFY_TEXT_MAX / 2] = "", status[REPORT_STATUS_MAX];

	make_status(supervisor, state, counts, status);
	if (state != report->state)
		make_first_lines(supervisor, state, lines, sizeof(lines));
	else if (strcmp(status, report->status) == 0)
		return true;
	snprintf(text, sizeof(text), "%sSTATUS=%s", lines, status);
	if (notify_send(&report->notify, text) < 0)
		return false;
	report->state = state;
	memcpy(report->status, status, sizeof(status));
	return true;
}

static void
extend_timeout(struct supervisor *supervisor, enum report_state state, const struct counts *counts)
{
	static const struct timeval period = {EXTEND_EVERY_MS / 1000, 0};
	struct report *report = &supervisor->report;
	bool under_way = upgrade_is_under_way(supervisor);
	char text[NOTIFY_TEXT_MAX];
	int64_t now_ms = clock_ms();

	if (state != REPORT_STARTING && state != REPORT_RELOADING)
		return;
	under_way = under_way || counts->under_way > 0 || supply_is_busy(&supervisor->supply);
	if (!evtimer_pending(&report->again_event, NULL))
		evtimer_add(&report->again_event, &period);
	if (!under_way)
		return;
	if (report->extended_ms != 0 && now_ms - report->extended_ms < EXTEND_EVERY_MS / 2)
		return;
	snprintf(text, sizeof(text), "EXTEND_TIMEOUT_USEC=%lld", EXTEND_BY_MS * 1000ll);
	if (notify_send(&report->notify, text) == 0)
		report->extended_ms = now_ms;
	else
		try_again_later(report);
}

void
report_changes(struct supervisor *supervisor)
{
	struct report *report = &supervisor->report;
	struct counts counts;
	enum report_state state;

	if (report->notify.fd < 0 || report->silent)
		return;
	counts = count(supervisor);
	report->has_started = report->has_started || has_started(supervisor, &counts);
	state = find_state(supervisor);
	if (!say_reload(report) || !say_difference(supervisor, state, &counts))
		try_again_later(report);
	extend_timeout(supervisor, state, &counts);
}

static void
again_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	report_changes(arg);
}

/* One that is lost is not said again: the next one comes in time. */
static void
watchdog_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	const struct supervisor *supervisor = arg;
	int r = supervisor->report.silent ? 0 : notify_send(&supervisor->report.notify, "WATCHDOG=1");

	if (r < 0)
		log_debug("the watchdog cannot be told: %s", strerror(-r));
}

void
report_init(struct supervisor *supervisor)
{
	struct report *report = &supervisor->report;
	struct timeval period;

	notify_init(&report->notify);
	report->silent = takeover_is_pending(&supervisor->takeover);
	if (supervisor->options.mode != SUPERVISOR_SERVE)
		notify_done(&report->notify);
	evtimer_assign(&report->again_event, supervisor->base, again_cb, supervisor);
	event_assign(&report->watchdog_event, supervisor->base, -1, EV_PERSIST, watchdog_cb, supervisor);
	if (report->notify.fd < 0)
		return;
	if (report->notify.watchdog_us > 0) {
		int64_t half_us = MAX(report->notify.watchdog_us / 2, 1000);

		period = (struct timeval){.tv_sec = half_us / 1000000, .tv_usec = half_us % 1000000};
		if (event_add(&report->watchdog_event, &period) < 0)
			log_error("cannot set the timer of the watchdog");
	}
	supervisor_compare_soon(supervisor);
}

void
report_reload_begins(struct supervisor *supervisor)
{
	struct report *report = &supervisor->report;

	report->reloading = true;
	if (report->has_started)
		report->reload_us = clock_ns() / 1000;
	report_changes(supervisor);
}

void
report_reload_ends(struct supervisor *supervisor)
{
	supervisor->report.reloading = false;
	report_changes(supervisor);
}

bool
report_new_main(struct supervisor *supervisor, pid_t pid)
{
	char text[32];
	int r;

	snprintf(text, sizeof(text), "MAINPID=%d", (int)pid);
	r = notify_send(&supervisor->report.notify, text);
	if (r < 0 && r != -EAGAIN)
		log_warning("the service manager cannot be told of the new main process: %s", strerror(-r));
	return r != -EAGAIN;
}

/* Its watch goes on without a gap, and it waits for the end of the reload that the old one has told it of. */
void
report_take_over(struct supervisor *supervisor)
{
	supervisor->report.silent = false;
	if (supervisor->report.notify.watchdog_us > 0)
		watchdog_cb(-1, 0, supervisor);
	report_changes(supervisor);
}

void
report_done(struct supervisor *supervisor)
{
	struct report *report = &supervisor->report;

	if (event_initialized(&report->again_event)) {
		event_del(&report->again_event);
		event_del(&report->watchdog_event);
	}
	notify_done(&report->notify);
}
