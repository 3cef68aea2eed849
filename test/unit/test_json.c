/*
 * test_json - bodies to Python values and back, with the real interpreter; json.loads and json.dumps are the oracle.
 */
#include "python_helpers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/fd.h"
#include "replica/json_decode.h"
#include "replica/json_encode.h"

static struct json_decoder decoder;
static struct json_encoder encoder;
static bool no_memory; /* for cortexd's own code; Python has its own */

void *__real_malloc(size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *p, size_t size);

void *
__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

void *
__wrap_realloc(void *p, size_t size)
{
	return no_memory ? NULL : __real_realloc(p, size);
}

static int
set_up(void **state UNUSED)
{
	struct start_record start = test_start_record();

	test_folder_make();
	test_python_start(&start);
	assert_int_equal(json_decoder_init(&decoder), 0);
	assert_int_equal(json_encoder_init(&encoder), 0);
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	json_decoder_done(&decoder);
	json_encoder_done(&encoder);
	return path_remove_all(test_folder);
}

/* repr(json.loads(text)), or "" when it raises a ValueError or RecursionError. New reference. */
static PyObject *
oracle_decode(const char *text, size_t length)
{
	PyObject *json = PyImport_ImportModule("json");
	PyObject *value = PyObject_CallMethod(json, "loads", "y#", text, (Py_ssize_t)length);
	PyObject *shown = value ? PyObject_Repr(value) : PyUnicode_FromString("");

	PyErr_Clear();
	Py_XDECREF(value);
	Py_DECREF(json);
	return shown;
}

static void
check_decode(const char *text, size_t length)
{
	PyObject *value = NULL, *shown, *expected = oracle_decode(text, length);
	int r = json_decode(&decoder, text, length, &value);

	assert_null(PyErr_Occurred());
	if (PyUnicode_GET_LENGTH(expected) == 0) {
		assert_int_equal(r, -EBADMSG);
		assert_null(value);
	} else {
		assert_int_equal(r, 0);
		shown = PyObject_Repr(value);
		if (PyUnicode_Compare(shown, expected) != 0)
			fail_msg("%s: %s, expected %s", text, PyUnicode_AsUTF8(shown), PyUnicode_AsUTF8(expected));
		Py_DECREF(shown);
		Py_DECREF(value);
	}
	Py_DECREF(expected);
}

#define CHECK_DECODE(literal) check_decode(literal, sizeof(literal) - 1)

static void
decodes_as_the_standard_library_does(void **state UNUSED)
{
	CHECK_DECODE("{\"sepal_length\": 5.1, \"a\": [1, -2, 3e5, true, false, null, \"\\u00e9\\ud83d\\ude00\"]}");
	CHECK_DECODE(" \t\r\n[1]\n ");
	CHECK_DECODE("NaN");
	CHECK_DECODE("[Infinity, -Infinity, -0.0, 1e999, 123456789012345678901234567890]");
	CHECK_DECODE("{\"a\": 1, \"a\": 2}");
	CHECK_DECODE("\"\\ud800\"");
	CHECK_DECODE("\"\xed\xa0\x80\""); /* a surrogate in UTF-8: surrogatepass */
	CHECK_DECODE("\"\xf0\x9f\x98\x80\"");
	CHECK_DECODE("0");
	CHECK_DECODE("\"\"");
}

static void
refuses_what_the_standard_library_refuses(void **state UNUSED)
{
	CHECK_DECODE("");
	CHECK_DECODE(" ");
	CHECK_DECODE("{");
	CHECK_DECODE("[1,]");
	CHECK_DECODE("[1] x");
	CHECK_DECODE("1 2");
	CHECK_DECODE("{'a': 1}");
	CHECK_DECODE("01");
	CHECK_DECODE("nul");
	CHECK_DECODE("\"\x01\"");
	CHECK_DECODE("\"\xff\"");
	CHECK_DECODE("\"\xc3\"");
	CHECK_DECODE("\v1");
	CHECK_DECODE("1\xc2\xa0");
	CHECK_DECODE("1\0");
	CHECK_DECODE("\0");
	CHECK_DECODE("\xef");
}

