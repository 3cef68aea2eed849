/*
 * test_predictor - loading implementation files and running predictions in the real interpreter.
 *
 * Each test writes a file of its own name, because one process has one interpreter and modules stay loaded. What the
 * predictor module logs goes to a file, so that tests can read tracebacks: standard error is that file while quiet() holds.
 */
#include "python_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/fd.h"

#define LOG_FILE "stderr.txt"

#ifdef __has_feature
#define SANITIZED __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static int real_stderr, log_fd;

static void
quiet(void)
{
	assert_int_equal(dup2(log_fd, STDERR_FILENO), STDERR_FILENO);
}

static void
loud(void)
{
	assert_int_equal(dup2(real_stderr, STDERR_FILENO), STDERR_FILENO);
}

static int
set_up(void **state UNUSED)
{
	static struct env_var env[] = {{(char *)"GREETING", (char *)"hello"}, {(char *)"MKL_NUM_THREADS", (char *)"7"}};
	struct start_record start = test_start_record();

	test_folder_make();
	assert_int_equal(folder_make_all("library"), 0);
	start.python_path = xasprintf("%s/library", test_folder);
	start.env = env;
	start.n_env = N_ELEMENTS(env);
	setenv("NUMEXPR_NUM_THREADS", "9", 1);
	real_stderr = dup(STDERR_FILENO);
	log_fd = open(LOG_FILE, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_true(log_fd >= 0);
	test_python_start(&start);
	free(start.python_path);
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	close(log_fd);
	close(real_stderr);
	return path_remove_all(test_folder);
}

static void
write_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");

	assert_non_null(file);
	assert_int_equal(fputs(text, file) >= 0, 1);
	assert_int_equal(fclose(file), 0);
}

/* What was logged since the last call; the caller frees it. */
static char *
take_log(void)
{
	char *text;

	assert_int_equal(file_read_all(LOG_FILE, 1 << 20, &text, NULL), 0);
	assert_int_equal(ftruncate(log_fd, 0), 0);
	return text;
}

static int
load(const char *name, const char *code, const char *metadata, struct predictor **ret_predictor, struct error *err)
{
	struct start_record start = test_start_record();
	int r;

	write_file(name, code);
	start.implementation = (char *)name;
	start.metadata_json = (char *)metadata;
	quiet();
	r = predictor_load(&start, ret_predictor, err);
	loud();
	assert_null(PyErr_Occurred());
	return r;
}

static struct predictor *
must_load(const char *name, const char *code)
{
	struct predictor *predictor = NULL;
	struct error err = {""};

	if (load(name, code, "{\"k\": [1, NaN, 123456789012345678901234567890]}", &predictor, &err) < 0)
		fail_msg("%s", err.text);
	return predictor;
}

/* The file cannot be started; the message is exactly expected. */
static void
check_start_error(const char *name, const char *code, const char *expected)
{
	struct predictor *predictor = NULL;
	struct error err = {""};

	assert_int_not_equal(load(name, code, "{}", &predictor, &err), 0);
	assert_null(predictor);
	assert_string_equal(err.text, expected);
}

static void
check_log(const char *present, const char *absent)
{
	char *log = take_log();

	if (!strstr(log, present))
		fail_msg("not in the log: %s\n%s", present, log);
	if (absent && strstr(log, absent))
		fail_msg("in the log: %s\n%s", absent, log);
	free(log);
}

static void
check_answer_full(struct predictor *predictor, const char *content_type, const char *body, bool debug, int status,
    const char *expected)
{
	struct prediction_request request = {
	    .body = body, .body_length = strlen(body), .content_type = content_type, .debug = debug};
	struct prediction_answer answer;
	char *text;

	quiet();
	predictor_predict(predictor, &request, &answer);
	loud();
	assert_null(PyErr_Occurred());
	text = xstrndup(answer.body, answer.body_length);
	if (answer.status != status || strcmp(text, expected) != 0)
		fail_msg("%s: %d %s, expected %d %s", body, answer.status, text, status, expected);
	assert_string_equal(
	    answer.content_type, status == 200 || status == 500 ? "application/json" : "text/plain; charset=utf-8");
	free(text);
	prediction_answer_done(&answer);
	prediction_answer_done(&answer);
}

static void
check_answer(struct predictor *predictor, const char *body, int status, const char *expected)
{
	check_answer_full(predictor, "application/json", body, false, status, expected);
}

/* A predictor that returns eval(sample), for looking around. */
static struct predictor *
load_eval(const char *name)
{
	return must_load(name,
	    "import os, sys, gc, pickle\n"
	    "def predict(sample, metadata):\n"
	    "    return eval(sample)\n");
}

