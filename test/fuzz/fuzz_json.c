/*
 * Any bytes as the body of a request: decoding agrees with json.loads, and what was decoded encodes as json.dumps does and
 * decodes as json.loads reads that. No exception is ever left behind. The bytes serve as a Content-Type, too.
 */
#include <Python.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/content_type.h"
#include "replica/json_decode.h"
#include "replica/json_encode.h"
#include "replica/predictor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* loads(bytes) is (True, value) or (False, None); dumps(value) is the text or None. */
static const char oracle[] = "import json\n"
			     "def loads(data):\n"
			     "    try:\n"
			     "        return True, json.loads(data)\n"
			     "    except (ValueError, RecursionError):\n"
			     "        return False, None\n"
			     "def dumps(value):\n"
			     "    try:\n"
			     "        return json.dumps(value, separators=(',', ':'))\n"
			     "    except (ValueError, RecursionError):\n"
			     "        return None\n";

static PyObject *loads, *dumps;
static struct json_decoder decoder;
static struct json_encoder encoder;

int
LLVMFuzzerInitialize(int *argc UNUSED, char ***argv UNUSED)
{
	struct start_record start = {.implementation = (char *)"none.py",
	    .project_folder = (char *)"/nonexistent",
	    .python = (char *)"/usr/bin/python3.11",
	    .cpu_millicpu = 1000};
	PyObject *globals, *done;

	ASSERT(interpreter_start(&start, NULL) == 0);
	ASSERT(json_decoder_init(&decoder) == 0 && json_encoder_init(&encoder) == 0);
	globals = PyDict_New();
	done = globals ? PyRun_String(oracle, Py_file_input, globals, globals) : NULL;
	ASSERT(done);
	loads = PyDict_GetItemString(globals, "loads");
	dumps = PyDict_GetItemString(globals, "dumps");
	ASSERT(loads && dumps);
	Py_DECREF(done);
	return 0;
}

/* Equal as Python shows them: NaN equals NaN, 1 and 1.0 and True differ. */
static void
check_same(PyObject *a, PyObject *b)
{
	PyObject *shown_a = PyObject_Repr(a), *shown_b = PyObject_Repr(b);

	ASSERT(shown_a && shown_b && PyUnicode_Compare(shown_a, shown_b) == 0);
	Py_DECREF(shown_a);
	Py_DECREF(shown_b);
}

static void
check_encode(PyObject *value)
{
	PyObject *expected = PyObject_CallOneArg(dumps, value), *again = NULL, *bytes, *read;
	struct json_text text;
	const char *body;
	Py_ssize_t length;

	ASSERT(expected);
	if (json_encode(&encoder, value, &text) < 0) {
		Py_DECREF(exception_take());
		ASSERT(expected == Py_None);
	} else {
		body = PyUnicode_AsUTF8AndSize(expected, &length);
		ASSERT(body && (size_t)length == text.length && memcmp(body, text.bytes, text.length) == 0);
		ASSERT(json_decode(&decoder, text.bytes, text.length, &again) == 0);
		bytes = PyBytes_FromStringAndSize(text.bytes, (Py_ssize_t)text.length);
		read = bytes ? PyObject_CallOneArg(loads, bytes) : NULL;
		ASSERT(read);
		/* Not value itself: two halves of a surrogate pair, each escaped for itself, are read as one character. */
		check_same(PyTuple_GET_ITEM(read, 1), again);
		Py_DECREF(read);
		Py_DECREF(bytes);
		Py_DECREF(again);
		Py_XDECREF(text.owner);
	}
	Py_DECREF(expected);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = xstrndup((const char *)data, size), *exact = malloc(size ? size : 1);
	PyObject *bytes = PyBytes_FromStringAndSize(copy, (Py_ssize_t)size), *value = NULL, *expected;
	int r;

	ASSERT(bytes && exact);
	memcpy(exact, data, size);
	ASSERT(content_type_classify(copy) <= CONTENT_OTHER);
	expected = PyObject_CallOneArg(loads, bytes);
	r = json_decode(&decoder, exact, size, &value);
	ASSERT(expected && !PyErr_Occurred());
	ASSERT(r == (PyTuple_GET_ITEM(expected, 0) == Py_True ? 0 : -EBADMSG));
	if (r == 0) {
		check_same(value, PyTuple_GET_ITEM(expected, 1));
		check_encode(value);
		Py_DECREF(value);
	}
	ASSERT(!PyErr_Occurred());
	Py_DECREF(expected);
	Py_DECREF(bytes);
	free(exact);
	free(copy);
	return 0;
}
