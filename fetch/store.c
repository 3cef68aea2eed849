/*
 * store - see store.h.
 */
#include "fetch/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/digest.h"
#include "fetch/xml.h"

#define PAGES_MAX 10000
#define PARTS_MAX 10000 /* https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */

/* ---- where ---- */

/* May the bucket be the first part of a host's name? Not with dots: the certificate is for one part. */
static bool
fits_host(const char *bucket)
{
	size_t length = strlen(bucket);

	return length >= 3 && length <= 63 && strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

/* The address of the bucket, without a slash at its end. */
static char *
bucket_url(const struct store *store)
{
	const struct account *account = &store->account;
	const char *bucket = store->address->bucket, *region = account->region, *host;
	bool by_host = account->by_host && fits_host(bucket);

	if (!account->endpoint) {
		const char *domain = strncmp(region, "cn-", 3) == 0 ? "amazonaws.com.cn" : "amazonaws.com";

		return by_host ? xasprintf("https://%s.s3.%s.%s", bucket, region, domain)
			       : xasprintf("https://s3.%s.%s/%s", region, domain, bucket);
	}
	host = strstr(account->endpoint, "://");
	if (by_host && host)
		return xasprintf("%.*s://%s.%s", (int)(host - account->endpoint), account->endpoint, bucket, host + 3);
	return xasprintf("%s/%s", account->endpoint, bucket);
}

static char *
object_url(const struct store *store, const char *key)
{
	char *bucket = bucket_url(store), *encoded = address_encode(key, true);
	char *url = xasprintf("%s/%s", bucket, encoded);

	free(bucket);
	free(encoded);
	return url;
}

int
store_open(struct store *store, const struct web *web, const struct address *address, struct error *err)
{
	*store = (struct store){.web = web, .address = address};
	if (address->kind == ADDRESS_HTTP)
		return 0;
	return account_find(web, &store->account, err);
}

void
store_done(struct store *store)
{
	account_done(&store->account);
}

/* ---- what went wrong ---- */

static const char *
hint(const char *code)
{
	static const struct {
		const char *code;
		const char *text;
	} hints[] = {
	    {"NoSuchBucket", "check the name of the bucket"},
	    {"NoSuchKey", "check the key"},
	    {"AccessDenied", "these credentials need s3:GetObject, and s3:ListBucket for a folder"},
	    {"InvalidAccessKeyId", "check the access key"},
	    {"SignatureDoesNotMatch", "check the secret key"},
	    {"ExpiredToken", "get new temporary credentials"},
	    {"InvalidToken", "get new temporary credentials"},
	    {"RequestTimeTooSkewed", "set this machine's clock"},
	};

	for (size_t i = 0; i < N_ELEMENTS(hints); i++)
		if (!strcmp(code, hints[i].code))
			return hints[i].text;
	return NULL;
}

/* Text from outside, on one line. */
static char *
tame(const char *text)
{
	char *tamed = xstrndup(text, strnlen(text, 400));

	for (char *at = tamed; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = ' ';
	return tamed;
}

int
store_explain(const struct store *store, long status, const char *body, size_t length, struct error *err)
{
	const struct address *address = store->address;
	int r = status >= 500 || status == 429 ? WEB_NOT_THERE : status == 404 || status == 410 ? -ENOENT : -EACCES;
	const char *advice, *asker = address->kind == ADDRESS_S3 ? store->account.source : NULL;
	struct xml_error error;

	if (address->kind == ADDRESS_S3 && xml_parse_error(body, length, &error) == 0) {
		char *code = tame(error.code), *message = tame(error.message ? error.message : "");

		advice = hint(code);
		error_set(err, r, "%s: %ld %s%s%s%s%s (asked by %s)", address->shown, status, code,
		    *message ? ": " : "", message, advice ? "; " : "", advice ? advice : "", asker);
		free(code);
		free(message);
		xml_error_done(&error);
		return r;
	}
	return error_set(err, r, "%s: the server answers %ld%s%s%s%s", address->shown, status,
	    status == 404       ? ": there is nothing at this address"
		: status == 403 ? ": it may not be read"
				: "",
	    asker ? " (asked by " : "", asker ? asker : "", asker ? ")" : "");
}

/* ---- asking ---- */

static void
prepare(const struct store *store, struct request *request)
{
	*request = (struct request){.follows = store->address->kind == ADDRESS_HTTP, .shown = store->address->shown};
	if (store->address->kind == ADDRESS_S3) {
		request->identity = &store->account.identity;
		request->region = store->account.region;
	}
}

void
store_ask(const struct store *store, const struct object *object, struct request *ret_request, char **ret_url)
{
	prepare(store, ret_request);
	*ret_url = object->key ? object_url(store, object->key) : xstrdup(store->address->url);
	ret_request->url = *ret_url;
}

/* The bucket is somewhere else: take that region, and true. */
static bool
learn_region(struct store *store, const struct reply *reply)
{
	struct account *account = &store->account;
	struct xml_error error = {.code = NULL};
	const char *region = reply->head.bucket_region;

	if (account->endpoint || (reply->head.status != 301 && reply->head.status != 307 && reply->head.status != 400))
		return false;
	if (!region && xml_parse_error(reply->body, reply->length, &error) == 0)
		region = error.region;
	if (!region || !strcmp(region, account->region) ||
	    strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(region)) {
		xml_error_done(&error);
		return false;
	}
	free(account->region);
	account->region = xstrdup(region);
	xml_error_done(&error);
	return true;
}

/* What the bucket says to a query, or to HEAD for a key. 0, or WEB_NOT_THERE and err. */
static int
ask(struct store *store, const char *method, const char *key, const char *query, struct reply *ret_reply,
    struct error *err)
{
	for (int tries = 0;; tries++) {
		struct request request;
		char *base, *url;
		int r;

		prepare(store, &request);
		base = key ? object_url(store, key) : bucket_url(store);
		url = query ? xasprintf("%s?%s", base, query) : xstrdup(base);
		request.method = method;
		request.url = url;
		r = web_request(store->web, &request, ret_reply, err);
		free(url);
		free(base);
		if (r < 0) {
			error_prefix(err, "%s", store->address->shown);
			return r;
		}
		if (tries > 0 || !learn_region(store, ret_reply))
			return 0;
		reply_done(ret_reply);
	}
}

/* ---- what there is ---- */

void
manifest_done(struct manifest *manifest)
{
	for (size_t i = 0; i < manifest->n; i++) {
		free(manifest->objects[i].key);
		free(manifest->objects[i].path);
		free(manifest->objects[i].etag);
	}
	free(manifest->objects);
	*manifest = (struct manifest){.objects = NULL};
}

static void
add(struct manifest *manifest, const struct object *object)
{
	if ((manifest->n & (manifest->n - 1)) == 0)
		manifest->objects = xrealloc(
		    manifest->objects, manifest->n ? 2 * manifest->n : 1, sizeof(*manifest->objects));
	manifest->objects[manifest->n++] = *object;
	manifest->bytes += MAX(object->size, 0);
}

/* The version of the whole is a hash of all that its parts have said. */
static void
identify(struct manifest *manifest, const struct address *address)
{
	char *text = NULL;
	size_t length = 0;
	FILE *stream = open_memstream(&text, &length);

	ASSERT(stream);
	fprintf(stream, "%s%c", address->id, '\0');
	for (size_t i = 0; i < manifest->n; i++) {
		const struct object *object = &manifest->objects[i];

		if (!*object->etag) {
			fclose(stream);
			free(text);
			return;
		}
		fprintf(
		    stream, "%s%c%s%c%lld%c", object->path, '\0', object->etag, '\0', (long long)object->size, '\0');
	}
	ASSERT(fclose(stream) == 0);
	digest_text(text, length, manifest->id, ADDRESS_ID_MAX);
	free(text);
}

static int
look_at_web(struct store *store, struct manifest *manifest, struct error *err)
{
	const struct address *address = store->address;
	struct object object = {.size = -1};
	struct request request;
	struct reply reply;
	int r;

	prepare(store, &request);
	request.method = "HEAD";
	request.url = address->url;
	r = web_request(store->web, &request, &reply, err);
	if (r < 0) {
		error_prefix(err, "%s", address->shown);
		return r;
	}
	/* Any other answer means nothing: servers that sign GET alone, or know nothing else, say no to HEAD. */
	if (reply.head.status == 200) {
		object.size = reply.head.length;
		object.by_date = !reply.head.etag;
		object.etag = take_ptr(reply.head.etag ? &reply.head.etag : &reply.head.modified);
	}
	reply_done(&reply);
	object.etag = object.etag ? object.etag : xstrdup("");
	object.path = xstrdup(address->name);
	add(manifest, &object);
	manifest->is_file = true;
	return 0;
}

int
store_path_of(const char *key, const char *prefix, int64_t size, char **ret_path)
{
	size_t length = strlen(prefix);
	const char *rest = key + length, *at = rest;

	if (strncmp(key, prefix, length) != 0)
		return -EINVAL;
	*ret_path = NULL;
	if (!*rest || (size == 0 && rest[strlen(rest) - 1] == '/'))
		return 0;
	for (;;) {
		size_t part = strcspn(at, "/");

		if (!address_is_name(at, part))
			return -EINVAL;
		at += part;
		if (!*at)
			break;
		at++;
	}
	*ret_path = xstrdup(rest);
	return 0;
}

/* It goes into a header line. */
static bool
is_etag(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static int
take_page(
    struct store *store, const struct xml_list *list, const char *prefix, struct manifest *manifest, struct error *err)
{
	const char *shown = store->address->shown;

	for (size_t i = 0; i < list->n; i++) {
		struct xml_object *from = &list->objects[i];
		struct object object = {.size = from->size};
		char *path;

		if (store_path_of(from->key, prefix, from->size, &path) < 0) {
			char *key = tame(from->key);

			error_set(err, -EINVAL,
			    "%s: the key \"%s\" cannot be a file below a folder; remove that object", shown, key);
			free(key);
			return -EINVAL;
		}
		if (!path)
			continue;
		if (from->size < 0 || manifest->n >= STORE_OBJECTS_MAX) {
			free(path);
			return error_set(err, -E2BIG,
			    from->size < 0 ? "%s: the list of its objects has one without a size"
					   : "%s: more than 100000 objects",
			    shown);
		}
		object.path = xasprintf("%s/%s", store->address->name, path);
		object.key = take_ptr(&from->key);
		object.etag = from->etag && is_etag(from->etag) ? take_ptr(&from->etag) : xstrdup("");
		free(path);
		add(manifest, &object);
	}
	return 0;
}

/* All objects below a folder. */
static int
look_at_folder(struct store *store, struct manifest *manifest, struct error *err)
{
	const struct address *address = store->address;
	char *prefix = xasprintf("%s/", address->key), *encoded = address_encode(prefix, false), *token = NULL;
	bool more = true;
	int r = 0;

	for (int page = 0; r == 0 && more; page++) {
		/* In the order that a signature wants. */
		char *after = token ? address_encode(token, false) : NULL;
		char *query = xasprintf("%s%s%sencoding-type=url&list-type=2&prefix=%s",
		    after ? "continuation-token=" : "", after ? after : "", after ? "&" : "", encoded);
		struct reply reply = {.body = NULL};
		struct xml_list list = {.objects = NULL};

		r = ask(store, NULL, NULL, query, &reply, err);
		free(query);
		free(after);
		free(take_ptr(&token));
		if (r == 0 && reply.head.status != 200)
			r = store_explain(store, reply.head.status, reply.body, reply.length, err);
		else if (r == 0 && xml_parse_list(reply.body, reply.length, &list) < 0)
			r = error_set(err, WEB_NOT_THERE, "%s: the answer is not a list of objects", address->shown);
		if (r == 0)
			r = take_page(store, &list, prefix, manifest, err);
		more = list.truncated && list.token;
		if (r == 0 && list.truncated && (!list.token || page >= PAGES_MAX))
			r = error_set(err, WEB_NOT_THERE, "%s: the list of its objects has no end", address->shown);
		token = take_ptr(&list.token);
		xml_list_done(&list);
		reply_done(&reply);
	}
	if (r == 0 && manifest->n == 0)
		r = error_set(err, -ENOENT, "%s: there is no such key%s, and none below it", address->shown,
		    address->is_folder ? "" : " in the bucket");
	free(token);
	free(encoded);
	free(prefix);
	return r;
}

static int
look_at_s3(struct store *store, struct manifest *manifest, struct error *err)
{
	const struct address *address = store->address;
	struct object object = {.size = -1};
	struct reply reply;
	int r;

	if (address->is_folder)
		return look_at_folder(store, manifest, err);
	r = ask(store, "HEAD", address->key, NULL, &reply, err);
	if (r < 0)
		return r;
	if (reply.head.status != 200) {
		long status = reply.head.status;

		reply_done(&reply);
		/* A folder, perhaps; and if not, this answer has a body that says what is wrong. Who may not list a bucket
		 * is told 403 instead of 404. */
		if (status < 500)
			return look_at_folder(store, manifest, err);
		return store_explain(store, status, "", 0, err);
	}
	object.size = reply.head.length;
	object.etag = reply.head.etag ? take_ptr(&reply.head.etag) : xstrdup("");
	object.key = xstrdup(address->key);
	object.path = xstrdup(address->name);
	reply_done(&reply);
	add(manifest, &object);
	manifest->is_file = true;
	return 0;
}

/* The length of one part, -1 when the store does not say. */
static int64_t
part_length(struct store *store, const struct object *object, unsigned long number)
{
	char *query = xasprintf("partNumber=%lu", number);
	struct reply reply;
	struct error err;
	int64_t length = -1;

	if (ask(store, "HEAD", object->key, query, &reply, &err) == 0) {
		if (reply.head.status == 206 || reply.head.status == 200)
			length = reply.head.length;
		reply_done(&reply);
	}
	free(query);
	return length;
}

void
store_learn_parts(struct store *store, struct manifest *manifest)
{
	for (size_t i = 0; i < manifest->n; i++) {
		struct object *object = &manifest->objects[i];
		const char *dash = object->key ? strrchr(object->etag, '-') : NULL;
		unsigned long parts = dash ? strtoul(dash + 1, NULL, 10) : 0;
		int64_t first, rest;

		if (parts < 1 || parts > PARTS_MAX || object->size <= 0)
			continue;
		first = part_length(store, object, 1);
		rest = object->size - first * (int64_t)(parts - 1);
		/* All parts but the last have one size, as far as the first, the last and their number can tell. */
		if (first > 0 && rest > 0 && rest <= first && (parts == 1 || part_length(store, object, parts) == rest))
			object->part_size = first;
	}
}

static int
by_path(const void *a, const void *b)
{
	return strcmp(((const struct object *)a)->path, ((const struct object *)b)->path);
}

int
store_look(struct store *store, struct manifest *ret_manifest, struct error *err)
{
	struct manifest manifest = {.objects = NULL};
	int r;

	r = store->address->kind == ADDRESS_HTTP ? look_at_web(store, &manifest, err)
						 : look_at_s3(store, &manifest, err);
	if (r < 0) {
		manifest_done(&manifest);
		return r;
	}
	qsort(manifest.objects, manifest.n, sizeof(*manifest.objects), by_path);
	identify(&manifest, store->address);
	*ret_manifest = manifest;
	return 0;
}
