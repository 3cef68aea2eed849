/*
 * template - see template.h.
 *
 * What a forked replica does before it has a control socket of its own must not fail: nobody would hear of it. Between the two
 * calls of fork no Python runs, as interpreter.c wants it.
 */
#include "replica/template.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/record.h"
#include "common/title.h"
#include "replica/forkable.h"
#include "replica/huge.h"
#include "replica/signals.h"

#define COLLAPSE_NS 2000000000 /* for making forks cheap, at most */

/* What a process that the predictor forks has to know. */
static struct {
	pid_t pid; /* of the template */
	int n_listeners;
	struct stat output; /* what it was started with as standard error */
	bool forks; /* it is we who fork, or this is a replica, which looks after its children itself (children.c) */
} process_wide;

/* The predictor has forked while it was loaded: its process keeps nothing of ours. */
static void
in_forked_child(void)
{
	if (process_wide.forks)
		return;
	close(REPLICA_FD_CONTROL);
	close(REPLICA_FD_SCOREBOARD);
	for (int i = 0; i < process_wide.n_listeners; i++)
		close(REPLICA_FD_LISTENER + i);
}

int
template_read_start(int fd, struct start_record *ret_start, struct error *err)
{
	char *json = NULL;
	size_t length;
	int r;

	r = fd_read_all(fd, START_RECORD_MAX, &json, &length);
	if (r < 0)
		return error_set(err, r, "start record: %s", strerror(-r));
	r = start_record_decode(json, length, ret_start, err);
	free(json);
	return r;
}

/* ---- loading ---- */

static int
load(const struct start_record *start, struct predictor **ret_predictor, struct error *err)
{
	struct signals signals;
	int r;

	r = fd_set_cloexec(REPLICA_FD_SCOREBOARD, true);
	if (r == 0)
		r = -pthread_atfork(NULL, NULL, in_forked_child);
	if (r < 0)
		return error_set(err, r, "cannot keep its descriptors to itself: %s", strerror(-r));
	r = interpreter_start(start, err);
	if (r < 0)
		return r;
	signals_save(&signals);
	r = predictor_import(start, ret_predictor, err);
	if (r == 0 && start->preload == PRELOAD_INIT)
		r = predictor_init(*ret_predictor, start, err);
	if (getpid() != process_wide.pid) {
		log_warning("a process forked by the predictor has gone on as if it were a template; it ends here");
		_exit(0);
	}
	if (r == 0)
		signals_restore(&signals);
	return r;
}

/* End, without hooks of the predictor: what they would remove may be what replicas use. unfit: why it cannot be forked, or NULL. */
static __attribute__((noreturn)) void
leave(const char *unfit)
{
	if (unfit && record_send(REPLICA_FD_CONTROL, RECORD_UNFIT, unfit) < 0)
		log_debug("the supervisor cannot be told");
	_exit(0);
}

/* ---- forking ---- */

/* Until a replica is wanted: its control socket. */
static int
wait_for_request(void)
{
	struct pollfd control = {.fd = REPLICA_FD_CONTROL, .events = POLLIN};
	struct record record;
	int r;

	for (;;) {
		r = record_receive(REPLICA_FD_CONTROL, &record);
		if (r == 1 && record.kind == RECORD_FORK)
			return record.fd;
		if (r == -EAGAIN) {
			poll(&control, 1, -1);
			continue;
		}
		if (r < 0) {
			log_error("control socket: %s; does the predictor close file descriptors, or use them all up?",
			    strerror(-r));
			_exit(1);
		}
		leave(NULL); /* DRAIN, or the supervisor is gone */
	}
}

static void
say_no(int control, int error)
{
	char *text = xasprintf("its template cannot fork: %s", strerror(error));

	log_error("cannot fork a replica: %s", strerror(error));
	if (record_send(control, RECORD_FAILED, text) < 0)
		log_debug("nobody hears of it");
	free(text);
}

/* Twice, and the process in the middle ends at once. True: this is the replica. */
static bool
fork_twice(int control)
{
	pid_t middle, pid;

	interpreter_before_fork();
	middle = fork();
	if (middle == 0) {
		pid = fork();
		if (pid == 0)
			return true;
		if (pid < 0)
			say_no(control, errno);
		_exit(0);
	}
	if (middle < 0)
		say_no(control, errno);
	interpreter_after_fork_parent();
	while (middle > 0 && waitpid(middle, NULL, 0) < 0 && errno == EINTR)
		;
	return false;
}

/* True: this is the replica, and a child of the supervisor. */
static bool
fork_replica(int control, pid_t supervisor)
{
	int gate[2]; /* ends when the replica has its new parent */
	char byte;

	if (pipe2(gate, O_CLOEXEC) < 0) {
		say_no(control, errno);
		return false;
	}
	process_wide.forks = true;
	if (fork_twice(control)) {
		setpgid(0, 0);
		close(gate[1]);
		while (read(gate[0], &byte, 1) < 0 && errno == EINTR)
			;
		close(gate[0]);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != supervisor) /* it is gone, or a predictor has made this a subreaper */
			_exit(1);
		return true;
	}
	process_wide.forks = false;
	close(gate[0]);
	close(gate[1]);
	return false;
}

