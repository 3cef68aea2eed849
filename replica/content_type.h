/*
 * content_type - does a request say that its body is JSON?
 */
#ifndef REPLICA_CONTENT_TYPE_H
#define REPLICA_CONTENT_TYPE_H

enum content_type {
	CONTENT_JSON,    /* application/json or application/<anything>+json, in any case, with any parameters */
	CONTENT_UNKNOWN, /* no type, a wildcard, or the form type that curl sends unasked: JSON if it parses as such */
	CONTENT_OTHER,
};

/* value of the Content-Type header, or NULL when there was none. */
enum content_type content_type_classify(const char *value);

#endif
