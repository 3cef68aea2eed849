/*
 * predictor - the user's Python file, or what serves a model: loading it, init(), and predict() for one sample.
 *
 * Every function here is called by the replica's main thread; the caller holds the GIL unless said otherwise. Nothing
 * that a predictor does (exceptions, SystemExit, RecursionError, MemoryError, wrong types) comes back as a pending
 * Python exception: it becomes a struct error or an answer.
 */
#ifndef REPLICA_PREDICTOR_H
#define REPLICA_PREDICTOR_H

#include "common/error.h"
#include "common/metrics.h"
#include "common/start_record.h"
#include "common/util.h"

struct predictor;

/*
 * The interpreter. interpreter_start initialises CPython for the environment of start->python, isolated from cortexd's
 * own environment variables; C keeps the signals. sys.path gets python_path and the project folder in front. The working
 * directory is the project folder already. On success the caller holds the GIL.
 */
MUSTCHECK int interpreter_start(const struct start_record *start, struct error *err);

/* Run atexit hooks, flush stdout and stderr. The interpreter is not finalised: the caller leaves with _exit. Holds the GIL. */
void interpreter_stop(void);

/*
 * For a process that forks: before the first fork, collect what is garbage, move the rest out of the sight of the garbage
 * collector, write what is buffered. Then around each fork(2), as
 * os.fork() does it. In between no Python may run. Where _child is called may be the child of the child.
 */
void interpreter_freeze(void);
void interpreter_before_fork(void);
void interpreter_after_fork_parent(void);
void interpreter_after_fork_child(void);

/* Release and take the GIL around a system call that blocks. */
void interpreter_release(void);
void interpreter_acquire(void);

/*
 * Load the implementation file, check the signatures, call init(model_path, metadata) when defined; or load the model. 0 and *ret_predictor, or a
 * negative errno and err: one line for people, "error in predictor.py: line 7: ModuleNotFoundError: No module named
 * 'sklearn'"; the traceback is in the log.
 */
MUSTCHECK int predictor_load(const struct start_record *start, struct predictor **ret_predictor, struct error *err);

/* The same in two steps: run the file; call init(), after which it can predict. Whatever comes of the second, the predictor is
 * the caller's. */
MUSTCHECK int predictor_import(const struct start_record *start, struct predictor **ret_predictor, struct error *err);
MUSTCHECK int predictor_init(struct predictor *predictor, const struct start_record *start, struct error *err);
void predictor_free(struct predictor *predictor);

/* The inputs of the model, as JSON text that lives as long as the predictor; NULL: it is not of a kind that has a model. */
const char *predictor_signature(const struct predictor *predictor);

/* The content of a request, as the HTTP side hands it over. */
struct prediction_request {
	const char *body; /* body_length bytes, valid until predictor_predict returns; not NUL-terminated */
	size_t body_length;
	const char *content_type; /* value of Content-Type, NUL-terminated; NULL when there was none */
	bool debug;               /* ?debug=true: log what passes through, cut to 10 elements and 500 characters */
};

/* What the tracker of the api makes of a prediction. */
enum tracked {
	TRACKED_NOTHING, /* there is no tracker, or no prediction */
	TRACKED_CLASS,
	TRACKED_VALUE,
	TRACKED_WRONG, /* it has no value that the tracker could use, as was logged */
};

/* A class that a tracker has seen. Who counts it writes its number down: the next prediction of it needs no search. */
struct tracked_class {
	char name[METRICS_CLASS_MAX + 1];
	int number; /* of metrics_find_class, or TRACKED_NEW */
};

#define TRACKED_NEW (-2)

/* What to answer. body is valid until the next call of predictor_predict, and until prediction_answer_done, which must follow. */
struct prediction_answer {
	int status;               /* 200, 400, 406, 415, 500 */
	const char *content_type; /* static text */
	const char *body;
	size_t body_length;
	enum tracked tracked;
	struct tracked_class *class; /* of TRACKED_CLASS; the predictor's */
	double value;                /* of TRACKED_VALUE */
	void *owner;                 /* a PyObject that body is part of, or NULL: body is static, or the predictor's */
};

/* Convert the body, call predict(sample, metadata), convert the result. Always fills *ret_answer. */
void predictor_predict(
    struct predictor *predictor, const struct prediction_request *request, struct prediction_answer *ret_answer);
void prediction_answer_done(struct prediction_answer *answer);

#endif
