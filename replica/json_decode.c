/*
 * json_decode - see json_decode.h.
 *
 * A recursive descent over bytes that end with a bracket or a quote, or before a NUL: no number can run past these, so that
 * only what goes on after a value, and strings, look where the end is. A function returns NULL with or without an exception pending when
 * the document is wrong; which of them does not matter, but for MemoryError.
 */
#include <Python.h>

#include "replica/json_decode.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica/decimal.h"
#include "replica/json_plain.h"

#define KEY_LENGTH_MAX   64 /* of a key that is kept for the next document */
#define LONE_NUMBER_MAX  64 /* bytes of a document that is a number or a word */
#define ELEMENTS_FIRST   256
#define ELEMENTS_KEPT    4096 /* room for elements that is kept for the next document */
#define DIGITS_OF_INT64  18   /* always fit */
#define DIGITS_OF_UINT64 19
#define EXPONENT_MAX     100000 /* from there on it is not counted: Python must look */

/* Where we are in a document. at <= end; end[-1] cannot be in a number, or end[0] is a NUL. */
struct reader {
	struct json_decoder *decoder;
	const char *at, *end;
};

static PyObject *read_value(struct reader *r);

int
json_decoder_init(struct json_decoder *decoder)
{
	PyObject *json = PyImport_ImportModule("json");

	*decoder = (struct json_decoder){.loads = json ? PyObject_GetAttrString(json, "loads") : NULL};
	Py_XDECREF(json);
	return decoder->loads ? 0 : -EIO;
}

