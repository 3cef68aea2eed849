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
state_dir_write_pid(int lock, struct error *err)
{
	char pid[32];

	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	/* In this order: somebody may read it meanwhile. */
	if (pwrite(lock, pid, strlen(pid), 0) < 0 || ftruncate(lock, (off_t)strlen(pid)) < 0)
		return error_set(err, -errno, "cannot write the lock file of the state directory: %s", strerror(errno));
	return 0;
}

pid_t
state_dir_read_pid(int lock)
{
	char text[32];
	ssize_t n = pread(lock, text, sizeof(text) - 1, 0);

	text[MAX(n, 0)] = '\0';
	return (pid_t)MAX(atoi(text), 0);
}

int
state_dir_lock(const char *path, int *ret_lock, struct error *err)
{
	char *file = xasprintf("%s/lock", path);
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
	r = state_dir_write_pid(lock, err);
	if (r < 0)
		goto out;
	*ret_lock = lock;
	lock = -1;
out:
	fd_close(&lock);
	free(file);
	return r;
}
