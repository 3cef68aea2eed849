/*
 * field - one header field of a complete request, for the few who need more than the parser remembers.
 *
 * Pure. The head was found to be well-formed by the parser: every line ends with CRLF, none is folded, and none lacks a name.
 */
#ifndef HTTP_FIELD_H
#define HTTP_FIELD_H

#include "common/util.h"
#include "http/parser.h"

/* The value of the field with this name (lower or upper case), without white space around it, in the bytes of the request: and how many such
 * fields there are, 0 for none. It is that of the first. */
unsigned http_field_find(
    const struct http_parser *parser, const char *bytes, const char *name, const char **ret_value, size_t *ret_length);

/* Is there exactly one, with this value, in lower or upper case? */
bool http_field_is(const struct http_parser *parser, const char *bytes, const char *name, const char *value);

#endif