/* ---- in the replica ---- */

static int
take_place(int fd, int place, struct error *err)
{
	int r = 0;

	if (fd == place) /* the predictor has closed what was there */
		return 0;
	if (dup3(fd, place, O_CLOEXEC) < 0)
		r = error_set(err, -errno, "dup: %s", strerror(errno));
	fd_close(&fd);
	return r;
}

static int
take_record(enum record_kind kind, int *ret_fd, struct error *err)
{
	struct record record;
	int r = record_receive(REPLICA_FD_CONTROL, &record);

	if (r != 1 || record.kind != kind)
		return error_set(err, -EBADMSG, "what it was to begin with did not come");
	*ret_fd = record.fd;
	return 0;
}

/* Does the descriptor lead where the template was started to write? A predictor may have put something else there. */
static bool
is_output(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_ino == process_wide.output.st_ino &&
	    st.st_dev == process_wide.output.st_dev;
}

/* A pipe of its own for what it prints. */
static int
take_output(const char *secret, struct error *err)
{
	int fd, above, r;

	r = take_record(RECORD_OUTPUT, &fd, err);
	if (r < 0)
		return r;
	above = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1); /* the predictor may have closed what is below */
	fd_close(&fd);
	if (above < 0)
		return error_set(err, -errno, "dup: %s", strerror(errno));
	for (fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
		if (is_output(fd) && dup2(above, fd) < 0)
			r = error_set(err, -errno, "dup: %s", strerror(errno));
	fd_close(&above);
	log_set_framed(secret);
	return r;
}

static int
begin(int n_listeners, struct start_record *ret_start, struct error *err)
{
	int fd, r;

	r = take_record(RECORD_START, &fd, err);
	if (r < 0)
		return r;
	r = template_read_start(fd, ret_start, err);
	fd_close(&fd);
	if (r < 0)
		return r;
	if (*ret_start->log_secret) /* else it goes on with that of the template */
		r = take_output(ret_start->log_secret, err);
	if (r < 0)
		return r;
	log_set_identity("replica", ret_start->api, ret_start->replica);
	log_set_access(ret_start->log_access);
	title_set("cortexd: replica %s/%d (loading)", ret_start->api, ret_start->replica);
	r = take_record(RECORD_CHANNEL, &fd, err);
	if (r == 0)
		r = take_place(fd, REPLICA_FD_CHANNEL, err);
	if (r < 0)
		return r;
	r = forkable_open_anew(n_listeners);
	return r < 0 ? error_set(err, r, "cannot open the predictor's files anew: %s", strerror(-r)) : 0;
}

/* Its number first: until the supervisor knows that, it can do nothing about this process. */
static int
become_replica(int control, struct start_record *start, struct error *err)
{
	int n_listeners = start->n_listeners, r;

	r = take_place(control, REPLICA_FD_CONTROL, err);
	if (r < 0)
		_exit(1);
	signal(SIGTERM, SIG_DFL);
	if (record_send_numbers(REPLICA_FD_CONTROL, RECORD_BORN, (uint32_t)getpid(), 0, -1) < 0)
		_exit(1);
	interpreter_after_fork_child();
	start_record_done(start);
	return begin(n_listeners, start, err);
}

int
template_run(struct start_record *start, struct predictor **ret_predictor, enum preload *ret_done, struct error *err)
{
	char why[FORKABLE_TEXT_MAX];
	pid_t supervisor = getppid();
	size_t n_huge;
	int control, r;

	process_wide.pid = getpid();
	fstat(STDERR_FILENO, &process_wide.output);
	process_wide.n_listeners = start->n_listeners;
	*ret_done = start->preload;
	r = load(start, ret_predictor, err);
	if (r < 0)
		return r;
	interpreter_freeze();
	if (!forkable_check(start->n_listeners, why))
		leave(why);
	n_huge = huge_collapse(clock_ns() + COLLAPSE_NS);
	log_debug("%zu huge pages", n_huge);
	/* Whoever sends it to all processes means the supervisor, which tells us, and may need us until then. */
	signal(SIGTERM, SIG_IGN);
	title_set("cortexd: template %s (ready)", start->api);
	if (record_send(REPLICA_FD_CONTROL, RECORD_READY, NULL) < 0)
		leave(NULL);
	for (;;) {
		control = wait_for_request();
		if (fork_replica(control, supervisor))
			return become_replica(control, start, err);
		fd_close(&control);
		if (record_send(REPLICA_FD_CONTROL, RECORD_FORKED, NULL) < 0)
			log_debug("the supervisor cannot be told");
	}
}
