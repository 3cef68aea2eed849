/*
 * inherited - listening sockets that whoever started cortexd has opened for it: socket activation, sd_listen_fds(3).
 *
 * The service manager opens the sockets of a socket unit and passes them on as descriptors 3 and up. It keeps them open
 * itself, so that clients that come while cortexd is started again, or not started yet, wait instead of being refused;
 * and it may open ports that cortexd's user may not.
 *
 * What cortex.yaml says is what is served: an inherited socket takes the place of the entry of server.listen with the
 * same address, entries without one are bound as usual, and a socket that is no entry is an error. To serve an address
 * that the config does not name, or to leave clients waiting at one that nobody serves, would be a surprise.
 */
#ifndef SUPERVISOR_INHERITED_H
#define SUPERVISOR_INHERITED_H

#include "common/config.h"
#include "common/error.h"

#define INHERITED_FD_FIRST 3
#define INHERITED_MAX      64

struct inherited {
	int n;
	int fds[INHERITED_MAX];        /* -1: not ours any more */
	size_t entries[INHERITED_MAX]; /* of server.listen, once matched */
	char *names;                   /* LISTEN_FDNAMES: for messages; or NULL */
};

/* Take the descriptors that LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES say are ours, and remove these from the environment.
 * Must run before any descriptor is opened that stays open. 0, also when there are none, or a negative errno and err. */
MUSTCHECK int inherited_take(struct inherited *inherited, struct error *err);

/* Find the entry of server.listen for each of them. 0, or a negative errno and err: one has none. */
MUSTCHECK int inherited_match(struct inherited *inherited, const struct server_config *server, struct error *err);

/* The socket for an entry of server.listen, or -1. The caller owns it from now on. */
int inherited_detach(struct inherited *inherited, size_t entry);

/* Close those that nobody has detached. Fine for one that is all zero. */
void inherited_done(struct inherited *inherited);

#endif