static char *
repeat(const char *text, size_t times, size_t *ret_length)
{
	size_t n = strlen(text);
	char *all = malloc(n * times + 1);

	for (size_t i = 0; i < times; i++)
		memcpy(all + i * n, text, n);
	all[n * times] = '\0';
	*ret_length = n * times;
	return all;
}

static void
decodes_strings(void **state UNUSED)
{
	CHECK_DECODE("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\u007f\\u0080\\u07ff\\u0800\\uFfFf\"]");
	CHECK_DECODE("\"\\ud83d\\ude00 \\ud83d\\u0041 \\ud83d\\ud83d\\ude00 \\ude00\\ud83d \\ud83d\"");
	CHECK_DECODE(
	    "\"\\ud83d\xed\xb8\x80 \xed\xa0\xbd\\ude00 \xed\xa0\xbd\xed\xb8\x80\""); /* no pairs: not all escapes */
	CHECK_DECODE("{\"\\u0061\": \"caf\xc3\xa9\", \"a\": \"\x7f\", \"\xc3\xa9\": 1, \"\": \"\"}");
	CHECK_DECODE("\"0123456789abcdef0123456789abcde\"");
	CHECK_DECODE("\"0123456789abcdef0123456789abcdef\\n0123456789abcdef\xf0\x9f\x98\x80\"");
	CHECK_DECODE("\"\\x\"");
	CHECK_DECODE("\"\\u12\"");
	CHECK_DECODE("\"\\u12g4\"");
	CHECK_DECODE("\"\\ud83d\\u12g4\"");
	CHECK_DECODE("\"\\ud83d\\u\"");
	CHECK_DECODE("\"\\\"");
	CHECK_DECODE("\"\\\\\\\"");
	CHECK_DECODE("\"\\\0\"");
	CHECK_DECODE("\"\n\"");
	CHECK_DECODE("\"0123456789abcdef\x1f\"");
	CHECK_DECODE("\"\xc3\\u0041\"");
	CHECK_DECODE("\"\xe2\x82\"");
	CHECK_DECODE("[\"a\": 1]");
	CHECK_DECODE("{\"a\" 1}");
	CHECK_DECODE("{\"a\": 1, }");
	CHECK_DECODE("{\"a\": 1 \"b\": 2}");
	CHECK_DECODE("{\"a");
	CHECK_DECODE("{1: 2}");
	CHECK_DECODE("[\"a]");
}

/* Each of them alone, in a list as the last bytes, and before other bytes that a digit loop could take for its own. */
static void
decodes_numbers(void **state UNUSED)
{
	static const char *const numbers[] = {"0", "-0", "-0.0", "0.0", "-0e7", "7", "-12345678", "123456789",
	    "999999999999999999", "-999999999999999999", "1000000000000000000", "-9223372036854775808",
	    "9223372036854775808", "18446744073709551616", "0.1", "-0.000123", "5.1", "123.456789012345678",
	    "0.30000000000000004", "0.12345678901234567", "1234567890.1234567890", "12345678901234567890.5",
	    "9007199254740993", "9007199254740993.0", "1e22", "1E+23", "1e-22", "123e-23", "1.5e300", "1e308",
	    "1.8e308", "-1e309", "4.9e-324", "2e-324", "2.2250738585072011e-308", "1e99999", "1e100000", "0e100000",
	    "-1e-100000", "1e99999999999999999999", "0.0000000000000000000000000000001",
	    "0.00000000000000000000000000000012345678901234567890", "100000000000000000000000000000.5",
	    "10000000000000000000000000000000000000000000000000000000000000000.2", "1.00000000000000011102230246251565",
	    "00", "01", "-01", "-", "+1", ".5", "1.", "1.e5", "1e", "1e+", "1e-", "1.5e+x", "-.5", "--1", "0x10",
	    "1_000", "1a", "12345678a", "-Infinity", "-Infinit", "Infinity", "Infinityx", "NaN", "-NaN", "tru", "true",
	    "truefalse", "nul", "-null"};
	char text[160];

	for (size_t i = 0; i < N_ELEMENTS(numbers); i++) {
		check_decode(numbers[i], strlen(numbers[i]));
		snprintf(text, sizeof(text), "[%s]", numbers[i]);
		check_decode(text, strlen(text));
		snprintf(text, sizeof(text), "{\"a\":%s,\"b\":[%s , 12345678]}", numbers[i], numbers[i]);
		check_decode(text, strlen(text));
		for (size_t cut = strlen(text); cut > 0; cut--)
			check_decode(text, cut);
	}
}

