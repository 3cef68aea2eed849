/*
 * bind - the sockets of server.listen: inherited (inherited.h) or bound (listener.h).
 */
#ifndef SUPERVISOR_BIND_H
#define SUPERVISOR_BIND_H

#include "common/error.h"
#include "common/util.h"

struct supervisor;

/* Get all sockets. supervisor->inherited must be taken. 0, or a negative errno and err. */
MUSTCHECK int bind_listeners(struct supervisor *supervisor, struct error *err);

#endif
