/*
 * json_decode - the body of a request as a Python value, with the exact semantics of json.loads(bytes).
 *
 * Documents in UTF-8 are read here, from the bytes straight to Python objects; those in UTF-16, UTF-32 or with a byte order
 * mark are rare and go to json.loads. Needs the GIL.
 */
#ifndef REPLICA_JSON_DECODE_H
#define REPLICA_JSON_DECODE_H

#include "replica/interpreter.h"

#define JSON_KEYS_KEPT 256

struct json_decoder {
	PyObject *loads;                /* json.loads */
	PyObject *keys[JSON_KEYS_KEPT]; /* short ASCII keys that came before, by hash: most documents repeat them */
	PyObject **elements;            /* of the arrays that are being read, the inner ones last */
	size_t n_elements, size;
};

/* 0, or -EIO with an exception pending. */
MUSTCHECK int json_decoder_init(struct json_decoder *decoder);
void json_decoder_done(struct json_decoder *decoder); /* NULL members are fine */

/* 0 and *ret_value (new reference); -EBADMSG when it is not JSON, nested too deeply or holds a number that Python refuses;
 * -ENOMEM. Any bytes are safe; no exception is pending in any case. */
MUSTCHECK int json_decode(struct json_decoder *decoder, const char *text, size_t length, PyObject **ret_value);

#endif
