/*
 * inherited - see inherited.h.
 */
#include "supervisor/inherited.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"

#define ADDRESS_TEXT_MAX 160

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un un;
	struct sockaddr_storage room;
};

static int
get_option(int fd, int level, int option)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, level, option, &value, &length) < 0 ? -1 : value;
}

/* A number of 0 to max and nothing else, or -1. */
static long
parse_number(const char *text, long max)
{
	size_t length = strlen(text);

	if (length == 0 || length > 9 || strspn(text, "0123456789") != length || atol(text) > max)
		return -1;
	return atol(text);
}

int
inherited_take(struct inherited *inherited, struct error *err)
{
	const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID"), *names = getenv("LISTEN_FDNAMES");
	long n = 0;
	int r = 0;

	*inherited = (struct inherited){.n = 0};
	/* For somebody else: a process further up that did not tidy up. */
	if (fds && pid && parse_number(pid, 999999999) == getpid())
		n = parse_number(fds, INHERITED_MAX);
	if (n < 0)
		r = error_set(err, -EINVAL, "LISTEN_FDS is \"%s\"; it must be a number of sockets, %d at most", fds,
		    INHERITED_MAX);
	for (int i = 0; r == 0 && i < n; i++) {
		int fd = INHERITED_FD_FIRST + i;

		r = fd_set_cloexec(fd, true);
		if (r == 0)
			r = fd_set_nonblocking(fd, true);
		if (r < 0)
			error_set(
			    err, r, "descriptor %d, of the %ld that LISTEN_FDS promises: %s", fd, n, strerror(-r));
		else
			inherited->fds[inherited->n++] = fd;
	}
	if (r == 0 && n > 0 && names)
		inherited->names = xstrdup(names);
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
	return r;
}

/* Two paths of one socket: it was bound to one of them, and the other leads to it as well. */
static bool
is_same_file(const char *a, const char *b)
{
	struct stat of_a, of_b;

	if (strcmp(a, b) == 0)
		return true;
	return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && S_ISSOCK(of_a.st_mode) && of_a.st_dev == of_b.st_dev &&
	    of_a.st_ino == of_b.st_ino;
}

/*
 * "*" is one socket for both families, as listener.c makes it. [::] is what people write for it in a socket unit, and what
 * the config calls IPv6 alone: whoever writes the same in both places gets what they wrote.
 */
static bool
is_address_of(const union address *address, int fd, const struct listen_config *config)
{
	char host[INET6_ADDRSTRLEN];

	switch (address->any.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
		return config->kind == LISTEN_TCP && config->port == ntohs(address->v4.sin_port) &&
		    strcmp(config->host, host) == 0;
	case AF_INET6:
		inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
		if (config->kind != LISTEN_TCP || config->port != ntohs(address->v6.sin6_port))
			return false;
		if (!*config->host)
			return strcmp(host, "::") == 0 && get_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
		return strcmp(config->host, host) == 0;
	case AF_UNIX:
		return config->kind == LISTEN_UNIX && address->un.sun_path[0] &&
		    is_same_file(config->path, address->un.sun_path);
	default:
		return false;
	}
}

/* As it would be written in server.listen. */
static void
show_address(const union address *address, int fd, char text[ADDRESS_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN];

	switch (address->any.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
		snprintf(text, ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(address->v4.sin_port));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
		if (strcmp(host, "::") == 0 && get_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0)
			snprintf(text, ADDRESS_TEXT_MAX, "*:%u", ntohs(address->v6.sin6_port));
		else
			snprintf(text, ADDRESS_TEXT_MAX, "[%s]:%u", host, ntohs(address->v6.sin6_port));
		break;
	case AF_UNIX:
		snprintf(text, ADDRESS_TEXT_MAX, "unix:%s%s", address->un.sun_path[0] ? "" : "@",
		    address->un.sun_path + !address->un.sun_path[0]);
		break;
	default:
		snprintf(text, ADDRESS_TEXT_MAX, "a socket of family %d", address->any.sa_family);
		break;
	}
}

/* For messages: socket 1 ("http"). */
static void
show_socket(const struct inherited *inherited, int number, char text[ADDRESS_TEXT_MAX])
{
	const char *name = inherited->names;

	for (int i = 0; name && i < number; i++) {
		name = strchr(name, ':');
		name = name ? name + 1 : NULL;
	}
	if (name && *name)
		snprintf(text, ADDRESS_TEXT_MAX, "inherited socket %d (\"%.*s\")", number + 1,
		    (int)MIN(strcspn(name, ":"), 100), name);
	else
		snprintf(text, ADDRESS_TEXT_MAX, "inherited socket %d", number + 1);
}

/* 0, or a negative errno and err: nobody can take connections from it. */
static int
check_socket(const char *socket, int fd, union address *ret_address, struct error *err)
{
	socklen_t length = sizeof(*ret_address);
	union address peer;
	socklen_t peer_length = sizeof(peer);

	memset(ret_address, 0, sizeof(*ret_address));
	if (getsockname(fd, &ret_address->any, &length) < 0)
		return error_set(err, -errno, "%s: descriptor %d is no socket: %s", socket, fd, strerror(errno));
	if (get_option(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM)
		return error_set(err, -EPROTOTYPE,
		    "%s is not a stream socket; use ListenStream= in the socket unit, and nothing else", socket);
	if (getpeername(fd, &peer.any, &peer_length) == 0)
		return error_set(err, -EISCONN, "%s is a connection; set Accept=no in the socket unit", socket);
	return 0;
}

int
inherited_match(struct inherited *inherited, const struct server_config *server, struct error *err)
{
	bool taken[INHERITED_MAX] = {false};

	for (int i = 0; i < inherited->n; i++) {
		char socket[ADDRESS_TEXT_MAX], where[ADDRESS_TEXT_MAX];
		union address address;
		size_t entry = 0;
		int r;

		show_socket(inherited, i, socket);
		r = check_socket(socket, inherited->fds[i], &address, err);
		if (r < 0)
			return r;
		show_address(&address, inherited->fds[i], where);
		while (entry < server->n_listen && !is_address_of(&address, inherited->fds[i], &server->listen[entry]))
			entry++;
		if (entry == server->n_listen)
			return error_set(err, -ENOENT,
			    "%s listens on %s, which is not in server.listen; add \"%s\" there, or take it out of the "
			    "socket unit",
			    socket, where, where);
		ASSERT(entry < INHERITED_MAX);
		if (taken[entry])
			return error_set(err, -EEXIST, "%s listens on %s, as another one does", socket, where);
		taken[entry] = true;
		inherited->entries[i] = entry;
	}
	return 0;
}

int
inherited_detach(struct inherited *inherited, size_t entry)
{
	for (int i = 0; i < inherited->n; i++) {
		int fd = inherited->fds[i];

		if (fd >= 0 && inherited->entries[i] == entry) {
			inherited->fds[i] = -1;
			return fd;
		}
	}
	return -1;
}

void
inherited_done(struct inherited *inherited)
{
	for (int i = 0; i < inherited->n; i++)
		fd_close(&inherited->fds[i]);
	free(inherited->names);
	*inherited = (struct inherited){.n = 0};
}
