/*
 * test_document - YAML as a tree: types, marks, limits, and what makes a text unusable.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/document.h"

static struct document *
parse(const char *text)
{
	struct document *document = NULL;
	struct error err;
	struct mark mark;

	if (document_parse(text, strlen(text), &document, &mark, &err) < 0)
		fail_msg("%d:%d: %s in:\n%s", mark.line, mark.column, err.text, text);
	return document;
}

static void
assert_refused_bytes(const char *text, size_t length, int line, int column, const char *words)
{
	struct document *document = NULL;
	struct error err;
	struct mark mark;

	if (document_parse(text, length, &document, &mark, &err) != -EINVAL)
		fail_msg("accepted:\n%.100s", text);
	if (!strstr(err.text, words) || mark.line != line || mark.column != column)
		fail_msg("%d:%d: %s\ninstead of %d:%d: %s\nin:\n%.100s", mark.line, mark.column, err.text, line, column,
		    words, text);
	assert_null(document);
}

static void
assert_refused(const char *text, int line, int column, const char *words)
{
	assert_refused_bytes(text, strlen(text), line, column, words);
}

static void
plain_scalars_have_the_types_of_yaml_1_2(UNUSED void **state)
{
	static const struct {
		const char *words;
		enum node_kind kind;
	} examples[] = {
	    {"~ null Null NULL", NODE_NULL},
	    {"true True TRUE false False FALSE", NODE_BOOL},
	    {"0 1 -1 +1 007 123456789012345678901234567890 0o17 0xFf -0", NODE_INTEGER},
	    {"0.5 .5 5. -5.e3 1e3 1E+3 -.5e-3 .inf -.Inf +.INF .nan .NaN .NAN 00.5", NODE_FLOAT},
	    {"yes no on off y n Yes NO nUll tRue 0o8 0o 0x 0xg -0x1 0b1 1_000 1e 1e+ .e3 . -. + - 1.2.3 12:30 "
	     "2001-01-01 .Nan inf NaN -.nan +.nan 1,5 << = a 0O17 0X1",
		NODE_STRING},
	};

	for (size_t i = 0; i < N_ELEMENTS(examples); i++) {
		char words[256], *rest = words;

		snprintf(words, sizeof(words), "%s", examples[i].words);
		for (char *word; (word = strsep(&rest, " "));) {
			if (document_scalar_kind(word, strlen(word)) != examples[i].kind)
				fail_msg("%s is not of kind %d", word, examples[i].kind);
		}
	}
	assert_int_equal(document_scalar_kind("", 0), NODE_NULL);
	assert_int_equal(document_scalar_kind("1\0", 2), NODE_STRING);
}

static void
quotes_make_strings_and_tags_decide(UNUSED void **state)
{
	static const enum node_kind kinds[] = {NODE_STRING, NODE_STRING, NODE_STRING, NODE_STRING, NODE_STRING,
	    NODE_STRING, NODE_INTEGER, NODE_FLOAT, NODE_FLOAT, NODE_NULL, NODE_BOOL, NODE_SEQUENCE, NODE_MAPPING,
	    NODE_NULL, NODE_BAD, NODE_BAD, NODE_BAD, NODE_BAD, NODE_BAD, NODE_BAD, NODE_BAD};
	struct document *document = parse("- '1'\n- \"true\"\n- |\n  1\n- >\n  1\n- !!str 1\n- !!str\n- !!int '1'\n"
					  "- !!float 1\n- !!float 1.5\n- !!null ''\n- !!bool true\n- !!seq [1]\n"
					  "- !!map {a: 1}\n-\n- !!int a\n- !!float 0x10\n- !!seq {a: 1}\n- !!str [a]\n"
					  "- !local a\n- !!set {a}\n- !<tag:example.com,2000:x> [a, {b: c}]\n");

	assert_int_equal(document->root->n, N_ELEMENTS(kinds));
	for (size_t i = 0; i < N_ELEMENTS(kinds); i++) {
		if (document->root->items[i]->kind != kinds[i])
			fail_msg("item %zu: kind %d instead of %d", i, document->root->items[i]->kind, kinds[i]);
	}
	assert_string_equal(document->root->items[14]->text, "the value does not fit its tag !!int");
	document_free(document);
}

static void
nodes_know_their_place(UNUSED void **state)
{
	struct document *document = parse("# comment\na: 1\n\"\xc3\xbc\xc3\xbc\": {b: [x, \xf0\x9f\x98\x80, y]}\n"
					  "c:\n  - d\n  -\n   e: f\n");
	const struct pair *pair = document_find(document->root, "a");
	const struct node *list;

	assert_int_equal(document->root->mark.line, 2);
	assert_int_equal(pair->key->mark.column, 1);
	assert_int_equal(pair->value->mark.column, 4);
	pair = document_find(document->root, "\xc3\xbc\xc3\xbc");
	assert_int_equal(pair->value->mark.column, 7);
	list = document_find(pair->value, "b")->value;
	assert_int_equal(list->items[1]->mark.column, 15);
	assert_int_equal(list->items[2]->mark.line, 3);
	assert_int_equal(list->items[2]->mark.column, 18);
	list = document_find(document->root, "c")->value;
	assert_int_equal(list->items[1]->mark.line, 7);
	assert_int_equal(list->items[1]->mark.column, 4);
	assert_null(document_find(document->root, "d"));
	document_free(document);
}

static void
line_ends_and_byte_order_marks_do_not_matter(UNUSED void **state)
{
	static const char with_mark[] = "\xef\xbb\xbf"
					"a: 1\nb: 2";
	static const char *const texts[] = {
	    "a: 1\nb: 2\n", "a: 1\r\nb: 2\r\n", "a: 1\rb: 2", with_mark, "%YAML 1.2\n---\na: 1\nb: 2\n...\n"};

	for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
		struct document *document = parse(texts[i]);

		assert_int_equal(document->root->n, 2);
		assert_string_equal(document_find(document->root, "b")->value->text, "2");
		document_free(document);
	}
}

static void
a_file_may_be_empty(UNUSED void **state)
{
	static const char *const texts[] = {"", "\n\n", "# nothing\n", "\xef\xbb\xbf"};

	for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
		struct document *document = parse(texts[i]);

		assert_null(document->root);
		document_free(document);
	}
}

static void
aliases_share_the_node_of_their_anchor(UNUSED void **state)
{
	struct document *document = parse("- &a {x: &b [1, 2]}\n- *a\n- *b\n- &a 3\n- *a\n- ? *b\n  : 1\n");
	struct node **items = document->root->items;

	assert_ptr_equal(items[0], items[1]);
	assert_ptr_equal(items[2], items[0]->pairs[0].value);
	assert_ptr_equal(items[3], items[4]);
	assert_ptr_equal(items[5]->pairs[0].key, items[2]);
	assert_int_equal(items[0]->weight, 5);
	assert_int_equal(items[0]->height, 3);
	document_free(document);
	assert_refused("- *a\n- &a 1\n", 1, 3, "alias *a has no complete anchor &a");
	assert_refused("&a [*a]\n", 1, 5, "alias *a has no complete anchor &a");
}

static void
a_key_that_comes_again_points_to_the_first(UNUSED void **state)
{
	struct document *document = parse("{b: 1, a: 1, b: 2, 'b': 3, 1: x, 1: y, [a]: x, [a]: y, \"\": 1, \"\": 2}");
	const struct pair *pairs = document->root->pairs;

	assert_null(pairs[0].first);
	assert_null(pairs[1].first);
	assert_ptr_equal(pairs[2].first, pairs[0].key);
	assert_ptr_equal(pairs[3].first, pairs[0].key);
	for (int i = 4; i < 9; i++)
		assert_null(pairs[i].first);
	assert_ptr_equal(pairs[9].first, pairs[8].key);
	document_free(document);
}

static void
the_encoding_is_utf_8(UNUSED void **state)
{
	assert_refused("a: \xff\n", 1, 4, "byte 0xff is not valid UTF-8");
	assert_refused("a: 1\nb: \xc3", 2, 4, "byte 0xc3 is not valid UTF-8");
	assert_refused("a: 1\r\nb: \xc0\x80", 2, 4, "byte 0xc0");
	assert_refused("\xc3\xa9: \xed\xa0\x80", 1, 4, "byte 0xed");
	assert_refused("\xf4\x90\x80\x80", 1, 1, "byte 0xf4");
	assert_refused("\xe0\x80\x80", 1, 1, "byte 0xe0");
	assert_refused("\xff\xfe\x61", 1, 1, "byte 0xff");
	assert_refused_bytes("a: \0b\n", 6, 1, 4, "NUL byte");
	assert_refused_bytes("a\0:\0 \0", 6, 1, 2, "NUL byte");
	assert_refused("# \x1b[0m\n", 1, 3, "character U+001B is not allowed");
	assert_refused("a: \x7f", 1, 4, "character U+007F is not allowed");
	assert_refused("a: \xc2\x80", 1, 4, "character U+0080 is not allowed");
	assert_refused("a: \xef\xbf\xbf", 1, 4, "character U+FFFF is not allowed");
}

static void
broken_yaml_is_refused_where_it_breaks(UNUSED void **state)
{
	assert_refused("a: [1\n", 2, 1, "while parsing a flow sequence from 1:4 on");
	assert_refused("a: 'x\n", 2, 1, "found unexpected end of stream");
	assert_refused("a: 1\n\tb: 2\n", 2, 1, "indent with spaces, not with tabs");
	assert_refused("a: @x\n", 1, 4, "cannot start any token");
	assert_refused("a: \"\\q\"\n", 1, 5, "unknown escape character");
	assert_refused("a: \"\\ud800\"\n", 1, 7, "invalid Unicode character escape code");
	assert_refused("a: !x!y z\n", 1, 4, "undefined tag handle");
	assert_refused("%YAML 2.0\n---\na\n", 1, 1, "incompatible YAML document");
	assert_refused("a\n---\nb\n", 2, 1, "a second document begins");
	assert_refused("a\n...\n---\n", 3, 1, "a second document begins");
	assert_refused("---\n---\n", 2, 1, "a second document begins");
}

static void
depth_is_limited_also_through_aliases(UNUSED void **state)
{
	char text[4 * DOCUMENT_DEPTH_MAX + 64] = "";
	struct document *document;

	memset(text, '[', DOCUMENT_DEPTH_MAX);
	memset(text + DOCUMENT_DEPTH_MAX, ']', DOCUMENT_DEPTH_MAX);
	document = parse(text);
	assert_int_equal(document->root->height, DOCUMENT_DEPTH_MAX);
	document_free(document);
	memset(text, '[', DOCUMENT_DEPTH_MAX + 1);
	assert_refused(text, 1, DOCUMENT_DEPTH_MAX + 1, "nested deeper than 64 levels");
	assert_refused("- &a [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n"
		       "- [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[*a]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n",
	    2, 34, "nested deeper than 64 levels");
}

/* prefix and n times item */
static char *
repeat(const char *prefix, const char *item, size_t n)
{
	char *text = xcalloc(strlen(prefix) + strlen(item) * n + 1, 1), *end = stpcpy(text, prefix);

	while (n-- > 0)
		end = stpcpy(end, item);
	return text;
}