/* A decimal point at the front of so many zeros that the exponent behind them is beyond what is counted. */
static void
counts_no_exponent_wrongly(void **state UNUSED)
{
	static const char *const exponents[] = {"e99999", "e100001", "e100002", "e300000"};
	char *zeros, *text = NULL;
	size_t length;

	zeros = repeat("0", 100000, &length);
	for (size_t i = 0; i < N_ELEMENTS(exponents); i++) {
		assert_true(asprintf(&text, "[0.%s1%s]", zeros, exponents[i]) > 0);
		check_decode(text, strlen(text));
		free(text);
	}
	free(zeros);
}

/* More keys than are kept from one document to the next, long ones, and such that differ in little. */
static void
tells_keys_apart(void **state UNUSED)
{
	char *text = NULL, *before, *stars;
	size_t length;

	stars = repeat("*", 63, &length);
	for (int i = 0; i < 3000; i++) {
		before = text;
		assert_true(asprintf(&text, "%s%s\"%x\": %d, \"%.*s%d\": 1", before ? before : "{", before ? ", " : "",
				i, i, 58 + i % 6, stars, i % 100) > 0);
		free(before);
		if (i % 500 == 499) {
			before = xasprintf("%s}", text);
			check_decode(before, strlen(before));
			free(before);
		}
	}
	free(stars);
	free(text);
}

static void
decodes_other_encodings(void **state UNUSED)
{
	CHECK_DECODE("\xef\xbb\xbf[1]");
	CHECK_DECODE("\xff\xfe[\0001\0]\0");
	CHECK_DECODE("\xfe\xff\0[\0001\0]");
	CHECK_DECODE("[\0001\0]\0");
	CHECK_DECODE("\0[\0001\0]");
	CHECK_DECODE("[\0\0\0001\0\0\0]\0\0\0");
	CHECK_DECODE("\0\0\0[\0\0\0001\0\0\0]");
	CHECK_DECODE("\xff\xfe\0\0[\0\0\0]\0\0\0");
	CHECK_DECODE("1\0");
}

static void
refuses_deep_documents_even_when_the_predictor_raised_the_limit(void **state UNUSED)
{
	const char *const openings[] = {"[", "{\"a\":", "[{\"a\":[", " ["};
	PyObject *value = NULL;
	size_t length;
	char *text;

	for (int raised = 0; raised < 2; raised++) {
		Py_SetRecursionLimit(raised ? 1000000000 : 1000);
		for (size_t i = 0; i < N_ELEMENTS(openings); i++) {
			text = repeat(openings[i], 300000, &length);
			assert_int_equal(json_decode(&decoder, text, length, &value), -EBADMSG);
			assert_null(PyErr_Occurred());
			free(text);
		}
		assert_int_equal(Py_GetRecursionLimit(), raised ? 1000000000 : 1000);
	}
	Py_SetRecursionLimit(1000);
}

