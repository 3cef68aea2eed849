/*
 * models - the models of a config that lie elsewhere, brought here before its replicas start.
 *
 * Each is the job (job.h) of a cortexd-fetch (fetch/), a few at a time; what comes of it is a link in the cache,
 * <state_dir>/models/latest/<hash of the address>. A path handed out names one version for good: a replica of an old generation
 * that starts again takes the model of its generation, whatever the address has by then. Models that no generation needs are removed
 * once that is so, by a cortexd-fetch, too: the supervisor reads no byte from the network and deletes no gigabytes in its loop.
 *
 * What cannot be had is no failure of all: the others are served. models_path says which.
 */
#ifndef SUPERVISOR_MODELS_H
#define SUPERVISOR_MODELS_H

#include <sys/types.h>

#include "common/error.h"
#include "common/util.h"

struct event_base;
struct models;
struct program;

/* program: cortexd-fetch, borrowed for the life of the object. */
struct models *models_new(struct event_base *base, const struct program *program, const char *state_dir);
void models_free(struct models *models); /* NULL is fine; it must not be busy */

/*
 * Bring the models of these addresses here, and say so by cb: from the loop, or before this returns when there are none. at_start: a
 * copy of an earlier time is better than none, whatever the store says; else only when it does not answer. An address may stand there
 * twice. Not while another one is under way; while old models are removed it waits.
 */
void models_fetch(
    struct models *models, const char *const *addresses, size_t n, bool at_start, void (*cb)(void *arg), void *arg);

/* End what models_fetch has begun, soon: cb comes, and nothing new is there. */
void models_cancel(struct models *models);

/* After that: the path of a model, which the caller frees; NULL: there is none, and *ret_why says why (borrowed until the next
 * models_fetch). */
char *models_path(const struct models *models, const char *address, const char **ret_why);

/* Remove every model that is neither one of these paths nor the latest of one of these addresses. Nothing happens while one is under
 * way already, or when no model was ever fetched. */
void models_collect(
    struct models *models, const char *const *paths, size_t n_paths, const char *const *addresses, size_t n_addresses);

/* How many were brought here, or found to be here in their latest version, and how many could not be had. */
void models_count(const struct models *models, uint64_t *ret_done, uint64_t *ret_failed);

/* As for environment.h: is this child one of ours; it was reaped; end them. NULL is fine. */
bool models_own(const struct models *models, pid_t pid);
void models_reaped(struct models *models, pid_t pid, int wait_status);
bool models_are_busy(const struct models *models);        /* fetching */
const char *models_progress(const struct models *models); /* how far one of these is, in words; borrowed, never NULL */
bool models_have_children(const struct models *models);   /* or removing */
void models_stop(struct models *models, int signal_number);

#endif
