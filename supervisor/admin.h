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
#include "common/monitor_start.h"
#include "supervisor/listeners.h"

#define ADMIN_SOCKET "control.sock" /* in the state directory */
#define ADMIN_TOKEN  "token"        /* the same, unless server.admin_token says otherwise */

struct supervisor;

/* What a config asks for over TCP. */
struct admin_tcp {
	struct listeners *listeners; /* NULL: not known yet */
	char token[MONITOR_TOKEN_MAX + 1];
};

struct admin {
	struct open_listeners open; /* TCP */
	struct admin_tcp tcp;
	int unix_fd; /* -1: none */
	char *unix_path;
	int64_t unix_failed_ms; /* when it could not be made; 0: it could */
	dev_t unix_device;      /* of the file that we made */
	ino_t unix_inode;
};

void admin_init(struct admin *admin);

/*
 * Bind what the config asks for, but for what is open, and read the token. The default one is made when it is not there: that is left for
 * the first use, because the state directory may be that of a user that we have yet to become. 0 or a negative errno and err.
 */
MUSTCHECK int admin_bind(struct admin *admin, struct config *config, struct admin_tcp *ret_tcp, struct error *err);
void admin_tcp_done(struct admin_tcp *tcp);

/* Use these from now on. Whether anything is other than before. 0 or 1, or a negative errno and err. */
MUSTCHECK int admin_use(struct supervisor *supervisor, struct config *config, struct admin_tcp *tcp, struct error *err);

/* This cortexd is the one: make the unix socket, or close it if the config wants none any more. What goes wrong is logged: an api is served
 * all the same. */
void admin_open_unix(struct supervisor *supervisor);

/* Another cortexd has taken over: close all. The file is that one's, or about to be. */
void admin_leave(struct admin *admin);

/* The end: close all, and remove the file if it is still ours. */
void admin_done(struct admin *admin);

#endif
