/*
 * monitor - see monitor.h.
 */
#include "supervisor/monitor.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/monitor_start.h"
#include "supervisor/activator.h"
#include "supervisor/child.h"
#include "supervisor/status.h"
#include "supervisor/stop.h"
#include "supervisor/supervisor.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_LIMIT_MS 5000
#define BACKOFF_RESET_MS 10000

/* ---- starting ---- */

/* The addresses on TCP that it answers at. While we may yet take over from another cortexd that one does: to who asks there is one. */
static const struct listeners *
tcp_of(const struct supervisor *supervisor)
{
	return takeover_is_pending(&supervisor->takeover) ? NULL : supervisor->admin.tcp.listeners;
}

static char *
make_start_record(const struct supervisor *supervisor)
{
	const struct config *config = supervisor->config;
	const struct listeners *tcp = tcp_of(supervisor);
	const struct monitor_start start = {
	    .has_unix = supervisor->admin.unix_fd >= 0,
	    .n_tcp = tcp ? (int)tcp->n : 0,
	    .token = (char *)(uintptr_t)supervisor->admin.tcp.token,
	    .state_dir = config->server.state_dir,
	    .log_secret = (char *)(uintptr_t)supervisor->outputs.secret,
	    .log_format = config->server.log_format,
	    .log_level = config->server.log_level,
	    .log_files = config->server.log_files,
	    .log_file_bytes = config->server.log_file_bytes,
	};

	return monitor_start_encode(&start);
}

static int
spawn_monitor(struct slot *slot, int control, struct error *err)
{
	struct supervisor *supervisor = slot->supervisor;
	char *text = make_start_record(supervisor);
	const struct listeners *tcp = tcp_of(supervisor);
	size_t n_fds = MONITOR_FD_LISTENER;
	int fds[MONITOR_FD_LISTENER + 1 + MONITOR_LISTENERS_MAX], start, r;

	start = memfd_sealed("cortexd-start", text, strlen(text));
	free(text);
	if (start < 0)
		return error_set(err, start, "cannot make its start record: %s", strerror(-start));
	fds[0] = -1;
	fds[1] = STDOUT_FILENO;
	fds[2] = STDERR_FILENO;
	fds[MONITOR_FD_CONTROL] = control;
	fds[MONITOR_FD_START] = start;
	fds[MONITOR_FD_SCOREBOARD] = supervisor->board.fd;
	if (supervisor->admin.unix_fd >= 0)
		fds[n_fds++] = supervisor->admin.unix_fd;
	for (size_t i = 0; tcp && i < tcp->n; i++)
		fds[n_fds++] = tcp->all[i]->listener.fd;
	supervisor->monitor_watch.outdated = supervisor->monitor_watch.pinged = false;
	supervisor->monitor_watch.shut = takeover_is_pending(&supervisor->takeover);
	r = child_exec(slot, &supervisor->monitor_program, fds, n_fds, err);
	fd_close(&start);
	return r;
}

/* ---- talking ---- */

static void
on_ready(struct slot *slot)
{
	outputs_monitor_ready(slot->supervisor);
}

/* What cannot be sent was not heard: it asks again. */
static void
send_status(struct slot *slot)
{
	char *text = status_text(slot->supervisor);
	int fd = text ? memfd_sealed("cortexd-status", text, strlen(text)) : -ENOMEM, r = fd;

	if (fd >= 0)
		r = record_send_numbers(slot->control, RECORD_STATUS, 0, 0, fd);
	if (r < 0)
		log_debug("monitor: cannot be told the status: %s", strerror(-r));
	fd_close(&fd);
	free(text);
}

/* ---- doing ---- */

/* The client is told that it is under way; what comes of it, status shows. */
static void
done(struct slot *slot, const struct record *asked, unsigned status, const char *text)
{
	int r = record_send_full(slot->control, RECORD_DONE, asked->numbers[0], status, text, -1);

	if (r < 0)
		log_debug("monitor: cannot be told what came of it: %s", strerror(-r));
}

static void
do_reload(struct slot *slot, const struct record *record)
{
	unsigned number = reload_ask(slot->supervisor);
	char text[16];

	snprintf(text, sizeof(text), "%u", number);
	if (number > 0)
		done(slot, record, 202, text);
	else
		done(slot, record, 503, "cortexd stops");
}

/* Asking again does not hurry it: who wants that sends a signal. */
static void
do_stop(struct slot *slot, const struct record *record)
{
	done(slot, record, 202, NULL);
	if (slot->supervisor->stop_level == STOP_NO)
		stop_request(slot->supervisor, "stop requested");
}

