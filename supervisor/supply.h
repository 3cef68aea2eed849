/*
 * supply - what the replicas of a config need before they start: an interpreter with its environment, and models.
 *
 * A reload and the start ask for it and go on when it is there. An environment that cannot be built is a failure of the whole config; a
 * model that cannot be had is one of its apis alone: a reload leaves such an api as it is, and one that has nothing to go on with since
 * the start waits, and gets its model by itself when the store has it.
 */
#ifndef SUPERVISOR_SUPPLY_H
#define SUPERVISOR_SUPPLY_H

#include <event2/event_struct.h>

#include "common/config.h"
#include "supervisor/environment.h"
#include "supervisor/generation.h"
#include "supervisor/models.h"

struct supervisor;

struct supply {
	struct environment *environment; /* NULL: no requirements.txt */
	struct models *models;           /* NULL: none are wanted, only the interpreter */
	const struct config *config;     /* for which it is sought; NULL: nothing is */
	char *found_python;              /* for that, */
	char *python;                    /* and of the config in effect */
	bool models_next;                /* its models follow when those of a retry are given up */
	struct event retry_event;
	unsigned n_retries; /* in a row */
	struct event collect_event;
	uint64_t n_environments;      /* that were asked for, and were there or were built */
	uint64_t n_environments_lost; /* and that could not be built */
};

/* program: cortexd-fetch; NULL: no models. */
void supply_init(struct supervisor *supervisor, const struct program *program);
void supply_done(struct supervisor *supervisor);

/* Find what a config needs, or begin to; may_not_build: why no environment may be built, or NULL. supervisor_supplied hears of it, perhaps
 * before this returns. The config must stay until then. 0, or a negative errno and err. */
MUSTCHECK int supply_find(
    struct supervisor *supervisor, const struct config *config, const char *may_not_build, struct error *err);

/* What was found is for the config that is in effect from now on. */
void supply_commit(struct supply *supply);

/* With that: a generation, whose failure is set when its model could not be had. files: as for generation_new. */
struct generation *supply_make_generation(struct supervisor *supervisor, unsigned number, struct config *config,
    const struct api_config *api, const char *files);

/* Some api awaits its model (struct api): try again in a while. */
void supply_retry(struct supervisor *supervisor);

/* Remove models that no generation has any more, nor the config; as soon as nobody else can have an interest in them. */
void supply_collect(struct supervisor *supervisor);

/* Children, as for environment.h. */
bool supply_owns(const struct supply *supply, pid_t pid);
void supply_reaped(struct supply *supply, pid_t pid, int wait_status);
bool supply_is_busy(const struct supply *supply);
void supply_stop(struct supply *supply, int signal_number);

#endif
