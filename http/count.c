/*
 * count - see count.h.
 */
#include "http/count.h"

bool
http_count_is_of_api(const struct http_conn *conn)
{
	return http_conn_request(conn)->head_complete && conn->route.kind == HTTP_ROUTE_API;
}

/* What some statuses mean here. */
static void
will_add_meaning(struct metrics_area *area, int status)
{
	switch (status) {
	case 406:
		metrics_will_add(area, METRIC_EXCEPTIONS, 1);
		break;
	case 503:
		metrics_will_add(area, METRIC_REJECTED, 1);
		break;
	case 504:
		metrics_will_add(area, METRIC_TIMED_OUT, 1);
		break;
	default:
		break;
	}
}

void
http_count_answer(struct metrics_area *area, const struct http_conn *conn, const struct http_answer *answer,
    bool of_api, const struct http_times *times)
{
	const struct http_kept *kept = conn->kept;

	metrics_begin(area);
	metrics_will_add(area, metrics_class_of(answer->status, !of_api), 1);
	if (!of_api)
		return;
	metrics_will_add(area, METRIC_BYTES_IN, http_conn_request(conn)->request_length);
	metrics_will_add(area, METRIC_BYTES_OUT, kept->answer_end - kept->sent);
	if (times->queue_ns >= 0)
		metrics_will_observe(area, METRICS_QUEUE, times->queue_ns);
	if (times->predict_ns >= 0)
		metrics_will_observe(area, METRICS_PREDICT, times->predict_ns);
	if (times->total_ns >= 0)
		metrics_will_observe(area, METRICS_TOTAL, times->total_ns);
	if (answer->status != 200)
		will_add_meaning(area, answer->status);
}

void
http_count_gone(struct metrics_area *area)
{
	metrics_cancel(area);
	metrics_add(area, METRIC_CLIENT_GONE, 1);
}