static void
runs_in_the_configured_environment(void **state UNUSED)
{
	struct predictor *p = load_eval("surroundings.py");
	char *expected;

	check_answer(p, "\"sys.executable\"", 200, "\"" TEST_PYTHON "\"");
	check_answer(p, "\"sys.argv\"", 200, "[\"predictor.py\"]");
	check_answer(p, "\"__name__, sys.modules[__name__].predict is predict\"", 200, "[\"surroundings\",true]");
	check_answer(p, "\"pickle.loads(pickle.dumps(predict)) is predict\"", 200, "true");
	check_answer(p, "\"sys.flags.isolated, sys.flags.utf8_mode\"", 200, "[1,1]");
	check_answer(p, "\"sys.stdout.line_buffering, sys.stderr.line_buffering\"", 200, "[true,true]");
	check_answer(p, "\"sys.flags.dont_write_bytecode, sys.dont_write_bytecode\"", 200, "[0,true]");
	check_answer(p, "\"os.environ['GREETING'], os.environ['MKL_NUM_THREADS'], os.environ['NUMEXPR_NUM_THREADS']\"",
	    200, "[\"hello\",\"7\",\"9\"]");
	check_answer(p, "\"os.environ['OMP_NUM_THREADS'], os.environ['OPENBLAS_NUM_THREADS']\"", 200, "[\"2\",\"2\"]");
	expected = xasprintf("[\"%s/library\",\"%s\",\"%s/surroundings.py\"]", test_folder, test_folder, test_folder);
	check_answer(p, "\"sys.path[:2] + [__file__]\"", 200, expected);
	free(expected);
	predictor_free(p);
}

static void
leaves_signals_to_the_replica(void **state UNUSED)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGCHLD, SIGALRM, SIGUSR1, SIGUSR2, SIGQUIT};
	struct predictor *p = must_load("signalling.py",
	    "import signal, subprocess, asyncio\n"
	    "def predict(sample, metadata):\n"
	    "    return subprocess.run(['true']).returncode\n");
	struct sigaction action;

	check_answer(p, "0", 200, "0");
	for (size_t i = 0; i < N_ELEMENTS(numbers); i++) {
		assert_int_equal(sigaction(numbers[i], NULL, &action), 0);
		if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)
			fail_msg("signal %d has a handler", numbers[i]);
	}
	predictor_free(p);
}

static void
imports_from_the_project_and_python_path(void **state UNUSED)
{
	struct predictor *p;

	write_file("helper_of_project.py", "name = 'project'\n");
	write_file("library/helper_of_library.py", "name = 'library'\n");
	p = must_load("importing.py",
	    "import helper_of_project, helper_of_library\n"
	    "from dataclasses import dataclass\n"
	    "@dataclass\n"
	    "class D:\n"
	    "    x: 'int'\n"
	    "def predict(sample, metadata):\n"
	    "    return [helper_of_project.name, helper_of_library.name, D(3)]\n");
	check_answer(p, "0", 200, "[\"project\",\"library\",{\"x\":3}]");
	predictor_free(p);
}

static void
does_not_shadow_the_standard_library(void **state UNUSED)
{
	struct predictor *p = must_load("statistics.py", "def predict(sample, metadata):\n    return __name__\n");

	check_answer(p, "0", 200, "\"cortex_statistics\"");
	predictor_free(p);
}

static void
init_runs_once_with_the_same_metadata(void **state UNUSED)
{
	struct predictor *p = must_load("initialised.py",
	    "calls = []\n"
	    "def init(model_path, metadata):\n"
	    "    calls.append((model_path, metadata))\n"
	    "    metadata['seen'] = True\n"
	    "def predict(sample, metadata):\n"
	    "    assert calls[0][1] is metadata and metadata['k'][1] != metadata['k'][1]\n"
	    "    return [len(calls), calls[0][0], metadata['k'][2], metadata['seen']]\n");

	check_answer(p, "0", 200, "[1,null,123456789012345678901234567890,true]");
	check_answer(p, "0", 200, "[1,null,123456789012345678901234567890,true]");
	predictor_free(p);
}

static void
init_gets_the_path_of_the_model(void **state UNUSED)
{
	struct start_record start = test_start_record();
	struct predictor *p = NULL;
	struct error err;

	write_file("with_model.py",
	    "def init(model_path, metadata):\n"
	    "    global path\n"
	    "    path = model_path\n"
	    "def predict(sample, metadata): return path\n");
	start.implementation = (char *)"with_model.py";
	start.model_path = (char *)"/srv/models/caf\xc3\xa9.pkl";
	assert_int_equal(predictor_load(&start, &p, &err), 0);
	check_answer(p, "0", 200, "\"/srv/models/caf\\u00e9.pkl\"");
	assert_null(predictor_signature(p));
	predictor_free(p);
}

/* The system's Python has none of them. */
static void
what_serves_a_model_must_be_installed(void **state UNUSED)
{
	struct start_record start = test_start_record();
	struct predictor *p = NULL;
	struct error err;

	start.implementation = NULL;
	start.kind = API_ONNX;
	start.model_path = (char *)"/srv/models/iris.onnx";
	assert_int_equal(predictor_load(&start, &p, &err), -EINVAL);
	assert_string_equal(
	    err.text, "error in iris.onnx: onnxruntime is not installed; add onnxruntime to requirements.txt");
	start.kind = API_TENSORFLOW;
	start.model_path = NULL;
	assert_int_equal(predictor_load(&start, &p, &err), -EINVAL);
	assert_string_equal(err.text, "error in the model: it is not on this machine");
}

