/*
 * supervisor - see supervisor.h.
 */
#include "supervisor/supervisor.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "supervisor/activator.h"
#include "supervisor/bind.h"
#include "supervisor/cgroup.h"
#include "supervisor/child.h"
#include "supervisor/replica.h"
#include "supervisor/state_dir.h"
#include "supervisor/status.h"
#include "supervisor/stop.h"
#include "supervisor/usage.h"

#define LATER_MS 20

void
supervisor_compare_soon(struct supervisor *supervisor)
{
	event_active(&supervisor->compare_event, EV_TIMEOUT, 0);
}

void
supervisor_compare_later(struct supervisor *supervisor)
{
	static const struct timeval later = {0, LATER_MS * 1000};

	if (!evtimer_pending(&supervisor->later_event, NULL))
		evtimer_add(&supervisor->later_event, &later);
}

void
supervisor_add_api(struct supervisor *supervisor, struct api *api)
{
	supervisor->apis = xrealloc(supervisor->apis, supervisor->n_apis + 1, sizeof(struct api *));
	supervisor->apis[supervisor->n_apis++] = api;
}

struct api *
supervisor_find_api(const struct supervisor *supervisor, uint32_t number)
{
	for (size_t i = 0; i < supervisor->n_apis; i++)
		if (supervisor->apis[i]->number == number)
			return supervisor->apis[i];
	ASSERT(!"an api without a struct api");
	return NULL;
}

void
supervisor_remove_api(struct supervisor *supervisor, struct api *api)
{
	size_t i = 0;

	while (supervisor->apis[i] != api)
		i++;
	supervisor->n_apis--;
	memmove(&supervisor->apis[i], &supervisor->apis[i + 1], (supervisor->n_apis - i) * sizeof(struct api *));
	api_free(api);
}

void
supervisor_give_up(struct supervisor *supervisor)
{
	supervisor->exit_code = 1;
	if (supervisor->stop_level == STOP_NO)
		stop_request(supervisor, "cannot start");
}

/* A line to try an api with. */
static void
announce_curl(const struct listener *listener, const char *endpoint, const char *sample)
{
	bool is_unix = listener->config->kind == LISTEN_UNIX;

	log_info("try: curl %s%s%s-H 'Content-Type: application/json' -d '%s%s' %s%s", is_unix ? "--unix-socket '" : "",
	    is_unix ? listener->config->path : "", is_unix ? "' " : "", sample ? "@" : "{}", sample ? sample : "",
	    listener->url, endpoint);
}

/* Where to find each api, once all replicas have been ready. */
static void
announce(struct supervisor *supervisor)
{
	char *sample = xasprintf("%s/sample.json", supervisor->config->folder);
	bool has_sample = access(sample, R_OK) == 0 && !strchr(sample, '\'');

	for (size_t i = 0; i < supervisor->n_apis; i++)
		if (!api_is_settled(supervisor->apis[i]))
			goto out;
	if (supervisor->activator.state != SLOT_READY)
		goto out;
	supervisor->announced = true;
	supply_collect(supervisor);
	for (size_t l = 0; l < supervisor->listeners->n; l++)
		for (size_t i = 0; i < supervisor->n_apis; i++) {
			const struct listener *listener = &supervisor->listeners->all[l]->listener;
			const char *endpoint = supervisor->apis[i]->endpoint;

			if (supervisor->apis[i]->awaits_model)
				continue;
			if (listener->config->kind == LISTEN_UNIX)
				log_info("ready: %s on %s", endpoint, listener->text);
			else
				log_info("ready: %s%s", listener->url, endpoint);
			announce_curl(listener, endpoint, has_sample ? sample : NULL);
		}
out:
	free(sample);
}

static void
compare_activator(struct slot *slot, bool wanted)
{
	if (!wanted)
		child_unwanted(slot);
	else if (slot->state == SLOT_EMPTY)
		child_start(slot);
}

