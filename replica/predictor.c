/*
 * predictor - see predictor.h.
 *
 * The way of a request through this file is short on purpose: decode, one vectorcall, encode. Whatever goes wrong leaves
 * it for support.py, which finds the words; should that fail too (no memory, a predictor that broke the interpreter),
 * the client still gets a fixed text with the right status.
 */
#include <Python.h>

#include "replica/predictor.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "replica/content_type.h"
#include "replica/json_decode.h"
#include "replica/json_encode.h"
#include "replica/tracker.h"

#define TYPE_SHOWN_MAX 100

static const char type_json[] = "application/json";
static const char type_text[] = "text/plain; charset=utf-8";

struct predictor {
	PyObject *implementation; /* as in the configuration: predictor.py; or the model's file */
	PyObject *loaded;         /* what init() needs */
	PyObject *predict;
	PyObject *predict_shown; /* the same, when what passes is to be logged */
	PyObject *metadata;
	PyObject *signature;         /* a str, or None */
	PyObject *prediction_failed; /* functions of support.py */
	PyObject *conversion_failed;
	PyObject *preview;
	struct json_decoder decoder;
	struct json_encoder encoder;
	struct tracker tracker;
};

static PyObject *
ref(PyObject *object)
{
	Py_INCREF(object);
	return object;
}

/* The text of a str, or fallback. Borrowed from object; no exception is left. */
static const char *
text_of(PyObject *object, const char *fallback)
{
	const char *text = object && PyUnicode_Check(object) ? PyUnicode_AsUTF8(object) : NULL;

	PyErr_Clear();
	return text ? text : fallback;
}

/* What Python logs: show("pre_inference", "{...}"). */
static PyObject *
show(PyObject *self UNUSED, PyObject *args)
{
	const char *what, *text;

	if (!PyArg_ParseTuple(args, "ss", &what, &text))
		return NULL;
	log_info("%s: %s", what, text);
	Py_RETURN_NONE;
}

/* Before anything of the user runs: only what cortexd itself is made of. -EIO with an exception pending. */
static int
collect_tools(struct predictor *p, const struct start_record *start)
{
	int r;

	p->implementation = PyUnicode_DecodeFSDefault(start_record_subject(start));
	p->prediction_failed = support_function("prediction_failed");
	p->conversion_failed = support_function("conversion_failed");
	p->preview = support_function("preview");
	if (!p->implementation || !p->prediction_failed || !p->conversion_failed || !p->preview)
		return -EIO;
	r = json_decoder_init(&p->decoder);
	if (r == 0)
		r = json_encoder_init(&p->encoder);
	return r < 0 ? r : tracker_init(&p->tracker, start);
}

/* What a function of support.py that runs user code has returned (taken; NULL: an exception is pending): its result, new
 * reference, and 0; or -EIO with an exception pending, or -EINVAL with err set. */
static int
take_outcome(PyObject *outcome, PyObject **ret_result, struct error *err)
{
	const char *traceback;
	int r = 0;

	if (!outcome)
		return -EIO;
	ASSERT(PyTuple_Check(outcome) && PyTuple_GET_SIZE(outcome) == 3);
	if (PyTuple_GET_ITEM(outcome, 1) == Py_None) {
		*ret_result = ref(PyTuple_GET_ITEM(outcome, 0));
	} else {
		traceback = text_of(PyTuple_GET_ITEM(outcome, 2), "");
		if (*traceback)
			log_error("%s", traceback);
		r = error_set(err, -EINVAL, "%s", text_of(PyTuple_GET_ITEM(outcome, 1), "the predictor cannot start"));
	}
	Py_DECREF(outcome);
	return r;
}

static int
run_file(struct predictor *p, const struct start_record *start, struct error *err)
{
	static PyMethodDef show_method = {"show", show, METH_VARARGS, NULL};
	PyObject *function = support_function("load_predictor"), *shower = PyCFunction_New(&show_method, NULL);
	PyObject *outcome = NULL;

	if (function && shower)
		outcome = PyObject_CallFunction(function, "sszsszzO", start->project_folder,
		    start_record_subject(start), start->implementation, api_kind_name(start->kind),
		    start->metadata_json, start->model_path, start->signature_key, shower);
	Py_XDECREF(shower);
	Py_XDECREF(function);
	return take_outcome(outcome, &p->loaded, err);
}

