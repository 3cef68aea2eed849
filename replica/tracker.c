/*
 * tracker - see tracker.h.
 */
#include <Python.h>

#include "replica/tracker.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

#define WARN_MS 10000

int
tracker_init(struct tracker *tracker, const struct start_record *start)
{
	tracker->type = start->tracker;
	tracker->warned_ms = -WARN_MS;
	if (!start->tracker_key)
		return 0;
	tracker->key = PyUnicode_InternFromString(start->tracker_key);
	return tracker->key ? 0 : -EIO;
}

void
tracker_done(struct tracker *tracker)
{
	Py_XDECREF(tracker->key);
	tracker->key = NULL;
}

/* The value (new reference), or NULL: there is no such key. */
static PyObject *
find_value(const struct tracker *tracker, PyObject *prediction)
{
	PyObject *value;

	if (!tracker->key) {
		Py_INCREF(prediction);
		return prediction;
	}
	value = PyMapping_Check(prediction) && !PyUnicode_Check(prediction) ? PyObject_GetItem(prediction, tracker->key)
									    : NULL;
	if (!value)
		PyErr_Clear();
	return value;
}

/* Copy a text, cut at a character. */
static bool
take_class(PyObject *text, char class[METRICS_CLASS_MAX + 1])
{
	Py_ssize_t length = 0;
	const char *bytes = PyUnicode_AsUTF8AndSize(text, &length);
	size_t n = bytes ? MIN((size_t)length, strlen(bytes)) : 0;

	if (!bytes)
		PyErr_Clear();
	if (n == 0)
		return false;
	if (n > METRICS_CLASS_MAX)
		for (n = METRICS_CLASS_MAX; n > 0 && ((unsigned char)bytes[n] & 0xc0) == 0x80;)
			n--;
	memcpy(class, bytes, n);
	class[n] = '\0';
	return true;
}

static bool
look_for_class(PyObject *value, char class[METRICS_CLASS_MAX + 1])
{
	PyObject *number, *text;
	bool found;

	if (PyUnicode_Check(value))
		return take_class(value, class);
	if (PyBool_Check(value) || !PyIndex_Check(value))
		return false;
	number = PyNumber_Index(value);
	text = number ? PyObject_Str(number) : NULL;
	found = text && take_class(text, class);
	PyErr_Clear();
	Py_XDECREF(text);
	Py_XDECREF(number);
	return found;
}

static bool
look_for_number(PyObject *value, double *ret_number)
{
	double number;

	if (PyBool_Check(value) || PyUnicode_Check(value) || PyBytes_Check(value) || !PyNumber_Check(value) ||
	    PyComplex_Check(value))
		return false;
	number = PyFloat_AsDouble(value);
	if (PyErr_Occurred()) {
		PyErr_Clear();
		return false;
	}
	*ret_number = number;
	return isfinite(number);
}

static void
warn(struct tracker *tracker, PyObject *value)
{
	int64_t now_ms = clock_ms();
	const char *wanted = tracker->type == TRACKER_CLASSIFICATION ? "a str or an int" : "a finite int or float";
	char more[64] = "";

	if (now_ms - tracker->warned_ms < WARN_MS) {
		tracker->n_silent++;
		return;
	}
	if (tracker->n_silent > 0)
		snprintf(more, sizeof(more), " (and %u more like it since the last warning)", tracker->n_silent);
	if (!value)
		log_warning("tracker: the response has no key \"%s\"; the prediction is not tracked%s",
		    PyUnicode_AsUTF8(tracker->key), more);
	else
		log_warning("tracker: found a value of type %s; it must be %s; the prediction is not tracked%s",
		    Py_TYPE(value)->tp_name, wanted, more);
	tracker->warned_ms = now_ms;
	tracker->n_silent = 0;
}

void
tracker_look(struct tracker *tracker, PyObject *prediction, struct prediction_answer *answer)
{
	PyObject *value = find_value(tracker, prediction);

	if (value && tracker->type == TRACKER_CLASSIFICATION && look_for_class(value, answer->class))
		answer->tracked = TRACKED_CLASS;
	else if (value && tracker->type == TRACKER_REGRESSION && look_for_number(value, &answer->value))
		answer->tracked = TRACKED_VALUE;
	else
		answer->tracked = TRACKED_WRONG;
	if (answer->tracked == TRACKED_WRONG)
		warn(tracker, value);
	Py_XDECREF(value);
	ASSERT(!PyErr_Occurred());
}