void
json_decoder_done(struct json_decoder *decoder)
{
	Py_CLEAR(decoder->loads);
	for (size_t i = 0; i < JSON_KEYS_KEPT; i++)
		Py_CLEAR(decoder->keys[i]);
	free(take_ptr(&decoder->elements));
	decoder->size = 0;
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The next byte that is not white space, without taking it; NUL at the end, which no rule knows. */
static inline char
peek(struct reader *r)
{
	while (r->at < r->end && is_space(*r->at))
		r->at++;
	return r->at < r->end ? *r->at : '\0';
}

static bool
take(struct reader *r, char expected)
{
	if (peek(r) != expected)
		return false;
	r->at++;
	return true;
}

/* ---- strings ---- */

static PyObject *
ascii(const char *text, size_t length)
{
	PyObject *string = PyUnicode_New((Py_ssize_t)length, 127);

	if (string && length > 0) /* the empty string is everybody's */
		memcpy(PyUnicode_DATA(string), text, length);
	return string;
}

/* Four hexadecimal digits, or -1. */
static int
read_hex(const char *p, const char *end)
{
	int value = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int c = (unsigned char)p[i];
		int digit = is_digit(p[i])                   ? c - '0'
		    : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
							     : -1;

		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

/* In UTF-8, a lone surrogate like any other character, as "surrogatepass" has it. */
static char *
put_character(char *out, int c)
{
	if (c < 0x80) {
		*out++ = (char)c;
		return out;
	}
	if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
	} else {
		if (c < 0x10000) {
			*out++ = (char)(0xe0 | c >> 12);
		} else {
			*out++ = (char)(0xf0 | c >> 18);
			*out++ = (char)(0x80 | (c >> 12 & 0x3f));
		}
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
	}
	*out++ = (char)(0x80 | (c & 0x3f));
	return out;
}

/* What stands after a backslash at *p, put to *out. False: there is no such escape. */
static bool
unescape(const char **p, const char *end, char **out)
{
	static const char names[] = "\"\\/bfnrt", characters[] = "\"\\/\b\f\n\r\t";
	const char *name;
	int c, low;

	if (*p == end)
		return false;
	c = *(*p)++;
	if (c != 'u') {
		name = c != '\0' ? strchr(names, c) : NULL;
		if (name)
			*(*out)++ = characters[name - names];
		return name != NULL;
	}
	c = read_hex(*p, end);
	if (c < 0)
		return false;
	*p += 4;
	if (c >= 0xd800 && c < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
		low = read_hex(*p + 2, end);
		if (low >= 0xdc00 && low < 0xe000) {
			c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
			*p += 6;
		}
	}
	*out = put_character(*out, c);
	return true;
}

/* The string between text and end, which has escapes. */
static PyObject *
unescaped(const char *text, const char *end)
{
	char *plain = malloc((size_t)(end - text)), *out = plain; /* no escape is shorter than its character */
	PyObject *string = NULL;
	const char *next;

	if (!plain)
		return PyErr_NoMemory();
	while (text < end) {
		next = memchr(text, '\\', (size_t)(end - text));
		next = next ? next : end;
		memcpy(out, text, (size_t)(next - text));
		out += next - text;
		text = next;
		if (text < end) {
			text++;
			if (!unescape(&text, end, &out))
				goto out;
		}
	}
	string = PyUnicode_DecodeUTF8(plain, out - plain, "surrogatepass");
out:
	free(plain);
	return string;
}

/* After the opening quote. */
static PyObject *
read_string(struct reader *r)
{
	const char *start = r->at, *p = json_plain_end(start, r->end);
	bool escapes = false;

	if (p < r->end && *p == '"') {
		r->at = p + 1;
		return ascii(start, (size_t)(p - start));
	}
	while (p < r->end && *p != '"') {
		if ((unsigned char)*p < ' ')
			return NULL;
		if (*p == '\\') {
			escapes = true;
			p++;
		}
		p = json_plain_end(p + 1, r->end);
	}
	if (p >= r->end)
		return NULL;
	r->at = p + 1;
	return escapes ? unescaped(start, p) : PyUnicode_DecodeUTF8(start, p - start, "surrogatepass");
}

/* After the opening quote, the key of a member. */
static PyObject *
read_key(struct reader *r)
{
	const char *start = r->at, *p = start;
	PyObject *key, **kept;
	uint32_t hash = 0;
	size_t length;

	while (p < r->end && (signed char)*p >= ' ' && *p != '"' && *p != '\\')
		hash = hash * 31 + (unsigned char)*p++;
	length = (size_t)(p - start);
	if (p == r->end || *p != '"' || length > KEY_LENGTH_MAX)
		return read_string(r);
	r->at = p + 1;
	kept = &r->decoder->keys[(hash ^ hash >> 8) % JSON_KEYS_KEPT];
	if (!*kept || (size_t)PyUnicode_GET_LENGTH(*kept) != length ||
	    memcmp(PyUnicode_DATA(*kept), start, length) != 0) {
		key = ascii(start, length);
		if (!key)
			return NULL;
		Py_XSETREF(*kept, key);
	}
	Py_INCREF(*kept);
	return *kept;
}

/* ---- numbers and words ---- */

/* A number that Python itself must convert, for its digits are too many or its value is at an end of what there is. */
static PyObject *
convert(const char *text, size_t length, bool is_float)
{
	PyObject *copy = PyBytes_FromStringAndSize(text, (Py_ssize_t)length), *number = NULL;

	if (copy)
		number = is_float ? PyFloat_FromString(copy) : PyLong_FromString(PyBytes_AS_STRING(copy), NULL, 10);
	Py_XDECREF(copy);
	return number;
}

static PyObject *
read_word(struct reader *r, const char *word, PyObject *value)
{
	size_t length = strlen(word);

	if (!value || (size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0) {
		Py_XDECREF(value);
		return NULL;
	}
	r->at += length;
	return value;
}

static PyObject *
ref(PyObject *object)
{
	Py_INCREF(object);
	return object;
}

/* The number of digits that eight bytes (the first in the lowest) begin with. */
static unsigned
count_digits(uint64_t bytes)
{
	uint64_t others = bytes ^ UINT64_C(0x3030303030303030);

	others = (others | (others + UINT64_C(0x7676767676767676))) & UINT64_C(0x8080808080808080);
	return others ? (unsigned)__builtin_ctzll(others) / 8 : 8;
}

/* The value of the first n of them, 1 to 8, added up in pairs, fours and eights at once. */
static uint64_t
sum_digits(uint64_t bytes, unsigned n)
{
	const uint64_t every_fourth = UINT64_C(0x000000ff000000ff);

	bytes = (bytes ^ UINT64_C(0x3030303030303030)) << (64 - 8 * n); /* zeros in front */
	bytes = bytes * 10 + (bytes >> 8);
	return ((bytes & every_fourth) * UINT64_C(0x000f424000000064) +
		   (bytes >> 16 & every_fourth) * UINT64_C(0x0000271000000001)) >>
	    32;
}

/* The digits at *p go to the end of *digits, which wraps around when there are too many. Their number. Eight at a time, for
 * a loop over digits ends at another place in each number, and processors guess wrong. */
static inline ptrdiff_t
read_digits(const char **p, const char *end, uint64_t *digits)
{
	static const uint64_t scale[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
	const char *start = *p;
	uint64_t bytes;
	unsigned n = 8;

	while (n == 8 && end - *p >= (ptrdiff_t)sizeof(bytes)) {
		memcpy(&bytes, *p, sizeof(bytes));
		bytes = le64toh(bytes);
		n = count_digits(bytes);
		if (n > 0)
			*digits = *digits * scale[n] + sum_digits(bytes, n);
		*p += n;
	}
	if (n == 8)
		for (; is_digit(**p); (*p)++)
			*digits = *digits * 10 + (uint64_t)(**p - '0');
	return *p - start;
}

/* e, perhaps a sign, and digits; or 0, and *p stays at the e, for there is nothing of that kind. */
static int64_t
read_exponent(const char **p, bool *ret_is_float)
{
	const char *digits = *p + 1;
	int64_t exponent = 0;
	bool negative;

	negative = *digits == '-';
	digits += *digits == '-' || *digits == '+';
	if (!is_digit(*digits))
		return 0;
	for (; is_digit(*digits); digits++)
		exponent = MIN(exponent * 10 + (*digits - '0'), EXPONENT_MAX);
	*p = digits;
	*ret_is_float = true;
	return negative ? -exponent : exponent;
}

/* As RFC 8259 section 6 has it; what follows a number is for the caller to judge. Signs come as they like, so that none is
 * branched upon. */
static PyObject *
read_number(struct reader *r)
{
	const char *start = r->at, *p = start + (*start == '-'), *first = p;
	const int sign = 1 - 2 * (*start == '-');
	ptrdiff_t n_digits, n_places = 0;
	int64_t exponent = 0;
	uint64_t digits = 0;
	bool is_float = false;
	double value;

	if (!is_digit(*p))
		return *p == 'I' ? read_word(r, "-Infinity", PyFloat_FromDouble(-Py_HUGE_VAL)) : NULL;
	if (*p == '0')
		p++;
	else
		read_digits(&p, r->end, &digits);
	n_digits = p - first;
	if (*p == '.' && is_digit(p[1])) {
		first = ++p;
		is_float = true;
		if (n_digits == 1 && digits == 0) { /* 0.000123: zeros in front are none of the digits that count */
			n_digits = 0;
			while (*p == '0')
				p++;
		}
		n_digits += read_digits(&p, r->end, &digits);
		n_places = p - first;
	}
	if ((*p | 0x20) == 'e')
		exponent = read_exponent(&p, &is_float);
	r->at = p;
	if (!is_float && n_digits <= DIGITS_OF_INT64)
		return PyLong_FromLongLong(sign * (long long)digits);
	if (is_float && n_digits <= DIGITS_OF_UINT64 && exponent > -EXPONENT_MAX && exponent < EXPONENT_MAX &&
	    decimal_to_double(digits, exponent - n_places, &value))
		return PyFloat_FromDouble(sign * value);
	return convert(start, (size_t)(p - start), is_float);
}

/* ---- containers ---- */

static bool
push(struct json_decoder *decoder, PyObject *element)
{
	size_t size = decoder->size ? decoder->size * 2 : ELEMENTS_FIRST;
	PyObject **elements;

	if (decoder->n_elements == decoder->size) {
		elements = realloc(decoder->elements, size * sizeof(*elements));
		if (!elements) {
			PyErr_NoMemory();
			return false;
		}
		decoder->elements = elements;
		decoder->size = size;
	}
	decoder->elements[decoder->n_elements++] = element;
	return true;
}

/* The elements of an array, to the end of decoder->elements. */
static bool
read_elements(struct reader *r)
{
	PyObject *element;

	if (take(r, ']'))
		return true;
	do {
		element = read_value(r);
		if (!element)
			return false;
		if (!push(r->decoder, element)) {
			Py_DECREF(element);
			return false;
		}
	} while (take(r, ','));
	return take(r, ']');
}

/* After the opening bracket. */
static PyObject *
read_array(struct reader *r)
{
	struct json_decoder *decoder = r->decoder;
	size_t first = decoder->n_elements;
	PyObject *list = NULL;

	if (read_elements(r))
		list = PyList_New((Py_ssize_t)(decoder->n_elements - first));
	while (decoder->n_elements > first) {
		decoder->n_elements--;
		if (list)
			PyList_SET_ITEM(list, decoder->n_elements - first, decoder->elements[decoder->n_elements]);
		else
			Py_DECREF(decoder->elements[decoder->n_elements]);
	}
	return list;
}

static bool
read_member(struct reader *r, PyObject *dict)
{
	PyObject *key = take(r, '"') ? read_key(r) : NULL, *value = NULL;
	bool done = false;

	if (key && take(r, ':'))
		value = read_value(r);
	if (value)
		done = PyDict_SetItem(dict, key, value) ==
		    0; /* of equal keys the last one wins, at the place of the first */
	Py_XDECREF(value);
	Py_XDECREF(key);
	return done;
}

/* After the opening brace. */
static PyObject *
read_object(struct reader *r)
{
	PyObject *dict = PyDict_New();
	bool good = dict != NULL;

	if (!good || take(r, '}'))
		return dict;
	do
		good = read_member(r, dict);
	while (good && take(r, ','));
	if (good && take(r, '}'))
		return dict;
	Py_DECREF(dict);
	return NULL;
}

static PyObject *
read_container(struct reader *r, PyObject *(*read)(struct reader *))
{
	PyObject *value;

	r->at++;
	if (Py_EnterRecursiveCall(" while reading a JSON document"))
		return NULL;
	value = read(r);
	Py_LeaveRecursiveCall();
	return value;
}

static PyObject *
read_value(struct reader *r)
{
	switch (peek(r)) {
	case '\0':
		return NULL;
	case '"':
		r->at++;
		return read_string(r);
	case '[':
		return read_container(r, read_array);
	case '{':
		return read_container(r, read_object);
	case 't':
		return read_word(r, "true", ref(Py_True));
	case 'f':
		return read_word(r, "false", ref(Py_False));
	case 'n':
		return read_word(r, "null", ref(Py_None));
	case 'N':
		return read_word(r, "NaN", PyFloat_FromDouble(Py_NAN));
	case 'I':
		return read_word(r, "Infinity", PyFloat_FromDouble(Py_HUGE_VAL));
	default:
		return read_number(r);
	}
}

/* ---- documents ---- */

/* json.detect_encoding() says something else than UTF-8 for a byte order mark or a NUL in the first two bytes. */
static bool
may_not_be_utf8(const char *text, size_t length)
{
	return length > 0 && (text[0] == '\0' || text[0] < 0 || (length > 1 && text[1] == '\0'));
}

static PyObject *
read_document(struct json_decoder *decoder, const char *start, const char *end)
{
	struct reader r = {.decoder = decoder, .at = start, .end = end};
	PyObject *value = read_value(&r);

	if (value && r.at < r.end)
		Py_CLEAR(value);
	ASSERT(decoder->n_elements == 0);
	if (decoder->size > ELEMENTS_KEPT) {
		free(take_ptr(&decoder->elements));
		decoder->size = 0;
	}
	return value;
}

static PyObject *
decode_slowly(const struct json_decoder *decoder, const char *text, size_t length)
{
	PyObject *bytes = PyBytes_FromStringAndSize(text, (Py_ssize_t)length);
	PyObject *value = bytes ? PyObject_CallOneArg(decoder->loads, bytes) : NULL;

	Py_XDECREF(bytes);
	return value;
}

static PyObject *
decode(struct json_decoder *decoder, const char *text, size_t length)
{
	const char *start = text, *end = text + length;
	char copy[LONE_NUMBER_MAX + 1] = "";

	if (may_not_be_utf8(text, length))
		return decode_slowly(decoder, text, length);
	while (end > start && is_space(end[-1]))
		end--;
	while (end > start && is_space(*start))
		start++;
	if (end > start && (end[-1] == ']' || end[-1] == '}' || end[-1] == '"'))
		return read_document(decoder, start, end);
	if (end - start > LONE_NUMBER_MAX)
		return decode_slowly(decoder, text, length);
	memcpy(copy, start, (size_t)(end - start));
	return read_document(decoder, copy, copy + (end - start));
}

int
json_decode(struct json_decoder *decoder, const char *text, size_t length, PyObject **ret_value)
{
	int limit = recursion_cap();
	PyObject *value = decode(decoder, text, length);
	int r = 0;

	recursion_uncap(limit);
	if (!value) {
		r = PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_MemoryError) ? -ENOMEM : -EBADMSG;
		PyErr_Clear();
		return r;
	}
	*ret_value = value;
	return 0;
}