/* Apis that a reload has removed, and whose replicas have ended. */
static void
remove_gone_apis(struct supervisor *supervisor)
{
	bool removed = false;

	for (size_t i = supervisor->n_apis; i-- > 0;)
		if (api_is_gone(supervisor->apis[i])) {
			supervisor_remove_api(supervisor, supervisor->apis[i]);
			removed = true;
		}
	if (removed)
		activator_tell_apis(supervisor);
}

/* Wanted against observed, for everything. Level-triggered: it does not matter what happened, nor how often. */
static void
compare_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct supervisor *supervisor = arg;
	bool serving = supervisor->serving && supervisor->stop_level == STOP_NO;

	if (serving)
		scale_share(supervisor);
	monitor_compare(supervisor);
	compare_activator(&supervisor->activator, serving);
	for (size_t i = 0; i < supervisor->n_apis; i++)
		api_compare(supervisor->apis[i], serving);
	if (serving) {
		remove_gone_apis(supervisor);
		activator_compare_listeners(supervisor);
	}
	if (serving && !supervisor->announced)
		announce(supervisor);
	reload_compare(supervisor);
	upgrade_compare(supervisor);
	takeover_compare(supervisor);
	report_changes(supervisor);
	if (supervisor->stop_level != STOP_NO && stop_is_complete(supervisor))
		event_base_loopbreak(supervisor->base);
}

struct slot *
supervisor_find_slot(struct supervisor *supervisor, pid_t pid)
{
	struct slot *slot;

	if (supervisor->activator.pid == pid)
		return &supervisor->activator;
	if (supervisor->monitor.pid == pid)
		return &supervisor->monitor;
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		TAILQ_FOREACH (slot, &supervisor->apis[i]->slots, in_api)
			if (slot->pid == pid)
				return slot;
		TAILQ_FOREACH (slot, &supervisor->apis[i]->templates, in_api)
			if (slot->pid == pid)
				return slot;
	}
	return NULL;
}

/* Whose is a process that nobody knows? One that a template has forked may have died before it was heard. */
static struct slot *
find_unborn(struct supervisor *supervisor, pid_t pid)
{
	struct slot *slot;

	for (size_t i = 0; i < supervisor->n_apis; i++)
		TAILQ_FOREACH (slot, &supervisor->apis[i]->slots, in_api)
			child_hear_unborn(slot);
	return supervisor_find_slot(supervisor, pid);
}

/*
 * A child is dead but not reaped yet: its pid still names its process group, and nobody else's, so this is the moment
 * to kill what it left behind.
 */
static void
reap(struct supervisor *supervisor, pid_t pid)
{
	struct slot *slot = supervisor_find_slot(supervisor, pid);
	int status;

	if (!slot && !supply_owns(&supervisor->supply, pid))
		slot = find_unborn(supervisor, pid);
	if (slot || supply_owns(&supervisor->supply, pid))
		kill(-pid, SIGKILL);
	if (supervisor->scale.usage)
		usage_before_reap(supervisor->scale.usage, pid);
	if (slot)
		scale_note_end(slot);
	if (waitpid(pid, &status, 0) != pid)
		return;
	if (slot)
		child_reaped(slot, status);
	else if (supply_owns(&supervisor->supply, pid))
		supply_reaped(&supervisor->supply, pid, status);
	else if (upgrade_owns(supervisor, pid))
		upgrade_reaped(supervisor, status);
	else
		log_debug("reaped process %d: a keeper, or an orphan", (int)pid);
	supervisor_compare_soon(supervisor);
}

static void
signal_cb(evutil_socket_t number, UNUSED short what, void *arg)
{
	struct supervisor *supervisor = arg;
	siginfo_t info;

	switch (number) {
	case SIGTERM:
		stop_request(supervisor, "SIGTERM");
		break;
	case SIGINT:
		stop_request(supervisor, "SIGINT");
		break;
	case SIGHUP:
		reload_request(supervisor);
		break;
	case SIGUSR2:
		upgrade_request(supervisor);
		break;
	case SIGCHLD:
		for (;;) {
			info.si_pid = 0;
			if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
				break;
			reap(supervisor, info.si_pid);
		}
		break;
	default:
		break;
	}
}

