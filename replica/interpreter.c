/*
 * interpreter - CPython in this process: starting it, leaving it, the GIL, and support.py.
 *
 * There is one interpreter per process and it is never finalised: finalising runs destructors of libraries that were
 * never meant to be unloaded, and the process ends anyway.
 */
#include <Python.h>

#include "replica/interpreter.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "replica/predictor.h"

#define EXIT_HOOKS_MAX_S 5

/* Containers in containers: a stack of 8 MiB holds eight times as many, also when each calls back into Python. */
#define CONVERSION_DEPTH_MAX 5000

static PyObject *support;          /* the module made from support.py */
static PyThreadState *main_thread; /* while the GIL is released */

/* Numeric libraries start a thread per core of the host unless told otherwise. predictor.env and the environment of
 * cortexd go first. Must happen before Python copies the environment. */
static int
set_environment(const struct start_record *start)
{
	static const char *const thread_pools[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
	    "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"};
	char threads[24];

	for (size_t i = 0; i < start->n_env; i++)
		if (setenv(start->env[i].name, start->env[i].value, 1) < 0)
			return -errno;
	snprintf(threads, sizeof(threads), "%lld", (long long)MAX(1, start->cpu_millicpu / 1000));
	for (size_t i = 0; i < N_ELEMENTS(thread_pools); i++)
		if (setenv(thread_pools[i], threads, 0) < 0)
			return -errno;
	return 0;
}

static PyStatus
initialise(const struct start_record *start)
{
	char *argv[] = {(char *)start_record_subject(start), NULL};
	PyPreConfig preconfig;
	PyConfig config;
	PyStatus status;

	PyPreConfig_InitIsolatedConfig(&preconfig);
	preconfig.utf8_mode = 1; /* a daemon's locale is an accident; text is UTF-8 */
	preconfig.configure_locale = 1;
	status = Py_PreInitialize(&preconfig);
	if (PyStatus_Exception(status))
		return status;

	PyConfig_InitIsolatedConfig(&config);
	config.install_signal_handlers = 0;
	/* The interpreter that we pretend to be: from its place Python finds pyvenv.cfg and so the environment. */
	status = PyConfig_SetBytesString(&config, &config.program_name, start->python);
	if (!PyStatus_Exception(status))
		status = PyConfig_SetBytesString(&config, &config.executable, start->python);
	if (!PyStatus_Exception(status))
		status = PyConfig_SetBytesArgv(&config, 1, argv);
	if (!PyStatus_Exception(status))
		status = Py_InitializeFromConfig(&config);
	PyConfig_Clear(&config);
	return status;
}

/* The texts of what serves models, which few replicas need. */
static int
set_handlers(PyObject *globals)
{
	PyObject *handlers = Py_BuildValue(
	    "{s:s,s:s,s:s}", "model", handler_model_py, "onnx", handler_onnx_py, "tensorflow", handler_tensorflow_py);
	int r = handlers ? PyDict_SetItemString(globals, "handlers", handlers) : -1;

	Py_XDECREF(handlers);
	return r;
}

static int
load_support(const struct start_record *start)
{
	PyObject *code = NULL, *module = NULL, *globals, *prepare = NULL, *done = NULL, *result = NULL;
	int r = -EIO;

	code = Py_CompileString(support_py, "<cortexd>", Py_file_input);
	module = code ? PyModule_New("cortexd_support") : NULL;
	if (!module)
		goto out;
	globals = PyModule_GetDict(module);
	if (PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins()) < 0)
		goto out;
	done = PyEval_EvalCode(code, globals, globals);
	if (done && set_handlers(globals) < 0)
		goto out;
	prepare = done ? PyObject_GetAttrString(module, "prepare") : NULL;
	if (!prepare)
		goto out;
	if (start->python_path)
		result = PyObject_CallFunction(prepare, "ss", start->python_path, start->project_folder);
	else
		result = PyObject_CallFunction(prepare, "s", start->project_folder);
	if (!result)
		goto out;
	support = take_ptr(&module);
	r = 0;
