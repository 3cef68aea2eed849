/*
 * output - see output.h.
 */
#include "supervisor/output.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/record.h"
#include "supervisor/supervisor.h"

#define AGAIN_MS    20
#define RESCUE_MS   100
#define WASTE_BYTES (64 << 10)

static void
drop(struct outputs *outputs, struct output *output)
{
	TAILQ_REMOVE(&outputs->all, output, in_all);
	outputs->n_orphans -= output->gone;
	fd_close(&output->fd);
	free(output);
}

/* ---- giving ---- */

static void
call_in(struct event *event, int64_t ms)
{
	const struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	if (!evtimer_pending(event, NULL))
		evtimer_add(event, &wait);
}

/* False: the monitor does not take it now. */
static bool
give(struct outputs *outputs, struct output *output)
{
	int r = record_send_full(outputs->supervisor->monitor.control, RECORD_SOURCE, output->replica,
	    output->generation, output->source, output->fd);

	if (r < 0)
		return false;
	output->given = true;
	if (output->gone)
		drop(outputs, output);
	return true;
}

void
outputs_give(struct supervisor *supervisor)
{
	struct outputs *outputs = &supervisor->outputs;
	struct output *output, *next;

	if (!outputs->has_monitor || supervisor->monitor.state != SLOT_READY)
		return;
	for (output = TAILQ_FIRST(&outputs->all); output; output = next) {
		next = TAILQ_NEXT(output, in_all);
		if (!output->given && !give(outputs, output)) {
			call_in(&outputs->again, AGAIN_MS);
			return;
		}
	}
}

static void
again_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	outputs_give(arg);
}

/* ---- without a monitor ---- */

static size_t
waiting(const struct output *output)
{
	int n = 0;

	return ioctl(output->fd, FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
}

static bool
is_nearly_full(const struct output *output)
{
	int room = fcntl(output->fd, F_GETPIPE_SZ);

	return room > 0 && waiting(output) > (size_t)room / 2;
}

/* What is there now, and no more: a flood must not keep the supervisor here. */
static void
empty(struct outputs *outputs, struct output *output)
{
	size_t left = waiting(output);

	if (!outputs->waste)
		outputs->waste = malloc(WASTE_BYTES);
	while (outputs->waste && left > 0) {
		ssize_t n = read(output->fd, outputs->waste, MIN(left, WASTE_BYTES));

		if (n <= 0)
			break;
		left -= MIN((size_t)n, left);
		output->n_lost += (uint64_t)n;
	}
}

static void
tell_lost(struct outputs *outputs)
{
	struct output *output;

	TAILQ_FOREACH (output, &outputs->all, in_all) {
		if (output->n_lost > 0)
			log_warning("%s: %llu bytes of what it has printed were lost while there was no monitor",
			    output->name, (unsigned long long)output->n_lost);
		output->n_lost = 0;
	}
}

static void
rescue_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct outputs *outputs = arg;
	struct output *output;

	if (outputs->has_monitor)
		return;
	if (clock_ms() - outputs->alone_since_ms >= OUTPUT_PATIENCE_MS)
		TAILQ_FOREACH (output, &outputs->all, in_all)
			if (!output->gone && is_nearly_full(output))
				empty(outputs, output);
	call_in(&outputs->rescue, RESCUE_MS);
}

void
outputs_monitor_ready(struct supervisor *supervisor)
{
	supervisor->outputs.has_monitor = true;
	evtimer_del(&supervisor->outputs.rescue);
	tell_lost(&supervisor->outputs);
	outputs_give(supervisor);
}

void
outputs_monitor_gone(struct supervisor *supervisor)
{
	struct outputs *outputs = &supervisor->outputs;
	struct output *output;

	if (!outputs->has_monitor)
		return;
	outputs->has_monitor = false;
	outputs->alone_since_ms = clock_ms();
	TAILQ_FOREACH (output, &outputs->all, in_all)
		output->given = false;
	evtimer_del(&outputs->again);
	call_in(&outputs->rescue, RESCUE_MS);
}

/* ---- pipes ---- */

int
output_open(struct slot *slot, const char *role, const char *api)
{
	struct outputs *outputs = &slot->supervisor->outputs;
	struct output *output;
	int ends[2];

	ASSERT(!slot->output);
	if (pipe2(ends, O_CLOEXEC) < 0) {
		log_warning("%s: no pipe for what it prints: %s", slot->name, strerror(errno));
		return -1;
	}
	/* More than a user may have in all is refused: then it is the usual size. */
	(void)fcntl(ends[0], F_SETPIPE_SZ, OUTPUT_PIPE_BYTES);
	output = xcalloc(1, sizeof(*output));
	output->fd = ends[0];
	snprintf(output->source, sizeof(output->source), "%s %.63s", role, api);
	snprintf(output->name, sizeof(output->name), "%s", slot->name);
	output->replica = strcmp(role, "replica") ? UINT32_MAX : (uint32_t)slot->index;
	output->generation = slot->generation ? slot->generation->number : 0;
	TAILQ_INSERT_TAIL(&outputs->all, output, in_all);
	slot->output = output;
	return ends[1];
}

/* Of those that no monitor has heard the rest of, the oldest is given up when there are too many. */
static void
keep_orphan(struct outputs *outputs, struct output *output)
{
	struct output *oldest;

	output->gone = true;
	if (++outputs->n_orphans <= OUTPUT_ORPHANS)
		return;
	TAILQ_FOREACH (oldest, &outputs->all, in_all)
		if (oldest->gone)
			break;
	log_warning("%s: the last %zu bytes of what it has printed are lost", oldest->name, waiting(oldest));
	drop(outputs, oldest);
}

void
output_close(struct slot *slot)
{
	struct outputs *outputs = &slot->supervisor->outputs;
	struct output *output = take_ptr(&slot->output);

	if (!output)
		return;
	if (output->given || waiting(output) == 0)
		drop(outputs, output);
	else
		keep_orphan(outputs, output);
}

/* ---- life ---- */

void
outputs_init(struct supervisor *supervisor)
{
	struct outputs *outputs = &supervisor->outputs;

	outputs->supervisor = supervisor;
	snprintf(outputs->secret, sizeof(outputs->secret), "%08x%08x", arc4random(), arc4random());
	TAILQ_INIT(&outputs->all);
	evtimer_assign(&outputs->again, supervisor->base, again_cb, supervisor);
	evtimer_assign(&outputs->rescue, supervisor->base, rescue_cb, outputs);
	outputs->alone_since_ms = clock_ms();
	call_in(&outputs->rescue, RESCUE_MS);
}

void
outputs_done(struct supervisor *supervisor)
{
	struct outputs *outputs = &supervisor->outputs;
	struct output *output;

	if (!outputs->supervisor)
		return;
	tell_lost(outputs);
	while ((output = TAILQ_FIRST(&outputs->all)))
		drop(outputs, output);
	evtimer_del(&outputs->again);
	evtimer_del(&outputs->rescue);
	free(take_ptr(&outputs->waste));
}