static void
refuses_numbers_with_too_many_digits(void **state UNUSED)
{
	PyObject *value = NULL;
	size_t length;
	char *text;

	text = repeat("7", 4300, &length);
	check_decode(text, length);
	assert_int_equal(json_decode(&decoder, text, length, &value), 0);
	Py_DECREF(value);
	free(text);
	text = repeat("7", 4301, &length);
	check_decode(text, length);
	assert_int_equal(json_decode(&decoder, text, length, &value), -EBADMSG);
	free(text);
}

/* What the encoder makes of it as a str (new reference), or NULL with an exception pending. */
static PyObject *
encoded(PyObject *value)
{
	struct json_text text;
	PyObject *copy;

	if (json_encode(&encoder, value, &text) < 0)
		return NULL;
	assert_null(PyErr_Occurred());
	copy = PyUnicode_DecodeASCII(text.bytes, (Py_ssize_t)text.length, "strict");
	assert_non_null(copy);
	Py_XDECREF(text.owner);
	return copy;
}

static void
decodes_and_encodes_ten_megabytes_of_numbers(void **state UNUSED)
{
	PyObject *value = NULL, *text;
	size_t length;
	char *body = repeat("0.123456789012345,", 600000, &length), *document = NULL;

	assert_true(asprintf(&document, "[%s1]", body) > 0);
	assert_int_equal(json_decode(&decoder, document, length + 3, &value), 0);
	assert_int_equal(PyList_Size(value), 600001);
	text = encoded(value);
	assert_non_null(text);
	assert_string_equal(PyUnicode_AsUTF8(text), document);
	Py_DECREF(text);
	Py_DECREF(value);
	free(document);
	free(body);
}

static void
check_encode(const char *expression, const char *expected)
{
	PyObject *value = test_eval(expression, NULL), *text = encoded(value);

	if (!text) {
		PyErr_Print();
		fail_msg("%s cannot be encoded", expression);
	}
	if (strcmp(PyUnicode_AsUTF8(text), expected) != 0)
		fail_msg("%s: %s, expected %s", expression, PyUnicode_AsUTF8(text), expected);
	Py_DECREF(text);
	Py_DECREF(value);
}

#define IMPORT(module) "__import__('" module "')."

static void
encodes_what_json_knows(void **state UNUSED)
{
	check_encode("'setosa'", "\"setosa\"");
	check_encode("'\\u00e9\\U0001f600\\ud800\\n\"'", "\"\\u00e9\\ud83d\\ude00\\ud800\\n\\\"\"");
	check_encode("None", "null");
	check_encode("[float('nan'), {'a': float('-inf')}]", "[NaN,{\"a\":-Infinity}]");
	check_encode("__import__('decimal').Decimal('NaN')", "NaN");
	check_encode(
	    "[True, False, 1, -2.5, 1e300, 10**30]", "[true,false,1,-2.5,1e+300,1000000000000000000000000000000]");
	check_encode("[1.0, -0.0, 1e16, 1e-5, 0.1 + 0.2, 2**63, -2**63, 2**63 - 1, 0]",
	    "[1.0,-0.0,1e+16,1e-05,0.30000000000000004,9223372036854775808,-9223372036854775808,9223372036854775807,"
	    "0]");
	check_encode("'0123456789abcdef' + chr(127)", "\"0123456789abcdef\\u007f\"");
	check_encode("{'\\n\u20ac': '\u20ac', '': [], '0123456789abcdef\"': ()}",
	    "{\"\\n\\u20ac\":\"\\u20ac\",\"\":[],\"0123456789abcdef\\\"\":[]}");
	check_encode("(1, (), [], {})", "[1,[],[],{}]");
	check_encode("{'b': 1, 'a': {'c': [None]}}", "{\"b\":1,\"a\":{\"c\":[null]}}");
	check_encode("{1: 1, 2.5: 2, True: 3, None: 4}", "{\"1\":3,\"2.5\":2,\"null\":4}");
	check_encode("type('S', (str,), {})('x')", "\"x\"");
	check_encode("type('I', (int,), {'__repr__': lambda self: 'x'})(7)", "7");
	check_encode(IMPORT("collections") "OrderedDict(a=1)", "{\"a\":1}");
	check_encode(IMPORT("collections") "namedtuple('P', 'x y')(1, 2)", "[1,2]");
}

