/*
 * upgrade - see upgrade.h.
 */
#include "supervisor/upgrade.h"

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
#include "supervisor/child.h"
#include "supervisor/death.h"
#include "supervisor/handover.h"
#include "supervisor/spawn.h"
#include "supervisor/state_dir.h"
#include "supervisor/stop.h"
#include "supervisor/supervisor.h"

#define END_GRACE_S 10 /* for the new one to end when it is told to */

/* ---- starting the new one ---- */

static char *
make_text(const struct supervisor *supervisor)
{
	const struct listeners *listeners = supervisor->listeners, *admin = supervisor->admin.tcp.listeners;
	struct handover handover = {
	    .pid = getpid(),
	    .state_dir = supervisor->config->server.state_dir,
	    .reload_number = supervisor->reload.number,
	};
	char *text;

	handover.listeners = xcalloc(listeners->n, sizeof(*handover.listeners));
	for (size_t i = 0; i < listeners->n; i++) {
		const struct listener *listener = &listeners->all[i]->listener;

		handover.listeners[handover.n_listeners++] = (struct handover_listener){
		    .text = listener->config->text, .made_file = listener->made_file};
	}
	handover.admin = xcalloc(MAX(admin->n, 1), sizeof(*handover.admin));
	for (size_t i = 0; i < admin->n; i++)
		handover.admin[handover.n_admin++] = admin->all[i]->listener.config->text;
	handover.apis = xcalloc(MAX(supervisor->n_apis, 1), sizeof(*handover.apis));
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		const struct api *api = supervisor->apis[i];

		if (!api->retired)
			handover.apis[handover.n_apis++] = (struct handover_api){
			    .name = api->name, .wanted = api->wanted, .awaits_model = api->awaits_model};
	}
	text = handover_encode(&handover);
	free(handover.listeners);
	free(handover.admin);
	free(handover.apis);
	return text;
}

/* Ours, with what we took out of it when we started, and the word that there is a handover. */
static char **
make_environment(const struct supervisor *supervisor)
{
	size_t n = 0, room = 0;
	char **envp;

	while (environ[room])
		room++;
	envp = xcalloc(room + 4, sizeof(*envp));
	for (; n < room; n++)
		envp[n] = xstrdup(environ[n]);
	n += notify_environment(&supervisor->report.notify, &envp[n]);
	envp[n] = xasprintf("%s=%d", HANDOVER_VARIABLE, HANDOVER_FORMAT);
	return envp;
}

static void
free_environment(char **envp)
{
	for (size_t i = 0; envp[i]; i++)
		free(envp[i]);
	free(envp);
}

/* Run it with the descriptors that handover.h fixes. */
static int
run(struct supervisor *supervisor, int socket, int text, struct error *err)
{
	const struct listeners *listeners = supervisor->listeners, *admin = supervisor->admin.tcp.listeners;
	size_t n_fds = HANDOVER_FD_LISTENER + listeners->n + admin->n;
	char **envp = make_environment(supervisor);
	int *fds = xcalloc(n_fds, sizeof(*fds)), r;
	const struct spawn_plan plan = {
	    .path = supervisor->program,
	    .argv = supervisor->options.argv,
	    .envp = envp,
	    .fds = fds,
	    .n_fds = n_fds,
	    .independent = true,
	};

	for (int i = 0; i <= STDERR_FILENO; i++)
		fds[i] = i;
	fds[HANDOVER_FD_SOCKET] = socket;
	fds[HANDOVER_FD_TEXT] = text;
	fds[HANDOVER_FD_LOCK] = supervisor->state_lock;
	for (size_t i = 0; i < listeners->n; i++)
		fds[HANDOVER_FD_LISTENER + i] = listeners->all[i]->listener.fd;
	for (size_t i = 0; i < admin->n; i++)
		fds[HANDOVER_FD_LISTENER + listeners->n + i] = admin->all[i]->listener.fd;
	r = spawn(&plan, &supervisor->upgrade.pid, &supervisor->upgrade.notice, err);
	free(fds);
	free_environment(envp);
	return r;
}

static void socket_cb(evutil_socket_t fd, short what, void *arg);

static int
start_new(struct supervisor *supervisor, struct error *err)
{
	struct upgrade *upgrade = &supervisor->upgrade;
	int pair[2] = {-1, -1}, memfd = -1, r;
	char *text = make_text(supervisor);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		r = error_set(err, -errno, "cannot make a socket: %s", strerror(errno));
		goto out;
	}
	memfd = memfd_sealed("cortexd-handover", text, strlen(text));
	if (memfd < 0) {
		r = error_set(err, memfd, "cannot make a file in memory: %s", strerror(-memfd));
		goto out;
	}
	event_assign(&upgrade->socket_event, supervisor->base, pair[0], EV_READ | EV_PERSIST, socket_cb, supervisor);
	if (event_add(&upgrade->socket_event, NULL) < 0) {
		r = error_set(err, -ENOMEM, "cannot watch a socket");
		goto out;
	}
	upgrade->socket = pair[0];
	pair[0] = -1;
	r = run(supervisor, pair[1], memfd, err);
