/*
 * address - where a model comes from, as cortex.yaml says it: s3://bucket/key, s3://bucket/folder/, https:// or http://.
 *
 * Pure. The key of an S3 address stands there as it is, not percent-encoded, as with Cortex and the AWS command line; ? and #
 * belong to it. An http address is a URL; a fragment is not sent, and its query, which may hold a signature, is never shown.
 */
#ifndef FETCH_ADDRESS_H
#define FETCH_ADDRESS_H

#include "common/error.h"
#include "common/util.h"

#define ADDRESS_MAX      4096
#define ADDRESS_ID_MAX   40  /* hexadecimal digits */
#define ADDRESS_NAME_MAX 255 /* bytes of a file name */

enum address_kind {
	ADDRESS_S3,
	ADDRESS_HTTP,
};

struct address {
	enum address_kind kind;
	char *shown;                 /* for people */
	char *bucket;                /* S3 */
	char *key;                   /* S3, no slash at its end */
	bool is_folder;              /* S3: there was one */
	char *url;                   /* HTTP */
	char *name;                  /* the last element: what the model is called on disk */
	char id[ADDRESS_ID_MAX + 1]; /* of the whole text: a hash, for file names */
};

/* 0 and *ret_address (release with address_done), or -EINVAL and err. */
MUSTCHECK int address_parse(const char *text, struct address *ret_address, struct error *err);
void address_done(struct address *address);

/* Can this be the name of a file or folder? Not "", ".", "..", too long, or with a slash. */
bool address_is_name(const char *text, size_t length);

/* Percent-encode as RFC 3986, section 2.3 and AWS Signature Version 4 want it; slashes stay when keep_slashes. The caller frees it. */
char *address_encode(const char *text, bool keep_slashes);

/* The byte that the three characters of a percent-encoding stand for; -1: the text does not begin with one. */
int address_decode(const char *text, size_t length);

#endif
