/*
 * web - requests by libcurl: what all of them have in common, and the small ones, whose answer fits into memory.
 *
 * A request is repeated when that may help: no connection, a connection that breaks or stands still, 408, 429 and 5xx; with an
 * exponential backoff, half of it jitter. Nothing here waits longer
 * than that: a connection has 10 s to be made, and each stall_s without a kilobyte a second ends an attempt.
 */
#ifndef FETCH_WEB_H
#define FETCH_WEB_H

#include <curl/curl.h>

#include "common/error.h"
#include "common/util.h"

#define WEB_REPLY_MAX   (16 << 20) /* bytes of an answer in memory */
#define WEB_ERROR_MAX   (64 << 10) /* of an error's */
#define WEB_HEADERS_MAX 8
#define WEB_NOT_THERE   (-EHOSTUNREACH) /* the other side does not answer, or not sensibly; a later time may be better */

struct web {
	unsigned attempts;
	long stall_s;
	const char *ca_file; /* NULL: the system's */
};

/* Who asks, of AWS Signature Version 4. access_key NULL: nobody, unsigned. */
struct identity {
	char *access_key;
	char *secret_key;
	char *token; /* of temporary credentials, or NULL */
};

struct request {
	const char *method; /* NULL: GET */
	const char *url;
	const char *headers[WEB_HEADERS_MAX]; /* "Name: value"; NULL: no more */
	const struct identity *identity;      /* S3's; NULL: it is none of S3's */
	const char *region;
	bool follows;      /* redirects; from https to nothing less */
	bool is_local;     /* of this machine or its platform: no proxy */
	long timeout_ms;   /* of one attempt; 0: as long as something comes */
	unsigned attempts; /* 0: those of web */
	const char *shown; /* what failed attempts are said of; NULL: nothing is said */
};

/* What stands above the body. */
struct reply_head {
	long status;
	int64_t length;         /* Content-Length; -1: not said */
	int64_t range_first;    /* Content-Range; -1: none */
	int64_t range_of;       /* and of how much; -1: not said */
	int64_t retry_after_ms; /* -1: not said */
	bool is_chunked;
	bool is_encrypted; /* with a key of its own: its ETag is no MD5 */
	char *etag;
	char *modified; /* Last-Modified */
	char *bucket_region;
};

struct reply {
	struct reply_head head;
	char *body; /* with a NUL behind it */
	size_t length;
};

/* Set a handle up for a request; *ret_headers is for curl_slist_free_all when it is done. */
void web_set_up(const struct web *web, const struct request *request, CURL *curl, struct curl_slist **ret_headers);

/* CURLOPT_HEADERFUNCTION; arg is a struct reply_head. Each status line begins it anew. */
size_t web_header_cb(char *line, size_t size, size_t n, void *arg);
void reply_head_done(struct reply_head *head);

/* May the same request have another outcome in a moment? */
bool web_may_retry(CURLcode code);
bool web_may_retry_status(long status);

/* How long until the next attempt, after so many that failed (1 or more). asked_ms: what the server wants, or -1. */
int64_t web_backoff_ms(unsigned failed, int64_t asked_ms, uint32_t random);

/* In words: why did a transfer fail? detail is CURLOPT_ERRORBUFFER. */
const char *web_explain(CURLcode code, const char *detail);

/* Do it. 0 and *ret_reply, whatever its status (release with reply_done); or WEB_NOT_THERE and err: there was none. */
MUSTCHECK int web_request(
    const struct web *web, const struct request *request, struct reply *ret_reply, struct error *err);
void reply_done(struct reply *reply);

#endif
