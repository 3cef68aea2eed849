/*
 * user - server.user: whom cortexd becomes once its sockets are bound.
 *
 * The whole of cortexd changes, for good, and not its children alone: after binding, nothing that the supervisor does
 * needs root (it opens no port later, reads the project that its replicas read, and signals its own children), and a
 * process that is not root cannot be made to do what root may. So files that cortexd makes belong to that user, pip runs
 * as that user, and there is nothing to forget between fork and exec. The price: a port below 1024 that comes with a
 * later config cannot be bound; it takes a start, or a socket that is inherited.
 *
 * Both the user's primary group and its supplementary ones are taken over. The kernel marks a process that has given root
 * up as not to be dumped or traced: predictors, which run as the same user, cannot look into the supervisor. That is kept.
 */
#ifndef SUPERVISOR_USER_H
#define SUPERVISOR_USER_H

#include <sys/types.h>

#include "common/error.h"
#include "common/util.h"

struct user {
	bool changes; /* there is another user to become */
	uid_t uid;
	gid_t gid;
	char *name;
	char *home;
	char *shell;
};

/* Look the user up; name NULL: stay who we are. 0, or a negative errno and err: there is no such user, or only root could
 * become it. user is for user_done in any case. */
MUSTCHECK int user_find(struct user *user, const char *name, struct error *err);

/* Make a folder for the user if it is not there yet; its parents, if they have to be made, are root's. 0, also when nothing
 * changes, or a negative errno and err. */
MUSTCHECK int user_make_folder(const struct user *user, const char *path, struct error *err);

/* Give the user a socket file that we have just made, as if the user had. The same. */
MUSTCHECK int user_give_socket(const struct user *user, const char *path, struct error *err);

/* Become the user, for good, with HOME, USER, LOGNAME and SHELL. The same. */
MUSTCHECK int user_become(const struct user *user, struct error *err);

/* May we enter and read a folder, and, if write, make files in it? 0, or a negative errno and err: what to do. */
MUSTCHECK int user_check_folder(const struct user *user, const char *path, bool write, struct error *err);

void user_done(struct user *user);

#endif
