/*
 * target - the request target (RFC 9112 3.2): its path, percent-decoded, and its query parameters.
 *
 * Pure. A path is compared after decoding and without a slash at its end; it is never used as a file name.
 */
#ifndef HTTP_TARGET_H
#define HTTP_TARGET_H

#include "common/util.h"

struct http_target {
	char *path; /* decoded, in the caller's buffer, NUL-terminated */
	size_t path_length;
	bool asterisk; /* "*": OPTIONS for the server as a whole */
	bool debug;    /* ?debug=true */
};

/* Split target[0..length) with room[length + 1] for the path. 0, or -EINVAL: a broken %-escape, a NUL, no leading slash. */
MUSTCHECK int http_target_parse(const char *target, size_t length, char *room, struct http_target *ret_target);

/* The first query parameter with that name, decoded, in room[room_size], NUL-terminated: "" when it has no value. Its length, -ENOENT: there
 * is none, -EINVAL: a broken %-escape or a NUL, -E2BIG: no room. */
MUSTCHECK int http_target_query(const char *target, size_t length, const char *name, char *room, size_t room_size);

#endif