static void
do_delete(struct slot *slot, const struct record *record)
{
	struct supervisor *supervisor = slot->supervisor;
	bool found = false;

	for (size_t i = 0; i < supervisor->n_apis; i++) {
		struct api *api = supervisor->apis[i];

		if (api->retired || strcmp(api->name, record->text) != 0)
			continue;
		log_info("api \"%s\" (%s) is deleted, until the next reload", api->name, api->endpoint);
		api_set_candidate(api, NULL);
		api_retire(api);
		found = true;
	}
	if (!found) {
		done(slot, record, 404, "there is no api of that name");
		return;
	}
	done(slot, record, 202, NULL);
	activator_tell_apis(supervisor);
	supervisor_compare_soon(supervisor);
}

static bool
on_record(struct slot *slot, const struct record *record)
{
	struct supervisor *supervisor = slot->supervisor;

	switch (record->kind) {
	case RECORD_ASK:
		send_status(slot);
		return true;
	case RECORD_PONG:
		supervisor->monitor_watch.pinged = false;
		child_set_patience(slot, 0);
		return true;
	case RECORD_RELOAD:
		do_reload(slot, record);
		return true;
	case RECORD_STOP:
		do_stop(slot, record);
		return true;
	case RECORD_DELETE:
		do_delete(slot, record);
		return true;
	default:
		return false;
	}
}

/* One that does not take the record, because it reads none, does not answer either. */
static void
ping_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct supervisor *supervisor = arg;
	struct slot *slot = &supervisor->monitor;

	if (slot->state != SLOT_READY || supervisor->monitor_watch.pinged)
		return;
	if (record_send(slot->control, RECORD_PING, NULL) == -EPIPE)
		return;
	supervisor->monitor_watch.pinged = true;
	child_set_patience(slot, MONITOR_PATIENCE_MS);
}

/* ---- life ---- */

static bool
was_useful(UNUSED const struct slot *slot)
{
	return true;
}

static void
on_gone(struct slot *slot)
{
	outputs_monitor_gone(slot->supervisor);
}

static const struct child_kind kind = {
    .spawn = spawn_monitor,
    .on_ready = on_ready,
    .on_record = on_record,
    .was_useful = was_useful,
    .on_gone = on_gone,
    .start_ms = MONITOR_PATIENCE_MS,
    .drain_ms = MONITOR_PATIENCE_MS,
    .overdue = "does not answer",
};

int
monitor_init(struct supervisor *supervisor)
{
	static const struct timeval period = {MONITOR_PING_MS / 1000, 0};
	struct slot *slot = &supervisor->monitor;

	child_init(slot, supervisor, &kind, "monitor");
	slot->backoff = (struct backoff){
	    .first_ms = BACKOFF_FIRST_MS,
	    .limit_ms = BACKOFF_LIMIT_MS,
	    .limit_ready_ms = BACKOFF_LIMIT_MS,
	    .reset_ms = BACKOFF_RESET_MS,
	    .useful_ms = -1,
	};
	event_assign(&supervisor->monitor_watch.ping, supervisor->base, -1, EV_PERSIST, ping_cb, supervisor);
	return event_add(&supervisor->monitor_watch.ping, &period) < 0 ? -ENOMEM : 0;
}

/* The admin sockets are those of the cortexd that has replaced us; what is still to be logged is ours. */
static void
leave(struct supervisor *supervisor)
{
	struct monitor_watch *watch = &supervisor->monitor_watch;

	admin_leave(&supervisor->admin);
	if (!watch->replaced && supervisor->monitor.state == SLOT_READY)
		watch->replaced = record_send(supervisor->monitor.control, RECORD_REPLACED, NULL) == 0;
}

void
monitor_compare(struct supervisor *supervisor)
{
	struct slot *slot = &supervisor->monitor;
	bool stopped = supervisor->stop_level != STOP_NO && stop_all_others_are_gone(supervisor);

	if (!slot->kind)
		return;
	if (stopped) {
		child_unwanted(slot);
		return;
	}
	if (upgrade_has_replaced(supervisor)) {
		leave(supervisor);
	} else if (!takeover_is_pending(&supervisor->takeover)) {
		bool had_unix = supervisor->admin.unix_fd >= 0;

		admin_open_unix(supervisor);
		if (slot->state != SLOT_EMPTY && /* one that only wrote logs so far */
		    (supervisor->monitor_watch.shut || had_unix != (supervisor->admin.unix_fd >= 0)))
			supervisor->monitor_watch.outdated = true;
	}
	if (supervisor->monitor_watch.outdated && slot->state == SLOT_READY)
		child_unwanted(slot);
	else if (slot->state == SLOT_EMPTY)
		child_start(slot);
}

void
monitor_outdate(struct supervisor *supervisor)
{
	supervisor->monitor_watch.outdated = true;
	supervisor_compare_soon(supervisor);
}

void
monitor_done(struct supervisor *supervisor)
{
	if (!supervisor->monitor.kind)
		return;
	child_done(&supervisor->monitor);
	event_del(&supervisor->monitor_watch.ping);
}
