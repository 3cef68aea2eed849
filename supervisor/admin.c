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

#include "common/fd.h"
#include "common/log.h"
#include "supervisor/listener.h"
#include "supervisor/supervisor.h"

#define NEXT ADMIN_SOCKET ".next"

void
admin_init(struct admin *admin)
{
	*admin = (struct admin){.unix_fd = -1};
}

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

void
admin_open_unix(struct supervisor *supervisor)
{
	const char *state_dir = supervisor->config->server.state_dir;
	struct admin *admin = &supervisor->admin;
	int folder, r;

	if (admin->unix_fd >= 0)
		return;
	folder = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = folder < 0 ? -errno : make_socket(admin, folder);
	fd_close(&folder);
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
}

void
admin_done(struct admin *admin)
{
	struct stat st;

	if (admin->unix_fd >= 0 && lstat(admin->unix_path, &st) == 0 && st.st_dev == admin->unix_device &&
	    st.st_ino == admin->unix_inode && unlink(admin->unix_path) < 0)
		log_debug("cannot remove \"%s\": %s", admin->unix_path, strerror(errno));
	admin_leave(admin);
}
