/*
 * access - the access log (config: log.access): a line for each answer, from whoever gives it.
 *
 *	127.0.0.1 - - [30/Nov/2026:05:00:00 +0000] "POST /shop/iris HTTP/1.1" 200 12 "-" "curl/8.5.0" 9f86d081884c7d65 0.021 0.345 0.371 iris
 *
 * is the combined form, then the request id, the milliseconds in the queue, in predict() and in all, and the api. What is not known is "-".
 * Or JSON, with a name for each. Lines are gathered like status lines (common/log.h): no system call of their own, but for one
 * getpeername for each connection. Called by the thread that the connections belong to.
 */
#ifndef HTTP_ACCESS_H
#define HTTP_ACCESS_H

#include "http/conn.h"
#include "http/count.h"

/* From on_answer, when conns->access_log. api: whose request it is, or NULL; replica: who answers, or -1: no replica. */
void http_access_log(struct http_conn *conn, const struct http_answer *answer, const char *api, int replica,
    const struct http_times *times);

/* 16 hexadecimal digits for a request that has no id. Different in all processes. */
#define HTTP_REQUEST_ID_MADE 16
void http_access_make_id(char to[HTTP_REQUEST_ID_MADE]);

#endif