static void
libevent_log_cb(int severity, const char *text)
{
	if (severity >= EVENT_LOG_WARN)
		log_warning("libevent: %s", text);
}

static int
make_loop(struct supervisor *supervisor)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD};
	sigset_t none;

	event_set_log_callback(libevent_log_cb);
	supervisor->base = event_base_new();
	if (!supervisor->base)
		return -ENOMEM;
	evtimer_assign(&supervisor->compare_event, supervisor->base, compare_cb, supervisor);
	evtimer_assign(&supervisor->later_event, supervisor->base, compare_cb, supervisor);
	stop_init(supervisor);
	upgrade_init(supervisor);
	for (size_t i = 0; i < N_ELEMENTS(numbers); i++) {
		struct event *event = &supervisor->signal_events[i];

		evsignal_assign(event, supervisor->base, numbers[i], signal_cb, supervisor);
		if (event_add(event, NULL) < 0)
			return -ENOMEM;
		supervisor->n_signal_events++;
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	return 0;
}

/* The program that we run; where it was, if it has been replaced meanwhile. The caller frees *ret_path. */
static int
find_self(char **ret_path, struct error *err)
{
	static const char deleted[] = " (deleted)";
	char self[4096];
	ssize_t n;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return error_set(err, -errno, "cannot read /proc/self/exe: %s", strerror(errno));
	self[n] = '\0';
	if ((size_t)n > strlen(deleted) && !strcmp(self + n - strlen(deleted), deleted) && access(self, F_OK) < 0)
		self[(size_t)n - strlen(deleted)] = '\0';
	*ret_path = xstrdup(self);
	return 0;
}

/* Our programs lie beside cortexd, or in libexec when installed. program is for program_done in any case. */
static int
find_program(const char *self, const char *name, struct program *program, struct error *err)
{
	int length = (int)(strrchr(self, '/') - self);
	char *path[2];
	int r = 0;

	path[0] = xasprintf("%.*s/%s", length, self, name);
	path[1] = xasprintf("%.*s/../libexec/cortexd/%s", length, self, name);
	for (size_t i = 0; i < N_ELEMENTS(path) && !program->path; i++)
		if (access(path[i], X_OK) == 0)
			program->path = xstrdup(path[i]);
	if (!program->path)
		r = error_set(err, -ENOENT, "cannot find the program %s: neither \"%s\" nor \"%s\" can be run", name,
		    path[0], path[1]);
	else
		program->fd = open(program->path, O_PATH | O_CLOEXEC);
	if (program->fd < 0)
		r = error_set(err, -errno, "cannot open \"%s\": %s", program->path, strerror(errno));
	free(path[0]);
	free(path[1]);
	return r;
}

static void
program_done(struct program *program)
{
	free(program->path);
	if (program->fd > 0)
		close(program->fd);
}

/* Replicas inherit the limit; many connections need many descriptors. */
static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_debug("cannot raise the limit of descriptors: %s", strerror(errno));
}

/* The apis of the first config; their generation follows when the interpreter is known. */
static int
make_apis(struct supervisor *supervisor, struct error *err)
{
	struct config *config = supervisor->config;
	int r;

	r = board_init(&supervisor->board, err);
	if (r < 0)
		return r;
	outputs_init(supervisor);
	activator_init(supervisor);
	if (monitor_init(supervisor) < 0)
		return error_set(err, -ENOMEM, "cannot set a timer");
	supervisor->cgroups = cgroups_start(config);
	for (size_t i = 0; i < config->n_apis; i++) {
		struct api *api;

		r = api_new(supervisor, config, &config->apis[i], &api, err);
		if (r < 0)
			return r;
		api->wanted = MAX(api->wanted, takeover_find_wanted(&supervisor->takeover, api->name));
		api->wanted = MIN(api->wanted, api->settings->compute.max_replicas);
		api->routed = true;
		supervisor_add_api(supervisor, api);
	}
	supervisor_compare_soon(supervisor); /* the monitor is there from the beginning */
	return 0;
}

