/*
 * monitor - see monitor.h.
 */
#include "monitor/monitor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

#define RECORDS_PER_TURN 16
#define ALONE_MAX_S      60
#define EVENTS_MS        900 /* between two for the same follower; others may ask more often */

/* ---- seeing ---- */

static void
ask(struct monitor *monitor)
{
	monitor->asked_ms = clock_ms();
	monitor->asks_again = false;
	monitor->asked = record_send(MONITOR_FD_CONTROL, RECORD_ASK, NULL) == 0; /* else with the next tick */
}

static bool
is_fresh(const struct monitor *monitor)
{
	return monitor->view.status && !monitor->asks_again && clock_ms() - monitor->view.made_ms < VIEW_FRESH_MS;
}

void
monitor_tick_soon(struct monitor *monitor)
{
	static const struct timeval second = {1, 0};

	if (!evtimer_pending(&monitor->tick, NULL))
		evtimer_add(&monitor->tick, &second);
}

bool
monitor_sees(struct monitor *monitor, struct http_conn *conn)
{
	if (is_fresh(monitor))
		return true;
	conn->mark = true;
	TAILQ_INSERT_TAIL(&monitor->waiting, conn, in_pending);
	monitor->n_waiting++;
	if (!monitor->asked)
		ask(monitor);
	monitor_tick_soon(monitor);
	return false;
}

void
monitor_look_again(struct monitor *monitor)
{
	monitor->asks_again = true;
}

static struct http_conn *
take_waiting(struct monitor *monitor)
{
	struct http_conn *conn = TAILQ_FIRST(&monitor->waiting);

	TAILQ_REMOVE(&monitor->waiting, conn, in_pending);
	monitor->n_waiting--;
	conn->mark = false;
	return conn;
}

static void
take_status(struct monitor *monitor, int fd)
{
	int r = view_take(&monitor->view, fd, logs_status(monitor), clock_ms());

	monitor->asked = false;
	if (r < 0)
		log_warning("what the supervisor says cannot be taken: %s", strerror(-r));
	if (monitor->asks_again) {
		ask(monitor);
		return;
	}
	/* Those who come to wait meanwhile have their turn with the next one. */
	for (unsigned n = monitor->n_waiting; n > 0 && monitor->n_waiting > 0; n--)
		if (r == 0)
			request_answer(monitor, take_waiting(monitor));
		else
			answer_error(take_waiting(monitor), 503, "what the supervisor says cannot be read");
	if (r == 0 && clock_ms() - monitor->events_ms >= EVENTS_MS)
		events_send(monitor);
}

/* Who follows sees something new each second; who waits in vain is told. */
static void
tick_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct monitor *monitor = arg;
	bool wanted = monitor->n_waiting > 0 || monitor->n_followers > 0;

	if (monitor->asked && clock_ms() - monitor->asked_ms >= VIEW_PATIENCE_MS) {
		monitor->asked = false;
		for (unsigned n = monitor->n_waiting; n > 0 && monitor->n_waiting > 0; n--)
			answer_error(take_waiting(monitor), 503, "the supervisor does not answer");
	} else if (!monitor->asked && wanted) {
		ask(monitor);
	}
	action_expire(monitor, clock_ms());
	if (wanted || !TAILQ_EMPTY(&monitor->actions))
		monitor_tick_soon(monitor);
}

/* ---- the supervisor ---- */

/* Those who write still finish what they have. One that was started by a predictor and stays behind is not waited for. */
static void
be_alone(struct monitor *monitor)
{
	if (!monitor->alone)
		alarm(ALONE_MAX_S);
	monitor->alone = true;
	doors_close(monitor);
}

static void
take_record(struct monitor *monitor, const struct record *record)
{
	switch (record->kind) {
	case RECORD_PING:
		if (record_send(MONITOR_FD_CONTROL, RECORD_PONG, NULL) < 0)
			log_debug("the supervisor cannot be answered");
		break;
	case RECORD_STATUS:
		take_status(monitor, record->fd);
		break;
	case RECORD_DONE:
		action_done(monitor, record);
		break;
	case RECORD_SOURCE:
		sources_add(&monitor->sources, record);
		break;
	case RECORD_REPLACED:
		doors_close(monitor);
		break;
	case RECORD_DRAIN:
		monitor->ended = true;
		break;
	default:
		log_debug("a record of kind %d has no meaning here", (int)record->kind);
		if (record->fd >= 0)
			close(record->fd);
	}
}

