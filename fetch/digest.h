/*
 * digest - hashes: SHA-256 for names in the cache, MD5 because S3 says what an object holds by it (its ETag).
 */
#ifndef FETCH_DIGEST_H
#define FETCH_DIGEST_H

#include <sys/types.h>

#include "common/util.h"

#define DIGEST_MD5_DIGITS    32
#define DIGEST_SHA256_DIGITS 64

/* The first n_digits of the SHA-256, and a NUL. */
void digest_text(const void *data, size_t length, char *ret_hex, size_t n_digits);

/* SHA-256 of a whole file. 0 or a negative errno. */
MUSTCHECK int digest_file(int fd, char ret_hex[DIGEST_SHA256_DIGITS + 1]);

/*
 * What S3 gives an object of these bytes as its ETag, without quotes: the MD5 in hexadecimal, or for one that was uploaded in
 * parts of part_size bytes (0: it was not) the MD5 of the parts' MD5s, a dash, and their number. 0 or a negative errno.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
 */
#define DIGEST_ETAG_MAX 48
MUSTCHECK int digest_etag(int fd, off_t part_size, char ret_etag[DIGEST_ETAG_MAX]);

#endif
