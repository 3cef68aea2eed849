/*
 * json_encode - what predict() returned as JSON text.
 *
 * Values of Python's own plain types (dict with str keys, list, tuple, str, int, float, bool, None) are written here. A
 * value with anything else in it goes to the C encoder of the standard library as a whole, and what that does not know to
 * to_plain() of support.py. The text is as Cortex wrote it, the same either way: ASCII, no spaces after separators, and NaN
 * and infinities as NaN, Infinity and -Infinity, though no JSON parser but Python's and its kin take them. Needs the GIL.
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
	char *bytes; /* the text of plain values; kept for the next one unless it is large */
	size_t length, size;
};

/* length bytes of ASCII. They are owner's (a new reference to a str), or with owner NULL the encoder's until its next call. */
struct json_text {
	const char *bytes;
	size_t length;
	PyObject *owner;
};

/* 0, or -EIO with an exception pending. */
MUSTCHECK int json_encoder_init(struct json_encoder *encoder);
void json_encoder_done(struct json_encoder *encoder); /* NULL members are fine */

/* 0 and *ret_text, or -EIO with an exception pending that says why there is no JSON for the value. */
MUSTCHECK int json_encode(struct json_encoder *encoder, PyObject *value, struct json_text *ret_text);

#endif
