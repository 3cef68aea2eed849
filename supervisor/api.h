/*
 * api - the replicas of one api: how many there are to be, of which generation, and what is to be done about it.
 *
 * One struct api for each endpoint that is, was or will be served. api_compare looks at what there is and takes the next steps,
 * and only these: it is called after whatever happens, and nothing has to be remembered between two calls but what stands
 * here.
 *
 * A reload gives an api a candidate. One replica of it is started beside the others; if it does not become ready, the candidate
 * is dropped and nothing has changed. Once it is ready, the candidate is the generation, and the old replicas are replaced as a
 * Kubernetes Deployment would do it (RollingUpdate): at most max_surge replicas more than wanted (but for that first one), at
 * most max_unavailable less that are ready, and always one. Where there is no room for one more, one old replica makes room
 * first. An api that takes over the endpoint or the name of another one does so when all its replicas are there.
 *
 * Replicas of a generation with a template (template.h) are forked by it: it is started with the first slot of its generation
 * and ends with the last one. Until it is ready, those slots are empty. A template that does not become ready is the failure of
 * the candidate, like a replica that does not.
 */
#ifndef SUPERVISOR_API_H
#define SUPERVISOR_API_H

#include <sys/queue.h>

#include "common/config.h"
#include "supervisor/autoscale.h"
#include "supervisor/capacity.h"
#include "supervisor/generation.h"
#include "supervisor/slot.h"

struct supervisor;

TAILQ_HEAD(slot_list, slot);

#define API_DEATHS_MAX     10
#define API_DEATH_TEXT_MAX 256

/* A replica, or a template, that has died although nobody had asked for it. */
struct api_death {
	int64_t at_ms;
	int replica; /* -1: a template */
	enum death_kind kind;
	char text[API_DEATH_TEXT_MAX];
};

/* What status shows of the past. */
struct api_history {
	uint64_t n_deaths[DEATH_N_KINDS];
	struct api_death deaths[API_DEATHS_MAX]; /* a ring; the next one goes to n_noted % API_DEATHS_MAX */
	size_t n_noted;
	int64_t cpu_gone_us;               /* used by replicas that are gone */
	int64_t serves_since_ms;           /* when the generation began to serve; 0: it has not */
	char rejected[API_DEATH_TEXT_MAX]; /* why the last candidate was dropped; "": it was not */
};

struct api {
	struct supervisor *supervisor;
	uint32_t number; /* on the scoreboard; free again when the api is gone */
	char *name;
	char *endpoint;
	struct config *config;             /* of the last reload that had it */
	const struct api_config *settings; /* of config: counts, and what takes effect without new replicas */
	struct generation *generation;     /* that has proved itself, or is the first; NULL: only a candidate so far */
	struct generation *candidate;      /* NULL: none */
	int64_t candidate_ms;              /* when that was found */
	int64_t verified_ms;               /* when the project was last seen to be what the generation is made of */
	int64_t doubted_ms;                /* when it was seen to be something else since; 0: it was not */
	struct slot_list slots;
	struct slot_list templates;    /* at most one for each generation that has replicas */
	int wanted;                    /* replicas, by the load and by compute.min_replicas and max_replicas */
	int allowed;                   /* of these, by the room that the host has */
	int startable;                 /* so many may be started now */
	char lacks[CAPACITY_TEXT_MAX]; /* what keeps it from having all that are wanted; "": nothing */
	bool awaits_model;             /* it has no generation since the start, because its model could not be had */
	bool routed;                   /* requests find it */
	bool retired;                  /* no longer in the config: it ends when its queue is empty */
	bool said_stuck; /* that the new generation cannot replace all of the old, because replicas of it keep dying */
	struct autoscaler autoscaler;
	struct api_history history;
};

/* Make one, with places on the board; nothing runs yet. 0 and *ret_api, or a negative errno and err. */
MUSTCHECK int api_new(struct supervisor *supervisor, struct config *config, const struct api_config *settings,
    struct api **ret_api, struct error *err);
void api_free(struct api *api);         /* it has no slots */
void api_remove_slots(struct api *api); /* for the end of the supervisor */

/* Its first generation, without a trial; the caller's reference goes to the api. */
void api_begin(struct api *api, struct generation *generation);

/* A reload wants this to be its generation: try it. */
void api_set_candidate(struct api *api, struct generation *candidate);

/* A reload has found the project to be what the generation is made of. False: but some replicas were started when it was not,
 * and may have loaded something else; they need a candidate as well. */
MUSTCHECK bool api_verify(struct api *api);

/* Other counts and limits, of another config. */
void api_set_config(struct api *api, struct config *config, const struct api_config *settings);

/* No longer in the config: requests do not find it any more; it ends when those that wait for it are served. */
void api_retire(struct api *api);

/* Is there another one with its name or its endpoint, which may replace it once it works? */
bool api_has_successor(const struct api *api);

/* Take the next steps. serving: false: all replicas are to end. */
void api_compare(struct api *api, bool serving);

/* Are all replicas ready that are wanted and have room, of the newest generation, and no others there? */
bool api_is_settled(const struct api *api);

/* Has every replica that is of an older generation, or was to end, ended? And is there no candidate, and nothing to start that has
 * not started at least once? Or is there no end to it (said_stuck)? */
bool api_has_rolled(const struct api *api);

/* Has all of it ended, and is its number free? */
bool api_is_gone(const struct api *api);

int api_count_ready(const struct api *api);

/* For its history. */
void api_note_death(struct api *api, const struct slot *slot, enum death_kind kind, const char *text);

/* Does an empty slot wait for a template that has died, and is to be started again? */
bool api_waits_for_failing(const struct api *api, const struct slot *slot);

#endif