/* Everything that replicas need is there: take connections and let the comparison start them. */
static int
begin_to_serve(struct supervisor *supervisor, struct error *err)
{
	char files[FINGERPRINT_DIGITS + 1];
	bool awaits = false;
	int r;

	supply_commit(&supervisor->supply);
	project_hash(supervisor->config, files);
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		struct api *api = supervisor->apis[i];
		struct generation *generation = supply_make_generation(
		    supervisor, 1, supervisor->config, api->settings, files);

		if (!generation->failure) {
			api_begin(api, generation);
			continue;
		}
		error_set(err, -ENOENT, "api \"%s\": %s", api->name, generation->failure);
		generation_unref(generation);
		if (takeover_would_lose(&supervisor->takeover, api->name))
			return -ENOENT;
		log_error("%s", err->text);
		api->awaits_model = awaits = true;
	}
	r = listeners_listen(supervisor->listeners, "listening", err);
	if (r < 0)
		return r;
	r = scale_init(supervisor, err);
	if (r < 0)
		return r;
	if (awaits)
		supply_retry(supervisor);
	supervisor->serving = true;
	if (!takeover_is_pending(&supervisor->takeover))
		reload_started(supervisor);
	supervisor_compare_soon(supervisor);
	return 0;
}

void
supervisor_supplied(struct supervisor *supervisor, bool found)
{
	bool prints = supervisor->options.mode == SUPERVISOR_ENVIRONMENT;
	struct error err;

	if (supervisor->stop_level != STOP_NO) {
		supervisor->exit_code = prints ? 1 : supervisor->exit_code;
		supervisor_compare_soon(supervisor);
	} else if (supervisor->serving) {
		reload_go_on(supervisor, found);
	} else if (!found) {
		supervisor_give_up(supervisor);
	} else if (prints) {
		printf("%s\n", supervisor->supply.found_python);
		if (fflush(stdout) != 0)
			supervisor->exit_code = 1;
		supervisor->printed = true;
		event_base_loopbreak(supervisor->base);
	} else if (begin_to_serve(supervisor, &err) < 0) {
		log_error("%s", err.text);
		supervisor_give_up(supervisor);
	}
}

/* All that can fail before the loop runs. */
static int
start(struct supervisor *supervisor, struct error *err)
{
	bool serve = supervisor->options.mode == SUPERVISOR_SERVE;
	bool becomes = supervisor->config->server.user != NULL;
	struct error refused;
	int r;

	r = serve ? takeover_take(&supervisor->takeover, err) : 0;
	if (r == 0 && serve)
		r = inherited_take(&supervisor->inherited, err);
	if (r == 0)
		r = find_self(&supervisor->program, err);
	if (r < 0)
		return r;
	raise_descriptor_limit();
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* so that what replicas leave behind comes to us, to be reaped */
	/* Without a user to become, the lock goes first: it tells best that this cortexd runs already. */
	r = becomes ? bind_and_become(supervisor, err) : 0;
	if (r < 0)
		return r;
	if (takeover_is_pending(&supervisor->takeover))
		r = takeover_detach_lock(
		    &supervisor->takeover, supervisor->config->server.state_dir, &supervisor->state_lock, &refused);
	else
		r = state_dir_lock(supervisor->config->server.state_dir, &supervisor->state_lock, &refused);
	if (r < 0 && serve)
		return error_set(err, r, "%s", refused.text);
	supervisor->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (make_loop(supervisor) < 0)
		return error_set(err, -ENOMEM, "cannot make the event loop: %s", strerror(errno));
	report_init(supervisor);
	supply_init(supervisor, serve ? &supervisor->fetch_program : NULL);
	if (!serve)
		return supply_find(supervisor, supervisor->config, r < 0 ? refused.text : NULL, err);
	reload_starting(supervisor);
	r = takeover_watch(supervisor, err);
	if (r == 0)
		r = find_program(supervisor->program, "cortexd-replica", &supervisor->replica_program, err);
	if (r == 0)
		r = find_program(supervisor->program, "cortexd-activator", &supervisor->activator_program, err);
	if (r == 0)
		r = find_program(supervisor->program, "cortexd-monitor", &supervisor->monitor_program, err);
	if (r == 0)
		r = find_program(supervisor->program, "cortexd-fetch", &supervisor->fetch_program, err);
	if (r == 0 && !becomes)
		r = bind_and_become(supervisor, err);
	if (r < 0)
		return r;
	r = make_apis(supervisor, err);
	return r < 0 ? r : supply_find(supervisor, supervisor->config, NULL, err);
}

