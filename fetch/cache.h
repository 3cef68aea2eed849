/*
 * cache - the models that were fetched, on this machine: one folder, shared by all replicas and generations.
 *
 *   content/<id>/<name>    a model, complete: it came there by one rename. <id> is a hash of its address and its version.
 *   latest/<address>       a link to the model that this address last was
 *   partial/<address>/     what is on its way, for the next attempt to go on with; locked by whoever fetches it
 *   lock                   shared by those who fetch, and nobody else's while what is not needed is removed
 *
 * A process may be killed at any instant: what is in content/ is whole, and on disk before it is there.
 */
#ifndef FETCH_CACHE_H
#define FETCH_CACHE_H

#include "common/error.h"
#include "fetch/address.h"

struct cache {
	char *folder;
	int lock;
	/* for one address */
	char *partial; /* the folder of what is on its way */
	int partial_lock;
};

/* Open it, made if need be, and take its lock: waits for one that removes; alone: -EWOULDBLOCK when there is any other. 0, or a
 * negative errno and err. Release with cache_done, which is fine for one of all zeros but for the descriptors, -1. */
MUSTCHECK int cache_open(struct cache *cache, const char *folder, bool alone, struct error *err);
void cache_done(struct cache *cache);

/* Take the folder of an address. *ret_resumes: what lies there is of this version (id, "": not known, then it is not), else it was
 * removed. 0, or a negative errno and err. */
MUSTCHECK int cache_begin(
    struct cache *cache, const struct address *address, const char *id, bool *ret_resumes, struct error *err);

/* Remove what is on its way to it: nobody can go on with it. */
void cache_discard(struct cache *cache);

/* Give the folder of an address back, for another cache_begin. */
void cache_release(struct cache *cache);

/* Is there a model of this id? */
bool cache_has(const struct cache *cache, const struct address *address, const char *id);

/* What the address last was: its path, which the caller frees, or NULL. */
char *cache_latest(const struct cache *cache, const struct address *address);

/* Between cache_begin and cache_release: make partial/<address>/tree/ the model of this id, if there is none, and the latest of its
 * address. 0, or a negative errno and err. */
MUSTCHECK int cache_publish(struct cache *cache, const struct address *address, const char *id, struct error *err);

/* The cache must be opened alone. Remove every model that is neither one of these paths nor the latest of one of these addresses
 * (hashes, as in address.id), and what is on its way to other addresses. The number of models, or a negative errno and err. */
MUSTCHECK int cache_collect(
    struct cache *cache, char *const *paths, size_t n_paths, char *const *ids, size_t n_ids, struct error *err);

#endif
