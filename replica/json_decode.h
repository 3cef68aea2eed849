/*
 * json_decode - the body of a request as a Python value, with the exact semantics of json.loads(bytes).
 *
 * The scanner is the C one of the standard library, called without the Python code around it; what that code does
 * (detection of the encoding, white space around the document) is done here. Documents in UTF-16, UTF-32 or with a byte
 * order mark are rare and go to json.loads. Needs the GIL.
 */
#ifndef REPLICA_JSON_DECODE_H
#define REPLICA_JSON_DECODE_H

#include "replica/interpreter.h"

struct json_decoder {
	PyObject *scanner; /* _json.make_scanner(json.JSONDecoder()) */
	PyObject *loads;   /* json.loads */
	PyObject *zero;
};

/* 0, or -EIO with an exception pending. */
MUSTCHECK int json_decoder_init(struct json_decoder *decoder);
void json_decoder_done(struct json_decoder *decoder); /* NULL members are fine */

/* 0 and *ret_value (new reference); -EBADMSG when it is not JSON, nested too deeply or holds a number that Python refuses;
 * -ENOMEM. Any bytes are safe; no exception is pending in any case. */
MUSTCHECK int json_decode(const struct json_decoder *decoder, const char *text, size_t length, PyObject **ret_value);

#endif
