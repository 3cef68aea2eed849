/*
 * admin - the sockets of the admin interface, which the monitor answers on.
 *
 * The supervisor binds them and keeps them open, as it does with those of server.listen, so that a monitor that died costs an
 * operator a moment of waiting and nothing else. The unix socket is <state_dir>/control.sock, for the user that cortexd runs as
 * alone. It is made under another name and renamed when it listens: there is always one that somebody listens to, also
 * when another cortexd takes over.
 */
#ifndef SUPERVISOR_ADMIN_H
#define SUPERVISOR_ADMIN_H

#include <sys/types.h>

#include "common/config.h"
#include "common/error.h"

#define ADMIN_SOCKET "control.sock" /* in the state directory */

struct supervisor;

struct admin {
	int unix_fd; /* -1: none */
	char *unix_path;
	dev_t unix_device; /* of the file that we made */
	ino_t unix_inode;
};

void admin_init(struct admin *admin);

/* This cortexd is the one: make the unix socket, unless there is one or the config wants none. What goes wrong is logged: an api is served
 * all the same. */
void admin_open_unix(struct supervisor *supervisor);

/* Another cortexd has taken over: close all. The file is that one's, or about to be. */
void admin_leave(struct admin *admin);

/* The end: close all, and remove the file if it is still ours. */
void admin_done(struct admin *admin);

#endif
