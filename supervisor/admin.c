/*
 * admin - see admin.h.
 */
#include "supervisor/admin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "supervisor/listener.h"
#include "supervisor/supervisor.h"

#define NEXT           ADMIN_SOCKET ".next"
#define UNIX_AGAIN_MS  10000 /* after a failure */
#define TOKEN_BYTES    32
#define TOKEN_MIN      16
#define TOKEN_FILE_MAX (2 * MONITOR_TOKEN_MAX)

void
admin_init(struct admin *admin)
{
	*admin = (struct admin){.unix_fd = -1};
}

/* ---- TCP ---- */

/* One line, of printable characters without blanks. */
static int
parse_token(const char *path, char *text, char token[MONITOR_TOKEN_MAX + 1], struct error *err)
{
	size_t length = strcspn(text, "\r\n");

	if (length < TOKEN_MIN || length > MONITOR_TOKEN_MAX || strspn(text + length, "\r\n") != strlen(text + length))
		return error_set(err, -EINVAL, "\"%s\" must have one line, of %d to %d characters", path, TOKEN_MIN,
		    MONITOR_TOKEN_MAX);
	for (size_t i = 0; i < length; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return error_set(
			    err, -EINVAL, "\"%s\": a token has printable ASCII characters alone, and no blanks", path);
	memcpy(token, text, length);
	token[length] = '\0';
	return 0;
}

/* Not waiting, should it be something else than a file. */
static int
read_token(const char *path, char token[MONITOR_TOKEN_MAX + 1], struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r;
	struct stat st;
	char *text = NULL;

	if (fd < 0)
		return error_set(err, -errno, "cannot open \"%s\", the admin token: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		r = error_set(err, -EINVAL, "\"%s\", the admin token, is not a file", path);
	else if ((r = fd_read_all(fd, TOKEN_FILE_MAX, &text, NULL)) < 0)
		error_set(err, r, "cannot read \"%s\", the admin token: %s", path, strerror(-r));
	else
		r = parse_token(path, text, token, err);
	if (r == 0 && (st.st_mode & (S_IRGRP | S_IROTH)))
		log_warning("others can read \"%s\", the admin token; chmod 600", path);
	free(text);
	fd_close(&fd);
	return r;
}

/* There is all of it or none: an empty one would keep every later start from beginning. */
static int
make_token(const char *path, struct error *err)
{
	unsigned char bytes[TOKEN_BYTES];
	char text[2 * TOKEN_BYTES + 2], *next;
	int fd, r;

	arc4random_buf(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	strcat(text, "\n");
	next = xasprintf("%s.next", path);
	unlink(next);
	fd = open(next, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	r = fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
	if (r == 0 && (fsync(fd) < 0 || rename(next, path) < 0))
		r = -errno;
	if (fd >= 0 && r < 0)
		unlink(next);
	fd_close(&fd);
	free(next);
	if (r < 0)
		return error_set(err, r, "cannot make \"%s\", the admin token: %s", path, strerror(-r));
	log_info("the token of the admin interface is in %s", path);
	return 0;
}

int
admin_bind(struct admin *admin, struct config *config, struct admin_tcp *ret_tcp, struct error *err)
{
	const struct server_config *server = &config->server;
	struct admin_tcp tcp = {.listeners = NULL};
	int r = 0;

	if (server->n_admin > 0 && server->admin_token)
		r = read_token(server->admin_token, tcp.token, err);
	if (r == 0)
		r = listeners_bind_admin(config, &admin->open, &tcp.listeners, err);
	if (r == 0)
		*ret_tcp = tcp;
	return r;
}

void
admin_tcp_done(struct admin_tcp *tcp)
{
	listeners_unref(take_ptr(&tcp->listeners));
	memset(tcp->token, 0, sizeof(tcp->token));
}

int
admin_use(struct supervisor *supervisor, struct config *config, struct admin_tcp *tcp, struct error *err)
{
	struct admin *admin = &supervisor->admin;
	char *path = xasprintf("%s/" ADMIN_TOKEN, config->server.state_dir);
	bool same;
	int r = 0;

	if (tcp->listeners->n > 0 && !*tcp->token) {
		if (access(path, F_OK) < 0)
			r = make_token(path, err);
		if (r == 0)
			r = read_token(path, tcp->token, err);
	}
	free(path);
	if (r == 0)
		r = listeners_listen(tcp->listeners, "admin interface", err);
	if (r < 0)
		return r;
	same = admin->tcp.listeners && listeners_equal(admin->tcp.listeners, tcp->listeners) &&
	    !strcmp(admin->tcp.token, tcp->token);
	if (tcp != &admin->tcp) {
		admin_tcp_done(&admin->tcp);
		admin->tcp = *tcp;
		tcp->listeners = NULL;
	}
	return !same;
}

/* ---- the unix socket ---- */

/* The path of a socket is short (sun_path), that of a folder is not: go by way of its descriptor. */
static int
make_socket(struct admin *admin, int folder)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	int fd, r = 0;

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" NEXT, folder);
	if (unlinkat(folder, NEXT, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* Nobody can connect before it listens, and by then it is for us alone. */
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || fchmodat(folder, NEXT, 0600, 0) < 0 ||
	    fstatat(folder, NEXT, &st, AT_SYMLINK_NOFOLLOW) < 0 || listen(fd, LISTENER_BACKLOG) < 0 ||
	    renameat(folder, NEXT, folder, ADMIN_SOCKET) < 0) {
		r = -errno;
		unlinkat(folder, NEXT, 0);
		fd_close(&fd);
		return r;
	}
	admin->unix_fd = fd;
	admin->unix_device = st.st_dev;
	admin->unix_inode = st.st_ino;
	return 0;
}

static void
close_unix(struct admin *admin)
{
	struct stat st;

	if (admin->unix_fd >= 0 && lstat(admin->unix_path, &st) == 0 && st.st_dev == admin->unix_device &&
	    st.st_ino == admin->unix_inode && unlink(admin->unix_path) < 0)
		log_debug("cannot remove \"%s\": %s", admin->unix_path, strerror(errno));
	fd_close(&admin->unix_fd);
	free(take_ptr(&admin->unix_path));
}

void
admin_open_unix(struct supervisor *supervisor)
{
	const char *state_dir = supervisor->config->server.state_dir;
	struct admin *admin = &supervisor->admin;
	int folder, r;

	if (!supervisor->config->server.admin_unix && admin->unix_fd >= 0)
		close_unix(admin);
	if (admin->unix_fd >= 0 || !supervisor->config->server.admin_unix)
		return;
	if (admin->unix_failed_ms > 0 && clock_ms() - admin->unix_failed_ms < UNIX_AGAIN_MS)
		return;
	folder = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = folder < 0 ? -errno : make_socket(admin, folder);
	fd_close(&folder);
	admin->unix_failed_ms = r < 0 ? clock_ms() : 0;
	if (r < 0)
		log_warning("cannot make \"%s/" ADMIN_SOCKET "\": %s; there is no way to ask this cortexd", state_dir,
		    strerror(-r));
	else
		admin->unix_path = xasprintf("%s/" ADMIN_SOCKET, state_dir);
}

void
admin_leave(struct admin *admin)
{
	fd_close(&admin->unix_fd);
	free(take_ptr(&admin->unix_path));
	admin_tcp_done(&admin->tcp);
}

void
admin_done(struct admin *admin)
{
	close_unix(admin);
	admin_leave(admin);
}
