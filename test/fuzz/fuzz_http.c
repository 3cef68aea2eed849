/*
 * The HTTP parser on any bytes, whole and cut in two: no crash, the same outcome, all spans inside the buffer, and a
 * target that decodes to no more than it was.
 */
#include <stdlib.h>
#include <string.h>

#include "http/limits.h"
#include "http/parser.h"
#include "http/target.h"

#define MAX_BODY 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t
on_head(UNUSED const struct http_parser *parser, UNUSED void *arg)
{
	return MAX_BODY;
}

/* In a buffer of exactly the bytes that came, so that the sanitizer sees a read beyond them. */
static enum http_parse_result
parse_in_two(struct http_parser *parser, const uint8_t *data, size_t size, size_t cut, char **ret_buffer)
{
	enum http_parse_result result = HTTP_PARSE_MORE;
	char *buffer;

	http_parser_init(parser, on_head, NULL);
	if (cut > 0) {
		buffer = malloc(cut);
		memcpy(buffer, data, cut);
		result = http_parser_execute(parser, buffer, cut);
		if (result != HTTP_PARSE_MORE) {
			*ret_buffer = buffer;
			return result;
		}
		buffer = realloc(buffer, size + 1);
		memcpy(buffer + cut, data + cut, size - cut);
	} else {
		buffer = malloc(size + 1);
		memcpy(buffer, data, size);
	}
	result = http_parser_execute(parser, buffer, size);
	*ret_buffer = buffer;
	return result;
}

static void
check_request(const struct http_parser *parser, const char *buffer, size_t size)
{
	static char room[HTTP_TARGET_MAX + 1];
	struct http_target target;

	ASSERT(parser->request_length <= size);
	ASSERT(parser->target.length <= HTTP_TARGET_MAX);
	ASSERT(parser->target.offset + parser->target.length <= parser->request_length);
	ASSERT(parser->content_type.offset + parser->content_type.length <= parser->request_length);
	ASSERT(parser->body_length <= MAX_BODY);
	ASSERT(parser->head_length + parser->body_length <= parser->request_length);
	if (http_target_parse(buffer + parser->target.offset, parser->target.length, room, &target) == 0)
		ASSERT(target.path_length <= parser->target.length && strlen(target.path) == target.path_length);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_parser whole, cut;
	char *whole_buffer, *cut_buffer;
	enum http_parse_result a, b;
	size_t place;

	if (size < 3)
		return 0;
	place = (size_t)(data[0] << 8 | data[1]) % (size - 2);
	data += 2;
	size -= 2;
	a = parse_in_two(&whole, data, size, 0, &whole_buffer);
	b = parse_in_two(&cut, data, size, place, &cut_buffer);
	ASSERT(a == b || size > HTTP_HEAD_MAX); /* beyond a limit the first part alone may be refused */
	if (a == HTTP_PARSE_COMPLETE && b == HTTP_PARSE_COMPLETE) {
		check_request(&whole, whole_buffer, size);
		ASSERT(whole.request_length == cut.request_length && whole.body_length == cut.body_length);
		ASSERT(whole.keep_alive == cut.keep_alive);
		ASSERT(!memcmp(
		    http_parser_body(&whole, whole_buffer), http_parser_body(&cut, cut_buffer), whole.body_length));
		ASSERT(
		    whole.target.length == cut.target.length && whole.content_type.length == cut.content_type.length);
	} else if (a == HTTP_PARSE_ERROR && b == HTTP_PARSE_ERROR) {
		ASSERT(whole.error_status >= 400 && whole.error_status <= 599 && whole.error_reason);
	}
	free(whole_buffer);
	free(cut_buffer);
	return 0;
}