out:
	fd_close(&pair[0]);
	fd_close(&pair[1]);
	fd_close(&memfd);
	free(text);
	return r;
}

/* ---- the steps ---- */

static void
hang_up(struct upgrade *upgrade)
{
	if (upgrade->socket >= 0)
		event_del(&upgrade->socket_event);
	fd_close(&upgrade->socket);
	fd_close(&upgrade->channel);
	fd_close(&upgrade->notice);
}

static void
fail(struct supervisor *supervisor, const char *why)
{
	struct upgrade *upgrade = &supervisor->upgrade;
	struct error err;

	log_error("upgrade: failed: %s; this cortexd goes on", why);
	hang_up(upgrade);
	upgrade->step = UPGRADE_NONE;
	evtimer_del(&upgrade->kill_event);
	if (state_dir_write_pid(supervisor->state_lock, &err) < 0)
		log_warning("%s", err.text);
	report_reload_ends(supervisor);
}

static void
begin(struct supervisor *supervisor)
{
	struct upgrade *upgrade = &supervisor->upgrade;
	struct error err;

	upgrade->wanted = false;
	upgrade->since_ms = clock_ms();
	log_info("upgrade: starting \"%s\" beside this cortexd", supervisor->program);
	report_reload_begins(supervisor);
	upgrade->step = UPGRADE_STARTING;
	if (start_new(supervisor, &err) < 0)
		fail(supervisor, err.text);
}

static void
take_record(struct supervisor *supervisor, const struct record *record)
{
	struct upgrade *upgrade = &supervisor->upgrade;

	if (record->kind == RECORD_CHANNEL && upgrade->step == UPGRADE_STARTING) {
		log_info("upgrade: process %d is ready after %.2f s", (int)upgrade->pid,
		    (double)(clock_ms() - upgrade->since_ms) / 1000);
		upgrade->channel = record->fd;
		upgrade->step = UPGRADE_READY;
		supervisor_compare_soon(supervisor);
	} else {
		if (record->fd >= 0)
			close(record->fd);
		log_error("upgrade: unexpected record from process %d", (int)upgrade->pid);
		kill(upgrade->pid, SIGKILL);
	}
}

/* Its side has ended: it has taken over, or is about to be gone. */
static void
socket_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	static const struct timeval grace = {END_GRACE_S, 0};
	struct supervisor *supervisor = arg;
	struct upgrade *upgrade = &supervisor->upgrade;
	struct record record;
	int r = record_receive(upgrade->socket, &record);

	if (r == -EAGAIN)
		return;
	if (r == 1) {
		take_record(supervisor, &record);
		return;
	}
	event_del(&upgrade->socket_event);
	fd_close(&upgrade->socket);
	if (!evtimer_pending(&upgrade->kill_event, NULL))
		evtimer_add(&upgrade->kill_event, &grace);
}

/* The service manager has to know before the new one speaks. False: not now. */
static bool
tell_new(struct supervisor *supervisor)
{
	struct upgrade *upgrade = &supervisor->upgrade;
	int32_t n_connections = MAX(atomic_load(&supervisor->board.scoreboard->connections), 0);
	int r;

	if (!report_new_main(supervisor, upgrade->pid)) {
		supervisor_compare_later(supervisor);
		return false;
	}
	r = record_send_numbers(upgrade->socket, RECORD_ACCEPT, (uint32_t)n_connections, supervisor->reload.again, -1);
	if (r == -EAGAIN)
		supervisor_compare_later(supervisor);
	if (r < 0)
		return false; /* or it is dead, and we are about to hear of it */
	upgrade->step = UPGRADE_TOLD;
	return true;
}

static void
tell_activator(struct supervisor *supervisor)
{
	struct upgrade *upgrade = &supervisor->upgrade;
	int r;

	if (supervisor->activator.state != SLOT_READY)
		return; /* it was started again; there is a comparison when it is ready */
	r = record_send_numbers(supervisor->activator.control, RECORD_SUCCESSOR, 0, 0, upgrade->channel);
	if (r < 0) {
		supervisor_compare_later(supervisor);
		return;
	}
	hang_up(upgrade);
	evtimer_del(&upgrade->kill_event);
	upgrade->step = UPGRADE_REPLACED;
	stop_replaced(supervisor);
}

static bool
may_begin(const struct supervisor *supervisor)
{
	return supervisor->serving && supervisor->reload.step == RELOAD_NONE && !supervisor->reload.again &&
	    !takeover_is_pending(&supervisor->takeover);
}

void
upgrade_compare(struct supervisor *supervisor)
{
	struct upgrade *upgrade = &supervisor->upgrade;

	if (supervisor->stop_level != STOP_NO)
		return;
	if (upgrade->step == UPGRADE_NONE && upgrade->wanted && may_begin(supervisor))
		begin(supervisor);
	if (upgrade->step == UPGRADE_READY && !tell_new(supervisor))
		return;
	if (upgrade->step == UPGRADE_TOLD)
		tell_activator(supervisor);
}

