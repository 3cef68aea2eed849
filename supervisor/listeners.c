/*
 * listeners - see listeners.h.
 */
#include "supervisor/listeners.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

/* The one with that address. One with port 0 stays what it has become. */
static struct shared_listener *
find(const struct open_listeners *all, const char *text)
{
	struct shared_listener *shared;

	LIST_FOREACH(shared, all, in_all)
	if (!strcmp(shared->listener.config->text, text))
		return shared;
	return NULL;
}

static void
release(struct shared_listener *shared)
{
	if (--shared->references > 0)
		return;
	LIST_REMOVE(shared, in_all);
	listener_done(&shared->listener);
	config_unref(shared->config);
	free(shared);
}

static int
bind_one(struct config *config, const struct listen_config *listen, size_t entry, struct inherited *inherited,
    struct open_listeners *all, struct shared_listener **ret_shared, struct error *err)
{
	struct shared_listener *shared = xcalloc(1, sizeof(*shared));
	int fd = inherited ? inherited_detach(inherited, entry) : -1, r;

	if (fd >= 0)
		r = listener_adopt(&shared->listener, listen, fd, err);
	else
		r = listener_bind(&shared->listener, listen, err);
	if (r < 0) {
		free(shared);
		return r;
	}
	shared->references = 1;
	shared->config = config_ref(config);
	LIST_INSERT_HEAD(all, shared, in_all);
	*ret_shared = shared;
	return 0;
}

static struct listeners *
new_set(size_t n)
{
	struct listeners *listeners = xcalloc(1, sizeof(*listeners));

	listeners->references = 1;
	listeners->all = xcalloc(MAX(n, 1), sizeof(struct shared_listener *));
	return listeners;
}

struct listeners *
listeners_new(const struct config *config)
{
	return new_set(config->server.n_listen);
}

struct listeners *
listeners_new_admin(const struct config *config)
{
	return new_set(config->server.n_admin);
}

static int
adopt(struct listeners *listeners, struct config *config, const struct listen_config *list, size_t n,
    struct open_listeners *all, const char *text, int fd, bool made_file, struct error *err)
{
	struct shared_listener *shared;
	size_t entry = 0;
	int r;

	while (entry < n && strcmp(list[entry].text, text) != 0)
		entry++;
	if (entry == n || find(all, text)) {
		close(fd);
		return 0;
	}
	shared = xcalloc(1, sizeof(*shared));
	r = listener_adopt(&shared->listener, &list[entry], fd, err);
	if (r < 0) {
		free(shared);
		return r;
	}
	shared->references = 1;
	shared->config = config_ref(config);
	shared->listener.made_file = made_file;
	shared->listens = true;
	LIST_INSERT_HEAD(all, shared, in_all);
	listeners->all[listeners->n++] = shared;
	return 0;
}

int
listeners_adopt(struct listeners *listeners, struct config *config, struct open_listeners *all, const char *text,
    int fd, bool made_file, struct error *err)
{
	return adopt(listeners, config, config->server.listen, config->server.n_listen, all, text, fd, made_file, err);
}

int
listeners_adopt_admin(struct listeners *listeners, struct config *config, struct open_listeners *all, const char *text,
    int fd, struct error *err)
{
	return adopt(listeners, config, config->server.admin, config->server.n_admin, all, text, fd, false, err);
}

/* The addresses of a list that is part of config. */
static int
bind_list(struct config *config, const struct listen_config *list, size_t n, struct open_listeners *all,
    struct inherited *inherited, struct listeners **ret_listeners, struct error *err)
{
	struct listeners *listeners = new_set(n);

	for (size_t i = 0; i < n; i++) {
		struct shared_listener *shared = find(all, list[i].text);
		int r = 0;

		if (shared)
			shared->references++;
		else
			r = bind_one(config, &list[i], i, inherited, all, &shared, err);
		if (r < 0) {
			listeners_unref(listeners);
			return r;
		}
		listeners->all[listeners->n++] = shared;
	}
	*ret_listeners = listeners;
	return 0;
}

int
listeners_bind(struct config *config, struct open_listeners *all, struct inherited *inherited,
    struct listeners **ret_listeners, struct error *err)
{
	return bind_list(config, config->server.listen, config->server.n_listen, all, inherited, ret_listeners, err);
}

int
listeners_bind_admin(
    struct config *config, struct open_listeners *all, struct listeners **ret_listeners, struct error *err)
{
	return bind_list(config, config->server.admin, config->server.n_admin, all, NULL, ret_listeners, err);
}

int
listeners_listen(struct listeners *listeners, const char *what, struct error *err)
{
	for (size_t i = 0; i < listeners->n; i++) {
		struct shared_listener *shared = listeners->all[i];
		int r;

		if (shared->listens)
			continue;
		r = listener_listen(&shared->listener, err);
		if (r < 0)
			return r;
		shared->listens = true;
		log_info("%s on %s", what, shared->listener.text);
	}
	return 0;
}

bool
listeners_equal(const struct listeners *a, const struct listeners *b)
{
	return a->n == b->n && !memcmp(a->all, b->all, a->n * sizeof(*a->all));
}

bool
listeners_have(const struct listeners *listeners, const struct shared_listener *shared)
{
	for (size_t i = 0; i < listeners->n; i++)
		if (listeners->all[i] == shared)
			return true;
	return false;
}

struct listeners *
listeners_ref(struct listeners *listeners)
{
	listeners->references++;
	return listeners;
}

void
listeners_unref(struct listeners *listeners)
{
	if (!listeners || --listeners->references > 0)
		return;
	for (size_t i = 0; i < listeners->n; i++)
		release(listeners->all[i]);
	free(listeners->all);
	free(listeners);
}
