/*
 * document - see document.h.
 *
 * One function per kind of event, each of which builds its node from children that are complete. The depth is bounded
 * before a child is read, so the recursion is, too.
 */
#include "common/document.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "common/utf8.h"

#define CORE_TAG_PREFIX "tag:yaml.org,2002:"

struct anchor {
	char *name;
	const struct node *node;
};

struct loader {
	const char *text;
	size_t length;
	yaml_parser_t parser;
	struct document *document;
	struct anchor *anchors;
	size_t n_anchors;
	size_t n_nodes; /* with aliases written out */
	struct mark mark;
	struct error *err;
};

static MUSTCHECK int read_node(struct loader *l, yaml_event_t *event, unsigned depth, const struct node **ret_node);

static struct mark
mark_of(yaml_mark_t mark)
{
	return (struct mark){.line = (int)mark.line + 1, .column = (int)mark.column + 1};
}

#define fail_at(l, where, ...) ((l)->mark = (where), error_set((l)->err, -EINVAL, __VA_ARGS__))

/* --- the text ----------------------------------------------------------------------------------------------------- */

/* YAML allows these characters; libyaml would find the others as well, but not say where. */
static bool
character_is_allowed(uint32_t c)
{
	return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c != 0x7f && (c < 0x80 || c >= 0xa0)) || c == 0x85;
}

static bool
character_breaks_line(uint32_t c)
{
	return c == '\n' || c == '\r' || c == 0x85 || c == 0x2028 || c == 0x2029;
}

static int
check_characters(struct loader *l)
{
	struct mark mark = {1, 1};
	uint32_t c = 0, previous = 0;

	for (size_t at = 0; at < l->length; previous = c) {
		size_t n = utf8_decode(l->text + at, l->length - at, &c);

		if (n == 0)
			return fail_at(l, mark, "byte 0x%02x is not valid UTF-8; save the file as UTF-8",
			    (unsigned char)l->text[at]);
		if (c == 0)
			return fail_at(l, mark, "NUL byte; cortex.yaml must be a text file");
		if (!character_is_allowed(c) || c == 0xfffe || c == 0xffff)
			return fail_at(l, mark, "character U+%04X is not allowed in YAML", c);
		at += n;
		if (c == '\n' && previous == '\r')
			continue;
		mark.column++;
		if (character_breaks_line(c))
			mark = (struct mark){.line = mark.line + 1, .column = 1};
	}
	return 0;
}

/* Is there a tab in what line `line` begins with? Then that is what libyaml's message is about. */
static bool
is_indented_with_tab(const struct loader *l, int line)
{
	const char *at = l->text, *end = l->text + l->length;

	for (; line > 1 && at; line--) {
		at = memchr(at, '\n', (size_t)(end - at));
		at = at ? at + 1 : NULL;
	}
	for (; at && at < end && (*at == ' ' || *at == '\t'); at++) {
		if (*at == '\t')
			return true;
	}
	return false;
}

static int
fail_syntax(struct loader *l)
{
	const yaml_parser_t *p = &l->parser;
	const char *hint = "";
	struct mark mark = mark_of(p->problem_mark);

	if (p->error == YAML_MEMORY_ERROR)
		return fail_at(l, mark, "out of memory");
	if (is_indented_with_tab(l, mark.line))
		hint = "; indent with spaces, not with tabs";
	if (p->context)
		return fail_at(l, mark, "invalid YAML: %s, %s from %zu:%zu on%s", p->problem, p->context,
		    p->context_mark.line + 1, p->context_mark.column + 1, hint);
	return fail_at(l, mark, "invalid YAML: %s%s", p->problem, hint);
}

/* On failure event holds nothing. */
static MUSTCHECK int
next_event(struct loader *l, yaml_event_t *event)
{
	if (!yaml_parser_parse(&l->parser, event))
		return fail_syntax(l);
	return 0;
}

