/*
 * environment - requirements.txt becomes a virtual environment in the state directory.
 *
 * <state_dir>/environments/<key> is made once and then used by every start. The key is a hash of what the environment
 * follows from: the interpreter, its version, and requirements.txt with the files it includes by -r and -c (but not
 * what lies behind a path or an address named in it). It is a symbolic link to a folder of environment-builds, made for
 * this one build and never used by another: a process of a killed build may live on for a while and go on writing. A
 * marker file in it, written last and synced, says that it is complete; without it the next start builds anew.
 *
 * Where there is a base environment (packages.h), its packages come behind the environment's own in sys.path: a .pth file
 * that is there before pip is. So pip sees what there is, installs what differs, and has no way to change the base. Which
 * build of the base it was is part of the key.
 *
 * The steps are children of the loop (job.h), so that the supervisor goes on to answer signals while pip works. The
 * caller holds the lock of the state directory.
 */
#ifndef SUPERVISOR_ENVIRONMENT_H
#define SUPERVISOR_ENVIRONMENT_H

#include <sys/types.h>

#include "common/error.h"
#include "common/util.h"

/* The interpreter of the libpython that cortexd-replica is linked with. */
#ifndef CORTEXD_PYTHON
#define CORTEXD_PYTHON "/usr/bin/python3.11"
#endif

#define ENVIRONMENT_KEY_MAX 32 /* hexadecimal digits */
#define ENVIRONMENT_MARKER  "cortexd-complete"

struct event_base;
struct environment;
struct packages;

/* It is over: python is the environment's interpreter, or NULL: the build failed, as was logged, or was stopped. */
typedef void environment_cb(void *arg, const char *python);

struct environment_plan {
	const char *interpreter;    /* that makes the environment */
	const char *requirements;   /* absolute path of requirements.txt */
	const char *project_folder; /* pip's working directory */
	const char *state_dir;      /* absolute */
	struct packages *packages;  /* the base environment; taken, which leaves it empty */
	const char *may_not_build;  /* why nothing may be built now, only used; or NULL */
	environment_cb *cb;
	void *arg;
};

/* Strings of the plan are borrowed for the life of the object; may_not_build is copied. */
struct environment *environment_new(struct event_base *base, const struct environment_plan *plan);

/* Begin. cb comes from the loop, never from here; 0, or a negative errno and err. */
MUSTCHECK int environment_start(struct environment *environment, struct error *err);

/* Is this child the step that runs? The supervisor reaped it. */
bool environment_owns(const struct environment *environment, pid_t pid);
void environment_reaped(struct environment *environment, int wait_status);

/* Is a step running? */
bool environment_is_busy(const struct environment *environment);

/* Give up: send a signal to the process group of the step that runs. NULL, or none running, is fine. */
void environment_stop(struct environment *environment, int signal_number);

/* NULL is fine. It must not be busy. */
void environment_free(struct environment *environment);

/* The key, as a text of ENVIRONMENT_KEY_MAX digits; base is the identity of the base environment, or NULL. 0, or a
 * negative errno and err: requirements cannot be read. */
MUSTCHECK int environment_key(const char *interpreter, const char *version, const char *base, const char *requirements,
    char key[ENVIRONMENT_KEY_MAX + 1], struct error *err);

/* The marker: is this folder, or what a link points to, a complete environment? Declare it to be one, on disk. */
bool environment_is_complete(const char *folder);
MUSTCHECK int environment_mark_complete(const char *folder, struct error *err);

#endif
