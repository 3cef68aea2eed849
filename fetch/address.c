/*
 * address - see address.h.
 */
#include "fetch/address.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/digest.h"

bool
address_is_name(const char *text, size_t length)
{
	return length > 0 && length <= ADDRESS_NAME_MAX && !memchr(text, '/', length) && !memchr(text, '\0', length) &&
	    !(length == 1 && text[0] == '.') && !(length == 2 && text[0] == '.' && text[1] == '.');
}

char *
address_encode(const char *text, bool keep_slashes)
{
	static const char digits[] = "0123456789ABCDEF";
	char *encoded = xcalloc(strlen(text) * 3 + 1, 1), *end = encoded;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c < 0x80 && isalnum(c)) || strchr("-._~", c) || (c == '/' && keep_slashes)) {
			*end++ = (char)c;
			continue;
		}
		*end++ = '%';
		*end++ = digits[c >> 4];
		*end++ = digits[c & 15];
	}
	return encoded;
}

static int
digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int
address_decode(const char *text, size_t length)
{
	int high = length > 2 && *text == '%' ? digit_value(text[1]) : -1;
	int low = high < 0 ? -1 : digit_value(text[2]);

	return low < 0 ? -1 : high << 4 | low;
}

/* The last element of a URL's path, decoded; or "model" when that is no name for a file. */
static char *
name_of_url(const char *path, size_t length)
{
	const char *begin = path + length;
	char *name, *end;

	while (begin > path && begin[-1] != '/')
		begin--;
	name = end = xcalloc((size_t)(path + length - begin) + 1, 1);
	for (const char *at = begin; at < path + length; at++) {
		int byte = address_decode(at, (size_t)(path + length - at));

		*end++ = byte < 0 ? *at : (char)byte;
		at += byte < 0 ? 0 : 2;
	}
	if (address_is_name(name, (size_t)(end - name)))
		return name;
	free(name);
	return xstrdup("model");
}

static int
parse_s3(const char *rest, struct address *address, struct error *err)
{
	size_t bucket = strcspn(rest, "/"), length;
	const char *key = rest + bucket + (rest[bucket] == '/'), *name;

	/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, and older ones: what cannot be in a host name
	 * or a path is none. */
	if (bucket == 0 || bucket > 255 ||
	    strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != bucket)
		return error_set(
		    err, -EINVAL, "\"s3://%s\": no bucket of that name can exist; use s3://bucket/key", rest);
	length = strlen(key);
	while (length > 0 && key[length - 1] == '/') {
		address->is_folder = true;
		length--;
	}
	address->bucket = xstrndup(rest, bucket);
	address->key = xstrndup(key, length);
	name = strrchr(address->key, '/');
	name = name ? name + 1 : address->key;
	if (!address_is_name(name, strlen(name)))
		return error_set(err, -EINVAL, "\"s3://%s\": its last element cannot be the name of a file", rest);
	address->name = xstrdup(name);
	address->shown = xasprintf("s3://%s/%s%s", address->bucket, address->key, address->is_folder ? "/" : "");
	return 0;
}

static int
parse_http(const char *text, struct address *address, struct error *err)
{
	const char *host = strstr(text, "://") + 3;
	size_t authority = strcspn(host, "/?#"), shown = (size_t)(host - text) + strcspn(host, "?#");

	if (authority == 0)
		return error_set(err, -EINVAL, "an address without a host");
	if (memchr(host, '@', authority))
		return error_set(
		    err, -EINVAL, "an address with a user or a password, which would be seen in too many places");
	address->shown = xstrndup(text, shown);
	address->url = xstrndup(text, strcspn(text, "#"));
	address->name = name_of_url(host + authority, shown - (size_t)(host - text) - authority);
	return 0;
}

int
address_parse(const char *text, struct address *ret_address, struct error *err)
{
	struct address address = {.kind = ADDRESS_S3};
	int r;

	if (strlen(text) > ADDRESS_MAX)
		return error_set(err, -EINVAL, "an address of more than %d bytes", ADDRESS_MAX);
	for (const char *at = text; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return error_set(err, -EINVAL, "an address with a control character");
	if (!strncmp(text, "s3://", 5)) {
		r = parse_s3(text + 5, &address, err);
	} else if (!strncmp(text, "http://", 7) || !strncmp(text, "https://", 8)) {
		address.kind = ADDRESS_HTTP;
		r = parse_http(text, &address, err);
	} else {
		return error_set(err, -EINVAL, "not an address of a model; use s3://bucket/key or https://host/path");
	}
	digest_text(text, strlen(text), address.id, ADDRESS_ID_MAX);
	if (r == 0)
		*ret_address = address;
	else
		address_done(&address);
	return r;
}

void
address_done(struct address *address)
{
	free(address->shown);
	free(address->bucket);
	free(address->key);
	free(address->url);
	free(address->name);
	*address = (struct address){.kind = ADDRESS_S3};
}
