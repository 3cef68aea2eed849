/*
 * python_helpers - the real interpreter for the tests and fuzzers that need one: started once per process, on an empty
 * project folder of its own that is the working directory from then on.
 */
#ifndef TEST_PYTHON_HELPERS_H
#define TEST_PYTHON_HELPERS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "replica/predictor.h"

#ifndef TEST_PYTHON
#define TEST_PYTHON "/usr/bin/python3.11"
#endif

static char test_folder[] = "/tmp/cortexd-test-XXXXXX";

static inline struct start_record
test_start_record(void)
{
	return (struct start_record){.api = (char *)"test",
	    .endpoint = (char *)"/test",
	    .project_folder = test_folder,
	    .implementation = (char *)"predictor.py",
	    .metadata_json = (char *)"{}",
	    .python = (char *)TEST_PYTHON,
	    .max_body_bytes = 1 << 20,
	    .timeout_ms = 60000,
	    .cpu_millicpu = 2500,
	    .log_level = LOG_ERROR};
}

static inline void
test_python_start(const struct start_record *start)
{
	struct error err = {""};

	if (interpreter_start(start, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
}

/* Returns 0 so that a cmocka group setup can end with it. */
static inline int
test_folder_make(void)
{
	if (!mkdtemp(test_folder) || chdir(test_folder) < 0)
		abort();
	return 0;
}

/* The value of a Python expression in which `value` is the given object: new reference. Ends the test if it raises. */
static inline PyObject *
test_eval(const char *expression, PyObject *value)
{
	PyObject *globals = PyDict_New(), *result;

	PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins());
	if (value)
		PyDict_SetItemString(globals, "value", value);
	result = PyRun_String(expression, Py_eval_input, globals, globals);
	if (!result) {
		PyErr_Print();
		abort();
	}
	Py_DECREF(globals);
	return result;
}

#endif