static void
encodes_what_cortex_knew(void **state UNUSED)
{
	check_encode("{3, 1, 2}", "[1,2,3]");
	check_encode("frozenset({'x'})", "[\"x\"]");
	check_encode("len({1, 'x'}) == 2 and {'x'}", "[\"x\"]");
	check_encode(IMPORT("datetime") "datetime(2020, 1, 2, 3, 4, 5, 678)", "\"2020-01-02T03:04:05.000678\"");
	check_encode(IMPORT("datetime") "date(2020, 1, 2)", "\"2020-01-02\"");
	check_encode(IMPORT("datetime") "time(3, 4)", "\"03:04:00\"");
	check_encode(IMPORT("datetime") "timedelta(minutes=1, microseconds=500000)", "60.5");
	check_encode(IMPORT("decimal") "Decimal('1.50')", "1.5");
	check_encode(IMPORT("fractions") "Fraction(1, 4)", "0.25");
	check_encode("3+4j", "[3.0,4.0]");
	check_encode(IMPORT("enum") "Enum('Color', 'RED')(1)", "{\"RED\":1}");
	check_encode(IMPORT("enum") "IntEnum('Color', 'RED')(1)", "1");
	check_encode(IMPORT("pathlib") "Path('a/b')", "\"a/b\"");
	check_encode("b'caf\\xc3\\xa9'", "\"caf\\u00e9\"");
	check_encode("bytearray(b'x')", "\"x\"");
	check_encode("type('J', (), {'__json_encode__': lambda self: {'a': {1}}})()", "{\"a\":[1]}");
	check_encode("[{" IMPORT("datetime") "date(2020, 1, 2): ({b'k': {1}},), True: 1}]",
	    "[{\"2020-01-02\":[{\"k\":[1]}],\"true\":1}]");
	check_encode("{type('J', (), {'__json_encode__': lambda self: {b'k': 1}})()}", "[{\"k\":1}]");
	check_encode(IMPORT("dataclasses") "make_dataclass('D', ['x', 'y'])(1, {2})", "{\"x\":1,\"y\":[2]}");
}

/* The words that the client gets to read. */
static void
check_refused(const char *expression, const char *expected)
{
	PyObject *value = test_eval(expression, NULL), *text = encoded(value);
	PyObject *describe, *exception, *texts;
	const char *shown;

	assert_null(text);
	exception = exception_take();
	describe = support_function("conversion_failed");
	texts = PyObject_CallFunction(describe, "sO", "predictor.py", exception);
	assert_non_null(texts);
	shown = PyUnicode_AsUTF8(PyTuple_GET_ITEM(texts, 0));
	if (strncmp(shown, "{\"error\": \"", 11) != 0 || !strstr(shown, expected))
		fail_msg("%s: %s, expected %s", expression, shown, expected);
	check_decode(shown, strlen(shown));
	Py_DECREF(texts);
	Py_DECREF(describe);
	Py_DECREF(exception);
	Py_DECREF(value);
	check_encode("[[1], {'a': []}]", "[[1],{\"a\":[]}]"); /* the encoder is as good as before */
}

