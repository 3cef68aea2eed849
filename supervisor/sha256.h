/*
 * sha256 - the hash of FIPS 180-4, for keys of caches. Not for secrets: no attention is paid to timing.
 */
#ifndef SUPERVISOR_SHA256_H
#define SUPERVISOR_SHA256_H

#include "common/util.h"

#define SHA256_BYTES 32

struct sha256 {
	uint32_t state[8];
	uint8_t block[64];
	uint64_t length; /* bytes so far */
};

void sha256_init(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t length);

/* Finish; text gets the first n_digits (at most 64) of the result in lower-case hexadecimal, and a NUL. */
void sha256_hex(struct sha256 *hash, char *text, size_t n_digits);

#endif
