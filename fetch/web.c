/*
 * web - see web.h.
 */
#include "fetch/web.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "fetch/say.h"

#define CONNECT_MS       10000
#define SLOW_BYTES       1024 /* a second: less is standing still */
#define REDIRECTS_MAX    10
#define BACKOFF_FIRST_MS 200
#define BACKOFF_LIMIT_MS 10000
#define ASKED_LIMIT_MS   30000

void
web_set_up(const struct web *web, const struct request *request, CURL *curl, struct curl_slist **ret_headers)
{
	const struct identity *identity = request->identity;
	const char *method = request->method ? request->method : "GET";
	struct curl_slist *headers = NULL;

	curl_easy_setopt(curl, CURLOPT_URL, request->url);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L); /* the key of an object may have .. in it */
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "cortexd/" CORTEXD_VERSION);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(
	    curl, CURLOPT_REDIR_PROTOCOLS_STR, strncasecmp(request->url, "https:", 6) == 0 ? "https" : "http,https");
	if (request->is_local)
		curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, request->follows ? 1L : 0L);
	curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, web->stall_s);
	if (request->timeout_ms > 0)
		curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, request->timeout_ms);
	if (web->ca_file)
		curl_easy_setopt(curl, CURLOPT_CAINFO, web->ca_file);
	if (!strcmp(method, "HEAD"))
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	else if (strcmp(method, "GET") != 0)
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	for (size_t i = 0; i < WEB_HEADERS_MAX && request->headers[i]; i++)
		headers = curl_slist_append(headers, request->headers[i]);
	if (identity && identity->access_key) {
		char *scope = xasprintf("aws:amz:%s:s3", request->region);

		headers = curl_slist_append(headers, "x-amz-content-sha256: UNSIGNED-PAYLOAD");
		if (identity->token) {
			char *token = xasprintf("x-amz-security-token: %s", identity->token);

			headers = curl_slist_append(headers, token);
			free(token);
		}
		curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, scope);
		curl_easy_setopt(curl, CURLOPT_USERNAME, identity->access_key);
		curl_easy_setopt(curl, CURLOPT_PASSWORD, identity->secret_key);
		free(scope);
	}
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	*ret_headers = headers;
}

void
reply_head_done(struct reply_head *head)
{
	free(head->etag);
	free(head->modified);
	free(head->bucket_region);
	*head = (struct reply_head){.length = -1, .range_first = -1, .range_of = -1, .retry_after_ms = -1};
}

/* The value of a header line of that name, or NULL. */
static const char *
value_of(const char *line, const char *name)
{
	size_t length = strlen(name);

	if (strncasecmp(line, name, length) != 0 || line[length] != ':')
		return NULL;
	line += length + 1;
	return line + strspn(line, " \t");
}

static void
keep(char **field, const char *value)
{
	free(*field);
	*field = xstrdup(value);
}

/* The number that a text begins with, or -1. */
static int64_t
leading_number(const char *text)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	return errno || end == text || number < 0 ? -1 : number;
}

/* A text that is a number, or -1. */
static int64_t
number_of(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0' ? leading_number(text) : -1;
}

size_t
web_header_cb(char *line, size_t size, size_t n, void *arg)
{
	struct reply_head *head = arg;
	char text[4096];
	size_t length = size * n, shown = MIN(length, sizeof(text) - 1);
	const char *value;

	memcpy(text, line, shown);
	while (shown > 0 && strchr("\r\n \t", text[shown - 1]))
		shown--;
	text[shown] = '\0';
	if (!strncmp(text, "HTTP/", 5)) {
		reply_head_done(head);
		value = strchr(text, ' ');
		head->status = value ? (long)leading_number(value + 1) : 0;
	} else if ((value = value_of(text, "Content-Length"))) {
		head->length = number_of(value);
	} else if ((value = value_of(text, "Content-Range"))) {
		const char *whole = strchr(value, '/');

		head->range_first = strncasecmp(value, "bytes ", 6) == 0 ? leading_number(value + 6) : -1;
		head->range_of = whole ? number_of(whole + 1) : -1;
	} else if ((value = value_of(text, "Transfer-Encoding"))) {
		head->is_chunked = true;
	} else if ((value = value_of(text, "Retry-After"))) {
		int64_t seconds = number_of(value); /* or a date, which nobody sends */

		head->retry_after_ms = seconds < 0 ? -1 : MIN(seconds, ASKED_LIMIT_MS / 1000) * 1000;
	} else if ((value = value_of(text, "ETag"))) {
		keep(&head->etag, value);
	} else if ((value = value_of(text, "Last-Modified"))) {
		keep(&head->modified, value);
	} else if ((value = value_of(text, "x-amz-bucket-region"))) {
		keep(&head->bucket_region, value);
	} else if ((value = value_of(text, "x-amz-server-side-encryption"))) {
		head->is_encrypted |= strcmp(value, "AES256") != 0;
	} else if (value_of(text, "x-amz-server-side-encryption-customer-algorithm")) {
		head->is_encrypted = true;
	}
	return length;
}