static void
takes_every_callable_with_two_arguments(void **state UNUSED)
{
	const char *const codes[] = {
	    "def predict(*args): return len(args)\n",
	    "def predict(x, y=None): return 2\n",
	    "def predict(sample, metadata, extra=1, **kw): return 2\n",
	    "predict = lambda s, m: 2\n",
	    "import functools\npredict = functools.partial(lambda a, s, m: 2, 0)\n",
	    "class P:\n    def __call__(self, sample, metadata): return 2\npredict = P()\n",
	    "class P:\n    def predict(self, sample, metadata): return 2\npredict = P().predict\n",
	    "init = None\npredict = lambda s, m: 2\n",
	};
	char name[32];

	for (size_t i = 0; i < N_ELEMENTS(codes); i++) {
		struct predictor *p;

		snprintf(name, sizeof(name), "callable_%zu.py", i);
		p = must_load(name, codes[i]);
		check_answer(p, "0", 200, "2");
		predictor_free(p);
	}
}

static void
refuses_wrong_signatures(void **state UNUSED)
{
	check_start_error("sig_a.py", "x = 1\n",
	    "error in sig_a.py: predict(sample, metadata) is missing; define it at the top level of the file");
	check_start_error("sig_b.py", "def predict(sample): pass\n",
	    "error in sig_b.py: predict must take two arguments: expected predict(sample, metadata), found "
	    "predict(sample)");
	check_start_error("sig_c.py", "def predict(sample, metadata, model, *, k): pass\n",
	    "error in sig_c.py: predict must take two arguments: expected predict(sample, metadata), found "
	    "predict(sample, "
	    "metadata, model, *, k)");
	check_start_error("sig_d.py", "def predict(metadata, sample): pass\n",
	    "error in sig_d.py: the arguments of predict are swapped: expected predict(sample, metadata), found "
	    "predict(metadata, sample)");
	check_start_error("sig_e.py", "predict = 3\n",
	    "error in sig_e.py: predict must be a function: expected predict(sample, metadata), found type int");
	check_start_error("sig_f.py", "async def predict(sample, metadata): pass\n",
	    "error in sig_f.py: predict must not be async: expected def predict(sample, metadata); use asyncio.run() "
	    "inside "
	    "it to await something");
	check_start_error("sig_g.py", "def predict(sample, metadata):\n    yield 1\n",
	    "error in sig_g.py: predict must not be a generator: expected predict(sample, metadata) that returns its "
	    "result "
	    "instead of yielding it");
	check_start_error("sig_h.py", "def predict(s, m): pass\ndef init(metadata): pass\n",
	    "error in sig_h.py: init must take two arguments: expected init(model_path, metadata), found "
	    "init(metadata)");
	check_start_error("sig_i.py", "def predict(s, m): pass\ndef init(metadata, model_path): pass\n",
	    "error in sig_i.py: the arguments of init are swapped: expected init(model_path, metadata), found "
	    "init(metadata, "
	    "model_path)");
	check_start_error("sig_j.py", "class P:\n    async def __call__(self, s, m): pass\npredict = P()\n",
	    "error in sig_j.py: predict must not be async: expected def predict(sample, metadata); use asyncio.run() "
	    "inside "
	    "it to await something");
	check_start_error("sig_k.py",
	    "def predict(s, m): pass\ndef init(p, m):\n    global predict\n    predict = None\n",
	    "error in sig_k.py: init() removed predict(sample, metadata)");
	free(take_log());
}

static void
describes_errors_at_the_start(void **state UNUSED)
{
	free(take_log());
	check_start_error("bad_a.py", "\n\nimport no_such_module_here\n",
	    "error in bad_a.py: line 3: ModuleNotFoundError: No module named 'no_such_module_here'");
	check_log("/bad_a.py\", line 3, in <module>", "cortexd>\"");
	check_start_error(
	    "bad_b.py", "x = 1\ndef predict(:\n", "error in bad_b.py: line 2: SyntaxError: invalid syntax");
	check_log("def predict(:", "importlib");
	check_start_error("bad_c.py", "import sys\nsys.exit(3)\n", "error in bad_c.py: line 2: SystemExit: 3");
	check_start_error(
	    "bad_d.py", "def f():\n    raise KeyboardInterrupt\nf()\n", "error in bad_d.py: line 2: KeyboardInterrupt");
	check_start_error("bad_e.py", "def predict(s, m): pass\ndef init(p, m):\n    open('/nonexistent/model')\n",
	    "error in bad_e.py: init: line 3: FileNotFoundError: [Errno 2] No such file or directory: "
	    "'/nonexistent/model'");
	check_start_error("bad_f.py",
	    "def predict(s, m): pass\ndef init(p, m):\n    raise ValueError('two\\nlines\\x00')\n",
	    "error in bad_f.py: init: line 3: ValueError: two lines");
	check_start_error("bad_g.py", "def f(): f()\nf()\n",
	    "error in bad_g.py: line 1: RecursionError: maximum recursion depth exceeded");
	check_start_error("bad_h.py", "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E\n",
	    "error in bad_h.py: line 3: E");
	write_file("bad_part.py", "1 +\n");
	check_start_error("bad_i.py", "import bad_part\n",
	    "error in bad_i.py: line 1: SyntaxError: invalid syntax (bad_part.py, line 1)");
	free(take_log());
}

