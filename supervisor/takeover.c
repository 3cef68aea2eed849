/*
 * takeover - see takeover.h.
 */
#include "supervisor/takeover.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/channel.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/record.h"
#include "supervisor/listeners.h"
#include "supervisor/state_dir.h"
#include "supervisor/supervisor.h"

#ifndef CORTEXD_VERSION
#define CORTEXD_VERSION "unknown"
#endif

/* ---- what is handed over ---- */

void
takeover_init(struct takeover *takeover)
{
	*takeover = (struct takeover){.socket = -1, .lock = -1, .channel = -1};
	for (int i = 0; i < HANDOVER_LISTENERS_MAX; i++)
		takeover->fds[i] = takeover->admin_fds[i] = -1;
}

static int
take_descriptors(struct takeover *takeover)
{
	int n = (int)takeover->handover.n_listeners, n_admin = (int)takeover->handover.n_admin, r = 0;

	for (int fd = HANDOVER_FD_SOCKET; r == 0 && fd < HANDOVER_FD_LISTENER + n + n_admin; fd++)
		if (fd != HANDOVER_FD_TEXT)
			r = fd_set_cloexec(fd, true);
	if (r < 0)
		return r;
	takeover->socket = HANDOVER_FD_SOCKET;
	takeover->lock = HANDOVER_FD_LOCK;
	for (int i = 0; i < n; i++)
		takeover->fds[i] = HANDOVER_FD_LISTENER + i;
	for (int i = 0; i < n_admin; i++)
		takeover->admin_fds[i] = HANDOVER_FD_LISTENER + n + i;
	return 0;
}

int
takeover_take(struct takeover *takeover, struct error *err)
{
	const char *format = getenv(HANDOVER_VARIABLE);
	int memfd = HANDOVER_FD_TEXT, r;
	char *text = NULL, expected[16];
	size_t length;

	if (!format)
		return 0;
	snprintf(expected, sizeof(expected), "%d", HANDOVER_FORMAT);
	if (strcmp(format, expected) != 0)
		return error_set(err, -EPROTO,
		    "this build cannot take over from the cortexd that runs (format %s, not %s); stop that one, and "
		    "start this one",
		    format, expected);
	unsetenv(HANDOVER_VARIABLE);
	r = fd_read_all(memfd, HANDOVER_MAX, &text, &length);
	if (r < 0)
		return error_set(err, r, "%s is set, but nothing is handed over: %s", HANDOVER_VARIABLE, strerror(-r));
	fd_close(&memfd);
	r = handover_decode(text, length, &takeover->handover, err);
	free(text);
	if (r < 0)
		return r;
	r = take_descriptors(takeover);
	if (r < 0)
		return error_set(err, r, "a descriptor that the old cortexd hands over: %s", strerror(-r));
	takeover->pending = true;
	return 0;
}

int
takeover_detach_lock(struct takeover *takeover, const char *state_dir, int *ret_lock, struct error *err)
{
	if (strcmp(state_dir, takeover->handover.state_dir) != 0)
		return error_set(err, -EINVAL, "server.state_dir cannot change in an upgrade; restart cortexd");
	*ret_lock = takeover->lock;
	takeover->lock = -1;
	return 0;
}

int
takeover_detach_listeners(struct takeover *takeover, struct config *config, struct open_listeners *all,
    struct listeners **ret_listeners, struct error *err)
{
	const struct handover *handover = &takeover->handover;
	struct listeners *listeners;
	int r = 0;

	if (!takeover->pending)
		return 0;
	listeners = listeners_new(config);
	for (size_t i = 0; r == 0 && i < handover->n_listeners; i++) {
		r = listeners_adopt(listeners, config, all, handover->listeners[i].text, takeover->fds[i],
		    handover->listeners[i].made_file, err);
		takeover->fds[i] = -1;
	}
	if (r < 0)
		listeners_unref(listeners);
	else
		*ret_listeners = listeners;
	return r;
}

