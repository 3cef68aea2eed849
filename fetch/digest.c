/*
 * digest - see digest.h.
 */
#include "fetch/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES (1 << 20)

static EVP_MD_CTX *
begin(const EVP_MD *kind)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	ASSERT(context && EVP_DigestInit_ex(context, kind, NULL));
	return context;
}

/* Ends the context. The number of bytes. */
static unsigned
end(EVP_MD_CTX *context, unsigned char bytes[EVP_MAX_MD_SIZE])
{
	unsigned n;

	ASSERT(EVP_DigestFinal_ex(context, bytes, &n));
	EVP_MD_CTX_free(context);
	return n;
}

static void
to_hex(const unsigned char *bytes, char *hex, size_t n_digits)
{
	for (size_t i = 0; i < n_digits; i++)
		hex[i] = "0123456789abcdef"[i % 2 ? bytes[i / 2] & 15 : bytes[i / 2] >> 4];
	hex[n_digits] = '\0';
}

/* The next bytes of a file, at most length. Their number, 0 at the end, or a negative errno. */
static ssize_t
add_from(EVP_MD_CTX *context, int fd, off_t offset, size_t length, void *buffer)
{
	ssize_t n;

	do
		n = pread(fd, buffer, MIN(length, BUFFER_BYTES), offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	ASSERT(EVP_DigestUpdate(context, buffer, (size_t)n));
	return n;
}

void
digest_text(const void *data, size_t length, char *ret_hex, size_t n_digits)
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *context = begin(EVP_sha256());

	ASSERT(EVP_DigestUpdate(context, data, length));
	end(context, bytes);
	to_hex(bytes, ret_hex, n_digits);
}

int
digest_file(int fd, char ret_hex[DIGEST_SHA256_DIGITS + 1])
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *context = begin(EVP_sha256());
	void *buffer = xcalloc(1, BUFFER_BYTES);
	off_t offset = 0;
	ssize_t n;

	while ((n = add_from(context, fd, offset, BUFFER_BYTES, buffer)) > 0)
		offset += n;
	end(context, bytes);
	to_hex(bytes, ret_hex, DIGEST_SHA256_DIGITS);
	free(buffer);
	return (int)MIN(n, 0);
}

int
digest_etag(int fd, off_t part_size, char ret_etag[DIGEST_ETAG_MAX])
{
	EVP_MD_CTX *whole = begin(EVP_md5()), *part = begin(EVP_md5());
	unsigned char bytes[EVP_MAX_MD_SIZE];
	void *buffer = xcalloc(1, BUFFER_BYTES);
	off_t offset = 0, left = part_size;
	unsigned parts = 0, size;
	ssize_t n = 0;

	for (;;) {
		n = add_from(part, fd, offset, part_size > 0 ? (size_t)MIN(left, BUFFER_BYTES) : BUFFER_BYTES, buffer);
		if (n <= 0)
			break;
		offset += n;
		left -= n;
		if (part_size > 0 && left == 0) {
			size = end(part, bytes);
			ASSERT(EVP_DigestUpdate(whole, bytes, size));
			parts++;
			part = begin(EVP_md5());
			left = part_size;
		}
	}
	size = end(part, bytes);
	if (part_size > 0) {
		if (left < part_size) {
			ASSERT(EVP_DigestUpdate(whole, bytes, size));
			parts++;
		}
		end(whole, bytes);
	} else {
		EVP_MD_CTX_free(whole);
	}
	to_hex(bytes, ret_etag, DIGEST_MD5_DIGITS);
	if (part_size > 0)
		snprintf(ret_etag + DIGEST_MD5_DIGITS, DIGEST_ETAG_MAX - DIGEST_MD5_DIGITS, "-%u", parts);
	free(buffer);
	return (int)MIN(n, 0);
}
