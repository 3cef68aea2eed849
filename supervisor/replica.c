/*
 * replica - see replica.h.
 */
#include "supervisor/replica.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/record.h"
#include "common/start_record.h"
#include "common/title.h"
#include "supervisor/spawn.h"
#include "supervisor/supervisor.h"

#define RECORDS_PER_TURN 8

static double
seconds_since(int64_t then_ms, int64_t now_ms)
{
	return (double)(now_ms - then_ms) / 1000;
}

static void
set_deadline(struct slot *slot, int64_t in_ms)
{
	struct timeval wait = {.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000};

	if (evtimer_add(&slot->deadline_event, &wait) < 0)
		log_error("replica %s/%d: cannot set a timer", slot->api, slot->index);
}

/* How long may the state that was just entered last? LOADING goes on with the time of SPAWNED. */
static void
enter_state(struct slot *slot, int64_t now_ms)
{
	switch (slot->state) {
	case SLOT_SPAWNED:
		set_deadline(slot, REPLICA_START_TIMEOUT_MS);
		break;
	case SLOT_DRAINING:
		set_deadline(slot, slot->supervisor->options.stop_timeout_ms);
		break;
	case SLOT_EXITING:
		set_deadline(slot, REPLICA_EXIT_GRACE_MS);
		break;
	case SLOT_BACKOFF:
		set_deadline(slot, MAX(slot->start_after_ms - now_ms, 0));
		break;
	case SLOT_EMPTY:
	case SLOT_READY:
		evtimer_del(&slot->deadline_event);
		break;
	default:
		break;
	}
}

static void
send_signal(struct slot *slot, int number)
{
	if (slot->pid == 0)
		return;
	slot->evidence.signal_sent = number;
	if (number == SIGKILL && slot->supervisor->stop_level != STOP_NO)
		slot->supervisor->stop_killed = true;
	kill(-slot->pid, number);
}

static void
hang_up(struct slot *slot)
{
	if (slot->control < 0)
		return;
	event_del(&slot->control_event);
	fd_close(&slot->control);
}

/* It should be gone by now. */
static void
escalate(struct slot *slot)
{
	struct death_evidence *evidence = &slot->evidence;
	int number = SIGKILL;
	char name[32];

	if (slot->pid == 0) {
		log_warning("replica %s/%d: dead, but a process that it left behind keeps its control socket; going on",
		    slot->api, slot->index);
		hang_up(slot);
		return;
	}
	if (slot->control < 0 && evidence->signal_sent == 0 && !evidence->told)
		evidence->hung_up = true;
	if (evidence->signal_sent == 0 && slot->supervisor->stop_level != STOP_KILL)
		number = SIGTERM;
	log_warning("replica %s/%d: does not end; sending %s", slot->api, slot->index, death_signal_name(number, name));
	send_signal(slot, number);
}

/* Both ends of the process were seen: say why it died, decide when the next may start, and free the slot. */
static void
bury(struct slot *slot, int64_t now_ms)
{
	struct death_evidence *evidence = &slot->evidence;
	bool stopping = slot->supervisor->stop_level != STOP_NO;
	int64_t ready_ms = slot->ready_since_ms ? now_ms - slot->ready_since_ms : 0;
	char text[DEATH_TEXT_MAX], next[64] = "";
	enum death_kind kind;
	int64_t oom_kills;

	if (slot->oom_kills_before >= 0) {
		oom_kills = death_read_oom_kills();
		evidence->oom_kills = MAX(oom_kills - slot->oom_kills_before, 0);
	}
	evidence->was_ready = slot->ready_since_ms != 0;
	kind = death_classify(evidence, text);
	if (kind == DEATH_TOLD) {
		log_info("replica %s/%d: %s", slot->api, slot->index, text);
	} else {
		backoff_note_death(&slot->backoff, ready_ms);
		slot->start_after_ms = backoff_next_start(&slot->backoff, now_ms, arc4random());
		if (!stopping && slot->start_after_ms <= now_ms)
			snprintf(next, sizeof(next), "; starting again");
		else if (!stopping)
			snprintf(next, sizeof(next), "; starting again in %.1f s",
			    seconds_since(now_ms, slot->start_after_ms));
		if (kind == DEATH_START_FAILED || kind == DEATH_START_TIMEOUT)
			log_error("replica %s/%d: %s%s", slot->api, slot->index, text, next);
		else
			log_error("replica %s/%d: died after %.2f s: %s%s", slot->api, slot->index,
			    seconds_since(slot->started_ms, now_ms), text, next);
	}
}