out:
	if (r < 0)
		PyErr_Print();
	Py_XDECREF(result);
	Py_XDECREF(prepare);
	Py_XDECREF(done);
	Py_XDECREF(module);
	Py_XDECREF(code);
	return r;
}

int
interpreter_start(const struct start_record *start, struct error *err)
{
	struct sigaction on_interrupt;
	PyStatus status;
	int r;

	if (access(start->python, X_OK) < 0)
		return error_set(err, -errno, "python: \"%s\": %s", start->python, strerror(errno));
	r = set_environment(start);
	if (r < 0)
		return error_set(err, r, "environment variables: %s", strerror(-r));
	status = initialise(start);
	if (PyStatus_Exception(status))
		return error_set(
		    err, -EIO, "python: \"%s\": %s", start->python, status.err_msg ? status.err_msg : "does not start");
	/* The signal module takes SIGINT when it is imported for the first time, whatever the configuration says. */
	ASSERT(sigaction(SIGINT, NULL, &on_interrupt) == 0);
	r = load_support(start);
	ASSERT(sigaction(SIGINT, &on_interrupt, NULL) == 0);
	if (r < 0)
		return error_set(err, r, "python: \"%s\": its standard library does not work; the traceback is above",
		    start->python);
	return 0;
}

static void *
end_late_hooks(void *unused UNUSED)
{
	sleep(EXIT_HOOKS_MAX_S);
	log_warning("exit hooks of the predictor still run after %d s; ending without them", EXIT_HOOKS_MAX_S);
	_exit(0);
}

static void
call_quietly(const char *name)
{
	PyObject *function = support_function(name);
	PyObject *result = function ? PyObject_CallNoArgs(function) : NULL;

	PyErr_Clear();
	Py_XDECREF(result);
	Py_XDECREF(function);
}

/* Threads of the predictor are not waited for, unlike in `python`: a loop that refreshes something would keep a replica
 * from ever leaving. Hooks must stay on the main thread, so it is another one that watches how long they take, and no signal
 * cuts that short. */
void
interpreter_stop(void)
{
	sigset_t all, before;
	pthread_t watch;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&watch, NULL, end_late_hooks, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	call_quietly("run_exit_hooks");
	call_quietly("flush");
	if (r == 0) {
		pthread_cancel(watch);
		pthread_join(watch, NULL);
	}
	ASSERT(!PyErr_Occurred());
}

void
interpreter_freeze(void)
{
	call_quietly("freeze");
	call_quietly("flush");
	fflush(NULL);
}

void
interpreter_before_fork(void)
{
	PyOS_BeforeFork();
}

void
interpreter_after_fork_parent(void)
{
	PyOS_AfterFork_Parent();
}

void
interpreter_after_fork_child(void)
{
	PyOS_AfterFork_Child();
	call_quietly("seed_copy");
}

void
interpreter_release(void)
{
	main_thread = PyEval_SaveThread();
}

void
interpreter_acquire(void)
{
	PyEval_RestoreThread(main_thread);
}

PyObject *
support_function(const char *name)
{
	return PyObject_GetAttrString(support, name);
}

PyObject *
exception_take(void)
{
	PyObject *type, *value, *traceback;

	ASSERT(PyErr_Occurred());
	PyErr_Fetch(&type, &value, &traceback);
	PyErr_NormalizeException(&type, &value, &traceback);
	if (traceback && PyException_SetTraceback(value, traceback) < 0)
		PyErr_Clear();
	Py_XDECREF(type);
	Py_XDECREF(traceback);
	return value;
}

int
recursion_cap(void)
{
	int limit = Py_GetRecursionLimit();

	if (limit > CONVERSION_DEPTH_MAX)
		Py_SetRecursionLimit(CONVERSION_DEPTH_MAX);
	return limit;
}

void
recursion_uncap(int limit)
{
	if (limit > CONVERSION_DEPTH_MAX)
		Py_SetRecursionLimit(limit);
}
