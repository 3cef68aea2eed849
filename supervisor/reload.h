/*
 * reload - from one config to another while clients are served.
 *
 * SIGHUP reads the file again. With an error in it, an address that cannot be bound, or an environment that cannot be built,
 * nothing changes. Otherwise the apis are compared by name and by content (generation.h): an unchanged one is left alone, a
 * changed one is given a candidate (api.h), which replaces it once it works; a new one is routed when its first replica is
 * ready, a removed one ends when what waits for it is served.
 *
 * A SIGHUP while an environment is built is remembered, once. One while replicas are replaced begins anew from where they are,
 * or, when its config is no good, changes nothing about that either.
 * What came of it is logged, and written to <state_dir>/reload for `cortexd --reload`, which waits for it. One while another build
 * takes over (upgrade.h) is that one's, or ours when it has failed.
 */
#ifndef SUPERVISOR_RELOAD_H
#define SUPERVISOR_RELOAD_H

#include "common/config.h"
#include "common/error.h"
#include "supervisor/admin.h"

struct api;
struct listeners;
struct supervisor;

enum reload_step {
	RELOAD_NONE,
	RELOAD_ENVIRONMENT, /* the new config is good; its environment is looked for or built */
	RELOAD_ROLLING,     /* it is in effect; replicas are replaced */
};

struct reload {
	enum reload_step step;
	bool again;            /* SIGHUP came when it could not be served */
	unsigned number;       /* of the present one, or the last; the start is 1 */
	struct config *config; /* ENVIRONMENT: the new one, its listeners, and when it was read */
	struct listeners *listeners;
	struct admin_tcp admin;
	int64_t config_since_ms;
	bool rolling; /* ROLLING, or was when the next one began: goes on if that comes to nothing */
	unsigned rolling_number;
	int64_t since_ms;
	unsigned n_failed; /* apis that stay as they were */
	unsigned n_changed, n_added, n_removed, n_unchanged;
	struct error failure;        /* the first */
	const char *state;           /* of the last one, for status: running, done, failed; NULL: there is none yet */
	char *text;                  /* what came of it */
	uint64_t n_done, n_not_done; /* reloads in all, the start left out */
};

/* The start counts as number 1, or as the last one of the cortexd that was replaced (takeover.h): it begins; it is over. */
void reload_starting(struct supervisor *supervisor);
void reload_started(struct supervisor *supervisor);

/* SIGHUP. */
void reload_request(struct supervisor *supervisor);

/* The same: the number that the reload has, or will have. 0: cortexd stops. */
unsigned reload_ask(struct supervisor *supervisor);

/* What the new config needs is there; false: its environment cannot be built, as was logged. */
void reload_go_on(struct supervisor *supervisor, bool found);

/* The api's candidate was dropped, and why. */
void reload_note_failure(struct supervisor *supervisor, const struct api *api, const char *why);

/* After each comparison: is it over? */
void reload_compare(struct supervisor *supervisor);

/* For the end of the supervisor. */
void reload_done(struct supervisor *supervisor);

/* `cortexd --reload`: tell the cortexd that has the state directory of this config, wait for what comes of it, say it. The exit
 * code. */
int reload_command(const struct config *config);

#endif
