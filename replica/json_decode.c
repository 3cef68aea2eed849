/*
 * json_decode - see json_decode.h.
 */
#include <Python.h>

#include "replica/json_decode.h"

#include <errno.h>

int
json_decoder_init(struct json_decoder *decoder)
{
	PyObject *json = NULL, *c_json = NULL, *context = NULL;
	int r = -EIO;

	*decoder = (struct json_decoder){0};
	json = PyImport_ImportModule("json");
	c_json = json ? PyImport_ImportModule("_json") : NULL;
	context = c_json ? PyObject_CallMethod(json, "JSONDecoder", NULL) : NULL;
	if (!context)
		goto out;
	decoder->scanner = PyObject_CallMethod(c_json, "make_scanner", "O", context);
	decoder->loads = PyObject_GetAttrString(json, "loads");
	decoder->zero = PyLong_FromLong(0);
	if (decoder->scanner && decoder->loads && decoder->zero)
		r = 0;
	else
		json_decoder_done(decoder);
out:
	Py_XDECREF(context);
	Py_XDECREF(c_json);
	Py_XDECREF(json);
	return r;
}

void
json_decoder_done(struct json_decoder *decoder)
{
	Py_CLEAR(decoder->scanner);
	Py_CLEAR(decoder->loads);
	Py_CLEAR(decoder->zero);
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* json.detect_encoding() says something else than UTF-8 for a byte order mark or a NUL in the first two bytes. */
static bool
may_not_be_utf8(const char *text, size_t length)
{
	if (length < 2)
		return false;
	return text[0] == '\0' || text[1] == '\0' || (unsigned char)text[0] >= 0xef;
}

static PyObject *
decode_slowly(const struct json_decoder *decoder, const char *text, size_t length)
{
	PyObject *bytes = PyBytes_FromStringAndSize(text, (Py_ssize_t)length);
	PyObject *value = bytes ? PyObject_CallOneArg(decoder->loads, bytes) : NULL;

	Py_XDECREF(bytes);
	return value;
}

/* NULL with an exception, or without one when something follows the document. */
static PyObject *
decode_utf8(const struct json_decoder *decoder, const char *text, size_t length)
{
	PyObject *args[2], *string, *pair, *value = NULL;
	Py_ssize_t end;

	while (length > 0 && is_space(text[length - 1]))
		length--;
	while (length > 0 && is_space(text[0])) {
		text++;
		length--;
	}
	string = PyUnicode_DecodeUTF8(text, (Py_ssize_t)length, "surrogatepass");
	if (!string)
		return NULL;
	args[0] = string;
	args[1] = decoder->zero;
	pair = PyObject_Vectorcall(decoder->scanner, args, 2, NULL);
	if (pair) {
		end = PyLong_AsSsize_t(PyTuple_GET_ITEM(pair, 1));
		if (end == PyUnicode_GET_LENGTH(string)) {
			value = PyTuple_GET_ITEM(pair, 0);
			Py_INCREF(value);
		}
		Py_DECREF(pair);
	}
	Py_DECREF(string);
	return value;
}

int
json_decode(const struct json_decoder *decoder, const char *text, size_t length, PyObject **ret_value)
{
	int limit = recursion_cap();
	PyObject *value;
	int r = 0;

	if (may_not_be_utf8(text, length))
		value = decode_slowly(decoder, text, length);
	else
		value = decode_utf8(decoder, text, length);
	recursion_uncap(limit);
	if (!value) {
		r = PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_MemoryError) ? -ENOMEM : -EBADMSG;
		PyErr_Clear();
		return r;
	}
	*ret_value = value;
	return 0;
}