static void
the_number_of_values_is_limited_also_through_aliases(UNUSED void **state)
{
	struct document *document;
	char *text;

	text = repeat("", "- 1\n", DOCUMENT_NODES_MAX - 1);
	document = parse(text);
	assert_int_equal(document->root->weight, DOCUMENT_NODES_MAX);
	document_free(document);
	free(text);
	text = repeat("", "- 1\n", DOCUMENT_NODES_MAX);
	assert_refused(text, DOCUMENT_NODES_MAX, 3, "more than 200000 values");
	free(text);
	assert_refused("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
		       "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
		       "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
	    6, 5, "aliases expand to more than 200000 values");
	text = repeat("", "- &a 1\n", DOCUMENT_ANCHORS_MAX + 1);
	assert_refused(text, DOCUMENT_ANCHORS_MAX + 1, 3, "more than 1000 anchors");
	free(text);
}

/* Long inputs of one kind must not take quadratic time: a minute instead of a moment. */
static void
long_texts_are_read_in_a_moment(UNUSED void **state)
{
	static const char *const items[] = {"a: 1\n", "- ", "? ", "[", "{", "{a: ", "\"", "'", "&a ", "!!str ", "*a ",
	    "- - ", "a", " ", "\t", "#\n", "\n", "- |\n", "%", "---\n", "...\n", "a: b: "};

	for (size_t i = 0; i < N_ELEMENTS(items); i++) {
		char *text = repeat("", items[i], (1 << 20) / strlen(items[i]));
		struct document *document = NULL;
		struct error err;
		struct mark mark;

		if (document_parse(text, strlen(text), &document, &mark, &err) == 0)
			document_free(document);
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(plain_scalars_have_the_types_of_yaml_1_2),
	    cmocka_unit_test(quotes_make_strings_and_tags_decide),
	    cmocka_unit_test(nodes_know_their_place),
	    cmocka_unit_test(line_ends_and_byte_order_marks_do_not_matter),
	    cmocka_unit_test(a_file_may_be_empty),
	    cmocka_unit_test(aliases_share_the_node_of_their_anchor),
	    cmocka_unit_test(a_key_that_comes_again_points_to_the_first),
	    cmocka_unit_test(the_encoding_is_utf_8),
	    cmocka_unit_test(broken_yaml_is_refused_where_it_breaks),
	    cmocka_unit_test(depth_is_limited_also_through_aliases),
	    cmocka_unit_test(the_number_of_values_is_limited_also_through_aliases),
	    cmocka_unit_test(long_texts_are_read_in_a_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