int
takeover_detach_admin(struct takeover *takeover, struct config *config, struct open_listeners *all,
    struct listeners **ret_listeners, struct error *err)
{
	const struct handover *handover = &takeover->handover;
	struct listeners *listeners;
	int r = 0;

	if (!takeover->pending)
		return 0;
	listeners = listeners_new_admin(config);
	for (size_t i = 0; r == 0 && i < handover->n_admin; i++) {
		r = listeners_adopt_admin(listeners, config, all, handover->admin[i], takeover->admin_fds[i], err);
		takeover->admin_fds[i] = -1;
	}
	if (r < 0)
		listeners_unref(listeners);
	else
		*ret_listeners = listeners;
	return r;
}

int
takeover_find_wanted(const struct takeover *takeover, const char *api)
{
	for (size_t i = 0; i < takeover->handover.n_apis; i++)
		if (!strcmp(takeover->handover.apis[i].name, api))
			return takeover->handover.apis[i].wanted;
	return -1;
}

bool
takeover_would_lose(const struct takeover *takeover, const char *api)
{
	if (!takeover_is_pending(takeover))
		return false;
	for (size_t i = 0; i < takeover->handover.n_apis; i++)
		if (!strcmp(takeover->handover.apis[i].name, api))
			return !takeover->handover.apis[i].awaits_model;
	return false;
}

/* ---- the steps ---- */

static void
hang_up(struct takeover *takeover)
{
	if (takeover->socket < 0)
		return;
	if (event_initialized(&takeover->socket_event))
		event_del(&takeover->socket_event);
	fd_close(&takeover->socket);
}

/* Everything is ours. What children and the service manager have to be told follows with the comparison. */
static void
complete(struct supervisor *supervisor, unsigned n_connections, bool reload)
{
	struct takeover *takeover = &supervisor->takeover;
	struct error err;

	hang_up(takeover);
	takeover->pending = false;
	takeover->n_connections = n_connections;
	supervisor->reload.again = supervisor->reload.again || reload;
	if (supervisor->serving)
		reload_started(supervisor); /* before it is known that we are the owner (reload_command.c) */
	if (state_dir_write_pid(supervisor->state_lock, &err) < 0)
		log_warning("%s", err.text);
	report_take_over(supervisor);
	supervisor_compare_soon(supervisor);
}

static void
take_record(struct supervisor *supervisor, const struct record *record)
{
	struct takeover *takeover = &supervisor->takeover;

	if (record->fd >= 0)
		close(record->fd);
	if (record->kind == RECORD_ACCEPT && takeover->offered) {
		log_info("cortexd %s takes over from process %d, with about %u connections", CORTEXD_VERSION,
		    (int)takeover->handover.pid, record->numbers[0]);
		complete(supervisor, record->numbers[0], record->numbers[1] != 0);
	} else if (record->kind == RECORD_DRAIN) {
		log_info("the old cortexd (process %d) stops, and this one with it", (int)takeover->handover.pid);
		hang_up(takeover);
		supervisor_give_up(supervisor);
	} else {
		log_error("unexpected record from the old cortexd (process %d)", (int)takeover->handover.pid);
		supervisor_give_up(supervisor);
	}
}

static void
socket_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct supervisor *supervisor = arg;
	struct takeover *takeover = &supervisor->takeover;
	struct record record;
	int r = record_receive(takeover->socket, &record);

	if (r == -EAGAIN)
		return;
	if (r == 1) {
		take_record(supervisor, &record);
		return;
	}
	log_warning(
	    "the old cortexd (process %d) has died; taking over without its clients", (int)takeover->handover.pid);
	fd_close(&takeover->channel);
	complete(supervisor, 0, false);
}

int
takeover_watch(struct supervisor *supervisor, struct error *err)
{
	struct takeover *takeover = &supervisor->takeover;

	if (!takeover->pending)
		return 0;
	event_assign(
	    &takeover->socket_event, supervisor->base, takeover->socket, EV_READ | EV_PERSIST, socket_cb, supervisor);
	return event_add(&takeover->socket_event, NULL) < 0
	    ? error_set(err, -ENOMEM, "cannot watch the socket to the old cortexd")
	    : 0;
}