static void
says_why_there_is_no_json(void **state UNUSED)
{
	check_refused("object()", "type object");
	check_refused("[{'a': lambda: 1}]", "type function");
	check_refused("(x for x in ())", "type generator");
	check_refused("type('Model', (), {'__module__': 'shop'})()", "type shop.Model");
	check_refused("{(1, 2): 3}", "keys must be str, int, float, bool or None, not tuple");
	check_refused("{(1, 2): {b'x': 1}}", "keys must be str, int, float, bool or None, not tuple");
	check_refused("{" IMPORT("enum") "Enum('Color', 'RED')(1): 1}", "not Color");
	check_refused("(lambda d: d.update({b'a': d}) or d)({})", "nested too deeply");
	check_refused("(lambda l: l.append(l) or l)([])", "contains itself");
	check_refused("(lambda d: d.update(a=d) or d)({})", "contains itself");
	check_refused("__import__('functools').reduce(lambda l, _: [l], range(100000), [])", "nested too deeply");
	check_refused("10 ** 5000", "ValueError: Exceeds the limit");
	check_refused("b'\\xff'", "the bytes value is not UTF-8 text");
	check_refused(
	    "type('J', (), {'__json_encode__': lambda self: 1 / 0})()", "ZeroDivisionError: division by zero");
	check_refused("type('J', (), {'__json_encode__': lambda self: self})()", "contains itself");
	check_refused("type('J', (), {'__json_encode__': lambda self: type(self)()})()", "nested too deeply");
	check_refused("type('J', (), {'__json_encode__': lambda self: exit(3)})()", "SystemExit: 3");
	check_refused("type('D', (dict,), {'items': lambda self: 1 / 0})(a=1)", "ZeroDivisionError");
}

static void
refuses_deep_values_even_when_the_predictor_raised_the_limit(void **state UNUSED)
{
	Py_SetRecursionLimit(1000000000);
	check_refused("__import__('functools').reduce(lambda l, _: [l], range(300000), [])", "nested too deeply");
	check_refused("__import__('functools').reduce(lambda l, _: {'a': l}, range(300000), [])", "nested too deeply");
	check_refused("type('J', (), {'__json_encode__': lambda self: [type(self)()]})()", "nested too deeply");
	Py_SetRecursionLimit(1000);
}

static void
does_without_memory(void **state UNUSED)
{
	static const char *const documents[] = {"[1, [2, {\"a\": [3]}]]", "{\"a\": \"\\n\"}", "[\"x\", [\"\\u0041\"]]"};
	PyObject *value = test_eval("[{'a': 'x' * 5000}, 1.5]", NULL), *got = NULL, *text, *shown;

	for (size_t i = 0; i < N_ELEMENTS(documents); i++) {
		json_decoder_done(&decoder);
		assert_int_equal(json_decoder_init(&decoder), 0);
		no_memory = true;
		assert_int_equal(json_decode(&decoder, documents[i], strlen(documents[i]), &got), -ENOMEM);
		no_memory = false;
		assert_null(got);
		assert_null(PyErr_Occurred());
		check_decode(documents[i], strlen(documents[i]));
	}
	/* The standard library writes what we cannot. */
	json_encoder_done(&encoder);
	assert_int_equal(json_encoder_init(&encoder), 0);
	no_memory = true;
	text = encoded(value);
	no_memory = false;
	shown = encoded(value);
	assert_int_equal(PyUnicode_Compare(text, shown), 0);
	Py_DECREF(shown);
	Py_DECREF(text);
	Py_DECREF(value);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(does_without_memory),
	    cmocka_unit_test(decodes_as_the_standard_library_does),
	    cmocka_unit_test(refuses_what_the_standard_library_refuses),
	    cmocka_unit_test(decodes_strings),
	    cmocka_unit_test(decodes_numbers),
	    cmocka_unit_test(counts_no_exponent_wrongly),
	    cmocka_unit_test(tells_keys_apart),
	    cmocka_unit_test(decodes_other_encodings),
	    cmocka_unit_test(refuses_deep_documents_even_when_the_predictor_raised_the_limit),
	    cmocka_unit_test(refuses_numbers_with_too_many_digits),
	    cmocka_unit_test(decodes_and_encodes_ten_megabytes_of_numbers),
	    cmocka_unit_test(encodes_what_json_knows),
	    cmocka_unit_test(encodes_what_cortex_knew),
	    cmocka_unit_test(says_why_there_is_no_json),
	    cmocka_unit_test(refuses_deep_values_even_when_the_predictor_raised_the_limit),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
