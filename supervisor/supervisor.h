/*
 * supervisor - the parent of all replicas and of the activator.
 *
 * One thread, one libevent loop. What happens (a record, a death, a signal, a deadline) changes what is observed about
 * a slot; after that the supervisor compares every slot with what is wanted and starts or ends the difference. Nothing
 * in the loop blocks, and nothing that a child does ends the supervisor: its one exit is the end of a stop (stop.h).
 *
 * supervisor.c is the loop and the comparison, api.c what is compared for one api, child.c the deeds and events of one slot,
 * replica.c, template.c, activator.c and monitor.c the kinds of children, reload.c the way to another config, upgrade.c and takeover.c the way
 * to another build, output.c what children print, stop.c the way out, report.c what the service manager hears.
 */
#ifndef SUPERVISOR_SUPERVISOR_H
#define SUPERVISOR_SUPERVISOR_H

#include <event2/event_struct.h>

#include "common/config.h"
#include "supervisor/admin.h"
#include "supervisor/api.h"
#include "supervisor/board.h"
#include "supervisor/inherited.h"
#include "supervisor/listeners.h"
#include "supervisor/monitor.h"
#include "supervisor/output.h"
#include "supervisor/reload.h"
#include "supervisor/report.h"
#include "supervisor/scale.h"
#include "supervisor/slot.h"
#include "supervisor/spawn.h"
#include "supervisor/supply.h"
#include "supervisor/takeover.h"
#include "supervisor/upgrade.h"

enum supervisor_mode {
	SUPERVISOR_SERVE,
	SUPERVISOR_ENVIRONMENT, /* build the environment if needed, print its interpreter, end */
};

enum stop_level {
	STOP_NO,
	STOP_DRAIN, /* replicas finish what they have */
	STOP_TERM,  /* SIGTERM to those that are left */
	STOP_KILL,  /* SIGKILL to those that are left */
};

struct supervisor_options {
	enum supervisor_mode mode;
	int64_t stop_timeout_ms; /* how long a drain may take */
	char **argv;             /* the command line: what replaces this cortexd is started with it */
};

struct supervisor {
	struct config *config; /* the last good one */
	struct supervisor_options options;
	struct event_base *base;
	struct event signal_events[5];
	size_t n_signal_events;
	struct event compare_event;
	struct event later_event;
	struct event stop_event;
	struct event introduce_event;
	bool channels_lack; /* some replica could not be given one; it was said */

	int state_lock;
	int reserve_fd; /* given up when the stop begins, so that the way out never lacks a descriptor */
	char *program;  /* what we were started from */
	struct program replica_program;
	struct program activator_program;
	struct program monitor_program;
	struct program fetch_program;
	struct board board;
	struct cgroups *cgroups; /* for replicas; NULL: there are none */
	struct slot activator;
	struct outputs outputs;
	struct slot monitor;
	struct monitor_watch monitor_watch;
	struct admin admin;
	bool apis_untold; /* it does not know the last changes */
	bool listeners_untold;
	struct inherited inherited; /* until the listeners have them */
	struct open_listeners open_listeners;
	struct listeners *listeners; /* of the config */
	struct api **apis;
	size_t n_apis;
	struct reload reload;
	struct upgrade upgrade;
	struct takeover takeover; /* of the cortexd that was here before; all empty as a rule */
	struct scale scale;

	struct supply supply;
	bool serving;   /* start-up is over: replicas are wanted */
	bool printed;   /* SUPERVISOR_ENVIRONMENT: all is done */
	bool announced; /* all replicas have been ready once */

	struct report report; /* what the service manager knows */

	int64_t started_ms;
	int64_t wall_ahead_ms;      /* of clock_ms(), at the start (status.h) */
	enum stop_level stop_level; /* only ever rises */
	int64_t stop_since_ms;
	int64_t stop_said_ms; /* when the level was last raised */
	bool stop_killed;     /* something had to be killed on the way out */
	int exit_code;
};

/* Do everything, until stopped. The exit code for the process: 0, or 1 after a failed start, which is logged, or when
 * something had to be killed in the end. Takes a reference of the config. */
int supervisor_run(struct config *config, const struct supervisor_options *options);

/* Compare wanted and observed when the callbacks of this turn are done. */
void supervisor_compare_soon(struct supervisor *supervisor);

/* The same in a moment: something has to be looked at that nobody tells. */
void supervisor_compare_later(struct supervisor *supervisor);

/* The slot of a process, or NULL. */
struct slot *supervisor_find_slot(struct supervisor *supervisor, pid_t pid);

/* The api with that number. There is one for every slot of a replica or a template. */
struct api *supervisor_find_api(const struct supervisor *supervisor, uint32_t number);

/* Give up the api, whose replicas are gone. */
void supervisor_remove_api(struct supervisor *supervisor, struct api *api);

/* One more. */
void supervisor_add_api(struct supervisor *supervisor, struct api *api);

/* What a config needs was found (supply.h). False: its environment could not be built, as was logged, or a stop was requested. */
void supervisor_supplied(struct supervisor *supervisor, bool found);

/* The start failed, as was logged: end as soon as possible with exit code 1. */
void supervisor_give_up(struct supervisor *supervisor);

#endif