/* --- scalars ------------------------------------------------------------------------------------------------------ */

static bool
is_one_of(const char *text, size_t length, const char *const *words)
{
	for (; *words; words++) {
		if (strlen(*words) == length && memcmp(*words, text, length) == 0)
			return true;
	}
	return false;
}

/* The first character at or after at that is not in set. */
static size_t
skip(const char *text, size_t length, size_t at, const char *set)
{
	while (at < length && text[at] && strchr(set, text[at]))
		at++;
	return at;
}

#define DIGITS "0123456789"

static bool
is_integer(const char *text, size_t length)
{
	size_t at = length > 0 && (text[0] == '-' || text[0] == '+');

	if (length > at && skip(text, length, at, DIGITS) == length)
		return true;
	if (length > 2 && memcmp(text, "0o", 2) == 0)
		return skip(text, length, 2, "01234567") == length;
	if (length > 2 && memcmp(text, "0x", 2) == 0)
		return skip(text, length, 2, DIGITS "abcdefABCDEF") == length;
	return false;
}

static bool
is_float(const char *text, size_t length)
{
	static const char *const nan[] = {".nan", ".NaN", ".NAN", NULL};
	static const char *const infinity[] = {".inf", ".Inf", ".INF", NULL};
	size_t sign = length > 0 && (text[0] == '-' || text[0] == '+'), at, digits;

	if (is_one_of(text, length, nan) || is_one_of(text + sign, length - sign, infinity))
		return true;
	at = skip(text, length, sign, DIGITS);
	digits = at - sign;
	if (at < length && text[at] == '.') {
		size_t fraction = skip(text, length, at + 1, DIGITS);

		digits += fraction - at - 1;
		at = fraction;
	}
	if (digits == 0)
		return false;
	if (at < length && (text[at] == 'e' || text[at] == 'E')) {
		size_t exponent = at + 1;

		exponent += exponent < length && (text[exponent] == '-' || text[exponent] == '+');
		at = skip(text, length, exponent, DIGITS);
		if (at == exponent)
			return false;
	}
	return at == length;
}

enum node_kind
document_scalar_kind(const char *text, size_t length)
{
	static const char *const null[] = {"", "~", "null", "Null", "NULL", NULL};
	static const char *const boolean[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};

	if (is_one_of(text, length, null))
		return NODE_NULL;
	if (is_one_of(text, length, boolean))
		return NODE_BOOL;
	if (is_integer(text, length))
		return NODE_INTEGER;
	if (is_float(text, length))
		return NODE_FLOAT;
	return NODE_STRING;
}

/* --- nodes -------------------------------------------------------------------------------------------------------- */

static MUSTCHECK int
new_node(struct loader *l, enum node_kind kind, yaml_mark_t mark, struct node **ret_node)
{
	struct node *node;

	if (++l->n_nodes > DOCUMENT_NODES_MAX)
		return fail_at(l, mark_of(mark), "more than %d values in one file", DOCUMENT_NODES_MAX);
	node = xcalloc(1, sizeof(*node));
	node->kind = kind;
	node->mark = mark_of(mark);
	node->height = 1;
	node->weight = 1;
	node->older = l->document->nodes;
	l->document->nodes = node;
	*ret_node = node;
	return 0;
}

static void
add_child(struct node *parent, const struct node *child)
{
	parent->height = MAX(parent->height, child->height + 1);
	parent->weight += child->weight;
}

/* Turn node into one that its reader must report. Its children stay in the document's list. */
static void
make_bad(struct node *node, char *why)
{
	if (node->kind == NODE_SEQUENCE)
		free(node->items);
	if (node->kind == NODE_MAPPING)
		free(node->pairs);
	free(node->text);
	node->items = NULL;
	node->n = 0;
	node->kind = NODE_BAD;
	node->text = why;
	node->length = strlen(why);
}

/* A tag must be one of the core schema and agree with what the node is; it may make a string of any scalar and a float
 * of a decimal integer. */
