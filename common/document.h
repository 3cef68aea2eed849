/*
 * document - a YAML text as a tree whose every node knows where it stood.
 *
 * Read from libyaml's events and not with its own loader, because the tree must be safe to walk for any input: at most
 * DOCUMENT_DEPTH_MAX levels and DOCUMENT_NODES_MAX nodes, both counted as if every alias were written out, so that
 * whoever walks the tree needs no limit of his own and a "billion laughs" is refused here. Scalars have the types of
 * the YAML 1.2 core schema: `yes` and `on` are strings, 0o17 is an integer, 017 is seventeen.
 *
 * What makes the whole text unusable (syntax, encoding, limits, a second document) is the one error of document_parse.
 * What concerns a single value is left in the tree, for the reader to report with the name of the key: a node that is
 * NODE_BAD, a pair whose key appeared before, a key that is no string.
 *
 * An alias gives the very node of its anchor, so nodes may be reached on several ways: never change one.
 */
#ifndef COMMON_DOCUMENT_H
#define COMMON_DOCUMENT_H

#include "common/error.h"
#include "common/util.h"

#define DOCUMENT_DEPTH_MAX   64
#define DOCUMENT_NODES_MAX   200000
#define DOCUMENT_ANCHORS_MAX 1000

enum node_kind {
	NODE_NULL,
	NODE_BOOL,
	NODE_INTEGER, /* [-+]?[0-9]+, 0o[0-7]+ or 0x[0-9a-fA-F]+, of any length */
	NODE_FLOAT,
	NODE_STRING,
	NODE_SEQUENCE,
	NODE_MAPPING,
	NODE_BAD, /* text says why; the kind it would have had is lost */
};

/* Both from 1; a column counts characters, not bytes. */
struct mark {
	int line;
	int column;
};

struct pair;

struct node {
	enum node_kind kind;
	bool plain; /* a scalar without quotes or tag */
	struct mark mark;
	char *text;    /* scalars: as written, quotes and folding undone; NUL behind it, maybe NULs within it */
	size_t length; /* of text */
	union {
		struct node **items; /* NODE_SEQUENCE */
		struct pair *pairs;  /* NODE_MAPPING */
	};
	size_t n;           /* of items or pairs */
	unsigned height;    /* levels of nodes from here down: 1 for a scalar */
	size_t weight;      /* nodes from here down, this one included */
	struct node *older; /* the document's list of all nodes */
};

struct pair {
	const struct node *key;
	const struct node *value;
	const struct node *first; /* the same key further up in this mapping, or NULL */
};

struct document {
	const struct node *root; /* NULL when the text holds no document: empty, or nothing but comments */
	struct node *nodes;
};

/* 0 and *ret_document (release with document_free), or -EINVAL, where and why. */
MUSTCHECK int document_parse(
    const char *text, size_t length, struct document **ret_document, struct mark *ret_mark, struct error *err);
void document_free(struct document *document);

/* The pair with this key, or NULL; of several the first. mapping is a NODE_MAPPING. */
const struct pair *document_find(const struct node *mapping, const char *key);

/* The type of a plain scalar. */
enum node_kind document_scalar_kind(const char *text, size_t length);

#endif
