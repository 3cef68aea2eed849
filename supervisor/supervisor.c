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
#include "supervisor/child.h"
#include "supervisor/replica.h"
#include "supervisor/state_dir.h"
#include "supervisor/stop.h"

void
supervisor_compare_soon(struct supervisor *supervisor)
{
	event_active(&supervisor->compare_event, EV_TIMEOUT, 0);
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
		for (int k = 0; k < supervisor->apis[i].n_slots; k++)
			if (supervisor->apis[i].slots[k].state != SLOT_READY)
				goto out;
	if (supervisor->activator.state != SLOT_READY)
		goto out;
	supervisor->announced = true;
	for (size_t l = 0; l < supervisor->n_listeners; l++)
		for (size_t i = 0; i < supervisor->n_apis; i++) {
			const struct listener *listener = &supervisor->listeners[l];
			const char *endpoint = supervisor->apis[i].config->endpoint;

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
compare_slot(struct slot *slot, bool wanted)
{
	if (!wanted)
		child_unwanted(slot);
	else if (slot->state == SLOT_EMPTY)
		child_start(slot);
}

/* Wanted against observed, for every slot. Level-triggered: it does not matter what happened, nor how often. */
static void
compare_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct supervisor *supervisor = arg;
	bool serving = supervisor->serving && supervisor->stop_level == STOP_NO;

	compare_slot(&supervisor->activator, serving);
	for (size_t i = 0; i < supervisor->n_apis; i++)
		for (int k = 0; k < supervisor->apis[i].n_slots; k++)
			compare_slot(&supervisor->apis[i].slots[k], serving);
	if (serving && !supervisor->announced)
		announce(supervisor);
	if (supervisor->stop_level != STOP_NO && stop_is_complete(supervisor))
		event_base_loopbreak(supervisor->base);
}

static struct slot *
find_slot(struct supervisor *supervisor, pid_t pid)
{
	if (supervisor->activator.pid == pid)
		return &supervisor->activator;
	for (size_t i = 0; i < supervisor->n_apis; i++)
		for (int k = 0; k < supervisor->apis[i].n_slots; k++)
			if (supervisor->apis[i].slots[k].pid == pid)
				return &supervisor->apis[i].slots[k];
	return NULL;
}

/*
 * A child is dead but not reaped yet: its pid still names its process group, and nobody else's, so this is the moment
 * to kill what it left behind.
 */
static void
reap(struct supervisor *supervisor, pid_t pid)
{
	struct slot *slot = find_slot(supervisor, pid);
	int status;

	if (slot || environment_owns(supervisor->environment, pid))
		kill(-pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid)
		return;
	if (slot)
		child_reaped(slot, status);
	else if (environment_owns(supervisor->environment, pid))
		environment_reaped(supervisor->environment, status);
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
		log_warning("SIGHUP: reloading is not supported yet; restart cortexd to apply a new config");
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
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
	sigset_t none;

	event_set_log_callback(libevent_log_cb);
	supervisor->base = event_base_new();
	if (!supervisor->base)
		return -ENOMEM;
	evtimer_assign(&supervisor->compare_event, supervisor->base, compare_cb, supervisor);
	stop_init(supervisor);
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

/* Our programs lie beside cortexd, or in libexec when installed. The caller frees *ret_path. */
static int
find_program(const char *name, char **ret_path, struct error *err)
{
	char self[4096], *path[2];
	ssize_t n;
	int length;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return error_set(err, -errno, "cannot read /proc/self/exe: %s", strerror(errno));
	self[n] = '\0';
	length = (int)(strrchr(self, '/') - self);
	path[0] = xasprintf("%.*s/%s", length, self, name);
	path[1] = xasprintf("%.*s/../libexec/cortexd/%s", length, self, name);
	for (size_t i = 0; i < N_ELEMENTS(path) && !*ret_path; i++)
		if (access(path[i], X_OK) == 0)
			*ret_path = xstrdup(path[i]);
	if (!*ret_path)
		error_set(err, -ENOENT, "cannot find the program %s: neither \"%s\" nor \"%s\" can be run", name,
		    path[0], path[1]);
	free(path[0]);
	free(path[1]);
	return *ret_path ? 0 : -ENOENT;
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

static int
bind_listeners(struct supervisor *supervisor, struct error *err)
{
	const struct server_config *server = &supervisor->config->server;

	supervisor->listeners = xcalloc(server->n_listen, sizeof(*supervisor->listeners));
	for (size_t i = 0; i < server->n_listen; i++) {
		int r = listener_bind(&supervisor->listeners[i], &server->listen[i], err);

		if (r < 0)
			return r;
		supervisor->n_listeners++;
	}
	return 0;
}

static int
make_slots(struct supervisor *supervisor, struct error *err)
{
	const struct config *config = supervisor->config;
	int r;

	r = board_init(&supervisor->board, err);
	if (r < 0)
		return r;
	activator_init(supervisor);
	supervisor->apis = xcalloc(config->n_apis, sizeof(*supervisor->apis));
	for (size_t i = 0; i < config->n_apis; i++) {
		const struct compute_config *compute = &config->apis[i].compute;
		struct api *api = &supervisor->apis[i];

		r = board_add_api(&supervisor->board, compute->max_replicas, err);
		if (r < 0)
			return r;
		api->config = &config->apis[i];
		api->n_slots = compute->init_replicas;
		api->slots = xcalloc((size_t)api->n_slots, sizeof(*api->slots));
		for (int k = 0; k < api->n_slots; k++)
			replica_init(&api->slots[k], supervisor, (uint32_t)i, api->config, k);
		supervisor->n_apis++;
		if (compute->max_replicas > compute->init_replicas)
			log_info("api \"%s\": the count stays at %d (compute.init_replicas); scaling up to %d "
				 "(compute.max_replicas) is not supported yet",
			    api->config->name, compute->init_replicas, compute->max_replicas);
	}
	return 0;
}

/* Everything that replicas need is there: take connections and let the comparison start them. */
static int
begin_to_serve(struct supervisor *supervisor, struct error *err)
{
	for (size_t i = 0; i < supervisor->n_listeners; i++) {
		int r = listener_listen(&supervisor->listeners[i], err);

		if (r < 0)
			return r;
		log_info("listening on %s", supervisor->listeners[i].text);
	}
	supervisor->serving = true;
	supervisor_compare_soon(supervisor);
	return 0;
}

static void
python_is_known(struct supervisor *supervisor, const char *python)
{
	struct error err;

	supervisor->python = python;
	if (supervisor->options.mode == SUPERVISOR_ENVIRONMENT) {
		printf("%s\n", python);
		if (fflush(stdout) != 0)
			supervisor->exit_code = 1;
		supervisor->printed = true;
		event_base_loopbreak(supervisor->base);
	} else if (begin_to_serve(supervisor, &err) < 0) {
		log_error("%s", err.text);
		supervisor_give_up(supervisor);
	}
}

static void
environment_done_cb(void *arg, const char *python)
{
	struct supervisor *supervisor = arg;

	if (supervisor->stop_level != STOP_NO) {
		supervisor->exit_code = supervisor->options.mode == SUPERVISOR_ENVIRONMENT ? 1 : supervisor->exit_code;
		supervisor_compare_soon(supervisor);
	} else if (!python) {
		supervisor_give_up(supervisor);
	} else {
		python_is_known(supervisor, python);
	}
}

/* Find out which interpreter the replicas take, or begin to build its environment. */
static int
find_python(struct supervisor *supervisor, const char *may_not_build, struct error *err)
{
	const struct config *config = supervisor->config;
	const struct environment_plan plan = {
	    .interpreter = CORTEXD_PYTHON,
	    .requirements = config->requirements,
	    .project_folder = config->folder,
	    .state_dir = config->server.state_dir,
	    .may_not_build = may_not_build,
	    .cb = environment_done_cb,
	    .arg = supervisor,
	};

	if (!config->requirements) {
		python_is_known(supervisor, CORTEXD_PYTHON);
		return 0;
	}
	supervisor->environment = environment_new(supervisor->base, &plan);
	return environment_start(supervisor->environment, err);
}

/* All that can fail before the loop runs. */
static int
start(struct supervisor *supervisor, struct error *err)
{
	bool serve = supervisor->options.mode == SUPERVISOR_SERVE;
	struct error refused;
	int r;

	raise_descriptor_limit();
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* so that what replicas leave behind comes to us, to be reaped */
	r = state_dir_lock(supervisor->config->server.state_dir, &supervisor->state_lock, &refused);
	if (r < 0 && serve)
		return error_set(err, r, "%s", refused.text);
	supervisor->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (make_loop(supervisor) < 0)
		return error_set(err, -ENOMEM, "cannot make the event loop: %s", strerror(errno));
	if (!serve)
		return find_python(supervisor, r < 0 ? refused.text : NULL, err);
	r = find_program("cortexd-replica", &supervisor->replica_program, err);
	if (r == 0)
		r = find_program("cortexd-activator", &supervisor->activator_program, err);
	if (r == 0)
		r = bind_listeners(supervisor, err);
	if (r < 0)
		return r;
	if (geteuid() == 0)
		log_warning("predictors run as root; start cortexd as another user to confine them");
	r = make_slots(supervisor, err);
	return r < 0 ? r : find_python(supervisor, NULL, err);
}

static void
done(struct supervisor *supervisor)
{
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		for (int k = 0; k < supervisor->apis[i].n_slots; k++)
			child_done(&supervisor->apis[i].slots[k]);
		free(supervisor->apis[i].slots);
	}
	free(supervisor->apis);
	if (supervisor->activator.kind) {
		child_done(&supervisor->activator);
		evtimer_del(&supervisor->introduce_event);
		board_done(&supervisor->board);
	}
	environment_free(supervisor->environment);
	for (size_t i = 0; i < supervisor->n_listeners; i++)
		listener_done(&supervisor->listeners[i]);
	free(supervisor->listeners);
	if (supervisor->base) {
		evtimer_del(&supervisor->compare_event);
		evtimer_del(&supervisor->stop_event);
		for (size_t i = 0; i < supervisor->n_signal_events; i++)
			event_del(&supervisor->signal_events[i]);
		event_base_free(supervisor->base);
	}
	fd_close(&supervisor->reserve_fd);
	fd_close(&supervisor->state_lock);
	free(supervisor->replica_program);
	free(supervisor->activator_program);
	config_unref(supervisor->config);
}

int
supervisor_run(struct config *config, const struct supervisor_options *options)
{
	struct supervisor supervisor = {
	    .config = config_ref(config),
	    .options = *options,
	    .state_lock = -1,
	    .reserve_fd = -1,
	};
	struct error err;
	int exit_code;

	if (start(&supervisor, &err) < 0) {
		log_error("%s", err.text);
		supervisor.exit_code = 1;
	} else {
		if (!supervisor.printed)
			event_base_dispatch(supervisor.base);
		stop_kill_leftovers();
		if (supervisor.stop_level != STOP_NO)
			log_info("stopped after %.2f s", (double)(clock_ms() - supervisor.stop_since_ms) / 1000);
		if (supervisor.stop_killed)
			supervisor.exit_code = 1;
	}
	exit_code = supervisor.exit_code;
	done(&supervisor);
	return exit_code;
}
