/*
 * listener - see listener.h.
 */
#include "supervisor/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"

static const char *
advice(int error)
{
	switch (error) {
	case EADDRINUSE:
		return "; stop the program that uses it (`ss -ltnp` shows it), or change server.listen";
	case EACCES:
		return "; this user may not use that port or folder: take a port from 1024 on, or change server.listen";
	case EADDRNOTAVAIL:
		return "; this machine does not have that address";
	default:
		return "";
	}
}

static int
cannot_listen(const struct listener *listener, int error, struct error *err)
{
	return error_set(
	    err, -error, "cannot listen on %s: %s%s", listener->config->text, strerror(error), advice(error));
}

static int
set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/*
 * TCP_NODELAY is inherited by accepted sockets, which saves a system call per connection. TCP_DEFER_ACCEPT (tcp(7)) wakes
 * a replica when the request is there instead of when the connection is; one that stays silent comes through after a
 * second or so all the same.
 */
static int
set_tcp_options(int fd)
{
	int r = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);

	return r < 0 ? r : set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
}

static int
open_tcp(const struct sockaddr *address, socklen_t length, bool v6_only, int *ret_fd)
{
	int fd, r;

	fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0)
		r = set_tcp_options(fd);
	if (r == 0 && address->sa_family == AF_INET6)
		r = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6_only);
	if (r == 0 && bind(fd, address, length) < 0)
		r = -errno;
	if (r < 0) {
		fd_close(&fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* Every address: one v6 socket that takes v4 as well, or v4 alone on a machine without v6. */
static int
open_tcp_any(uint16_t port, int *ret_fd)
{
	struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	int r;

	r = open_tcp((struct sockaddr *)&any6, sizeof(any6), false, ret_fd);
	if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)
		r = open_tcp((struct sockaddr *)&any4, sizeof(any4), false, ret_fd);
	return r;
}

/* The real port goes into text and url: a config with port 0 takes any free one. */
static int
describe_tcp(struct listener *listener)
{
	const char *host = listener->config->host;
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	bool any = !*host || !strcmp(host, "0.0.0.0") || !strcmp(host, "::");
	const char *colon = strrchr(listener->config->text, ':');
	uint16_t port;

	if (getsockname(listener->fd, (struct sockaddr *)&address, &length) < 0)
		return -errno;
	port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
						   : ((struct sockaddr_in *)&address)->sin_port);
	if (listener->config->port != 0 || !colon)
		listener->text = xstrdup(listener->config->text);
	else
		listener->text = xasprintf(
		    "%.*s:%u", (int)(colon - listener->config->text), listener->config->text, port);
	if (any)
		listener->url = xasprintf("http://%s:%u", strcmp(host, "::") ? "127.0.0.1" : "[::1]", port);
	else
		listener->url = xasprintf(strchr(host, ':') ? "http://[%s]:%u" : "http://%s:%u", host, port);
	return 0;
}

static int
bind_tcp(struct listener *listener, struct error *err)
{
	const struct listen_config *config = listener->config;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
	struct addrinfo *found = NULL;
	char port[8];
	int r;

	if (!*config->host) {
		r = open_tcp_any(config->port, &listener->fd);
	} else {
		snprintf(port, sizeof(port), "%u", config->port);
		r = getaddrinfo(config->host, port, &hints, &found);
		if (r != 0)
			return error_set(err, -EINVAL, "cannot listen on %s: %s", config->text, gai_strerror(r));
		r = open_tcp(found->ai_addr, found->ai_addrlen, true, &listener->fd);
		freeaddrinfo(found);
	}
	if (r == 0)
		r = describe_tcp(listener);
	return r < 0 ? cannot_listen(listener, -r, err) : 0;
}

/* Remove the file of a socket that nobody listens on. 0 also when there was none. */
static int
remove_stale(const struct listener *listener, struct error *err)
{
	const struct listen_config *config = listener->config;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	int fd, r = 0;

	if (lstat(config->path, &st) < 0)
		return errno == ENOENT ? 0 : cannot_listen(listener, errno, err);
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, -EEXIST,
		    "cannot listen on %s: a file that is not a socket is there; remove it, or change server.listen",
		    config->text);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return cannot_listen(listener, errno, err);
	strcpy(address.sun_path, config->path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno != ECONNREFUSED)
		r = cannot_listen(listener, EADDRINUSE, err);
	else if (unlink(config->path) < 0 && errno != ENOENT)
		r = cannot_listen(listener, errno, err);
	fd_close(&fd);
	return r;
}

static void
describe_unix(struct listener *listener)
{
	listener->text = xstrdup(listener->config->text);
	listener->url = xstrdup("http://localhost");
}

static int
bind_unix(struct listener *listener, struct error *err)
{
	const char *path = listener->config->path;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, -ENAMETOOLONG, "cannot listen on %s: the path has more than %zu bytes",
		    listener->config->text, sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	r = remove_stale(listener, err);
	if (r < 0)
		return r;
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener->fd < 0 || bind(listener->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return cannot_listen(listener, errno, err);
	listener->made_file = true;
	describe_unix(listener);
	return 0;
}

int
listener_bind(struct listener *listener, const struct listen_config *config, struct error *err)
{
	int r;

	*listener = (struct listener){.config = config, .fd = -1};
	r = config->kind == LISTEN_UNIX ? bind_unix(listener, err) : bind_tcp(listener, err);
	if (r < 0)
		listener_done(listener);
	return r;
}

int
listener_adopt(struct listener *listener, const struct listen_config *config, int fd, struct error *err)
{
	int r = 0;

	*listener = (struct listener){.config = config, .fd = fd};
	if (config->kind == LISTEN_UNIX) {
		describe_unix(listener);
	} else {
		r = set_tcp_options(fd);
		if (r == 0)
			r = describe_tcp(listener);
		if (r < 0)
			cannot_listen(listener, -r, err);
	}
	if (r < 0)
		listener_done(listener);
	return r;
}

int
listener_listen(struct listener *listener, struct error *err)
{
	if (listen(listener->fd, LISTENER_BACKLOG) < 0)
		return cannot_listen(listener, errno, err);
	return 0;
}

void
listener_done(struct listener *listener)
{
	struct error err;

	if (!listener->config)
		return;
	fd_close(&listener->fd);
	if (listener->made_file && remove_stale(listener, &err) < 0)
		log_debug("%s", err.text);
	listener->made_file = false;
	free(listener->text);
	free(listener->url);
	listener->text = NULL;
	listener->url = NULL;
}