static void
on_control_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct monitor *monitor = arg;
	struct record record;
	int r = 1;

	for (int i = 0; i < RECORDS_PER_TURN && r == 1 && !monitor->ended; i++) {
		r = record_receive(MONITOR_FD_CONTROL, &record);
		if (r == 1)
			take_record(monitor, &record);
	}
	if (r == 1 || r == -EAGAIN)
		return;
	if (r < 0)
		log_error("bad record on the control socket");
	event_del(&monitor->control);
	be_alone(monitor);
}

/* ---- signals ---- */

/* From the supervisor, or because it is dead: the end. Anybody else may have signalled all processes that there are: the supervisor says when
 * there is nothing more to see. */
static void
on_sigterm_cb(evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct monitor *monitor = arg;
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (getppid() != monitor->parent || (pid_t)info.ssi_pid == monitor->parent)
		be_alone(monitor);
	else
		log_info("SIGTERM from process %d: waiting for the supervisor's word", (int)info.ssi_pid);
}

static int
watch_sigterm(struct monitor *monitor)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	event_assign(&monitor->sigterm, monitor->base, fd, EV_READ | EV_PERSIST, on_sigterm_cb, monitor);
	if (event_add(&monitor->sigterm, NULL) < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -ENOMEM;
	return 0;
}

/* ---- life ---- */

static int
read_start(struct monitor *monitor, struct error *err)
{
	char *json = NULL;
	size_t length;
	int fd = MONITOR_FD_START, r;

	r = fd_read_all(fd, MONITOR_START_MAX, &json, &length);
	if (r < 0)
		return error_set(err, r, "start record: %s", strerror(-r));
	fd_close(&fd);
	r = monitor_start_decode(json, length, &monitor->start, err);
	free(json);
	return r;
}

static int
begin_logs(struct monitor *monitor, struct error *err)
{
	int fd = MONITOR_FD_SCOREBOARD, r = scoreboard_map(fd, &monitor->scoreboard);
	struct sources_config config = {
	    .base = monitor->base,
	    .state_dir = monitor->start.state_dir,
	    .secret = monitor->start.log_secret,
	    .format = monitor->start.log_format,
	    .n_files = monitor->start.log_files,
	    .file_bytes = monitor->start.log_file_bytes,
	    .on_written = logs_written,
	};

	if (r < 0)
		return error_set(err, r, "cannot map the scoreboard: %s", strerror(-r));
	config.n_lost = &monitor->scoreboard->log_lost_lines;
	return sources_init(&monitor->sources, &config, err);
}

static void
libevent_log_cb(int severity, const char *text)
{
	if (severity >= EVENT_LOG_WARN)
		log_warning("libevent: %s", text);
}

int
monitor_init(struct monitor *monitor, struct error *err)
{
	int r;

	memset(monitor, 0, sizeof(*monitor));
	monitor->parent = getppid();
	r = read_start(monitor, err);
	if (r < 0)
		return r;
	log_set_format(monitor->start.log_format);
	log_set_level(monitor->start.log_level);
	event_set_log_callback(libevent_log_cb);
	monitor->base = event_base_new();
	if (!monitor->base)
		return error_set(err, -ENOMEM, "libevent cannot make an event base");
	evtimer_assign(&monitor->tick, monitor->base, tick_cb, monitor);
	TAILQ_INIT(&monitor->waiting);
	TAILQ_INIT(&monitor->actions);
	TAILQ_INIT(&monitor->predictions);
	TAILQ_INIT(&monitor->followers);
	TAILQ_INIT(&monitor->leavers);
	r = view_init(&monitor->view, MONITOR_FD_SCOREBOARD);
	if (r < 0)
		return error_set(err, r, "cannot map the scoreboard: %s", strerror(-r));
	r = begin_logs(monitor, err);
	if (r == 0)
		r = doors_open(monitor, err);
	if (r < 0)
		return r;
	r = watch_sigterm(monitor);
	if (r < 0)
		return error_set(err, r, "cannot watch for SIGTERM: %s", strerror(-r));
	event_assign(
	    &monitor->control, monitor->base, MONITOR_FD_CONTROL, EV_READ | EV_PERSIST, on_control_cb, monitor);
	return event_add(&monitor->control, NULL) < 0 ? error_set(err, -ENOMEM, "cannot watch the control socket") : 0;
}

void
monitor_run(struct monitor *monitor)
{
	while (!monitor->ended) {
		if (event_base_loop(monitor->base, EVLOOP_ONCE) < 0) {
			log_error("epoll_wait: %s", strerror(errno));
			_exit(1);
		}
		doors_reap(monitor);
		monitor->ended = monitor->ended || (monitor->alone && sources_are_gone(&monitor->sources));
	}
	sources_done(&monitor->sources);
}
