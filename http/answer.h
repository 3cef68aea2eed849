/*
 * answer - the head of an HTTP/1.1 response.
 *
 * Every answer carries Date (RFC 9110 6.6.1), Content-Length, and the two CORS fields that Cortex sent, unless its connection has other
 * ones instead (conn.h).
 */
#ifndef HTTP_ANSWER_H
#define HTTP_ANSWER_H

#include "common/util.h"

#define HTTP_ANSWER_HEAD_MAX 1024

struct http_answer {
	int status;
	const char *content_type; /* NULL: none, and no body */
	const char *body;
	size_t body_length;
	const char *fields;     /* further header fields, each ended by CRLF, or NULL */
	const char *request_id; /* X-Request-ID, or NULL */
	size_t request_id_length;
	const char *common; /* the same, in place of the CORS fields; or NULL */
};

/* Plain text, ended by a newline in text itself. */
struct http_answer http_answer_text(int status, const char *text);

/* JSON text as it is. Both borrow their text. */
struct http_answer http_answer_json(int status, const char *json);

/* Write the head; its length. `close` adds Connection: close; http_1_0_keep adds Connection: keep-alive. */
size_t http_answer_head(
    const struct http_answer *answer, bool close, bool http_1_0_keep, char ret_head[HTTP_ANSWER_HEAD_MAX]);

/* The reason phrase of a status that we send; "Unknown" for others. */
const char *http_reason(int status);

#endif
