/*
 * json_encode - see json_encode.h.
 */
#include <Python.h>

#include "replica/json_encode.h"

#include <errno.h>
#include <string.h>

int
json_encoder_init(struct json_encoder *encoder)
{
	PyObject *c_json = NULL, *to_plain = NULL;
	int r = -EIO;

	*encoder = (struct json_encoder){0};
	c_json = PyImport_ImportModule("_json");
	to_plain = c_json ? support_function("to_plain") : NULL;
	encoder->with_plain_keys = to_plain ? support_function("with_plain_keys") : NULL;
	if (!encoder->with_plain_keys)
		goto out;
	encoder->quote = PyObject_GetAttrString(c_json, "encode_basestring_ascii");
	encoder->markers = PyDict_New();
	encoder->empty = PyUnicode_FromString("");
	encoder->zero = PyLong_FromLong(0);
	if (encoder->quote && encoder->markers && encoder->empty && encoder->zero)
		/*
		 * indent, separators; then sort_keys and skipkeys off, allow_nan on: NaN and Infinity go out as
		 * Python's json writes and reads them, which is what clients of Cortex got.
		 */
		encoder->encoder = PyObject_CallMethod(c_json, "make_encoder", "OOOOssOOO", encoder->markers, to_plain,
		    encoder->quote, Py_None, ":", ",", Py_False, Py_False, Py_True);
	if (encoder->encoder)
		r = 0;
	else
		json_encoder_done(encoder);
out:
	Py_XDECREF(to_plain);
	Py_XDECREF(c_json);
	return r;
}

void
json_encoder_done(struct json_encoder *encoder)
{
	Py_CLEAR(encoder->encoder);
	Py_CLEAR(encoder->with_plain_keys);
	Py_CLEAR(encoder->quote);
	Py_CLEAR(encoder->markers);
	Py_CLEAR(encoder->empty);
	Py_CLEAR(encoder->zero);
}

/* The encoder gives a tuple of pieces: of one in the CPython that Debian has, which saves a copy. */
static PyObject *
join(const struct json_encoder *encoder, PyObject *chunks)
{
	PyObject *text;

	if (!PyTuple_CheckExact(chunks) || PyTuple_GET_SIZE(chunks) != 1)
		return PyUnicode_Join(encoder->empty, chunks);
	text = PyTuple_GET_ITEM(chunks, 0);
	Py_INCREF(text);
	return text;
}

static PyObject *
encode(const struct json_encoder *encoder, PyObject *value)
{
	PyObject *args[2] = {value, encoder->zero};
	PyObject *chunks, *text;

	chunks = PyObject_Vectorcall(encoder->encoder, args, 2, NULL);
	if (!chunks) {
		PyDict_Clear(encoder->markers); /* a failure leaves them behind */
		return NULL;
	}
	text = join(encoder, chunks);
	Py_DECREF(chunks);
	return text;
}

/* Is the pending exception the encoder's complaint about a key, and not one of the user's code? */
static bool
complains_about_key(void)
{
	PyObject *type, *value, *traceback, *shown;
	const char *text;
	bool does;

	if (!PyErr_ExceptionMatches(PyExc_TypeError))
		return false;
	PyErr_Fetch(&type, &value, &traceback);
	shown = !traceback && value ? PyObject_Str(value) : NULL;
	text = shown ? PyUnicode_AsUTF8(shown) : NULL;
	does = text && !strncmp(text, "keys must be", strlen("keys must be"));
	Py_XDECREF(shown);
	PyErr_Restore(type, value, traceback);
	return does;
}

PyObject *
json_encode(const struct json_encoder *encoder, PyObject *value)
{
	PyObject *text, *plain;
	int limit;

	if (PyUnicode_CheckExact(value))
		return PyObject_CallOneArg(encoder->quote, value);
	limit = recursion_cap();
	text = encode(encoder, value);
	if (!text && complains_about_key()) {
		PyErr_Clear();
		plain = PyObject_CallOneArg(encoder->with_plain_keys, value);
		text = plain ? encode(encoder, plain) : NULL;
		Py_XDECREF(plain);
	}
	recursion_uncap(limit);
	return text;
}