static int
run_init(struct predictor *p, struct error *err)
{
	PyObject *function = support_function("start_predictor"), *outcome = NULL, *result = NULL;
	int r;

	if (function)
		outcome = PyObject_CallOneArg(function, p->loaded);
	Py_XDECREF(function);
	r = take_outcome(outcome, &result, err);
	if (r < 0)
		return r;
	ASSERT(PyTuple_Check(result) && PyTuple_GET_SIZE(result) == 4);
	p->predict = ref(PyTuple_GET_ITEM(result, 0));
	p->predict_shown = ref(PyTuple_GET_ITEM(result, 1));
	p->metadata = ref(PyTuple_GET_ITEM(result, 2));
	p->signature = ref(PyTuple_GET_ITEM(result, 3));
	Py_DECREF(result);
	return 0;
}

/* No exception comes back: it becomes an error. */
static int
settle(int r, const struct start_record *start, struct error *err)
{
	PyObject *exception;

	if (PyErr_Occurred()) {
		exception = exception_take();
		error_set(err, r, "error in %s: %s while loading it", start_record_subject(start),
		    Py_TYPE(exception)->tp_name);
		Py_DECREF(exception);
	}
	ASSERT(!PyErr_Occurred());
	return r;
}

int
predictor_import(const struct start_record *start, struct predictor **ret_predictor, struct error *err)
{
	struct predictor *p = xcalloc(1, sizeof(*p));
	int r;

	r = collect_tools(p, start);
	if (r == 0)
		r = run_file(p, start, err);
	r = settle(r, start, err);
	if (r == 0)
		*ret_predictor = take_ptr(&p);
	predictor_free(p);
	return r;
}

int
predictor_init(struct predictor *p, const struct start_record *start, struct error *err)
{
	return settle(run_init(p, err), start, err);
}

int
predictor_load(const struct start_record *start, struct predictor **ret_predictor, struct error *err)
{
	struct predictor *p = NULL;
	int r;

	r = predictor_import(start, &p, err);
	if (r == 0)
		r = predictor_init(p, start, err);
	if (r == 0)
		*ret_predictor = take_ptr(&p);
	predictor_free(p);
	return r;
}

void
predictor_free(struct predictor *p)
{
	if (!p)
		return;
	tracker_done(&p->tracker);
	json_decoder_done(&p->decoder);
	json_encoder_done(&p->encoder);
	Py_XDECREF(p->preview);
	Py_XDECREF(p->conversion_failed);
	Py_XDECREF(p->prediction_failed);
	Py_XDECREF(p->signature);
	Py_XDECREF(p->metadata);
	Py_XDECREF(p->predict_shown);
	Py_XDECREF(p->predict);
	Py_XDECREF(p->loaded);
	Py_XDECREF(p->implementation);
	free(p);
}

const char *
predictor_signature(const struct predictor *p)
{
	return text_of(p->signature, NULL);
}

static void
answer_static(struct prediction_answer *answer, int status, const char *content_type, const char *body)
{
	*answer = (struct prediction_answer){
	    .status = status, .content_type = content_type, .body = body, .body_length = strlen(body)};
}

/* owner (taken) is a str. False, with owner released, when it has no UTF-8 form. */
static bool
answer_take(struct prediction_answer *answer, int status, const char *content_type, PyObject *owner)
{
	Py_ssize_t length;
	const char *body = PyUnicode_AsUTF8AndSize(owner, &length);

	if (!body) {
		PyErr_Clear();
		Py_DECREF(owner);
		return false;
	}
	*answer = (struct prediction_answer){.status = status,
	    .content_type = content_type,
	    .body = body,
	    .body_length = (size_t)length,
	    .owner = owner};
	return true;
}

/*
 * Answer and log what describe(implementation, exception) says about the pending exception; fallback when even that
 * fails.
 */
