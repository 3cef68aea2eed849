/*
 * store - what there is at an address, and how to ask for it: S3 and web servers.
 *
 * An S3 address is one object, or, when there is none of that key, all objects below it as in a folder. Who asks and which host is
 * asked: credentials.h. The bucket's region is corrected when Amazon says that it is another one.
 */
#ifndef FETCH_STORE_H
#define FETCH_STORE_H

#include "fetch/address.h"
#include "fetch/credentials.h"
#include "fetch/web.h"

#define STORE_OBJECTS_MAX 100000 /* below one address */

struct object {
	char *key;    /* S3: the whole of it */
	char *path;   /* where it belongs below the model's folder: safe, relative */
	char *etag;   /* of this version, as the store writes it, or Last-Modified; "" when it does not say */
	int64_t size; /* -1: not known */
	int64_t
	    part_size; /* of all its parts but the last, when it was uploaded in such; 0: it was not, or is not known */
	bool by_date;  /* etag is the Last-Modified */
};

/* What a model is made of. */
struct manifest {
	struct object *objects; /* at least one */
	size_t n;
	int64_t bytes;               /* of all whose size is known */
	bool is_file;                /* one object, which is the model itself */
	char id[ADDRESS_ID_MAX + 1]; /* of this version of it, a hash; "": the store does not tell versions apart */
};

struct store {
	const struct web *web;
	const struct address *address;
	struct account account; /* S3 */
};

/* 0, or a negative errno and err. web and address stay the caller's. Release with store_done, which is fine for one of all zeros. */
MUSTCHECK int store_open(struct store *store, const struct web *web, const struct address *address, struct error *err);
void store_done(struct store *store);

/* Look at what there is. 0 and *ret_manifest (release with manifest_done); or WEB_NOT_THERE, or another negative errno: the store
 * says that there is no such thing, or that it may not be read; and err, which begins with the address. */
MUSTCHECK int store_look(struct store *store, struct manifest *ret_manifest, struct error *err);
void manifest_done(struct manifest *manifest);

/* Find out part_size, for those that need it. Asks the store twice for each; what it does not say stays 0. */
void store_learn_parts(struct store *store, struct manifest *manifest);

/* How to ask for an object. The request borrows from the store and from *ret_url, which the caller frees. */
void store_ask(const struct store *store, const struct object *object, struct request *ret_request, char **ret_url);

/* Put into words why an answer is not what was asked for, and return its negative errno: WEB_NOT_THERE for 5xx. body may be empty. */
int store_explain(const struct store *store, long status, const char *body, size_t length, struct error *err);

/* Where the object of a key below a prefix belongs: 0 and *ret_path (the caller frees it; NULL: nowhere, it only marks a folder);
 * or -EINVAL: it cannot be a file there. Pure. */
MUSTCHECK int store_path_of(const char *key, const char *prefix, int64_t size, char **ret_path);

#endif