/* Hand an event to the table and do what it says. */
static void
take_event(struct slot *slot, enum slot_event event)
{
	int64_t now_ms = clock_ms();
	enum slot_state before = slot->state;
	enum slot_action action = slot_handle(slot, event, now_ms);

	switch (action) {
	case SLOT_DO_NOTHING:
		break;
	case SLOT_DO_DRAIN:
		if (record_send(slot->control, RECORD_DRAIN, NULL) < 0)
			log_warning("replica %s/%d: cannot be told to drain", slot->api, slot->index);
		break;
	case SLOT_DO_TERMINATE:
		send_signal(slot, SIGTERM);
		break;
	case SLOT_DO_KILL:
		send_signal(slot, SIGKILL);
		break;
	case SLOT_DO_ESCALATE:
		escalate(slot);
		set_deadline(slot, REPLICA_EXIT_GRACE_MS);
		break;
	case SLOT_DO_BUG:
		break;
	}
	if (slot->state != before)
		enter_state(slot, now_ms);
	if (slot->state == SLOT_EXITING && slot_is_free(slot)) {
		bury(slot, now_ms);
		if (slot_handle(slot, SLOT_ON_FREE, now_ms) == SLOT_DO_NOTHING)
			enter_state(slot, now_ms);
	}
	supervisor_compare_soon(slot->supervisor);
}

static void
read_notice(struct slot *slot)
{
	struct error err;
	int r;

	if (slot->notice < 0)
		return;
	r = spawn_read_notice(&slot->notice, slot->supervisor->replica_program, &err);
	if (r == -EAGAIN && slot->notice >= 0)
		return;
	event_del(&slot->notice_event);
	if (r < 0) {
		snprintf(slot->evidence.failure, sizeof(slot->evidence.failure), "%s", err.text);
		take_event(slot, SLOT_ON_FAILED);
	} else {
		take_event(slot, SLOT_ON_EXEC);
	}
}

static void
notice_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	read_notice(arg);
}

static void
nonsense(struct slot *slot, const char *what)
{
	if (slot->state == SLOT_EXITING)
		return;
	log_error("replica %s/%d: %s on its control socket; killing it", slot->api, slot->index, what);
	slot->evidence.spoke_nonsense = true;
	take_event(slot, SLOT_ON_NONSENSE);
}

static void
take_record(struct slot *slot, const struct record *record)
{
	bool starting = slot->state == SLOT_SPAWNED || slot->state == SLOT_LOADING;

	switch (record->kind) {
	case RECORD_READY:
		if (!starting) {
			nonsense(slot, "unexpected record READY");
			break;
		}
		slot->ready_since_ms = clock_ms();
		log_info("replica %s/%d: ready after %.2f s", slot->api, slot->index,
		    seconds_since(slot->started_ms, slot->ready_since_ms));
		take_event(slot, SLOT_ON_READY);
		break;
	case RECORD_FAILED:
		memcpy(slot->evidence.failure, record->text, sizeof(slot->evidence.failure));
		take_event(slot, SLOT_ON_FAILED);
		break;
	default:
		nonsense(slot, "unexpected record");
		break;
	}
}

static void
control_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct slot *slot = arg;
	struct record record;

	for (int i = 0; i < RECORDS_PER_TURN; i++) {
		int r = record_receive(slot->control, &record);

		if (r == 1) {
			take_record(slot, &record);
		} else if (r == -EBADMSG) {
			nonsense(slot, "bad record");
		} else if (r == -EAGAIN) {
			return;
		} else {
			hang_up(slot);
			take_event(slot, SLOT_ON_HANGUP);
			return;
		}
	}
}

static void
deadline_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct slot *slot = arg;

	if (slot->state == SLOT_SPAWNED || slot->state == SLOT_LOADING) {
		slot->evidence.start_timed_out = true;
		log_error("replica %s/%d: not ready after %d s; ending it", slot->api, slot->index,
		    REPLICA_START_TIMEOUT_MS / 1000);
	} else if (slot->state == SLOT_DRAINING) {
		log_warning("replica %s/%d: still busy after %.2f s of draining; sending SIGTERM", slot->api,
		    slot->index, seconds_since(slot->since_ms, clock_ms()));
	}
	take_event(slot, SLOT_ON_DEADLINE);
}

void
replica_init(struct slot *slot, struct supervisor *supervisor, const struct api_config *api, int index)
{
	slot_init(slot, api->name, index);
	slot->supervisor = supervisor;
	slot->config = api;
	evtimer_assign(&slot->deadline_event, supervisor->base, deadline_cb, slot);
}

static char *
make_start_record(const struct slot *slot)
{
	const struct supervisor *supervisor = slot->supervisor;
	const struct api_config *api = slot->config;
	const struct start_record start = {
	    .api = api->name,
	    .replica = slot->index,
	    .endpoint = api->endpoint,
	    .project_folder = supervisor->config->folder,
	    .implementation = api->predictor.path,
	    .python_path = api->predictor.python_path,
	    .metadata_json = api->predictor.metadata_json,
	    .python = (char *)supervisor->python,
	    .env = api->predictor.env,
	    .n_env = api->predictor.n_env,
	    .n_listeners = (int)supervisor->n_listeners,
	    .max_body_bytes = api->max_body_bytes,
	    .cpu_millicpu = api->compute.cpu_millicpu,
	    .stop_timeout_ms = supervisor->options.stop_timeout_ms,
	    .log_format = supervisor->config->server.log_format,
	    .log_level = supervisor->config->server.log_level,
	};

	return start_record_encode(&start);
}