static void
answer_exception(const struct predictor *p, PyObject *describe, struct prediction_answer *answer, int status,
    const char *content_type, const char *fallback)
{
	PyObject *exception = exception_take();
	PyObject *args[2] = {p->implementation, exception};
	PyObject *texts;

	texts = PyObject_Vectorcall(describe, args, 2, NULL);
	PyErr_Clear();
	if (texts)
		log_error("%s", text_of(PyTuple_GET_ITEM(texts, 1), fallback));
	else
		log_error("%s (%s; there is no more to say)", fallback, Py_TYPE(exception)->tp_name);
	if (!texts || !answer_take(answer, status, content_type, ref(PyTuple_GET_ITEM(texts, 0))))
		answer_static(answer, status, content_type, fallback);
	Py_XDECREF(texts);
	Py_DECREF(exception);
}

static void
answer_unsupported(struct prediction_answer *answer, const char *content_type)
{
	static const char fixed[] = "send the sample as json with content-type: application/json";
	char shown[TYPE_SHOWN_MAX + 1];
	PyObject *text;
	size_t n = 0;

	if (content_type) {
		for (; content_type[n] && n < TYPE_SHOWN_MAX; n++)
			shown[n] = isprint((unsigned char)content_type[n]) ? content_type[n] : '?';
		shown[n] = '\0';
		text = PyUnicode_FromFormat("content type \"%s\" is not supported: %s", shown, fixed);
	} else {
		text = PyUnicode_FromFormat("content type is missing and the body is not json: %s", fixed);
	}
	PyErr_Clear();
	if (!text || !answer_take(answer, 415, type_text, text))
		answer_static(answer, 415, type_text, fixed);
}

static void
log_preview(const struct predictor *p, const char *what, PyObject *value)
{
	PyObject *text = PyObject_CallOneArg(p->preview, value);

	PyErr_Clear();
	log_info("%s: %s", what, text_of(text, "(cannot be shown)"));
	Py_XDECREF(text);
}

/* The sample (new reference), or NULL with *answer filled. */
static PyObject *
decode_sample(struct predictor *p, const struct prediction_request *request, struct prediction_answer *answer)
{
	enum content_type type = content_type_classify(request->content_type);
	PyObject *sample;
	int r;

	if (type == CONTENT_OTHER) {
		answer_unsupported(answer, request->content_type);
		return NULL;
	}
	r = json_decode(&p->decoder, request->body, request->body_length, &sample);
	if (r == 0)
		return sample;
	if (r == -ENOMEM)
		answer_static(answer, 500, type_json, "{\"error\": \"out of memory while reading the sample\"}");
	else if (type == CONTENT_UNKNOWN)
		answer_unsupported(answer, request->content_type);
	else
		answer_static(answer, 400, type_text, "malformed json");
	return NULL;
}

void
predictor_predict(struct predictor *p, const struct prediction_request *request, struct prediction_answer *ret_answer)
{
	PyObject *predict = request->debug ? p->predict_shown : p->predict, *sample, *prediction;
	struct json_text text;
	PyObject *args[3] = {NULL};

	sample = decode_sample(p, request, ret_answer);
	if (!sample)
		return;
	if (request->debug)
		log_preview(p, "sample", sample);
	args[1] = sample;
	args[2] = p->metadata;
	prediction = PyObject_Vectorcall(predict, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
	if (!prediction) {
		answer_exception(p, p->prediction_failed, ret_answer, 406, type_text, "prediction failed");
		goto out;
	}
	if (request->debug)
		log_preview(p, "prediction", prediction);
	if (json_encode(&p->encoder, prediction, &text) < 0)
		answer_exception(p, p->conversion_failed, ret_answer, 500, type_json,
		    "{\"error\": \"the prediction cannot be converted to JSON\"}");
	else
		*ret_answer = (struct prediction_answer){.status = 200,
		    .content_type = type_json,
		    .body = text.bytes,
		    .body_length = text.length,
		    .owner = text.owner};
	if (p->tracker.type != TRACKER_NONE && ret_answer->status == 200)
		tracker_look(&p->tracker, prediction, ret_answer);
out:
	Py_XDECREF(prediction);
	Py_DECREF(sample);
	ASSERT(!PyErr_Occurred());
}

void
prediction_answer_done(struct prediction_answer *answer)
{
	Py_XDECREF((PyObject *)answer->owner);
	answer->owner = NULL;
	answer->body = NULL;
	answer->body_length = 0;
}