static void
done(struct supervisor *supervisor)
{
	while (supervisor->n_apis > 0) {
		struct api *api = supervisor->apis[supervisor->n_apis - 1];

		api_remove_slots(api);
		supervisor_remove_api(supervisor, api);
	}
	free(supervisor->apis);
	scale_done(supervisor);
	upgrade_done(supervisor);
	takeover_done(&supervisor->takeover);
	reload_done(supervisor);
	if (supervisor->activator.kind) {
		child_done(&supervisor->activator);
		evtimer_del(&supervisor->introduce_event);
		board_done(&supervisor->board);
	}
	monitor_done(supervisor);
	outputs_done(supervisor);
	admin_done(&supervisor->admin);
	cgroups_free(supervisor->cgroups);
	supply_done(supervisor);
	inherited_done(&supervisor->inherited);
	listeners_unref(supervisor->listeners);
	report_done(supervisor);
	if (supervisor->base) {
		evtimer_del(&supervisor->compare_event);
		evtimer_del(&supervisor->later_event);
		evtimer_del(&supervisor->stop_event);
		for (size_t i = 0; i < supervisor->n_signal_events; i++)
			event_del(&supervisor->signal_events[i]);
		event_base_free(supervisor->base);
	}
	fd_close(&supervisor->reserve_fd);
	fd_close(&supervisor->state_lock);
	free(supervisor->program);
	program_done(&supervisor->replica_program);
	program_done(&supervisor->activator_program);
	program_done(&supervisor->monitor_program);
	program_done(&supervisor->fetch_program);
	config_unref(supervisor->config);
}

int
supervisor_run(struct config *config, const struct supervisor_options *options)
{
	struct supervisor supervisor = {
	    .config = config_ref(config),
	    .options = *options,
	    .started_ms = clock_ms(),
	    .wall_ahead_ms = status_wall_ahead_ms(),
	    .state_lock = -1,
	    .reserve_fd = -1,
	    .report = {.notify = {.fd = -1}},
	    .upgrade = {.socket = -1, .notice = -1, .channel = -1},
	};
	struct error err;
	pid_t spared[2];
	bool stopped;
	int exit_code;

	takeover_init(&supervisor.takeover);
	admin_init(&supervisor.admin);
	if (start(&supervisor, &err) < 0) {
		log_error("%s", err.text);
		supervisor.exit_code = 1;
	} else {
		if (!supervisor.printed)
			event_base_dispatch(supervisor.base);
		stopped = supervisor.stop_level != STOP_NO;
		/* Who has taken over may itself have been replaced since, and be dead. */
		spared[0] = upgrade_successor(&supervisor);
		spared[1] = upgrade_has_replaced(&supervisor) ? state_dir_read_pid(supervisor.state_lock) : 0;
		stop_kill_leftovers(spared);
		if (stopped && upgrade_successor(&supervisor) != 0)
			log_info("replaced by process %d after %.2f s", (int)supervisor.upgrade.pid,
			    (double)(clock_ms() - supervisor.stop_since_ms) / 1000);
		else if (stopped)
			log_info("stopped after %.2f s", (double)(clock_ms() - supervisor.stop_since_ms) / 1000);
		if (supervisor.stop_killed)
			supervisor.exit_code = 1;
	}
	exit_code = supervisor.exit_code;
	done(&supervisor);
	return exit_code;
}
