/*
 * json_plain - where the part of a JSON string ends that is the same in the document, in ASCII and in Python.
 */
#ifndef REPLICA_JSON_PLAIN_H
#define REPLICA_JSON_PLAIN_H

#include <string.h>

#include "common/util.h"

/* The first byte from p on that is not printable ASCII, or is a quote or a backslash. Without one, end. */
static inline const char *
json_plain_end(const char *p, const char *end)
{
	typedef signed char vector __attribute__((vector_size(16)));
	typedef uint64_t halves __attribute__((vector_size(16)));

	for (; end - p >= (ptrdiff_t)sizeof(vector); p += sizeof(vector)) {
		vector bytes;
		halves found;

		memcpy(&bytes, p, sizeof(bytes));
		/* signed: what is beyond ASCII is negative */
		found = (halves)((bytes < ' ') | (bytes == '\x7f') | (bytes == '"') | (bytes == '\\'));
		if (found[0] | found[1])
			break;
	}
	while (p < end && *p >= ' ' && *p <= '~' && *p != '"' && *p != '\\')
		p++;
	return p;
}

#endif
