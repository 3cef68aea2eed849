/*
 * parser - see parser.h.
 */
#include "http/parser.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/limits.h"

/* Stop with a status of our own choosing. */
static int
refuse(struct http_parser *parser, int status, const char *reason)
{
	parser->error_status = status;
	parser->error_reason = reason;
	return HPE_USER;
}

/* Add a piece to a span; pieces of one value follow each other in the buffer, except after a folded line. */
static void
span_extend(struct http_span *span, const char *buffer, const char *at, size_t length)
{
	if (span->length == 0)
		span->offset = (uint32_t)(at - buffer);
	span->length = (uint32_t)((size_t)(at - buffer) + length - span->offset);
}

static bool
span_is(const struct http_parser *parser, struct http_span span, const char *text)
{
	return span.length == strlen(text) && !strncasecmp(parser->buffer + span.offset, text, span.length);
}

static int
on_url(llhttp_t *llhttp, const char *at, size_t length)
{
	struct http_parser *parser = llhttp->data;

	span_extend(&parser->target, parser->buffer, at, length);
	if (parser->target.length > HTTP_TARGET_MAX)
		return refuse(parser, 414, "the request target is longer than 8192 bytes");
	return 0;
}

static int
on_field_name(llhttp_t *llhttp, const char *at, size_t length)
{
	struct http_parser *parser = llhttp->data;

	if (parser->name.length == 0)
		parser->value.length = 0;
	span_extend(&parser->name, parser->buffer, at, length);
	if (parser->head_complete && parser->trailer_begin == 0)
		parser->trailer_begin = parser->name.offset;
	return 0;
}

