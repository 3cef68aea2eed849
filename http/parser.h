/*
 * parser - one HTTP/1.x request (RFC 9112) out of a growing buffer, with llhttp in strict mode.
 *
 * Pure: no descriptor, no clock, no allocation. The caller keeps all bytes of the request in one buffer that begins with
 * the request and may be moved when it grows; the parser remembers offsets and changes nothing, so that half a request
 * can be parsed again by another process. Only http_parser_body(), once the request is complete, moves a chunked body
 * together in place, so that the body of every request is one run of bytes.
 *
 * Beyond llhttp's own strictness it refuses what could be read in two ways: a missing, second or malformed Host (RFC 9112
 * 3.2), Transfer-Encoding in HTTP/1.0 or anything but "chunked" (6.1), obsolete line folding (5.2), an empty field name, a
 * request line that is not exactly one. Whether the connection stays open is worked out here, too, from Connection alone.
 */
#ifndef HTTP_PARSER_H
#define HTTP_PARSER_H

#include <llhttp/llhttp.h>

#include "common/util.h"

struct http_span {
	uint32_t offset;
	uint32_t length;
};

enum http_parse_result {
	HTTP_PARSE_MORE,     /* give more bytes */
	HTTP_PARSE_COMPLETE, /* the request is there; request_length says where the next one begins */
	HTTP_PARSE_ERROR,    /* answer error_status, then close: what follows cannot be trusted */
	HTTP_PARSE_REFUSED,  /* on_head did not want it; the bytes are untouched, parsing does not go on */
};

/* An id of a request is visible ASCII without what needs quoting in logs: no quotes, no backslash. */
#define HTTP_REQUEST_ID_MAX 128

struct http_parser;

/* The head is there: how many bytes may the body have? HTTP_HEAD_REFUSED to stop parsing. */
typedef uint64_t http_head_cb(const struct http_parser *parser, void *arg);
#define HTTP_HEAD_REFUSED UINT64_MAX

struct http_parser {
	llhttp_t llhttp;
	http_head_cb *on_head;
	void *arg;
	uint64_t max_body; /* as on_head said */

	/* the request, valid as far as it was parsed */
	struct http_span target;
	struct http_span content_type; /* length 0: none, or empty */
	struct http_span
	    request_id; /* X-Request-ID; length 0: none, or none that can be given back (HTTP_REQUEST_ID_MAX) */
	bool head_complete;
	bool keep_alive;       /* valid once complete; false after an error */
	bool expects_continue; /* Expect: 100-continue (RFC 9110 10.1.1), HTTP/1.1 only */
	size_t head_length;    /* with the empty line; valid when head_complete */
	size_t body_length;    /* of the content itself, as far as it came */
	size_t request_length; /* bytes of the buffer that belong to this request */

	int error_status; /* 400, 413, 414, 417, 431, 501, 505 */
	const char *error_reason;

	/* while parsing */
	const char *buffer;
	size_t parsed;
	struct http_span name;
	struct http_span value;
	unsigned n_fields;
	unsigned n_hosts;
	size_t trailer_begin; /* where the trailer section begins; 0: there is none so far */
	bool has_coding;      /* there is a Transfer-Encoding */
	bool chunked;         /* and its last coding is chunked */
	unsigned n_codings;
	bool says_close; /* Connection: close, or keep-alive */
	bool says_keep_alive;
	bool body_together; /* a chunked body was moved together */
	bool refused;
};

/* Ready for the first or the next request. */
void http_parser_init(struct http_parser *parser, http_head_cb *on_head, void *arg);

/* Parse what is new in buffer[0..length). Call again with a longer buffer after HTTP_PARSE_MORE; not after the others. */
enum http_parse_result http_parser_execute(struct http_parser *parser, const char *buffer, size_t length);

/* The body of a complete request, body_length bytes in the buffer that it was parsed in. A chunked one destroys its
 * framing: from then on the request cannot be parsed again. */
const char *http_parser_body(struct http_parser *parser, char *buffer);

static inline enum llhttp_method
http_parser_method(const struct http_parser *parser)
{
	return (enum llhttp_method)parser->llhttp.method;
}

#endif