void
upgrade_request(struct supervisor *supervisor)
{
	struct upgrade *upgrade = &supervisor->upgrade;

	if (supervisor->stop_level != STOP_NO) {
		log_info("SIGUSR2: cortexd stops; ignored");
	} else if (upgrade->step != UPGRADE_NONE || upgrade->wanted) {
		log_warning("SIGUSR2: an upgrade is under way already; ignored");
	} else if (getpid() == 1) {
		log_error(
		    "upgrade: failed: this cortexd is the first process of a container, which ends with it; start "
		    "a new container instead");
	} else {
		upgrade->wanted = true;
		if (takeover_is_pending(&supervisor->takeover))
			log_info("SIGUSR2: upgrading once this cortexd has taken over");
		else if (!may_begin(supervisor))
			log_info("SIGUSR2: upgrading once %s",
			    supervisor->serving ? "the reload is over" : "cortexd has started");
		supervisor_compare_soon(supervisor);
	}
}

/* ---- the end of the new one ---- */

static void
describe_end(struct upgrade *upgrade, int wait_status, char *text, size_t size)
{
	char name[32];
	struct error err;

	if (upgrade->notice >= 0 && spawn_read_notice(&upgrade->notice, "it", &err) < 0)
		snprintf(text, size, "the new cortexd does not start: %s", err.text);
	else if (WIFSIGNALED(wait_status))
		snprintf(text, size, "the new cortexd (process %d) was killed by %s", (int)upgrade->pid,
		    death_signal_name(WTERMSIG(wait_status), name));
	else
		snprintf(text, size, "the new cortexd (process %d) has ended with exit status %d, as it says above",
		    (int)upgrade->pid, WEXITSTATUS(wait_status));
}

void
upgrade_reaped(struct supervisor *supervisor, int wait_status)
{
	struct upgrade *upgrade = &supervisor->upgrade;
	char text[sizeof(struct error) + 128];

	describe_end(upgrade, wait_status, text, sizeof(text));
	upgrade->pid = 0;
	switch (upgrade->step) {
	case UPGRADE_STARTING:
	case UPGRADE_READY:
	case UPGRADE_TOLD:
		fail(supervisor, text);
		break;
	case UPGRADE_REPLACED:
		if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0)
			break; /* it was stopped */
		log_error("upgrade: %s, after it had taken over", text);
		supervisor->exit_code = 1;
		break;
	case UPGRADE_CANCELED:
		hang_up(upgrade);
		evtimer_del(&upgrade->kill_event);
		upgrade->step = UPGRADE_NONE;
		break;
	case UPGRADE_NONE:
		break;
	}
	supervisor_compare_soon(supervisor);
}

static void
kill_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct supervisor *supervisor = arg;

	if (supervisor->upgrade.step == UPGRADE_TOLD)
		return;
	log_warning("upgrade: process %d does not end; sending SIGKILL", (int)supervisor->upgrade.pid);
	kill(supervisor->upgrade.pid, SIGKILL);
	if (supervisor->stop_level != STOP_NO)
		supervisor->stop_killed = true;
}

void
upgrade_cancel(struct supervisor *supervisor)
{
	static const struct timeval grace = {END_GRACE_S, 0};
	struct upgrade *upgrade = &supervisor->upgrade;

	if (upgrade->step != UPGRADE_STARTING && upgrade->step != UPGRADE_READY)
		return; /* once told, it serves */
	log_info("upgrade: canceled");
	upgrade->step = UPGRADE_CANCELED;
	if (record_send(upgrade->socket, RECORD_DRAIN, NULL) < 0)
		kill(upgrade->pid, SIGTERM);
	evtimer_add(&upgrade->kill_event, &grace);
}

/* ---- the rest ---- */

bool
upgrade_is_under_way(const struct supervisor *supervisor)
{
	return supervisor->upgrade.step != UPGRADE_NONE;
}

bool
upgrade_has_replaced(const struct supervisor *supervisor)
{
	return supervisor->upgrade.step == UPGRADE_REPLACED;
}

pid_t
upgrade_successor(const struct supervisor *supervisor)
{
	const struct upgrade *upgrade = &supervisor->upgrade;

	return upgrade->step == UPGRADE_TOLD || upgrade->step == UPGRADE_REPLACED ? upgrade->pid : 0;
}

bool
upgrade_owns(const struct supervisor *supervisor, pid_t pid)
{
	return supervisor->upgrade.pid == pid;
}

void
upgrade_init(struct supervisor *supervisor)
{
	evtimer_assign(&supervisor->upgrade.kill_event, supervisor->base, kill_cb, supervisor);
}

void
upgrade_done(struct supervisor *supervisor)
{
	hang_up(&supervisor->upgrade);
	if (event_initialized(&supervisor->upgrade.kill_event))
		evtimer_del(&supervisor->upgrade.kill_event);
}