static int
on_field_value(llhttp_t *llhttp, const char *at, size_t length)
{
	struct http_parser *parser = llhttp->data;

	span_extend(&parser->value, parser->buffer, at, length);
	return 0;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_one_of(char c, const char *set)
{
	return c != '\0' && strchr(set, c);
}

/* The members of a list without their white space (RFC 9110 5.6.1): false when there is none left. */
static bool
next_member(const char **at, const char *end, const char **ret_member, size_t *ret_length)
{
	const char *comma;

	while (*at < end && (is_blank(**at) || **at == ','))
		++*at;
	if (*at == end)
		return false;
	*ret_member = *at;
	comma = memchr(*at, ',', (size_t)(end - *at));
	*at = comma ? comma : end;
	*ret_length = (size_t)(*at - *ret_member);
	while (is_blank((*ret_member)[*ret_length - 1]))
		--*ret_length;
	return true;
}

/* RFC 9112 9.3. llhttp does this, too, but stumbles over a tab. */
static void
read_connection(struct http_parser *parser, struct http_span value)
{
	const char *at = parser->buffer + value.offset, *end = at + value.length, *member;
	size_t length;

	while (next_member(&at, end, &member, &length)) {
		if (length == 5 && !strncasecmp(member, "close", length))
			parser->says_close = true;
		else if (length == 10 && !strncasecmp(member, "keep-alive", length))
			parser->says_keep_alive = true;
	}
}

/* The codings of one field; those of several count as one list (RFC 9110 5.3). */
static void
read_transfer_encoding(struct http_parser *parser, struct http_span value)
{
	const char *at = parser->buffer + value.offset, *end = at + value.length, *member;
	size_t length;

	for (parser->has_coding = true; next_member(&at, end, &member, &length); parser->n_codings++)
		parser->chunked = length == 7 && !strncasecmp(member, "chunked", length);
}

/* uri-host [":" port] (RFC 9110 7.2, RFC 3986 3.2.2); it may be empty. */
static bool
host_is_valid(const char *host, size_t length)
{
	const char *end = host + length, *at = host;

	if (at < end && *at == '[') {
		while (++at < end && (isalnum((unsigned char)*at) || is_one_of(*at, ":.-_~!$&'()*+,;=")))
			;
		if (at == end || *at++ != ']' || length < 4)
			return false;
	} else {
		for (; at < end && *at != ':'; at++) {
			if (*at == '%' && end - at > 2 && isxdigit((unsigned char)at[1]) &&
			    isxdigit((unsigned char)at[2]))
				at += 2;
			else if (!isalnum((unsigned char)*at) && !is_one_of(*at, "-._~!$&'()*+,;="))
				return false;
		}
	}
	if (at < end && *at++ != ':')
		return false;
	while (at < end && isdigit((unsigned char)*at))
		at++;
	return at == end;
}

/* The first one that is fit to be given back and logged. */
static void
read_request_id(struct http_parser *parser, struct http_span value)
{
	if (parser->request_id.length > 0 || value.length > HTTP_REQUEST_ID_MAX)
		return;
	for (uint32_t i = 0; i < value.length; i++) {
		char c = parser->buffer[value.offset + i];

		if (c <= ' ' || c >= 0x7f || c == '"' || c == '\'' || c == '\\')
			return;
	}
	parser->request_id = value;
}

/* One field of the header or trailer section is complete. */
static int
on_field(llhttp_t *llhttp)
{
	struct http_parser *parser = llhttp->data;
	struct http_span value = parser->value;

	while (value.length > 0 && is_blank(parser->buffer[value.offset + value.length - 1]))
		value.length--; /* no part of the value (RFC 9110 5.5) */
	if (++parser->n_fields > HTTP_FIELDS_MAX)
		return refuse(parser, 431, "more than 100 header fields");
	if (parser->name.length == 0)
		return refuse(parser, 400, "a header field without a name");
	if (!parser->head_complete) { /* a trailer field changes nothing (RFC 9110 6.5.1) */
		if (span_is(parser, parser->name, "content-type")) {
			parser->content_type = value;
		} else if (span_is(parser, parser->name, "host")) {
			parser->n_hosts++;
			if (!host_is_valid(parser->buffer + value.offset, value.length))
				return refuse(parser, 400, "a malformed Host field");
		} else if (span_is(parser, parser->name, "connection")) {
			read_connection(parser, value);
		} else if (span_is(parser, parser->name, "transfer-encoding")) {
			read_transfer_encoding(parser, value);
		} else if (span_is(parser, parser->name, "expect")) {
			if (!span_is(parser, value, "100-continue"))
				return refuse(parser, 417, "an expectation other than 100-continue");
			parser->expects_continue = true;
		} else if (span_is(parser, parser->name, "x-request-id")) {
			read_request_id(parser, value);
		}
	}
	if (parser->trailer_begin > 0 && value.offset + value.length - parser->trailer_begin > HTTP_HEAD_MAX)
		return refuse(parser, 431, "the trailer section is longer than 32768 bytes");
	parser->name.length = parser->value.length = 0;
	return 0;
}

/*
 * Go over the lines of a section once more, for what llhttp lets pass although two readers may read it in two ways: a line
 * that begins with white space and so continues the one before (RFC 9112 5.2), and a line ended by a bare LF (2.2). The
 * section ends with the first empty line behind `content`. NULL and where it ends, or what is wrong.
 */
static const char *
check_lines(const char *section, const char *content, const char *end, const char **ret_end)
{
	const char *line = section, *newline;

	while ((newline = memchr(line, '\n', (size_t)(end - line)))) {
		if (newline == section || newline[-1] != '\r')
			return "a line that ends with a bare LF";
		if (is_blank(*line))
			return "a folded line";
		if (newline - line == 1 && line > content)
			break;
		line = newline + 1;
	}
	ASSERT(newline); /* llhttp has found the end of the section */
	*ret_end = newline + 1;
	return NULL;
}

/* Nothing but empty lines may stand before the request line (RFC 9112 2.2), and it is a method, a target and a version with
 * one space between them (3), spoken in HTTP. */
static bool
request_line_is_valid(const struct http_parser *parser, const char *end)
{
	const char *at = parser->buffer, *version = at + parser->target.offset + parser->target.length;

	while (at[0] == '\r' && at[1] == '\n')
		at += 2;
	while (at < version && *at != ' ' && *at != '\r')
		at++;
	return *at == ' ' && at + 1 == parser->buffer + parser->target.offset && end - version > 10 &&
	    !strncmp(version, " HTTP/1.", 8) && version[9] == '\r';
}

static const char too_large[] =
    "the body is larger than max_body_size (or, if the path is that of no api, than 65536 bytes)";

static int
on_headers_complete(llhttp_t *llhttp)
{
	struct http_parser *parser = llhttp->data;
	const char *head = parser->buffer, *received_end = head + parser->request_length, *head_end, *wrong;
	size_t length;

	if (llhttp->http_major != 1)
		return refuse(parser, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
	wrong = check_lines(head, head + parser->target.offset, received_end, &head_end);
	if (!wrong && !request_line_is_valid(parser, head_end))
		wrong = "a malformed request line";
	if (wrong)
		return refuse(parser, 400, wrong);
	length = (size_t)(head_end - head);
	if (length > HTTP_HEAD_MAX)
		return refuse(parser, 431, "the header section is longer than 32768 bytes");
	if (llhttp->http_minor >= 1 ? parser->n_hosts != 1 : parser->n_hosts > 1)
		return refuse(parser, 400, "there must be one Host field");
	if (parser->has_coding && llhttp->http_minor == 0)
		return refuse(parser, 400, "Transfer-Encoding in HTTP/1.0");
	if (parser->has_coding && !parser->chunked) /* the length of the body cannot be known (RFC 9112 6.3) */
		return refuse(parser, 400, "the last transfer encoding is not chunked");
	if (parser->n_codings > 1)
		return refuse(parser, 501, "a transfer encoding besides chunked");
	if (llhttp->http_minor == 0)
		parser->expects_continue = false;
	llhttp->upgrade = 0; /* we never do; the request stands as it is (RFC 9110 7.8) */
	parser->head_complete = true;
	parser->head_length = length;
	parser->n_fields = 0;
	parser->max_body = parser->on_head(parser, parser->arg);
	if (parser->max_body == HTTP_HEAD_REFUSED) {
		parser->refused = true;
		return HPE_USER;
	}
	if ((llhttp->flags & F_CONTENT_LENGTH) && llhttp->content_length > parser->max_body)
		return refuse(parser, 413, too_large);
	return 0;
}

static int
on_body(llhttp_t *llhttp, UNUSED const char *at, size_t length)
{
	struct http_parser *parser = llhttp->data;

	if (length > parser->max_body - parser->body_length)
		return refuse(parser, 413, too_large);
	parser->body_length += length;
	return 0;
}

static int
on_message_complete(UNUSED llhttp_t *llhttp)
{
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_field_name,
    .on_header_value = on_field_value,
    .on_header_value_complete = on_field,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void
http_parser_init(struct http_parser *parser, http_head_cb *on_head, void *arg)
{
	memset(parser, 0, sizeof(*parser));
	llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
	parser->llhttp.data = parser;
	parser->on_head = on_head;
	parser->arg = arg;
}

/* Did llhttp stop at a version that is one, but not ours? */
static bool
is_other_version(const struct http_parser *parser)
{
	const char *version = parser->buffer + parser->target.offset + parser->target.length;
	const char *at = llhttp_get_error_pos(&parser->llhttp);

	return at - version >= 8 && !strncmp(version, " HTTP/", 6) && isdigit((unsigned char)version[6]) &&
	    version[7] == '.' && isdigit((unsigned char)version[8]) && strncmp(version + 6, "1.0", 3) &&
	    strncmp(version + 6, "1.1", 3);
}

/* What llhttp stopped at, as the status that RFC 9110 and 9112 give it. */
static enum http_parse_result
fail(struct http_parser *parser, llhttp_errno_t error)
{
	if (parser->error_status == 0) { /* else refuse() has said it; llhttp then returns one of several codes */
		if (error == HPE_PAUSED_H2_UPGRADE || (error == HPE_INVALID_VERSION && is_other_version(parser)))
			parser->error_status = 505;
		else
			parser->error_status = 400;
		parser->error_reason = llhttp_get_error_reason(&parser->llhttp);
		if (!parser->error_reason || !*parser->error_reason)
			parser->error_reason = "not a valid HTTP/1.1 request";
	}
	parser->keep_alive = false;
	return HTTP_PARSE_ERROR;
}

/* A request that is not complete yet: has it outgrown its limits? */
static enum http_parse_result
check_growth(struct http_parser *parser, size_t length)
{
	size_t framing;

	if (!parser->head_complete) {
		if (length <= HTTP_HEAD_MAX)
			return HTTP_PARSE_MORE;
		refuse(parser, 431, "the header section is longer than 32768 bytes");
		return fail(parser, HPE_USER);
	}
	framing = length - parser->body_length;
	if (framing > HTTP_HEAD_MAX + HTTP_CHUNKED_MAX) {
		refuse(parser, 413, "too much chunk framing for the content");
		return fail(parser, HPE_USER);
	}
	return HTTP_PARSE_MORE;
}

enum http_parse_result
http_parser_execute(struct http_parser *parser, const char *buffer, size_t length)
{
	llhttp_errno_t error;

	if (length <= parser->parsed)
		return HTTP_PARSE_MORE;
	parser->buffer = buffer;
	parser->request_length = length; /* an upper bound, for on_headers_complete */
	error = llhttp_execute(&parser->llhttp, buffer + parser->parsed, length - parser->parsed);
	if (error == HPE_OK) {
		parser->parsed = length;
		return check_growth(parser, length);
	}
	if (parser->refused)
		return HTTP_PARSE_REFUSED;
	if (error != HPE_PAUSED)
		return fail(parser, error);
	parser->parsed = (size_t)(llhttp_get_error_pos(&parser->llhttp) - buffer);
	parser->request_length = parser->parsed;
	if (parser->chunked) {
		/* The trailer section, or the empty line in its place. */
		const char *trailer = buffer + (parser->trailer_begin > 0 ? parser->trailer_begin : parser->parsed - 2);
		const char *end = buffer + parser->parsed, *section_end, *wrong;

		wrong = check_lines(trailer, parser->trailer_begin > 0 ? trailer : trailer - 1, end, &section_end);
		if (wrong) {
			refuse(parser, 400, wrong);
			return fail(parser, HPE_USER);
		}
	}
	parser->keep_alive = !parser->says_close && (parser->says_keep_alive || parser->llhttp.http_minor > 0);
	return HTTP_PARSE_COMPLETE;
}

/* Move the content of the chunks to where the first of them begins. llhttp has found the framing to be good. */
static void
move_together(const struct http_parser *parser, char *buffer)
{
	char *at = buffer + parser->head_length, *end = buffer + parser->request_length, *to = NULL;
	size_t left = parser->body_length;

	while (left > 0) {
		char *line_end = memchr(at, '\n', (size_t)(end - at));
		size_t size = strtoull(at, NULL, 16);

		ASSERT(line_end && size > 0 && size <= left && (size_t)(end - line_end) > size + 2);
		at = line_end + 1;
		if (!to)
			to = buffer + parser->head_length;
		memmove(to, at, size);
		to += size;
		at += size + 2;
		left -= size;
	}
}

const char *
http_parser_body(struct http_parser *parser, char *buffer)
{
	if (parser->chunked && !parser->body_together) {
		move_together(parser, buffer);
		parser->body_together = true;
	}
	return buffer + parser->head_length;
}
