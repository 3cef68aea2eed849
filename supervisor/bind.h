/*
 * bind - the part of the start that may need root: the sockets of server.listen, inherited (inherited.h) or bound
 * (listener.h); and its end, becoming server.user (user.h).
 */
#ifndef SUPERVISOR_BIND_H
#define SUPERVISOR_BIND_H

#include "common/error.h"
#include "common/util.h"

struct supervisor;

/*
 * Get all sockets, when it is to serve, then become server.user: all that comes later is done, and made, by that user.
 * Started as root to stay root, it warns, unless that was said in the config. supervisor->inherited must be taken. 0, or a
 * negative errno and err.
 */
MUSTCHECK int bind_and_become(struct supervisor *supervisor, struct error *err);

#endif
