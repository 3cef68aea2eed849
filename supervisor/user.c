/*
 * user - see user.h.
 */
#include "supervisor/user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"

#define ENTRY_MAX (1 << 16) /* bytes of an entry of the user database */

int
user_find(struct user *user, const char *name, struct error *err)
{
	struct passwd entry, *found = NULL;
	char *room;
	int r;

	*user = (struct user){.changes = false};
	if (!name)
		return 0;
	room = xcalloc(ENTRY_MAX, 1);
	r = getpwnam_r(name, &entry, room, ENTRY_MAX, &found);
	if (r != 0 && r != ENOENT && r != ESRCH) {
		r = error_set(err, -r, "server.user: cannot look up \"%s\": %s", name, strerror(r));
	} else if (!found) {
		r = error_set(err, -ENOENT, "server.user: this machine has no user \"%s\"", name);
	} else if (geteuid() != 0 && geteuid() != entry.pw_uid) {
		r = error_set(err, -EPERM,
		    "server.user: only root may become \"%s\"; start cortexd as root or as \"%s\", or remove "
		    "server.user",
		    name, name);
	} else {
		user->changes = entry.pw_uid != 0 && geteuid() == 0;
		user->uid = entry.pw_uid;
		user->gid = entry.pw_gid;
		user->name = xstrdup(name);
		user->home = xstrdup(entry.pw_dir);
		user->shell = xstrdup(entry.pw_shell);
		r = 0;
	}
	free(room);
	return r;
}

/* By descriptor: the folder that path is in may be the user's, who could put something else there meanwhile. */
int
user_make_folder(const struct user *user, const char *path, struct error *err)
{
	struct stat status;
	int fd = -1, r;

	if (!user->changes || stat(path, &status) == 0)
		return 0;
	r = folder_make_all(path);
	if (r == 0) {
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fchown(fd, user->uid, user->gid) < 0)
			r = -errno;
	}
	fd_close(&fd);
	return r < 0
	    ? error_set(err, r, "cannot make the folder \"%s\" for user \"%s\": %s", path, user->name, strerror(-r))
	    : 0;
}

int
user_give_socket(const struct user *user, const char *path, struct error *err)
{
	struct stat status;
	int fd, r = 0;

	if (!user->changes)
		return 0;
	fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		r = -errno;
	else if (!S_ISSOCK(status.st_mode) || status.st_uid != geteuid())
		r = -ESTALE; /* somebody has put something else there */
	else if (fchownat(fd, "", user->uid, user->gid, AT_EMPTY_PATH) < 0)
		r = -errno;
	fd_close(&fd);
	return r < 0 ? error_set(err, r, "cannot give \"%s\" to user \"%s\": %s", path, user->name, strerror(-r)) : 0;
}

int
user_become(const struct user *user, struct error *err)
{
	if (!user->changes)
		return 0;
	/* Groups first: whoever is not root any more may not change them. */
	if (initgroups(user->name, user->gid) < 0 || setresgid(user->gid, user->gid, user->gid) < 0 ||
	    setresuid(user->uid, user->uid, user->uid) < 0)
		return error_set(err, -errno, "server.user: cannot become \"%s\": %s", user->name, strerror(errno));
	/* Capabilities that were told to survive would let anybody be root again. */
	if (setresuid(0, 0, 0) == 0 || (user->gid != 0 && setresgid(0, 0, 0) == 0))
		return error_set(err, -EPERM,
		    "server.user: \"%s\" may become root again; start cortexd without CAP_SETUID and CAP_SETGID being "
		    "kept",
		    user->name);
	if (setenv("HOME", user->home, 1) < 0 || setenv("USER", user->name, 1) < 0 ||
	    setenv("LOGNAME", user->name, 1) < 0 || setenv("SHELL", user->shell, 1) < 0)
		return error_set(err, -errno, "cannot set environment variables: %s", strerror(errno));
	log_info("running as user \"%s\" from now on", user->name);
	return 0;
}

int
user_check_folder(const struct user *user, const char *path, bool write, struct error *err)
{
	if (!user->changes || access(path, R_OK | X_OK | (write ? W_OK : 0)) == 0)
		return 0;
	return error_set(err, -errno, "user \"%s\" may not %s \"%s\": %s; %s", user->name, write ? "write to" : "read",
	    path, strerror(errno),
	    write ? "give that folder, with what is in it, to the user (chown -R), or set server.state_dir"
		  : "let the user into the project folder, or take another server.user");
}

void
user_done(struct user *user)
{
	free(user->name);
	free(user->home);
	free(user->shell);
	*user = (struct user){.changes = false};
}