static void
refuses_metadata_that_python_refuses(void **state UNUSED)
{
	struct predictor *predictor = NULL;
	struct error err = {""};

	assert_int_not_equal(load("meta.py", "def predict(s, m): pass\n", "{", &predictor, &err), 0);
	assert_non_null(strstr(err.text, "error in meta.py: JSONDecodeError"));
	free(take_log());
}

static void
bounds_messages(void **state UNUSED)
{
	struct predictor *predictor = NULL;
	struct error err = {""};

	assert_int_not_equal(
	    load("long.py", "raise ValueError('\\ud800' + '\\u00e9' * 100000)\n", "{}", &predictor, &err), 0);
	assert_true(strlen(err.text) < 900);
	assert_non_null(strstr(err.text, "ValueError: \\ud800\xc3\xa9"));
	assert_string_equal(err.text + strlen(err.text) - 5, "\xc3\xa9...");
	free(take_log());
}

static void
answers_by_content_type(void **state UNUSED)
{
	struct predictor *p = must_load("echo.py", "def predict(sample, metadata):\n    return sample\n");

	check_answer(p, "{\"a\": [1, 2.5, null]}", 200, "{\"a\":[1,2.5,null]}");
	check_answer(p, "{", 400, "malformed json");
	check_answer(p, "", 400, "malformed json");
	check_answer_full(p, "application/ld+json; x=y", "[]", false, 200, "[]");
	check_answer_full(p, NULL, "[]", false, 200, "[]");
	check_answer_full(p, "application/x-www-form-urlencoded", "[]", false, 200, "[]");
	check_answer_full(p, NULL, "a=b", false, 415,
	    "content type is missing and the body is not json: send the sample as json with content-type: "
	    "application/json");
	check_answer_full(p, "application/x-www-form-urlencoded", "a=b", false, 415,
	    "content type \"application/x-www-form-urlencoded\" is not supported: send the sample as json with "
	    "content-type: application/json");
	check_answer_full(p, "text/csv", "[]", false, 415,
	    "content type \"text/csv\" is not supported: send the sample as json with content-type: application/json");
	check_answer_full(p, "\xff%s\"\x01\t", "[]", false, 415,
	    "content type \"?%s\"??\" is not supported: send the sample as json with content-type: application/json");
	predictor_free(p);
}

static void
survives_every_exception(void **state UNUSED)
{
	struct predictor *p = must_load("raising.py",
	    "class Mute(Exception):\n"
	    "    def __str__(self): raise KeyboardInterrupt\n"
	    "class Odd(Exception):\n"
	    "    def __str__(self): return 3\n"
	    "def deep(): return deep()\n"
	    "def predict(sample, metadata):\n"
	    "    exec(sample)\n"
	    "    return 'ok'\n");
	static const struct {
		const char *code;
		const char *message;
	} cases[] = {
	    {"\"raise ValueError('no such flower')\"", "no such flower"},
	    {"\"raise ValueError\"", "ValueError"},
	    {"\"{}['petal']\"", "'petal'"},
	    {"\"raise ValueError('one\\\\ntwo\\\\r\\\\n\\\\tthree')\"", "one two three"},
	    {"\"raise ValueError('\\\\udc80\\\\u00e9')\"", "\\udc80\xc3\xa9"},
	    {"\"raise SystemExit\"", "SystemExit"},
	    {"\"raise SystemExit(3)\"", "3"},
	    {"\"raise KeyboardInterrupt\"", "KeyboardInterrupt"},
	    {"\"raise GeneratorExit('x')\"", "x"},
	    {"\"raise StopIteration('x')\"", "x"},
	    {"\"raise BaseException('x')\"", "x"},
	    {"\"raise MemoryError\"", "MemoryError"},
	    {"\"raise Mute\"", "Mute"},
	    {"\"raise Odd\"", "Odd"},
	    {"\"deep()\"", "maximum recursion depth exceeded"},
	    {"\"raise BaseExceptionGroup('many', [ValueError(1)])\"", "many (1 sub-exception)"},
	};
	char expected[200];

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		snprintf(expected, sizeof(expected), "prediction failed: error in raising.py: predict: %s",
		    cases[i].message);
		check_answer(p, cases[i].code, 406, expected);
		check_answer(p, "\"\"", 200, "\"ok\"");
	}
	free(take_log());
	check_answer(p, "\"1 / 0\"", 406, "prediction failed: error in raising.py: predict: division by zero");
	check_log("/raising.py\", line 7, in predict", "cortexd>");
	predictor_free(p);
}

