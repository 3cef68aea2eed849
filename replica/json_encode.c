/*
 * json_encode - see json_encode.h.
 *
 * Writing plain values runs no code of the user, so that starting over with the standard library repeats nothing that
 * anybody could notice. Errors are left to it as well: its words are what users know.
 */
#include <Python.h>

#include "replica/json_encode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/decimal.h"
#include "replica/json_plain.h"

#define PLAIN_DEPTH_MAX 100 /* containers in containers; deeper ones, and circles, are for the standard library */
#define TEXT_FIRST      ((size_t)4096) /* bytes */
#define TEXT_KEPT       ((size_t)1 << 20)

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
	free(take_ptr(&encoder->bytes));
	encoder->size = 0;
}

/* ---- plain values ---- */

/* Room for n more bytes. False: there is none. */
static bool
reserve(struct json_encoder *encoder, size_t n)
{
	size_t size = MAX(encoder->size * 2, TEXT_FIRST);
	char *bytes;

	if (n <= encoder->size - encoder->length)
		return true;
	while (size - encoder->length < n)
		size *= 2;
	bytes = realloc(encoder->bytes, size);
	if (!bytes)
		return false;
	encoder->bytes = bytes;
	encoder->size = size;
	return true;
}

static bool
write_bytes(struct json_encoder *encoder, const char *bytes, size_t n)
{
	if (!reserve(encoder, n))
		return false;
	memcpy(encoder->bytes + encoder->length, bytes, n);
	encoder->length += n;
	return true;
}

static bool
write_byte(struct json_encoder *encoder, char byte)
{
	return write_bytes(encoder, &byte, 1);
}

static bool
write_string(struct json_encoder *encoder, PyObject *string)
{
	const char *text, *end;
	PyObject *quoted;
	bool written;

	if (PyUnicode_IS_COMPACT_ASCII(string)) {
		text = PyUnicode_DATA(string);
		end = text + PyUnicode_GET_LENGTH(string);
		if (json_plain_end(text, end) == end)
			return write_byte(encoder, '"') && write_bytes(encoder, text, (size_t)(end - text)) &&
			    write_byte(encoder, '"');
	}
	quoted = PyObject_CallOneArg(encoder->quote, string);
	if (!quoted)
		return false;
	written = write_bytes(encoder, PyUnicode_DATA(quoted), (size_t)PyUnicode_GET_LENGTH(quoted));
	Py_DECREF(quoted);
	return written;
}

static bool
write_integer(struct json_encoder *encoder, PyObject *integer)
{
	int overflow;
	long long value = PyLong_AsLongLongAndOverflow(integer, &overflow);

	if (overflow || !reserve(encoder, DECIMAL_TEXT_MAX))
		return false;
	encoder->length += decimal_from_integer(value, encoder->bytes + encoder->length);
	return true;
}

static bool
write_float(struct json_encoder *encoder, double value)
{
	if (Py_IS_NAN(value))
		return write_bytes(encoder, "NaN", 3);
	if (Py_IS_INFINITY(value))
		return value > 0 ? write_bytes(encoder, "Infinity", 8) : write_bytes(encoder, "-Infinity", 9);
	if (!reserve(encoder, DECIMAL_TEXT_MAX))
		return false;
	encoder->length += decimal_from_double(value, encoder->bytes + encoder->length);
	return true;
}

static bool write_plain(struct json_encoder *encoder, PyObject *value, int depth);

static bool
write_elements(struct json_encoder *encoder, PyObject *const *elements, Py_ssize_t n, int depth)
{
	if (!write_byte(encoder, '['))
		return false;
	for (Py_ssize_t i = 0; i < n; i++)
		if ((i > 0 && !write_byte(encoder, ',')) || !write_plain(encoder, elements[i], depth))
			return false;
	return write_byte(encoder, ']');
}

static bool
write_members(struct json_encoder *encoder, PyObject *dict, int depth)
{
	PyObject *key, *value;
	Py_ssize_t position = 0;
	char before = '{';

	if (PyDict_GET_SIZE(dict) == 0)
		return write_bytes(encoder, "{}", 2);
	while (PyDict_Next(dict, &position, &key, &value)) {
		if (!PyUnicode_CheckExact(key) || !write_byte(encoder, before) || !write_string(encoder, key) ||
		    !write_byte(encoder, ':') || !write_plain(encoder, value, depth))
			return false;
		before = ',';
	}
	return write_byte(encoder, '}');
}

/* False, perhaps with an exception pending, when it is not plain or there is no memory. */
static bool
write_plain(struct json_encoder *encoder, PyObject *value, int depth)
{
	if (PyUnicode_CheckExact(value))
		return write_string(encoder, value);
	if (PyFloat_CheckExact(value))
		return write_float(encoder, PyFloat_AS_DOUBLE(value));
	if (PyLong_CheckExact(value))
		return write_integer(encoder, value);
	if (value == Py_None)
		return write_bytes(encoder, "null", 4);
	if (value == Py_True)
		return write_bytes(encoder, "true", 4);
	if (value == Py_False)
		return write_bytes(encoder, "false", 5);
	if (depth == PLAIN_DEPTH_MAX)
		return false;
	if (PyDict_CheckExact(value))
		return write_members(encoder, value, depth + 1);
	if (PyList_CheckExact(value) || PyTuple_CheckExact(value))
		return write_elements(
		    encoder, PySequence_Fast_ITEMS(value), PySequence_Fast_GET_SIZE(value), depth + 1);
	return false;
}

/* ---- all others ---- */

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

static PyObject *
encode_any(const struct json_encoder *encoder, PyObject *value)
{
	int limit = recursion_cap();
	PyObject *text = encode(encoder, value), *plain;

	if (!text && complains_about_key()) {
		PyErr_Clear();
		plain = PyObject_CallOneArg(encoder->with_plain_keys, value);
		text = plain ? encode(encoder, plain) : NULL;
		Py_XDECREF(plain);
	}
	recursion_uncap(limit);
	return text;
}

int
json_encode(struct json_encoder *encoder, PyObject *value, struct json_text *ret_text)
{
	const char *bytes;
	Py_ssize_t length;
	PyObject *text;

	encoder->length = 0;
	if (encoder->size > TEXT_KEPT) {
		free(take_ptr(&encoder->bytes));
		encoder->size = 0;
	}
	if (write_plain(encoder, value, 0)) {
		*ret_text = (struct json_text){.bytes = encoder->bytes, .length = encoder->length};
		return 0;
	}
	PyErr_Clear();
	text = encode_any(encoder, value);
	bytes = text ? PyUnicode_AsUTF8AndSize(text, &length) : NULL;
	if (!bytes) {
		Py_XDECREF(text);
		return -EIO;
	}
	*ret_text = (struct json_text){.bytes = bytes, .length = (size_t)length, .owner = text};
	return 0;
}
