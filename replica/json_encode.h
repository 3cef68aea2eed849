/*
 * json_encode - what predict() returned as JSON text.
 *
 * The encoder is the C one of the standard library; what it does not know goes to to_plain() of support.py. The text is
 * as Cortex wrote it: ASCII, no spaces after separators, and NaN and infinities as NaN, Infinity and -Infinity, though no
 * JSON parser but Python's and its kin take them. Needs the GIL.
 */
#ifndef REPLICA_JSON_ENCODE_H
#define REPLICA_JSON_ENCODE_H

#include "replica/interpreter.h"

struct json_encoder {
	PyObject *encoder;         /* _json.make_encoder(...) */
	PyObject *with_plain_keys; /* of support.py */
	PyObject *quote;           /* _json.encode_basestring_ascii */
	PyObject *markers;         /* containers that are being encoded, to find circles; empty between calls */
	PyObject *empty;           /* "" */
	PyObject *zero;
};

/* 0, or -EIO with an exception pending. */
MUSTCHECK int json_encoder_init(struct json_encoder *encoder);
void json_encoder_done(struct json_encoder *encoder); /* NULL members are fine */

/* The text as an ASCII str: new reference, or NULL with an exception pending that says why there is no JSON for it. */
MUSTCHECK PyObject *json_encode(const struct json_encoder *encoder, PyObject *value);

#endif