/* Message and traceback are cut so that the log does not cut the end, where the exception is. */
static void
logs_the_end_of_a_long_traceback(void **state UNUSED)
{
	struct predictor *p = must_load("long.py",
	    "class Bad:\n"
	    "    def __json_encode__(self):\n"
	    "        raise ValueError('x\\n' * 5000 + 'the end' + ' of it')\n"
	    "def predict(sample, metadata):\n"
	    "    return Bad() if sample else Bad().__json_encode__()\n");
	char message[801] = "", expected[1000];

	for (int i = 0; i < 800; i++)
		message[i] = i % 2 ? ' ' : 'x';
	snprintf(expected, sizeof(expected), "prediction failed: error in long.py: predict: %s...", message);
	check_answer(p, "0", 406, expected);
	check_log("the end of it", "cortexd>");
	snprintf(expected, sizeof(expected),
	    "{\"error\": \"the prediction cannot be converted to JSON: ValueError: %s...\"}", message);
	check_answer(p, "1", 500, expected);
	check_log("the end of it", "cortexd>");
	predictor_free(p);
	free(take_log());
}

static void
answers_even_when_the_interpreter_is_hardly_usable(void **state UNUSED)
{
	struct predictor *p = load_eval("hostile.py");

	Py_SetRecursionLimit(1);
	check_answer(p, "0", 406, "prediction failed");
	Py_SetRecursionLimit(1000);
	check_answer(p, "\"setattr(sys, 'stdout', None), setattr(sys, 'stderr', None)\"", 200, "[null,null]");
	check_answer(p, "\"setattr(__import__('traceback'), 'walk_tb', None)\"", 200, "null");
	check_answer(p, "\"setattr(__import__('json'), 'loads', None)\"", 200, "null");
	check_answer(p, "\"1/0\"", 406, "prediction failed: error in hostile.py: predict: division by zero");
	predictor_free(p);
	free(take_log());
}

static void
names_the_type_that_has_no_json_form(void **state UNUSED)
{
	struct predictor *p = must_load("unserialisable.py",
	    "class Model: pass\n"
	    "def predict(sample, metadata):\n"
	    "    return {'m': [eval(sample)]}\n");

	check_answer(p, "\"Model()\"", 500,
	    "{\"error\": \"the prediction cannot be converted to JSON: there is no JSON form for type "
	    "unserialisable.Model\"}");
	check_log("error in unserialisable.py: the prediction cannot be converted to JSON", "Traceback");
	check_answer(p, "\"3\"", 200, "{\"m\":[3]}");
	predictor_free(p);
	free(take_log());
}

static void
shows_sample_and_prediction_on_request(void **state UNUSED)
{
	struct predictor *p = must_load("shown.py",
	    "class Bad:\n"
	    "    __json_encode__ = lambda self: 'json'\n"
	    "    def __repr__(self): raise SystemExit\n"
	    "def predict(sample, metadata):\n"
	    "    return eval(sample) if type(sample) is str else sample\n");

	free(take_log());
	log_set_level(LOG_INFO);
	check_answer_full(
	    p, "application/json", "[0,1,2,3,4,5,6,7,8,9,10,11]", true, 200, "[0,1,2,3,4,5,6,7,8,9,10,11]");
	check_log("sample: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]\n", "10, 11");
	check_answer_full(p, "application/json", "{\"a\": [true, {\"b\": \"\\n\"}], \"c\": {}}", true, 200,
	    "{\"a\":[true,{\"b\":\"\\n\"}],\"c\":{}}");
	check_log("prediction: {'a': [True, {'b': '\\n'}], 'c': {}}\n", NULL);
	check_answer_full(p, "application/json", "\"[Bad(), (1,), {2}, set(), b'x', ()]\"", true, 200,
	    "[\"json\",[1],[2],[],\"x\",[]]");
	check_log("prediction: [<shown.Bad: its repr raised SystemExit>, (1,), {2}, set(), b'x', ()]\n", NULL);
	check_answer_full(p, "application/json", "\"len('x' * 501)\"", true, 200, "501");
	check_log("prediction: 501\n", NULL);
	check_answer_full(p, "application/json", "\"['x' * 501][:0] or [print(end='')]\"", true, 200, "[null]");
	free(take_log());
	log_set_level(LOG_ERROR);
	predictor_free(p);
}

static void
cuts_what_it_shows(void **state UNUSED)
{
	struct predictor *p = must_load("cut.py", "def predict(sample, metadata):\n    return 0\n");
	char body[700] = "\"", expected[600];
	char *log;
	size_t i;

	memset(body + 1, 'x', 501);
	strcpy(body + 502, "\"");
	memset(expected, 'x', 500);
	strcpy(expected + 500, "'...\n");
	log_set_level(LOG_INFO);
	check_answer_full(p, "application/json", body, true, 200, "0");
	check_log(expected, "xxxxxx'\n");

	for (i = 0; i < 300; i++)
		body[i] = '[';
	for (; i < 600; i++)
		body[i] = ']';
	body[i] = '\0';
	check_answer_full(p, "application/json", body, true, 200, "0");
	log = take_log();
	assert_non_null(strstr(log, "sample: [[[["));
	assert_true(strlen(log) < 400);
	free(log);
	log_set_level(LOG_ERROR);
	predictor_free(p);
}

