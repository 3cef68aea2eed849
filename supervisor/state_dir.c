/*
 * state_dir - see state_dir.h.
 */
#include "supervisor/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/fd.h"

static int
refuse(const char *path, int lock, struct error *err)
{
	char *pid = NULL;

	if (fd_read_all(lock, 64, &pid, NULL) == 0)
		pid[strcspn(pid, "\n")] = '\0';
	error_set(err, -EBUSY, "\"%s\" is in use by another cortexd%s%s%s; stop that one, or set server.state_dir",
	    path, pid && *pid ? " (pid " : "", pid ? pid : "", pid && *pid ? ")" : "");
	free(pid);
	return -EBUSY;
}

int
state_dir_lock(const char *path, int *ret_lock, struct error *err)
{
	char *file = xasprintf("%s/lock", path);
	char pid[32];
	int lock = -1, r;

	r = folder_make_all(path);
	if (r < 0) {
		error_set(err, r,
		    "cannot make the folder \"%s\": %s; set server.state_dir to one that this user may write", path,
		    strerror(-r));
		goto out;
	}
	lock = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (lock < 0) {
		r = error_set(err, -errno, "cannot open \"%s\": %s%s", file, strerror(errno),
		    errno == EACCES ? "; is it another user's? give this user the folder (chown -R), or set "
				      "server.state_dir to one of its own"
				    : "");
		goto out;
	}
	if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			r = refuse(path, lock, err);
		else
			r = error_set(err, -errno, "cannot lock \"%s\": %s", file, strerror(errno));
		goto out;
	}
	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(lock, 0) < 0 || pwrite(lock, pid, strlen(pid), 0) < 0) {
		r = error_set(err, -errno, "cannot write \"%s\": %s", file, strerror(errno));
		goto out;
	}
	*ret_lock = lock;
	lock = -1;
out:
	fd_close(&lock);
	free(file);
	return r;
}
