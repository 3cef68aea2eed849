/*
 * listeners - the sockets of a config's server.listen, shared by all that still use them; and those of server.admin, in a list of their own.
 *
 * A reload makes a new set. An address that was there before is in both, with the same socket: its backlog loses nobody. The
 * others are bound anew, and closed when the last replica that was started with them is gone. One that comes back before that
 * is the old one.
 */
#ifndef SUPERVISOR_LISTENERS_H
#define SUPERVISOR_LISTENERS_H

#include <sys/queue.h>

#include "common/config.h"
#include "common/error.h"
#include "supervisor/inherited.h"
#include "supervisor/listener.h"

struct shared_listener {
	unsigned references;
	LIST_ENTRY(shared_listener) in_all;
	struct config *config; /* that listener.config is part of */
	struct listener listener;
	bool listens;
	bool is_new; /* not all ready replicas have it: the activator does not leave it to them */
};

/* All that are open, those included that only old replicas still have. */
LIST_HEAD(open_listeners, shared_listener);

struct listeners {
	unsigned references;
	size_t n;
	struct shared_listener **all;
};

/* Bind the addresses of config but for those that are open, which are shared, and those that were inherited (NULL: none). 0 and
 * *ret_listeners, or a negative errno and err, and nothing has changed. */
MUSTCHECK int listeners_bind(struct config *config, struct open_listeners *all, struct inherited *inherited,
    struct listeners **ret_listeners, struct error *err);

/* An empty set, and one more socket in it, which listens already: that of the config's entry with this text; made_file: its file is to
 * be removed at the end. Owns fd, in any case: it is closed when there is no such entry. 0, or a negative errno and err. */
struct listeners *listeners_new(const struct config *config);
MUSTCHECK int listeners_adopt(struct listeners *listeners, struct config *config, struct open_listeners *all,
    const char *text, int fd, bool made_file, struct error *err);

/* The same for server.admin. */
MUSTCHECK int listeners_bind_admin(
    struct config *config, struct open_listeners *all, struct listeners **ret_listeners, struct error *err);
struct listeners *listeners_new_admin(const struct config *config);
MUSTCHECK int listeners_adopt_admin(struct listeners *listeners, struct config *config, struct open_listeners *all,
    const char *text, int fd, struct error *err);

/* Take connections from now on, where that is not so already; says so in the log: "<what> on ADDRESS". */
MUSTCHECK int listeners_listen(struct listeners *listeners, const char *what, struct error *err);

/* Are they the same sockets, in the same order? */
bool listeners_equal(const struct listeners *a, const struct listeners *b);

/* Is it among them? */
bool listeners_have(const struct listeners *listeners, const struct shared_listener *shared);

struct listeners *listeners_ref(struct listeners *listeners);
void listeners_unref(struct listeners *listeners); /* NULL is fine */

#endif
