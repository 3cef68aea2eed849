/*
 * child - see child.h.
 */
#include "supervisor/child.h"

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
#include "common/title.h"
#include "supervisor/cgroup.h"
#include "supervisor/oom.h"
#include "supervisor/proc.h"
#include "supervisor/spawn.h"
#include "supervisor/supervisor.h"

#define RECORDS_PER_TURN 8

static int64_t
start_ms(const struct slot *slot)
{
	return slot->kind->start_ms > 0 ? slot->kind->start_ms : CHILD_START_TIMEOUT_MS;
}

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
		log_error("%s: cannot set a timer", slot->name);
}

static int64_t
drain_ms(const struct slot *slot)
{
	int64_t ms = slot->supervisor->options.stop_timeout_ms + slot->kind->extra_drain_ms;

	if (slot->kind->drain_ms > 0)
		return slot->kind->drain_ms;
	if (slot->supervisor->stop_level == STOP_NO && slot->kind->unhurried_drain_ms)
		ms = MAX(ms, slot->kind->unhurried_drain_ms(slot));
	return ms;
}

/* How long may the state that was just entered last? LOADING goes on with the time of SPAWNED. */
static void
enter_state(struct slot *slot, int64_t now_ms)
{
	switch (slot->state) {
	case SLOT_SPAWNED:
		set_deadline(slot, slot->unborn ? CHILD_BIRTH_TIMEOUT_MS : start_ms(slot));
		break;
	case SLOT_DRAINING:
		set_deadline(slot, drain_ms(slot));
		break;
	case SLOT_EXITING:
		set_deadline(slot, CHILD_EXIT_GRACE_MS);
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
	if (slot->pid == 0 && !slot->unborn)
		return;
	slot->evidence.signal_sent = number;
	if (slot->unborn)
		return; /* take_birth does it */
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

	if (slot->unborn) {
		log_warning("%s: its template has not forked it; going on", slot->name);
		hang_up(slot);
		return;
	}
	if (slot->pid == 0) {
		log_warning(
		    "%s: dead, but a process that it left behind keeps its control socket; going on", slot->name);
		hang_up(slot);
		return;
	}
	if (slot->control < 0 && evidence->signal_sent == 0 && !evidence->told)
		evidence->hung_up = true;
	if (evidence->signal_sent == 0 && slot->supervisor->stop_level != STOP_KILL)
		number = SIGTERM;
	log_warning("%s: does not end; sending %s", slot->name, death_signal_name(number, name));
	send_signal(slot, number);
}

/* How many were killed for want of memory: of its own cgroup for certain, else of the machine. */
static void
count_oom_kills(struct slot *slot)
{
	struct death_evidence *evidence = &slot->evidence;
	int64_t count = cgroup_oom_kills(slot->cgroup);

	evidence->oom_certain = count >= 0;
	evidence->memory_peak_bytes = cgroup_peak_bytes(slot->cgroup);
	if (count < 0 && slot->oom_kills_before >= 0)
		count = death_read_oom_kills() - slot->oom_kills_before;
	evidence->oom_kills = MAX(count, 0);
}

static void
note_death(struct slot *slot, enum death_kind kind, const char *text)
{
	slot->deaths++;
	slot->last_death_kind = kind;
	snprintf(slot->last_death, sizeof(slot->last_death), "%s", text);
	if (slot->kind->on_death)
		slot->kind->on_death(slot, kind, text);
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

	count_oom_kills(slot);
	evidence->was_ready = slot->ready_since_ms != 0;
	if (slot->unborn && evidence->failure[0] == '\0')
		snprintf(evidence->failure, sizeof(evidence->failure), "its template has ended, or could not fork it");
	slot->unborn = false;
	kind = death_classify(evidence, text);
	if (kind == DEATH_TOLD) {
		log_info("%s: %s", slot->name, text);
	} else {
		note_death(slot, kind, text);
		backoff_note_death(&slot->backoff, ready_ms, ready_ms > 0 && slot->kind->was_useful(slot));
		slot->start_after_ms = backoff_next_start(&slot->backoff, now_ms, arc4random());
		if (!stopping && !slot->trial && slot->start_after_ms <= now_ms)
			snprintf(next, sizeof(next), "; starting again");
		else if (!stopping && !slot->trial)
			snprintf(next, sizeof(next), "; starting again in %.1f s",
			    seconds_since(now_ms, slot->start_after_ms));
		if (kind == DEATH_START_FAILED || kind == DEATH_START_TIMEOUT)
			log_error("%s: %s%s", slot->name, text, next);
		else
			log_error("%s: died after %.2f s: %s%s", slot->name, seconds_since(slot->started_ms, now_ms),
			    text, next);
	}
}

static void
tell_to_drain(struct slot *slot)
{
	if (record_send_numbers(slot->control, RECORD_DRAIN,
		slot->supervisor->stop_level != STOP_NO && !upgrade_has_replaced(slot->supervisor), 0, -1) < 0)
		log_warning("%s: cannot be told to drain", slot->name);
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
		tell_to_drain(slot);
		break;
	case SLOT_DO_TERMINATE:
		send_signal(slot, SIGTERM);
		break;
	case SLOT_DO_KILL:
		send_signal(slot, SIGKILL);
		break;
	case SLOT_DO_ESCALATE:
		escalate(slot);
		set_deadline(slot, CHILD_EXIT_GRACE_MS);
		break;
	case SLOT_DO_BUG:
		break;
	}
	if (slot->state != before)
		enter_state(slot, now_ms);
	if (slot->state == SLOT_EXITING && slot_is_free(slot)) {
		bury(slot, now_ms);
		output_close(slot);
		slot->kind->on_gone(slot);
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
	r = spawn_read_notice(&slot->notice, slot->program, &err);
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

void
child_spoke_nonsense(struct slot *slot, const char *what)
{
	if (slot->state == SLOT_EXITING || (slot->pid == 0 && !slot->unborn))
		return;
	log_error("%s: %s on its control socket; killing it", slot->name, what);
	slot->evidence.spoke_nonsense = true;
	take_event(slot, SLOT_ON_NONSENSE);
}

/* It has said who it is. That is believed when it is a child of ours that leads its process group and is nobody else. */
static void
take_birth(struct slot *slot, pid_t pid)
{
	struct proc_stat stat;

	if (!slot->unborn || pid <= 0 || proc_read_stat(pid, &stat) < 0 || stat.parent != getpid() ||
	    stat.group != pid || supervisor_find_slot(slot->supervisor, pid)) {
		child_spoke_nonsense(slot, "unexpected record BORN");
		return;
	}
	slot->unborn = false;
	slot->pid = pid;
	log_debug("%s: forked as pid %d", slot->name, (int)pid);
	if (slot->state != SLOT_SPAWNED) { /* it is not wanted any more */
		send_signal(slot, slot->evidence.signal_sent ? slot->evidence.signal_sent : SIGTERM);
		return;
	}
	set_deadline(slot, CHILD_START_TIMEOUT_MS);
	take_event(slot, SLOT_ON_EXEC);
}

static void
take_record(struct slot *slot, const struct record *record)
{
	bool starting = slot->state == SLOT_SPAWNED || slot->state == SLOT_LOADING;

	switch (record->kind) {
	case RECORD_READY:
		if (!starting) {
			child_spoke_nonsense(slot, "unexpected record READY");
			break;
		}
		slot->ready_since_ms = clock_ms();
		log_info("%s: ready after %.2f s", slot->name, seconds_since(slot->started_ms, slot->ready_since_ms));
		take_event(slot, SLOT_ON_READY);
		slot->kind->on_ready(slot);
		break;
	case RECORD_BORN:
		take_birth(slot, (pid_t)record->numbers[0]);
		break;
	case RECORD_FAILED:
		memcpy(slot->evidence.failure, record->text, sizeof(slot->evidence.failure));
		take_event(slot, SLOT_ON_FAILED);
		break;
	default:
		if (slot->state != SLOT_EXITING && !slot->kind->on_record(slot, record))
			child_spoke_nonsense(slot, "unexpected record");
		break;
	}
}

static void
read_control(struct slot *slot)
{
	struct record record;

	for (int i = 0; i < RECORDS_PER_TURN; i++) {
		int r = record_receive(slot->control, &record);

		if (r == 1) {
			take_record(slot, &record);
		} else if (r == -EBADMSG) {
			child_spoke_nonsense(slot, "bad record");
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
control_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	read_control(arg);
}

void
child_hear_unborn(struct slot *slot)
{
	if (slot->unborn && slot->control >= 0)
		read_control(slot);
}

static void
deadline_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct slot *slot = arg;

	if (slot->state == SLOT_SPAWNED || slot->state == SLOT_LOADING) {
		slot->evidence.start_timed_out = true;
		log_error(
		    "%s: not ready after %.0f s; ending it", slot->name, seconds_since(slot->started_ms, clock_ms()));
	} else if (slot->state == SLOT_DRAINING) {
		log_warning("%s: still busy after %.2f s of draining; sending SIGTERM", slot->name,
		    seconds_since(slot->since_ms, clock_ms()));
	} else if (slot->state == SLOT_READY) {
		slot->evidence.overdue = slot->place >= 0; /* a replica: it is a prediction that it does not end */
		log_error("%s: %s; killing it", slot->name, slot->kind->overdue);
	}
	take_event(slot, SLOT_ON_DEADLINE);
}

void
child_init(struct slot *slot, struct supervisor *supervisor, const struct child_kind *kind, const char *name)
{
	slot_init(slot, name);
	slot->supervisor = supervisor;
	slot->kind = kind;
	evtimer_assign(&slot->deadline_event, supervisor->base, deadline_cb, slot);
}

int
child_exec(struct slot *slot, const struct program *program, const int *fds, size_t n_fds, struct error *err)
{
	char title[SLOT_NAME_MAX + 32], argv0[TITLE_MAX + 1], oom[16];
	char *argv[] = {argv0, NULL};
	int joins[CGROUP_JOINS_MAX], r;
	const struct spawn_plan plan = {
	    .path = program->path,
	    .program = program->fd,
	    .argv = argv,
	    .envp = environ,
	    .oom_score_adj = slot->generation ? oom : NULL,
	    .joins = joins,
	    .n_joins = cgroup_open_joins(slot->cgroup, joins),
	    .fds = fds,
	    .n_fds = n_fds,
	};

	snprintf(title, sizeof(title), "cortexd: %s (starting)", slot->name);
	title_make_room(argv0, title);
	if (slot->generation)
		snprintf(oom, sizeof(oom), "%d",
		    oom_score_adj(slot->generation->api->compute.mem_bytes, oom_machine_bytes(), oom_own_score_adj()));
	slot->program = program->path;
	r = spawn(&plan, &slot->pid, &slot->notice, err);
	for (size_t i = 0; i < plan.n_joins; i++)
		fd_close(&joins[i]);
	return r;
}

/* Watch a process that was just started. */
static int
watch(struct slot *slot, struct error *err)
{
	struct event_base *base = slot->supervisor->base;

	event_assign(&slot->control_event, base, slot->control, EV_READ | EV_PERSIST, control_cb, slot);
	if (slot->notice >= 0)
		event_assign(&slot->notice_event, base, slot->notice, EV_READ | EV_PERSIST, notice_cb, slot);
	if (event_add(&slot->control_event, NULL) < 0 ||
	    (slot->notice >= 0 && event_add(&slot->notice_event, NULL) < 0))
		return error_set(err, -ENOMEM, "cannot watch its descriptors");
	return 0;
}

static int
try_start(struct slot *slot, struct error *err)
{
	int control[2] = {-1, -1}, r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
		return error_set(err, -errno, "cannot make its control socket: %s", strerror(errno));
	memset(&slot->evidence, 0, sizeof(slot->evidence));
	slot->ready_since_ms = 0;
	slot->accepts = !takeover_is_pending(&slot->supervisor->takeover);
	slot->oom_kills_before = death_read_oom_kills();
	slot->control = control[0];
	slot->started_ms = clock_ms();
	r = slot->kind->spawn(slot, control[1], err);
	if (r < 0) {
		fd_close(&slot->control);
		output_close(slot);
		slot->kind->on_gone(slot);
		goto out;
	}
	take_event(slot, SLOT_ON_FORK);
	r = watch(slot, err);
	if (r < 0) {
		snprintf(slot->evidence.failure, sizeof(slot->evidence.failure), "%s", err->text);
		hang_up(slot);
		take_event(slot, SLOT_ON_NONSENSE);
		r = 0;
	}
out:
	fd_close(&control[1]);
	return r;
}

void
child_start(struct slot *slot)
{
	char text[sizeof(struct error) + 32];
	int64_t now_ms = clock_ms();
	struct error err;

	if (slot->start_after_ms > now_ms) {
		take_event(slot, SLOT_ON_DELAY);
		return;
	}
	if (try_start(slot, &err) == 0) {
		log_debug("%s: started as pid %d", slot->name, (int)slot->pid);
		return;
	}
	snprintf(text, sizeof(text), "cannot start: %s", err.text);
	note_death(slot, DEATH_START_FAILED, text);
	backoff_note_death(&slot->backoff, 0, false);
	slot->start_after_ms = backoff_next_start(&slot->backoff, now_ms, arc4random());
	log_error("%s: cannot start: %s; trying again in %.1f s", slot->name, err.text,
	    seconds_since(now_ms, slot->start_after_ms));
	take_event(slot, SLOT_ON_DELAY);
}

void
child_unwanted(struct slot *slot)
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
child_stopping(struct slot *slot)
{
	if (slot->state != SLOT_DRAINING)
		return;
	tell_to_drain(slot);
	set_deadline(slot, drain_ms(slot));
}

void
child_hurry(struct slot *slot, bool kill)
{
	if (slot->state == SLOT_DRAINING || (kill && slot->state == SLOT_EXITING && slot->pid != 0))
		take_event(slot, SLOT_ON_DEADLINE);
}

void
child_set_patience(struct slot *slot, int64_t ms)
{
	if (slot->state != SLOT_READY)
		return;
	if (ms > 0)
		set_deadline(slot, ms);
	else
		evtimer_del(&slot->deadline_event);
}

void
child_reaped(struct slot *slot, int wait_status)
{
	read_notice(slot);
	slot->pid = 0;
	slot->evidence.wait_status = wait_status;
	take_event(slot, SLOT_ON_REAPED);
}

void
child_done(struct slot *slot)
{
	hang_up(slot);
	if (slot->notice >= 0)
		event_del(&slot->notice_event);
	fd_close(&slot->notice);
	output_close(slot);
	evtimer_del(&slot->deadline_event);
}