static void
apply_tag(struct node *node, const char *tag)
{
	static const struct {
		const char *name;
		enum node_kind kind;
	} core[] = {
	    {"null", NODE_NULL},
	    {"bool", NODE_BOOL},
	    {"int", NODE_INTEGER},
	    {"float", NODE_FLOAT},
	    {"str", NODE_STRING},
	    {"seq", NODE_SEQUENCE},
	    {"map", NODE_MAPPING},
	};
	bool is_global = strncmp(tag, CORE_TAG_PREFIX, strlen(CORE_TAG_PREFIX)) == 0;
	const char *name = is_global ? tag + strlen(CORE_TAG_PREFIX) : tag;
	bool is_scalar = node->kind != NODE_SEQUENCE && node->kind != NODE_MAPPING;

	/* The non-specific tag: what the node is without a look at its text. */
	if (strcmp(tag, "!") == 0) {
		node->kind = is_scalar ? NODE_STRING : node->kind;
		return;
	}
	for (size_t i = 0; is_global && i < N_ELEMENTS(core); i++) {
		if (strcmp(name, core[i].name) != 0)
			continue;
		if ((core[i].kind == NODE_STRING && is_scalar) ||
		    (core[i].kind == NODE_FLOAT && node->kind == NODE_INTEGER && !strpbrk(node->text, "ox")))
			node->kind = core[i].kind;
		if (node->kind != core[i].kind)
			make_bad(node, xasprintf("the value does not fit its tag !!%s", name));
		return;
	}
	make_bad(node,
	    xasprintf("tag %s%.60s is not supported; allowed: !!str, !!int, !!float, !!bool, !!null, !!seq, "
		      "!!map",
		is_global ? "!!" : "", name));
}

static MUSTCHECK int
read_scalar(struct loader *l, const yaml_event_t *event, struct node **ret_node)
{
	const char *text = (const char *)event->data.scalar.value, *tag = (const char *)event->data.scalar.tag;
	size_t length = event->data.scalar.length;
	bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	struct node *node;
	int r;

	r = new_node(l, NODE_STRING, event->start_mark, &node);
	if (r < 0)
		return r;
	node->text = xstrndup(text, length);
	node->length = length;
	node->plain = plain && !tag;
	if (plain || tag)
		node->kind = document_scalar_kind(text, length);
	if (tag)
		apply_tag(node, tag);
	*ret_node = node;
	return 0;
}

static MUSTCHECK int
read_alias(struct loader *l, const yaml_event_t *event, unsigned depth, const struct node **ret_node)
{
	const char *name = (const char *)event->data.alias.anchor;
	const struct node *node = NULL;

	for (size_t i = l->n_anchors; i-- > 0 && !node;) {
		if (strcmp(l->anchors[i].name, name) == 0)
			node = l->anchors[i].node;
	}
	if (!node)
		return fail_at(
		    l, mark_of(event->start_mark), "alias *%.60s has no complete anchor &%.60s before it", name, name);
	if (depth + node->height - 1 > DOCUMENT_DEPTH_MAX)
		return fail_at(l, mark_of(event->start_mark), "nested deeper than %d levels", DOCUMENT_DEPTH_MAX);
	l->n_nodes += node->weight;
	if (l->n_nodes > DOCUMENT_NODES_MAX)
		return fail_at(
		    l, mark_of(event->start_mark), "aliases expand to more than %d values", DOCUMENT_NODES_MAX);
	*ret_node = node;
	return 0;
}

static MUSTCHECK int
add_anchor(struct loader *l, yaml_mark_t mark, const char *name, const struct node *node)
{
	if (l->n_anchors == DOCUMENT_ANCHORS_MAX)
		return fail_at(l, mark_of(mark), "more than %d anchors in one file", DOCUMENT_ANCHORS_MAX);
	l->anchors = xrealloc(l->anchors, l->n_anchors + 1, sizeof(*l->anchors));
	l->anchors[l->n_anchors++] = (struct anchor){.name = xstrdup(name), .node = node};
	return 0;
}