static long
resident_kib(void)
{
	char *text;
	long pages;

	assert_int_equal(file_read_all("/proc/self/statm", 4096, &text, NULL), 0);
	pages = strtol(strchr(text, ' '), NULL, 10);
	free(text);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Ask the predictor for a number. */
static long
look(struct predictor *predictor, const char *body)
{
	struct prediction_request request = {.body = body, .body_length = strlen(body)};
	struct prediction_answer answer;
	char text[24] = "";
	long number;

	predictor_predict(predictor, &request, &answer);
	assert_int_equal(answer.status, 200);
	memcpy(text, answer.body, MIN(answer.body_length, sizeof(text) - 1));
	number = strtol(text, NULL, 10);
	prediction_answer_done(&answer);
	return number;
}

static void
predict_often(struct predictor *predictor, int times)
{
	static const char *const bodies[] = {"{\"x\": [1, 2.5, \"y\", {}]}", "{\"plain\": 1}", "{\"raise\": [1]}",
	    "{\"bad\": 1}", "{\"a\": [", "\xef\xbb\xbf{\"b\": []}"};
	struct prediction_answer answer;

	quiet();
	for (int i = 0; i < times; i++) {
		struct prediction_request request = {.body = bodies[i % N_ELEMENTS(bodies)],
		    .content_type = i % 7 ? "application/json"
			: i % 2           ? NULL
					  : "text/plain"};

		request.body_length = strlen(request.body);
		predictor_predict(predictor, &request, &answer);
		prediction_answer_done(&answer);
		if (i % 1000 == 0)
			free(take_log());
	}
	loud();
}

static void
keeps_nothing_of_a_request(void **state UNUSED)
{
	struct predictor *p = must_load("steady.py",
	    "import gc, sys\n"
	    "def predict(sample, metadata):\n"
	    "    if sample == 'references': return sum(sys.getrefcount(x) for x in (None, True, metadata, predict, '', "
	    "0))\n"
	    "    if sample == 'objects': return gc.collect() * 0 + len(gc.get_objects())\n"
	    "    if sample == 'blocks': return gc.collect() * 0 + sys.getallocatedblocks()\n"
	    "    if 'raise' in sample: raise ValueError(sample)\n"
	    "    return {1j} if 'plain' in sample else {'a': object} if 'bad' in sample else sample\n");
	static const char *const looks[] = {"\"objects\"", "\"references\"", "\"blocks\""};
	long before[N_ELEMENTS(looks)], kib;

	predict_often(p, 5000);
	for (size_t i = 0; i < N_ELEMENTS(looks); i++)
		before[i] = look(p, looks[i]);
	kib = resident_kib();
	predict_often(p, 100000);
	for (size_t i = 0; i < N_ELEMENTS(looks); i++)
		assert_in_range(look(p, looks[i]) - before[i] + 1000, 0, 2000);
	if (!SANITIZED) /* the sanitizer keeps freed memory for a while */
		assert_in_range(resident_kib(), 1, kib + 1024);
	predictor_free(p);
	free(take_log());
}

static void
releases_the_gil_for_threads(void **state UNUSED)
{
	struct predictor *p = must_load("threads.py",
	    "import threading\n"
	    "go, done = threading.Event(), threading.Event()\n"
	    "def work():\n"
	    "    go.wait()\n"
	    "    done.set()\n"
	    "threading.Thread(target=work, daemon=True).start()\n"
	    "def predict(sample, metadata):\n"
	    "    go.set()\n"
	    "    return done.is_set()\n");
	struct prediction_request request = {.body = "0", .body_length = 1};
	struct prediction_answer answer;
	bool done = false;

	while (!done) {
		predictor_predict(p, &request, &answer);
		assert_int_equal(answer.status, 200);
		done = answer.body_length == strlen("true");
		prediction_answer_done(&answer);
		interpreter_release();
		sched_yield();
		interpreter_acquire();
	}
	predictor_free(p);
}

/* Last: the hooks of this process run only once. */
static void
stops_with_exit_hooks_and_flush(void **state UNUSED)
{
	struct predictor *p = must_load("stopping.py",
	    "import atexit, sys\n"
	    "def hook(text):\n"
	    "    open('hooks.txt', 'a').write(text)\n"
	    "def bad():\n"
	    "    raise SystemExit('hook')\n"
	    "atexit.register(hook, 'first')\n"
	    "atexit.register(bad)\n"
	    "atexit.register(hook, 'second ')\n"
	    "class Broken:\n"
	    "    def flush(self): raise KeyboardInterrupt\n"
	    "sys.stdout = Broken()\n"
	    "def predict(sample, metadata): pass\n");
	char *text;

	quiet();
	interpreter_stop();
	loud();
	free(take_log());
	assert_null(PyErr_Occurred());
	assert_int_equal(file_read_all("hooks.txt", 100, &text, NULL), 0);
	assert_string_equal(text, "second first");
	free(text);
	predictor_free(p);
}

static void
refuses_an_interpreter_that_is_not_there(void **state UNUSED)
{
	struct start_record start = test_start_record();
	struct error err = {""};

	start.python = (char *)"/nonexistent/bin/python";
	assert_int_equal(interpreter_start(&start, &err), -ENOENT);
	assert_string_equal(err.text, "python: \"/nonexistent/bin/python\": No such file or directory");
}

/* A new predictor with a tracker, whose predict returns this. */
static struct predictor *
load_tracked(enum tracker_type type, const char *key, const char *expression)
{
	static int number;
	char *name = xasprintf("tracked_%d.py", number++);
	char *code = xasprintf(
	    "import datetime, decimal, fractions\ndef predict(sample, metadata):\n    return %s\n", expression);
	struct start_record start = test_start_record();
	struct predictor *predictor;
	struct error err;

	write_file(name, code);
	start.implementation = name;
	start.metadata_json = (char *)"{}";
	start.tracker = type;
	start.tracker_key = (char *)key;
	assert_int_equal(predictor_load(&start, &predictor, &err), 0);
	free(name);
	free(code);
	return predictor;
}

static struct prediction_answer
predict_tracked(struct predictor *predictor, const char *sample)
{
	const struct prediction_request request = {
	    .body = sample, .body_length = strlen(sample), .content_type = "application/json"};
	struct prediction_answer answer;

	predictor_predict(predictor, &request, &answer);
	prediction_answer_done(&answer);
	return answer;
}

/* What the tracker makes of the one prediction of a predictor. */
static struct prediction_answer
track(enum tracker_type type, const char *key, const char *expression)
{
	static struct tracked_class class;
	struct predictor *predictor;
	struct prediction_answer answer;

	quiet();
	predictor = load_tracked(type, key, expression);
	answer = predict_tracked(predictor, "1");
	loud();
	if (answer.tracked == TRACKED_CLASS) {
		class = *answer.class;
		answer.class = &class;
	}
	predictor_free(predictor);
	return answer;
}

static void
assert_class(const char *key, const char *expression, const char *class)
{
	struct prediction_answer answer = track(TRACKER_CLASSIFICATION, key, expression);

	assert_int_equal(answer.tracked, TRACKED_CLASS);
	assert_string_equal(answer.class->name, class);
	assert_int_equal(answer.class->number, TRACKED_NEW);
}

static void
assert_value(const char *key, const char *expression, double value)
{
	struct prediction_answer answer = track(TRACKER_REGRESSION, key, expression);

	assert_int_equal(answer.tracked, TRACKED_VALUE);
	assert_true(answer.value == value);
}

static void
a_tracker_takes_what_cortex_took(void **state UNUSED)
{
	assert_class(NULL, "'setosa'", "setosa");
	assert_class(NULL, "-12", "-12");
	assert_class("class", "{'class': 'b', 'other': 1}", "b");
	assert_class("class", "{'class': 10**30}", "1000000000000000000000000000000");
	assert_value(NULL, "3", 3);
	assert_value(NULL, "-0.5", -0.5);
	assert_value("price", "{'price': 1e300}", 1e300);
	assert_value(NULL, "decimal.Decimal('2.5')", 2.5);
}

static void
a_long_class_is_cut_at_a_character(void **state UNUSED)
{
	struct prediction_answer answer = track(TRACKER_CLASSIFICATION, NULL, "'x' + '\u20ac' * 100");

	assert_int_equal(answer.tracked, TRACKED_CLASS);
	assert_int_equal(strlen(answer.class->name), 61);
	assert_memory_equal(answer.class->name + 58, "\xe2\x82\xac", 3);
}

/* Each class twice: there are more than a tracker remembers, so some have lost their place meanwhile. */
static void
a_tracker_knows_its_classes_again(void **state UNUSED)
{
	static const struct {
		const char *quote, *name;
	} kinds[] = {{"\"", ""}, {"", ""}, {"\"", "class "}};
	struct predictor *predictor = load_tracked(TRACKER_CLASSIFICATION, NULL, "sample");

	for (size_t kind = 0; kind < N_ELEMENTS(kinds); kind++) {
		int n_known = 0;

		for (int i = 0; i < 200; i++) {
			char *name = xasprintf("%s%d", kinds[kind].name, i % 100);
			char *sample = xasprintf("%s%s%s", kinds[kind].quote, name, kinds[kind].quote);
			struct prediction_answer answer = predict_tracked(predictor, sample);

			assert_int_equal(answer.tracked, TRACKED_CLASS);
			assert_string_equal(answer.class->name, name);
			if (i >= 100 && answer.class->number != TRACKED_NEW) {
				assert_int_equal(answer.class->number, (int)kind * 100 + i % 100);
				n_known++;
			}
			answer.class->number = (int)kind * 100 + i % 100;
			assert_ptr_equal(predict_tracked(predictor, sample).class, answer.class);
			assert_int_equal(answer.class->number, (int)kind * 100 + i % 100);
			free(sample);
			free(name);
		}
		assert_in_range(n_known, 1, 64);
	}
	predictor_free(predictor);
}

/* What it cannot remember it names each time: texts that are long, ints that are large, what is no str or int itself. */
static void
a_tracker_does_not_keep_what_is_large_or_has_code(void **state UNUSED)
{
	static const char *const expressions[] = {"'x' * 100", "10**30", "type('Text', (str,), {})('x')",
	    "type('Text', (str,), {'__str__': lambda self: 'y'})('x')"};

	for (size_t i = 0; i < N_ELEMENTS(expressions); i++) {
		struct predictor *predictor = load_tracked(TRACKER_CLASSIFICATION, NULL, expressions[i]);
		struct tracked_class *class = predict_tracked(predictor, "1").class;

		assert_non_null(class);
		assert_true(class->name[0] == 'x' || class->name[0] == '1');
		class->number = 7;
		assert_int_equal(predict_tracked(predictor, "1").class->number, TRACKED_NEW);
		predictor_free(predictor);
	}
}

static void
what_a_tracker_cannot_use_is_said_and_answered_all_the_same(void **state UNUSED)
{
	static const char *const classes[] = {"1.5", "True", "None", "[1]", "''", "'\\udc80'", "{'a': 1}"};
	static const char *const values[] = {"'1'", "True", "None", "float('nan')", "float('inf')", "10**400", "[1.0]"};
	struct prediction_answer answer;
	char *log;

	for (size_t i = 0; i < N_ELEMENTS(classes); i++)
		assert_int_not_equal(track(TRACKER_CLASSIFICATION, NULL, classes[i]).tracked, TRACKED_CLASS);
	for (size_t i = 0; i < N_ELEMENTS(values); i++)
		assert_int_not_equal(track(TRACKER_REGRESSION, NULL, values[i]).tracked, TRACKED_VALUE);
	free(take_log());
	answer = track(TRACKER_CLASSIFICATION, "class", "{'klass': 1}");
	assert_int_equal(answer.status, 200);
	assert_int_equal(answer.tracked, TRACKED_WRONG);
	log = take_log();
	assert_non_null(strstr(log, "tracker: the response has no key \"class\""));
	free(log);
	assert_int_equal(track(TRACKER_CLASSIFICATION, "class", "'class'").tracked, TRACKED_WRONG);
	assert_int_equal(track(TRACKER_REGRESSION, NULL, "1.5 if sample else 1/0").tracked, TRACKED_VALUE);
	assert_int_equal(track(TRACKER_REGRESSION, NULL, "1/0").tracked, TRACKED_NOTHING);
	assert_int_equal(track(TRACKER_NONE, NULL, "1").tracked, TRACKED_NOTHING);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_tracker_takes_what_cortex_took),
	    cmocka_unit_test(a_tracker_knows_its_classes_again),
	    cmocka_unit_test(a_tracker_does_not_keep_what_is_large_or_has_code),
	    cmocka_unit_test(a_long_class_is_cut_at_a_character),
	    cmocka_unit_test(what_a_tracker_cannot_use_is_said_and_answered_all_the_same),
	    cmocka_unit_test(refuses_an_interpreter_that_is_not_there),
	    cmocka_unit_test(runs_in_the_configured_environment),
	    cmocka_unit_test(leaves_signals_to_the_replica),
	    cmocka_unit_test(imports_from_the_project_and_python_path),
	    cmocka_unit_test(does_not_shadow_the_standard_library),
	    cmocka_unit_test(init_runs_once_with_the_same_metadata),
	    cmocka_unit_test(init_gets_the_path_of_the_model),
	    cmocka_unit_test(what_serves_a_model_must_be_installed),
	    cmocka_unit_test(takes_every_callable_with_two_arguments),
	    cmocka_unit_test(refuses_wrong_signatures),
	    cmocka_unit_test(describes_errors_at_the_start),
	    cmocka_unit_test(bounds_messages),
	    cmocka_unit_test(refuses_metadata_that_python_refuses),
	    cmocka_unit_test(answers_by_content_type),
	    cmocka_unit_test(survives_every_exception),
	    cmocka_unit_test(names_the_type_that_has_no_json_form),
	    cmocka_unit_test(shows_sample_and_prediction_on_request),
	    cmocka_unit_test(cuts_what_it_shows),
	    cmocka_unit_test(keeps_nothing_of_a_request),
	    cmocka_unit_test(releases_the_gil_for_threads),
	    cmocka_unit_test(stops_with_exit_hooks_and_flush),
	    cmocka_unit_test(logs_the_end_of_a_long_traceback),
	    cmocka_unit_test(answers_even_when_the_interpreter_is_hardly_usable),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
