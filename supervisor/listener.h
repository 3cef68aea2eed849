/*
 * listener - the sockets of server.listen.
 *
 * The supervisor binds them and keeps them open; it never accepts. Replicas inherit them, so a client that connects
 * while replicas come and go waits in the backlog instead of being refused. Binding and listening are two steps: an
 * address that is taken is found out at once, but clients are refused until there is something to wait for. A socket that
 * was inherited (inherited.h) listens already; its clients wait.
 */
#ifndef SUPERVISOR_LISTENER_H
#define SUPERVISOR_LISTENER_H

#include "common/config.h"
#include "common/error.h"

#define LISTENER_BACKLOG 4096

struct listener {
	const struct listen_config *config; /* borrowed */
	int fd;                             /* non-blocking, close-on-exec; -1: closed */
	char *text;     /* where it listens: the config's text, with the real port when that was 0 */
	char *url;      /* where a client on this machine finds it: http://127.0.0.1:8888 */
	bool made_file; /* UNIX: there is a socket file to remove at the end */
};

/* Make the socket and bind it. 0, or a negative errno and err: "cannot listen on ADDRESS: CAUSE; what to do". */
MUSTCHECK int listener_bind(struct listener *listener, const struct listen_config *config, struct error *err);

/* The same with a socket that was bound by somebody else, who removes its file as well. Owns fd, in any case. */
MUSTCHECK int listener_adopt(struct listener *listener, const struct listen_config *config, int fd, struct error *err);

/* Take connections from now on. */
MUSTCHECK int listener_listen(struct listener *listener, struct error *err);

/* Close, and remove the file of a unix socket unless somebody else listens there by now. Fine for one that is all zero
 * or was never bound. */
void listener_done(struct listener *listener);

#endif
