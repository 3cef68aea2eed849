/*
 * children - processes that the predictor forks, and the signal that may meet them.
 *
 * A child that does not exec keeps every descriptor of the replica. So the C library is told to close in each child what
 * must not stay open with it: clients, the listeners, the sockets to the supervisor and the activator.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "replica/server_internal.h"

/* What a signal handler and a forked child can reach. One server per process. */
static struct {
	struct server *server;
	pid_t pid; /* of the replica */
	volatile sig_atomic_t drain_fd;
	volatile sig_atomic_t stop_timeout_s;
	bool forked; /* this is a child that the predictor forked */
} process_wide = {.drain_fd = -1};

static void
on_sigterm(int number)
{
	uint64_t one = 1;
	int saved = errno;

	if (getpid() != process_wide.pid) { /* a child between fork and in_forked_child: this is not for us */
		signal(number, SIG_DFL);
		raise(number);
		return;
	}
	alarm((unsigned)process_wide.stop_timeout_s);
	if (write((int)process_wide.drain_fd, &one, sizeof(one)) < 0)
		_exit(1); /* nobody would ever see the signal */
	errno = saved;
}

static void
close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void
in_forked_child(void)
{
	struct server *server = take_ptr(
	    &process_wide.server); /* the child's own children have nothing of ours to close */

	process_wide.forked = true;
	signal(SIGTERM, SIG_DFL);
	if (!server)
		return;
	http_conns_close_in_child(&server->conns);
	for (int i = 0; i < server->n_listeners; i++)
		close_if_open(server->listeners[i].fd);
	close_if_open(server->epoll_fd);
	close_if_open(server->link.channel);
	close(server->drain_fd);
	close(REPLICA_FD_CONTROL);
}

int
children_watch(struct server *server, struct error *err)
{
	int r;

	process_wide.server = server;
	process_wide.pid = getpid();
	process_wide.drain_fd = server->drain_fd;
	process_wide.stop_timeout_s = (int)server->stop_timeout_s;
	r = -pthread_atfork(NULL, NULL, in_forked_child);
	if (r < 0)
		error_set(err, r, "pthread_atfork: %s", strerror(-r));
	return r;
}

void
children_handle_sigterm(void)
{
	struct sigaction on_term = {.sa_handler = on_sigterm, .sa_flags = SA_RESTART};

	sigaction(SIGTERM, &on_term, NULL);
}

void
children_unwatch(void)
{
	process_wide.server = NULL;
}

void
children_end_here(const char *function)
{
	if (!process_wide.forked)
		return;
	log_warning("a process forked by %s returned from it; it ends here", function);
	_exit(0);
}
