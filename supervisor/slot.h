/*
 * slot - the place of one child that is to run all the time (a replica, the activator), and its life as the supervisor
 * sees it.
 *
 * A slot outlives the processes that fill it. What the supervisor learns about a process is an event; slot_handle looks
 * it up in one table, state x event, sets the next state and says what is to be done about it. Nothing else decides:
 * whether the slot should be filled at all is the caller's to compare (supervisor.c), never stored here.
 *
 * A slot is free again only when waitpid *and* the end of the control socket were seen, in whatever order they come.
 */
#ifndef SUPERVISOR_SLOT_H
#define SUPERVISOR_SLOT_H

#include <event2/event_struct.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "common/util.h"
#include "supervisor/backoff.h"
#include "supervisor/death.h"
#include "supervisor/gpu.h"

enum slot_state {
	SLOT_EMPTY,   /* no process; ends when one is wanted */
	SLOT_SPAWNED, /* forked; ends with exec, or when one that a template forks says who it is */
	SLOT_LOADING, /* the program runs: interpreter, imports, init(); ends with READY, FAILED, death, timeout */
	SLOT_READY, /* does its work; ends when no longer wanted, or with its death, or when a prediction never ends */
	SLOT_DRAINING, /* told to finish; ends with its exit or the deadline */
	SLOT_EXITING,  /* dead or dying; ends when waitpid and the end of the control socket were both seen */
	SLOT_BACKOFF,  /* no process, and none before the deadline */
	SLOT_N_STATES,
};

enum slot_event {
	SLOT_ON_FORK,     /* a process was started */
	SLOT_ON_DELAY,    /* no process may be started for now */
	SLOT_ON_EXEC,     /* the process runs its program, or ended before it did */
	SLOT_ON_READY,    /* record READY */
	SLOT_ON_FAILED,   /* record FAILED: it gives up; or its program could not be run */
	SLOT_ON_NONSENSE, /* a record that is none */
	SLOT_ON_UNWANTED, /* the supervisor wants the slot empty */
	SLOT_ON_DEADLINE, /* the time that the state may last is over */
	SLOT_ON_HANGUP,   /* end of the control socket */
	SLOT_ON_REAPED,   /* waitpid gave its status */
	SLOT_ON_FREE,     /* both of the last two were seen */
	SLOT_N_EVENTS,
};

enum slot_action {
	SLOT_DO_NOTHING,
	SLOT_DO_DRAIN,     /* send DRAIN */
	SLOT_DO_TERMINATE, /* SIGTERM to its process group */
	SLOT_DO_KILL,      /* SIGKILL to its process group */
	SLOT_DO_ESCALATE,  /* it should be gone by now: the next stronger signal than it got so far */
	SLOT_DO_BUG,       /* the event cannot happen in that state */
};

struct cgroup;
struct child_kind;
struct generation;
struct output;
struct supervisor;

#define SLOT_NAME_MAX 96

#define SLOT_CPU_READINGS 16

/* What the process of a replica has used, as of the last samples (scale.h). */
struct slot_usage {
	int64_t cpu_us;  /* with all its descendants, since it was started */
	int64_t rss_kib; /* 0: not known yet */
	unsigned n;      /* readings since it was ready, of which the last are here: */
	struct {
		int64_t at_ms, cpu_us;
	} readings[SLOT_CPU_READINGS]; /* a ring */
};

struct slot {
	struct supervisor *supervisor;
	const struct child_kind *kind; /* child.h */
	char name[SLOT_NAME_MAX];      /* for the log: "replica iris/0" */
	TAILQ_ENTRY(slot) in_api;      /* of a replica, like the next ones */
	struct generation *generation; /* what it is made of */
	uint32_t api;                  /* number of its api */
	int index;                     /* within the api */
	int place;                     /* on the board, while there is a process; else -1 */
	uint64_t process;              /* number of the present process, or the last; no two have the same */
	struct gpu_set gpus;           /* that the process has to itself */
	bool dismissed;                /* it is to end, and the slot with it */
	bool accepts;                  /* the process was started, or has been told, to take connections */
	bool trial;                    /* if it does not become ready, there is no second try */
	enum slot_state state;
	int64_t since_ms;       /* when the state was entered */
	int64_t started_ms;     /* when the process was forked */
	int64_t ready_since_ms; /* when it became ready; 0: it did not */
	bool recycle;           /* of a replica: the process has asked to be replaced (config: recycle) */
	struct slot *template;  /* of a replica that is started now: who forks it; NULL: nobody, it is exec'd */
	bool unborn;            /* of a replica: a template was asked for it, and it has not said yet who it is */
	unsigned n_asked;       /* of a template: replicas that it was asked for and has not forked yet */

	const char *program; /* that it runs; borrowed */
	pid_t pid;           /* 0: no process, or it was reaped, or is unborn */
	int control;         /* our end of its control socket, or -1: end seen */
	int notice;          /* tells when exec has happened (spawn.h), or -1 */
	struct death_evidence evidence;
	struct output *output;    /* what the process writes to; NULL: where cortexd does (output.h) */
	struct cgroup *cgroup;    /* of the process; NULL: none of its own */
	int64_t oom_kills_before; /* the kernel's count at its start, or -1 */
	struct backoff backoff;
	int64_t start_after_ms;          /* not before this; moved on by each death */
	unsigned deaths;                 /* that nobody asked for */
	char last_death[DEATH_TEXT_MAX]; /* of these, in words */
	enum death_kind last_death_kind;
	struct slot_usage usage; /* of a replica */

	struct event control_event;
	struct event notice_event;
	struct event deadline_event;
};

const char *slot_state_name(enum slot_state state);
const char *slot_event_name(enum slot_event event);

/* Start with an empty slot. All but its name and state is the caller's to set. */
void slot_init(struct slot *slot, const char *name);

/* The only writer of slot->state. Says every transition aloud at debug; an illegal one is a bug in the table. */
void slot_set_state(struct slot *slot, enum slot_state next, int64_t now_ms, const char *why);

/* May a slot go from one state to the other? */
bool slot_may_become(enum slot_state from, enum slot_state to);

/* The cell of the table: what follows, without doing it. */
enum slot_action slot_look_up(enum slot_state state, enum slot_event event, enum slot_state *ret_next);

/* Take the event: set the next state, return what the caller has to do. An event that cannot come now is a bug. */
MUSTCHECK enum slot_action slot_handle(struct slot *slot, enum slot_event event, int64_t now_ms);

/* Is there neither a process to wait for nor a control socket to read? */
bool slot_is_free(const struct slot *slot);

#endif
