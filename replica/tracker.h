/*
 * tracker - the value of a prediction that the api's tracker counts (config: tracker).
 *
 * The value is the response, or response[key]. A classification counts a str or an int, a regression takes an int or a float, that
 * is finite; numpy's scalars are what they look like, a bool is neither. Anything else, or a missing key, is a warning in the log, one
 * in ten seconds; the client gets its prediction all the same. (Cortex v0.11, page "Prediction monitoring".)
 *
 * For predictor.c only; include Python.h first. The caller holds the GIL.
 */
#ifndef REPLICA_TRACKER_H
#define REPLICA_TRACKER_H

#include "replica/predictor.h"

#define TRACKER_KNOWN 64

struct tracker {
	enum tracker_type type;
	PyObject *key; /* a str, or NULL */
	/* By the hash of the str or int that a class was found in; a later one takes the place. */
	struct tracker_known {
		PyObject *value; /* NULL: there is none */
		Py_hash_t hash;
		struct tracked_class class;
	} known[TRACKER_KNOWN];
	struct tracked_class other; /* the last class that was found in another kind of value */
	int64_t warned_ms;
	unsigned n_silent; /* warnings since that were not given */
};

/* 0, or -EIO with an exception pending. */
MUSTCHECK int tracker_init(struct tracker *tracker, const struct start_record *start);
void tracker_done(struct tracker *tracker); /* all zero is fine */

/* Set tracked, class and value of the answer. No exception comes back. */
void tracker_look(struct tracker *tracker, PyObject *prediction, struct prediction_answer *answer);

#endif
