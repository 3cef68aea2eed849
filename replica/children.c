/*
 * children - processes that the predictor forks, and the signal that may meet them.
 *
 * A child that does not exec keeps every descriptor of the replica. So the C library is told to close in each child what
 * must not stay open with it: clients, the listeners, the sockets to the supervisor and the activator.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"
#include "replica/server_internal.h"

/* What a signal handler and a forked child can reach. One server per process. */
static struct {
	struct server *server;
	pid_t pid; /* of the replica */
	volatile sig_atomic_t drain_fd;
	volatile sig_atomic_t stop_timeout_s;
	bool forked;                        /* this is a child that the predictor forked */
	struct sockaddr_storage *addresses; /* of the listeners */
	int n_addresses;
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

static in_port_t
port_of(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
					      : ((const struct sockaddr_in *)address)->sin_port;
}

/* A socket whose own address is a listener's was accepted from it. */
static bool
is_client(int fd)
{
	struct sockaddr_storage own = {0};
	socklen_t length = sizeof(own);

	if (getsockname(fd, (struct sockaddr *)&own, &length) < 0)
		return false;
	for (int i = 0; i < process_wide.n_addresses; i++) {
		const struct sockaddr_storage *address = &process_wide.addresses[i];

		if (address->ss_family != own.ss_family)
			continue;
		if (own.ss_family == AF_UNIX ? !memcmp(&own, address, sizeof(own)) : port_of(&own) == port_of(address))
			return true;
	}
	return false;
}

/*
 * The table of descriptors was copied at one moment and the memory at another, and another thread may have moved connections
 * in between. So the kernel is asked which sockets are clients', not the lists.
 */
static void
close_clients(void)
{
	struct rlimit limit = {.rlim_cur = 1024};
	char entries[4096];
	int folder = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n;

	if (folder < 0) { /* no /proc, or no descriptor */
		getrlimit(RLIMIT_NOFILE, &limit);
		for (int fd = 0; fd < (int)MIN(limit.rlim_cur, INT_MAX); fd++)
			if (is_client(fd))
				close(fd);
		return;
	}
	while ((n = syscall(SYS_getdents64, folder, entries, sizeof(entries))) > 0)
		for (long at = 0; at < n;) {
			const struct dirent64 *entry = (const struct dirent64 *)(entries + at);
			int fd = atoi(entry->d_name);

			if (entry->d_name[0] != '.' && is_client(fd))
				close(fd);
			at += entry->d_reclen;
		}
	close(folder);
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
	close_clients();
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
	process_wide.addresses = xcalloc((size_t)server->n_listeners, sizeof(*process_wide.addresses));
	process_wide.n_addresses = server->n_listeners;
	for (int i = 0; i < server->n_listeners; i++) {
		socklen_t length = sizeof(process_wide.addresses[i]);

		if (getsockname(server->listeners[i].fd, (struct sockaddr *)&process_wide.addresses[i], &length) < 0)
			return error_set(err, -errno, "getsockname: %s", strerror(errno));
	}
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
	process_wide.n_addresses = 0;
	free(take_ptr(&process_wide.addresses));
}

void
children_end_here(const char *function)
{
	if (!process_wide.forked)
		return;
	log_warning("a process forked by %s returned from it; it ends here", function);
	_exit(0);
}