bool
web_may_retry(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_PARTIAL_FILE:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
		return true;
	default:
		return false;
	}
}

bool
web_may_retry_status(long status)
{
	return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

int64_t
web_backoff_ms(unsigned failed, int64_t asked_ms, uint32_t random)
{
	int64_t limit_ms = MIN((int64_t)BACKOFF_FIRST_MS << MIN(failed, 10), BACKOFF_LIMIT_MS);

	return MAX(limit_ms / 2 + random % (limit_ms / 2), asked_ms);
}

const char *
web_explain(CURLcode code, const char *detail)
{
	if (code == CURLE_OPERATION_TIMEDOUT && !*detail)
		return "timed out";
	return *detail ? detail : curl_easy_strerror(code);
}

struct body {
	struct reply *reply;
	bool too_long;
};

static size_t
body_cb(char *data, size_t size, size_t n, void *arg)
{
	struct body *body = arg;
	struct reply *reply = body->reply;
	char *longer;

	n *= size;
	if (reply->length + n > WEB_REPLY_MAX || !(longer = realloc(reply->body, reply->length + n + 1))) {
		body->too_long = true;
		return 0;
	}
	reply->body = longer;
	memcpy(reply->body + reply->length, data, n);
	reply->length += n;
	reply->body[reply->length] = '\0';
	return n;
}

static void
sleep_ms(int64_t ms)
{
	struct timespec rest = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
		;
}

static CURLcode
try_once(const struct web *web, const struct request *request, struct body *body, char detail[CURL_ERROR_SIZE])
{
	CURL *curl = curl_easy_init();
	struct curl_slist *headers;
	CURLcode code;

	ASSERT(curl);
	reply_done(body->reply);
	*detail = '\0';
	web_set_up(web, request, curl, &headers);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, web_header_cb);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, &body->reply->head);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_cb);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
	code = curl_easy_perform(curl);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return code;
}

int
web_request(const struct web *web, const struct request *request, struct reply *ret_reply, struct error *err)
{
	unsigned attempts = request->attempts ? request->attempts : web->attempts;
	struct reply reply = {.body = NULL};
	struct body body = {.reply = &reply};
	char detail[CURL_ERROR_SIZE];
	CURLcode code = CURLE_OK;

	for (unsigned failed = 0; failed < attempts; failed++) {
		if (failed > 0)
			sleep_ms(web_backoff_ms(failed, reply.head.retry_after_ms, arc4random()));
		code = try_once(web, request, &body, detail);
		if (!(code == CURLE_OK ? web_may_retry_status(reply.head.status) : web_may_retry(code)))
			break;
		if (request->shown && code == CURLE_OK)
			say("%s: the server answers %ld", request->shown, reply.head.status);
		else if (request->shown)
			say("%s: %s", request->shown, web_explain(code, detail));
	}
	if (code != CURLE_OK) {
		reply_done(&reply);
		return error_set(
		    err, WEB_NOT_THERE, "%s", body.too_long ? "the answer is too long" : web_explain(code, detail));
	}
	if (!reply.body)
		reply.body = xstrdup("");
	*ret_reply = reply;
	return 0;
}

void
reply_done(struct reply *reply)
{
	reply_head_done(&reply->head);
	free(reply->body);
	reply->body = NULL;
	reply->length = 0;
}