/* A child that has died at least once; or NULL. */
static const struct slot *
find_failed(const struct supervisor *supervisor)
{
	const struct slot *slot;

	if (supervisor->activator.deaths > 0)
		return &supervisor->activator;
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		TAILQ_FOREACH (slot, &supervisor->apis[i]->templates, in_api)
			if (slot->deaths > 0)
				return slot;
		TAILQ_FOREACH (slot, &supervisor->apis[i]->slots, in_api)
			if (slot->deaths > 0)
				return slot;
	}
	return NULL;
}

/* Say that we are ready, with the channel that the clients shall come by. */
static void
offer(struct supervisor *supervisor)
{
	struct takeover *takeover = &supervisor->takeover;
	int pair[2], r = channel_pair(pair);

	if (r == 0) {
		r = record_send_numbers(takeover->socket, RECORD_CHANNEL, 0, 0, pair[1]);
		fd_close(&pair[1]);
		if (r < 0)
			fd_close(&pair[0]);
	}
	if (r < 0) {
		supervisor_compare_later(supervisor);
		return;
	}
	takeover->channel = pair[0];
	takeover->offered = true;
}

/* True: it has been told, or need not be. */
static bool
tell_to_accept(struct slot *slot)
{
	if (slot->accepts || slot->pid == 0 || slot->control < 0 || slot->state == SLOT_EXITING)
		return true;
	slot->accepts = record_send_numbers(slot->control, RECORD_ACCEPT, 0, 0, -1) == 0;
	return slot->accepts;
}

/* True: the activator has been told where the old one's clients come from. That goes before it accepts others. */
static bool
tell_predecessor(struct supervisor *supervisor)
{
	struct takeover *takeover = &supervisor->takeover;
	struct slot *activator = &supervisor->activator;

	if (takeover->channel < 0)
		return true;
	if (activator->state != SLOT_READY ||
	    record_send_numbers(activator->control, RECORD_PREDECESSOR, takeover->n_connections, 0, takeover->channel) <
		0)
		return false;
	fd_close(&takeover->channel);
	return true;
}

/* Children that were started before it was complete may accept now. */
static void
tell_children(struct supervisor *supervisor)
{
	bool told = tell_predecessor(supervisor) && tell_to_accept(&supervisor->activator);
	struct slot *slot;

	for (size_t i = 0; i < supervisor->n_apis; i++)
		TAILQ_FOREACH (slot, &supervisor->apis[i]->slots, in_api)
			told = tell_to_accept(slot) && told;
	if (!told)
		supervisor_compare_later(supervisor);
}

void
takeover_compare(struct supervisor *supervisor)
{
	struct takeover *takeover = &supervisor->takeover;
	const struct slot *failed;

	if (supervisor->stop_level != STOP_NO || takeover->handover.pid == 0 || !supervisor->serving)
		return;
	if (!takeover->pending) {
		tell_children(supervisor);
		return;
	}
	failed = find_failed(supervisor);
	if (failed) {
		log_error("not taking over: %s: %s", failed->name, failed->last_death);
		supervisor_give_up(supervisor);
	} else if (supervisor->announced && !takeover->offered) {
		offer(supervisor);
	}
}

bool
takeover_predecessor_lives(const struct takeover *takeover)
{
	return takeover->handover.pid != 0 && getppid() == takeover->handover.pid;
}

void
takeover_done(struct takeover *takeover)
{
	hang_up(takeover);
	fd_close(&takeover->lock);
	fd_close(&takeover->channel);
	for (size_t i = 0; i < takeover->handover.n_listeners; i++)
		fd_close(&takeover->fds[i]);
	for (size_t i = 0; i < takeover->handover.n_admin; i++)
		fd_close(&takeover->admin_fds[i]);
	handover_done(&takeover->handover);
}
