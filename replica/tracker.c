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
	for (size_t i = 0; i < N_ELEMENTS(tracker->known); i++)
		Py_CLEAR(tracker->known[i].value);
	Py_CLEAR(tracker->key);
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
name_class(PyObject *text, struct tracked_class *class)
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
	memcpy(class->name, bytes, n);
	class->name[n] = '\0';
	class->number = TRACKED_NEW;
	return true;
}

/* Small, and compared and destroyed without running anybody's code. */
static bool
may_be_kept(PyObject *value)
{
	int overflow = 0;

	if (PyUnicode_CheckExact(value))
		return PyUnicode_GetLength(value) <= METRICS_CLASS_MAX;
	if (PyLong_CheckExact(value))
		PyLong_AsLongAndOverflow(value, &overflow);
	return PyLong_CheckExact(value) && !overflow;
}

static bool
is_known(const struct tracker_known *known, PyObject *value, Py_hash_t hash)
{
	if (known->value == value)
		return true;
	return known->value && known->hash == hash && Py_TYPE(known->value) == Py_TYPE(value) &&
	    PyObject_RichCompareBool(known->value, value, Py_EQ) == 1;
}

/* In tracker->other. NULL: it has no name; an empty text, one without a UTF-8 form, an int of 5,000 digits. */
static struct tracked_class *
name_other(struct tracker *tracker, PyObject *value)
{
	PyObject *text = PyUnicode_Check(value) ? Py_NewRef(value) : PyObject_Str(value);
	bool named = text && name_class(text, &tracker->other);

	Py_XDECREF(text);
	return named ? &tracker->other : NULL;
}

static struct tracked_class *
remember(struct tracker *tracker, struct tracker_known *known, PyObject *value, Py_hash_t hash)
{
	const struct tracked_class *class = name_other(tracker, value);

	if (!class)
		return NULL;
	Py_INCREF(value);
	Py_XSETREF(known->value, value);
	known->hash = hash;
	known->class = *class;
	return &known->class;
}

/* The class of a str or an int, or NULL. */
static struct tracked_class *
class_of(struct tracker *tracker, PyObject *value)
{
	struct tracker_known *known;
	Py_hash_t hash;

	if (!may_be_kept(value))
		return name_other(tracker, value);
	hash = PyObject_Hash(value);
	known = &tracker->known[(size_t)hash % TRACKER_KNOWN];
	return is_known(known, value, hash) ? &known->class : remember(tracker, known, value, hash);
}

static struct tracked_class *
look_for_class(struct tracker *tracker, PyObject *value)
{
	struct tracked_class *class = NULL;
	PyObject *number;

	if (PyUnicode_Check(value))
		return class_of(tracker, value);
	if (PyBool_Check(value) || !PyIndex_Check(value))
		return NULL;
	number = PyNumber_Index(value);
	if (number)
		class = class_of(tracker, number);
	if (!class)
		PyErr_Clear();
	Py_XDECREF(number);
	return class;
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

	if (value && tracker->type == TRACKER_CLASSIFICATION && (answer->class = look_for_class(tracker, value)))
		answer->tracked = TRACKED_CLASS;
	else if (value && tracker->type == TRACKER_REGRESSION && look_for_number(value, &answer->value))
		answer->tracked = TRACKED_VALUE;
	else
		answer->tracked = TRACKED_WRONG;
	if (answer->tracked == TRACKED_WRONG)
		warn(tracker, value);
	Py_XDECREF(value);
}