/* Room for one more element: doubles, so that a long list is built in linear time. */
static void *
grow(void *elements, size_t n, size_t size)
{
	return n == 0 || (n & (n - 1)) == 0 ? xrealloc(elements, n ? 2 * n : 1, size) : elements;
}

static MUSTCHECK int
read_sequence(struct loader *l, const yaml_event_t *start, unsigned depth, struct node **ret_node)
{
	struct node *node;
	int r;

	r = new_node(l, NODE_SEQUENCE, start->start_mark, &node);
	while (r == 0) {
		const struct node *item;
		yaml_event_t event;

		r = next_event(l, &event);
		if (r < 0)
			break;
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			break;
		}
		r = read_node(l, &event, depth + 1, &item);
		if (r < 0)
			break;
		node->items = grow(node->items, node->n, sizeof(*node->items));
		node->items[node->n++] = (struct node *)item;
		add_child(node, item);
	}
	if (r < 0)
		return r;
	if (start->data.sequence_start.tag)
		apply_tag(node, (const char *)start->data.sequence_start.tag);
	*ret_node = node;
	return 0;
}

static int
compare_keys(const void *a, const void *b)
{
	const struct node *left = (*(struct pair *const *)a)->key, *right = (*(struct pair *const *)b)->key;
	int order = memcmp(left->text, right->text, MIN(left->length, right->length));

	if (order == 0)
		order = (left->length > right->length) - (left->length < right->length);
	return order ? order : (*(struct pair *const *)a > *(struct pair *const *)b) - 1;
}

/* Only strings can be equal keys here: no reader accepts another kind. */
static void
mark_duplicates(struct node *mapping)
{
	struct pair **sorted = xcalloc(mapping->n, sizeof(struct pair *));
	size_t n = 0;

	for (size_t i = 0; i < mapping->n; i++) {
		if (mapping->pairs[i].key->kind == NODE_STRING)
			sorted[n++] = &mapping->pairs[i];
	}
	qsort(sorted, n, sizeof(*sorted), compare_keys);
	for (size_t i = 1; i < n; i++) {
		const struct pair *before = sorted[i - 1];

		if (before->key->length == sorted[i]->key->length &&
		    memcmp(before->key->text, sorted[i]->key->text, before->key->length) == 0)
			sorted[i]->first = before->first ? before->first : before->key;
	}
	free(sorted);
}

static MUSTCHECK int
read_mapping(struct loader *l, const yaml_event_t *start, unsigned depth, struct node **ret_node)
{
	struct node *node;
	int r;

	r = new_node(l, NODE_MAPPING, start->start_mark, &node);
	while (r == 0) {
		struct pair pair = {.first = NULL};
		yaml_event_t event;

		r = next_event(l, &event);
		if (r < 0)
			break;
		if (event.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&event);
			break;
		}
		r = read_node(l, &event, depth + 1, &pair.key);
		if (r == 0)
			r = next_event(l, &event);
		if (r == 0)
			r = read_node(l, &event, depth + 1, &pair.value);
		if (r < 0)
			break;
		node->pairs = grow(node->pairs, node->n, sizeof(*node->pairs));
		node->pairs[node->n++] = pair;
		add_child(node, pair.key);
		add_child(node, pair.value);
	}
	if (r < 0)
		return r;
	mark_duplicates(node);
	if (start->data.mapping_start.tag)
		apply_tag(node, (const char *)start->data.mapping_start.tag);
	*ret_node = node;
	return 0;
}

