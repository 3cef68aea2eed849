/*
 * answer - see answer.h.
 */
#include "http/answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define CORS "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: *\r\n"

static const struct {
	int status;
	const char *reason;
} reasons[] = {
    {200, "OK"},
    {202, "Accepted"},
    {204, "No Content"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

const char *
http_reason(int status)
{
	for (size_t i = 0; i < N_ELEMENTS(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

struct http_answer
http_answer_text(int status, const char *text)
{
	return (struct http_answer){
	    .status = status,
	    .content_type = "text/plain; charset=utf-8",
	    .body = text,
	    .body_length = strlen(text),
	};
}

struct http_answer
http_answer_json(int status, const char *json)
{
	return (struct http_answer){
	    .status = status,
	    .content_type = "application/json",
	    .body = json,
	    .body_length = strlen(json),
	};
}

/* "Date: Mon, 23 Nov 2026 21:40:00 GMT\r\n", made once a second. */
static const char *
date_field(size_t *ret_length)
{
	static __thread time_t second;
	static __thread char text[48];
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec != second) {
		gmtime_r(&now.tv_sec, &tm);
		strftime(text, sizeof(text), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
		second = now.tv_sec;
	}
	*ret_length = 37;
	return text;
}

static char *
put(char *at, const char *text, size_t length)
{
	memcpy(at, text, length);
	return at + length;
}

#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

static char *
put_number(char *at, size_t number)
{
	char digits[24];
	size_t n = sizeof(digits);

	do
		digits[--n] = (char)('0' + number % 10);
	while (number /= 10);
	return put(at, digits + n, sizeof(digits) - n);
}

size_t
http_answer_head(const struct http_answer *answer, bool close, bool http_1_0_keep, char ret_head[HTTP_ANSWER_HEAD_MAX])
{
	char *at = ret_head;
	const char *date;
	size_t length;

	if (answer->status == 200)
		at = PUT(at, "HTTP/1.1 200 OK\r\n");
	else
		at += sprintf(at, "HTTP/1.1 %d %s\r\n", answer->status, http_reason(answer->status));
	date = date_field(&length);
	at = put(at, date, length);
	if (answer->content_type) {
		at = PUT(at, "Content-Type: ");
		at = put(at, answer->content_type, strlen(answer->content_type));
		at = PUT(at, "\r\n");
	}
	if (answer->common)
		at = put(at, answer->common, strlen(answer->common));
	else
		at = PUT(at, CORS);
	if (answer->fields)
		at = put(at, answer->fields, strlen(answer->fields));
	if (answer->request_id) {
		at = PUT(at, "X-Request-ID: ");
		at = put(at, answer->request_id, answer->request_id_length);
		at = PUT(at, "\r\n");
	}
	if (close)
		at = PUT(at, "Connection: close\r\n");
	else if (http_1_0_keep)
		at = PUT(at, "Connection: keep-alive\r\n");
	if (answer->status != 204) { /* RFC 9110 8.6 */
		at = PUT(at, "Content-Length: ");
		at = put_number(at, answer->body_length);
		at = PUT(at, "\r\n");
	}
	at = PUT(at, "\r\n");
	ASSERT((size_t)(at - ret_head) <= HTTP_ANSWER_HEAD_MAX);
	return (size_t)(at - ret_head);
}