/* Fork and exec with the descriptors that start_record.h fixes. 0, or a negative errno and err. */
static int
spawn_replica(struct slot *slot, int control, int start, struct error *err)
{
	const struct supervisor *supervisor = slot->supervisor;
	size_t n_fds = REPLICA_FD_LISTENER + supervisor->n_listeners;
	char title[64], argv0[TITLE_MAX + 1];
	char *argv[] = {argv0, NULL};
	int *fds = xcalloc(n_fds, sizeof(*fds));
	struct spawn_plan plan = {
	    .path = supervisor->replica_program,
	    .argv = argv,
	    .envp = environ,
	    .fds = fds,
	    .n_fds = n_fds,
	};
	int r;

	snprintf(title, sizeof(title), "cortexd: replica %.30s/%d (starting)", slot->api, slot->index);
	title_make_room(argv0, title);
	fds[0] = -1;
	fds[1] = STDOUT_FILENO;
	fds[2] = STDERR_FILENO;
	fds[REPLICA_FD_CONTROL] = control;
	fds[REPLICA_FD_START] = start;
	for (size_t i = 0; i < supervisor->n_listeners; i++)
		fds[REPLICA_FD_LISTENER + i] = supervisor->listeners[i].fd;
	r = spawn(&plan, &slot->pid, &slot->notice, err);
	free(fds);
	return r;
}

/* Watch a process that was just started. */
static int
watch(struct slot *slot, struct error *err)
{
	struct event_base *base = slot->supervisor->base;

	event_assign(&slot->control_event, base, slot->control, EV_READ | EV_PERSIST, control_cb, slot);
	event_assign(&slot->notice_event, base, slot->notice, EV_READ | EV_PERSIST, notice_cb, slot);
	if (event_add(&slot->control_event, NULL) < 0 || event_add(&slot->notice_event, NULL) < 0)
		return error_set(err, -ENOMEM, "cannot watch its descriptors");
	return 0;
}

static int
try_start(struct slot *slot, struct error *err)
{
	int control[2] = {-1, -1}, start = -1, r;
	char *text = make_start_record(slot);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0) {
		r = error_set(err, -errno, "cannot make its control socket: %s", strerror(errno));
		goto out;
	}
	start = memfd_sealed("cortexd-start", text, strlen(text));
	if (start < 0) {
		r = error_set(err, start, "cannot make its start record: %s", strerror(-start));
		goto out;
	}
	memset(&slot->evidence, 0, sizeof(slot->evidence));
	slot->ready_since_ms = 0;
	slot->oom_kills_before = death_read_oom_kills();
	r = spawn_replica(slot, control[1], start, err);
	if (r < 0)
		goto out;
	slot->started_ms = clock_ms();
	slot->control = control[0];
	control[0] = -1;
	take_event(slot, SLOT_ON_FORK);
	r = watch(slot, err);
	if (r < 0) {
		snprintf(slot->evidence.failure, sizeof(slot->evidence.failure), "%s", err->text);
		hang_up(slot);
		take_event(slot, SLOT_ON_NONSENSE);
		r = 0;
	}
out:
	fd_close(&control[0]);
	fd_close(&control[1]);
	fd_close(&start);
	free(text);
	return r;
}

void
replica_start(struct slot *slot)
{
	int64_t now_ms = clock_ms();
	struct error err;

	if (slot->start_after_ms > now_ms) {
		take_event(slot, SLOT_ON_DELAY);
		return;
	}
	if (try_start(slot, &err) == 0) {
		log_debug("replica %s/%d: started as pid %d", slot->api, slot->index, (int)slot->pid);
		return;
	}
	backoff_note_death(&slot->backoff, 0);
	slot->start_after_ms = backoff_next_start(&slot->backoff, now_ms, arc4random());
	log_error("replica %s/%d: cannot start: %s; trying again in %.1f s", slot->api, slot->index, err.text,
	    seconds_since(now_ms, slot->start_after_ms));
	take_event(slot, SLOT_ON_DELAY);
}

void
replica_unwanted(struct slot *slot)
{
	switch (slot->state) {
	case SLOT_SPAWNED:
	case SLOT_LOADING:
	case SLOT_READY:
		slot->evidence.told = true;
		take_event(slot, SLOT_ON_UNWANTED);
		break;
	case SLOT_BACKOFF:
		take_event(slot, SLOT_ON_UNWANTED);
		break;
	default:
		break;
	}
}

void
replica_hurry(struct slot *slot, bool kill)
{
	if (slot->state == SLOT_DRAINING || (kill && slot->state == SLOT_EXITING && slot->pid != 0))
		take_event(slot, SLOT_ON_DEADLINE);
}

void
replica_reaped(struct slot *slot, int wait_status)
{
	read_notice(slot);
	slot->pid = 0;
	slot->evidence.wait_status = wait_status;
	take_event(slot, SLOT_ON_REAPED);
}

void
replica_done(struct slot *slot)
{
	hang_up(slot);
	if (slot->notice >= 0)
		event_del(&slot->notice_event);
	fd_close(&slot->notice);
	evtimer_del(&slot->deadline_event);
}