/* Takes the event, which begins a node. */
static int
read_node(struct loader *l, yaml_event_t *event, unsigned depth, const struct node **ret_node)
{
	const char *anchor = NULL;
	struct node *node = NULL;
	int r;

	if (depth > DOCUMENT_DEPTH_MAX) {
		r = fail_at(l, mark_of(event->start_mark), "nested deeper than %d levels", DOCUMENT_DEPTH_MAX);
		goto out;
	}
	switch (event->type) {
	case YAML_ALIAS_EVENT:
		r = read_alias(l, event, depth, ret_node);
		goto out;
	case YAML_SCALAR_EVENT:
		anchor = (const char *)event->data.scalar.anchor;
		r = read_scalar(l, event, &node);
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = (const char *)event->data.sequence_start.anchor;
		r = read_sequence(l, event, depth, &node);
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = (const char *)event->data.mapping_start.anchor;
		r = read_mapping(l, event, depth, &node);
		break;
	default:
		r = fail_at(l, mark_of(event->start_mark), "invalid YAML: a value is missing");
		break;
	}
	if (r == 0 && anchor)
		r = add_anchor(l, event->start_mark, anchor, node);
	if (r == 0)
		*ret_node = node;
out:
	yaml_event_delete(event);
	return r;
}

/* --- the document ------------------------------------------------------------------------------------------------- */

static MUSTCHECK int
read_stream(struct loader *l)
{
	for (;;) {
		yaml_event_type_t type;
		yaml_event_t event;
		int r;

		r = next_event(l, &event);
		if (r < 0)
			return r;
		type = event.type;
		if (type == YAML_STREAM_START_EVENT || type == YAML_STREAM_END_EVENT ||
		    type == YAML_DOCUMENT_START_EVENT || type == YAML_DOCUMENT_END_EVENT) {
			if (type == YAML_DOCUMENT_START_EVENT && l->document->root)
				r = fail_at(l, mark_of(event.start_mark), "a second document begins; a file holds one");
			yaml_event_delete(&event);
		} else {
			r = read_node(l, &event, 1, &l->document->root);
		}
		if (r < 0 || type == YAML_STREAM_END_EVENT)
			return r;
	}
}

int
document_parse(
    const char *text, size_t length, struct document **ret_document, struct mark *ret_mark, struct error *err)
{
	struct loader l = {.text = text, .length = length, .err = err, .mark = {1, 1}};
	int r;

	/* libyaml skips a byte order mark, too, but counts it as a column and takes the next line for an indented one. */
	if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		l.text += 3;
		l.length -= 3;
	}
	r = check_characters(&l);
	if (r < 0) {
		*ret_mark = l.mark;
		return r;
	}
	if (!yaml_parser_initialize(&l.parser)) {
		*ret_mark = l.mark;
		return error_set(err, -ENOMEM, "out of memory");
	}
	yaml_parser_set_encoding(&l.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&l.parser, (const unsigned char *)l.text, l.length);
	l.document = xcalloc(1, sizeof(*l.document));
	r = read_stream(&l);
	if (r == 0)
		*ret_document = take_ptr(&l.document);
	else
		*ret_mark = l.mark;
	for (size_t i = 0; i < l.n_anchors; i++)
		free(l.anchors[i].name);
	free(l.anchors);
	document_free(l.document);
	yaml_parser_delete(&l.parser);
	return r;
}

void
document_free(struct document *document)
{
	if (!document)
		return;
	while (document->nodes) {
		struct node *node = document->nodes;

		document->nodes = node->older;
		if (node->kind == NODE_SEQUENCE)
			free(node->items);
		if (node->kind == NODE_MAPPING)
			free(node->pairs);
		free(node->text);
		free(node);
	}
	free(document);
}

const struct pair *
document_find(const struct node *mapping, const char *key)
{
	ASSERT(mapping->kind == NODE_MAPPING);
	for (size_t i = 0; i < mapping->n; i++) {
		const struct node *node = mapping->pairs[i].key;

		if (node->kind == NODE_STRING && node->length == strlen(key) &&
		    memcmp(node->text, key, node->length) == 0)
			return &mapping->pairs[i];
	}
	return NULL;
}
