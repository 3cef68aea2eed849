/*
 * generation - what the replicas of an api are made of: its part of a config, the interpreter, the model, the listeners.
 *
 * It never changes, but for what is found out about it. A reload that changes what a replica would see makes a new one, whose replicas take the places of the old
 * ones'; a reload that does not leaves it, and its replicas, alone. The fingerprint tells: a hash of those settings, of the
 * files of the project and of the model. What is compared and what is not (counts, scaling, the length of the queue: they take effect without a
 * new replica) is written in generation.c.
 */
#ifndef SUPERVISOR_GENERATION_H
#define SUPERVISOR_GENERATION_H

#include "common/config.h"
#include "supervisor/listeners.h"
#include "supervisor/sha256.h"

#define FINGERPRINT_DIGITS 40

struct generation {
	unsigned references;
	unsigned number; /* of the reload that made it; 1 is the start */
	struct config *config;
	const struct api_config *api; /* of config */
	char *python;                 /* the interpreter whose environment the replicas take */
	char *model_path;             /* where the model lies on this machine, or NULL */
	char *failure;                /* why it cannot have replicas; NULL: it can */
	struct listeners *listeners;
	bool unfit; /* its replicas cannot be forked by a template, as was found out and said */
	char fingerprint[FINGERPRINT_DIGITS + 1];
};

/* files: what project_hash gave for that config; model_path: may be NULL. Both are copied. Looks at the files of the model. One
 * reference. */
struct generation *generation_new(unsigned number, struct config *config, const struct api_config *api,
    const char *python, const char *model_path, struct listeners *listeners, const char *files);

/* The model of an api that lies on this machine already; NULL: there is none, or it must be fetched. Borrowed from api. */
const char *generation_local_model(const struct api_config *api);
struct generation *generation_ref(struct generation *generation);
void generation_unref(struct generation *generation); /* NULL is fine */

/* The state of the files of a project, as text of FINGERPRINT_DIGITS digits. Reads the Python files, and looks at the others;
 * left out are hidden ones, logs, what Python itself writes, the state directory, and the two files that are compared by what
 * they mean, cortex.yaml and requirements.txt. Bounded: of a project with very many files the last ones are not looked at. */
void project_hash(const struct config *config, char ret_files[FINGERPRINT_DIGITS + 1]);

#endif
