/*
 * count - what an answer adds to the metrics of its api (common/metrics.h).
 *
 * For the callbacks on_answer and on_sent of connections (conn.h): http_count_answer names what will be counted, the owner adds what
 * only it knows, then metrics_prepare with http_conn_number(), the answer is sent, then metrics_commit. Called by the thread that the connections
 * belong to.
 */
#ifndef HTTP_COUNT_H
#define HTTP_COUNT_H

#include "common/metrics.h"
#include "http/conn.h"

/* In ns; -1: there was none, or it is not known. */
struct http_times {
	int64_t queue_ns;
	int64_t predict_ns;
	int64_t total_ns;
};

#define HTTP_TIMES_NONE ((struct http_times){-1, -1, -1})

/* Is the request at the front one for an api, as far as it was read? */
bool http_count_is_of_api(const struct http_conn *conn);

/* metrics_begin, and everything that the answer itself says. of_api: count it as one of an api. */
void http_count_answer(struct metrics_area *area, const struct http_conn *conn, const struct http_answer *answer,
    bool of_api, const struct http_times *times);

/* It was not sent after all: the client is gone. */
void http_count_gone(struct metrics_area *area);

#endif
