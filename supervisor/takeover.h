/*
 * takeover - the start of a cortexd that replaces another one; the other side is upgrade.h.
 *
 * It is pending until the old one says that everything is ours, or is dead. Until then children are started that take no
 * connection, the service manager hears nothing, and the files of the state directory are the old one's. A replica that dies
 * in that time ends the attempt: the old ones serve, and a new build that does not work has nothing to gain by trying again.
 */
#ifndef SUPERVISOR_TAKEOVER_H
#define SUPERVISOR_TAKEOVER_H

#include <event2/event_struct.h>

#include "common/config.h"
#include "common/error.h"
#include "supervisor/handover.h"

struct listeners;
struct open_listeners;
struct slot;
struct supervisor;

struct takeover {
	bool pending;
	bool offered; /* we have said that we are ready */
	struct handover handover;
	int socket;                            /* to the old one; -1: none */
	int lock;                              /* of the state directory; -1: none */
	int fds[HANDOVER_LISTENERS_MAX];       /* sockets of handover.listeners; -1: not ours any more */
	int admin_fds[HANDOVER_LISTENERS_MAX]; /* of handover.admin; -1: not ours any more */
	int channel;                           /* from the old activator, for ours; -1: none */
	unsigned n_connections;                /* that will come that way */
	struct event socket_event;
};

/* A takeover of nothing. */
void takeover_init(struct takeover *takeover);

/* Take what the old cortexd has handed to us, if there is one, and remove that from the environment. Must run before any descriptor is
 * opened that stays open. 0 or a negative errno and err. */
MUSTCHECK int takeover_take(struct takeover *takeover, struct error *err);

static inline bool
takeover_is_pending(const struct takeover *takeover)
{
	return takeover->pending;
}

/* The lock of the state directory, which must be that of the config. 0 and *ret_lock, the caller's, or a negative errno and err. */
MUSTCHECK int takeover_detach_lock(struct takeover *takeover, const char *state_dir, int *ret_lock, struct error *err);

/* The sockets that were handed over for addresses of the config, as listeners; the others are closed. 0 and *ret_listeners, NULL when
 * nothing is taken over, or a negative errno and err. */
MUSTCHECK int takeover_detach_listeners(struct takeover *takeover, struct config *config, struct open_listeners *all,
    struct listeners **ret_listeners, struct error *err);

/* The same for the admin interface. */
MUSTCHECK int takeover_detach_admin(struct takeover *takeover, struct config *config, struct open_listeners *all,
    struct listeners **ret_listeners, struct error *err);

/* How many replicas the old one wants for an api; -1: it does not know it. */
int takeover_find_wanted(const struct takeover *takeover, const char *api);

/* Does the old cortexd serve an api, so that it had better go on when we cannot? */
bool takeover_would_lose(const struct takeover *takeover, const char *api);

/* supervisor->base is there: listen to the old one. */
MUSTCHECK int takeover_watch(struct supervisor *supervisor, struct error *err);

/* After each comparison: take the next step. */
void takeover_compare(struct supervisor *supervisor);

/* Is the cortexd that we have replaced still there? */
bool takeover_predecessor_lives(const struct takeover *takeover);

/* Fine after takeover_init. */
void takeover_done(struct takeover *takeover);

#endif
