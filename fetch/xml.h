/*
 * xml - the two answers of S3 that are documents: the list of a bucket's objects, and an error.
 *
 * Pure, by expat. https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html and ErrorResponses.html. What the
 * documents have besides is ignored; a document type or an entity of its own is refused, nothing of ours has one.
 */
#ifndef FETCH_XML_H
#define FETCH_XML_H

#include "common/util.h"

struct xml_object {
	char *key; /* decoded, when the answer said that it encodes keys */
	char *etag;
	int64_t size; /* -1: it was not said */
};

struct xml_list {
	struct xml_object *objects;
	size_t n;
	bool truncated; /* there are more: ask with */
	char *token;    /* this; NULL when it was not said */
};

/* 0 and *ret_list (release with xml_list_done), or -EBADMSG: it is not a complete list. */
MUSTCHECK int xml_parse_list(const char *text, size_t length, struct xml_list *ret_list);
void xml_list_done(struct xml_list *list);

struct xml_error {
	char *code;    /* NoSuchKey */
	char *message; /* one sentence; or NULL */
	char *region;  /* where the bucket is, when that was the error; or NULL */
};

/* 0 and *ret_error (release with xml_error_done), or -EBADMSG: it is not an error document. */
MUSTCHECK int xml_parse_error(const char *text, size_t length, struct xml_error *ret_error);
void xml_error_done(struct xml_error *error);

#endif
