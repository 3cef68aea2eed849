/*
 * counting - what a replica counts about its answers (common/metrics.h).
 *
 * on_answer and on_sent come around each answer, from whoever has the turn. What is known about the prediction that an answer is of, the
 * server has put into server->counting before.
 */
#include "replica/server_internal.h"

#include <string.h>
#include <sys/mman.h>

#include "common/clock.h"
#include "http/access.h"
#include "http/count.h"

static void
track(struct server *server)
{
	struct counting *counting = &server->counting;
	const struct prediction_answer *prediction = counting->prediction;

	switch (prediction ? prediction->tracked : TRACKED_NOTHING) {
	case TRACKED_NOTHING:
		break;
	case TRACKED_CLASS:
		if (prediction->class->number == TRACKED_NEW)
			prediction->class->number = metrics_find_class(counting->api, prediction->class->name);
		metrics_will_class(counting->metrics, prediction->class->number);
		break;
	case TRACKED_VALUE:
		metrics_will_value(counting->metrics, prediction->value);
		break;
	case TRACKED_WRONG:
		metrics_will_add(counting->metrics, METRIC_UNTRACKED, 1);
		break;
	}
}

void
counting_on_answer(struct http_conn *conn, const struct http_answer *answer, void *arg)
{
	struct server *server = arg;
	struct counting *counting = &server->counting;
	bool of_api = counting->prediction || http_count_is_of_api(conn);

	if (of_api && !counting->prediction && conn->kept->arrival_ns != 0 &&
	    http_parser_method(http_conn_request(conn)) == HTTP_POST)
		counting->times.total_ns = clock_ns() - conn->kept->arrival_ns;
	http_count_answer(counting->metrics, conn, answer, of_api, &counting->times);
	track(server);
	metrics_prepare(counting->metrics, http_conn_number(conn));
	if (conn->conns->access_log) {
		http_access_log(conn, answer, of_api ? server->api : NULL, server->replica, &counting->times);
		server_flush_soon(server);
	}
	counting->times = HTTP_TIMES_NONE;
	counting->prediction = NULL;
}

void
counting_on_sent(UNUSED struct http_conn *conn, bool sent, void *arg)
{
	struct server *server = arg;

	if (sent)
		metrics_commit(server->counting.metrics);
	else
		http_count_gone(server->counting.metrics);
}

int
counting_init(struct server *server, const struct start_record *start, int scoreboard_fd)
{
	struct counting *counting = &server->counting;
	int r;

	counting->times = HTTP_TIMES_NONE;
	r = metrics_map_place(scoreboard_fd, (uint32_t)start->slot, &counting->metrics);
	if (r < 0 || start->tracker != TRACKER_CLASSIFICATION)
		return r;
	return metrics_map_api(scoreboard_fd, server->scoreboard->slots[start->slot].api, &counting->api);
}

void
counting_keep_from_children(struct server *server)
{
	struct counting *counting = &server->counting;

	madvise(counting->metrics, sizeof(*counting->metrics), MADV_DONTFORK);
	if (counting->api)
		madvise(counting->api, sizeof(*counting->api), MADV_DONTFORK);
}

void
counting_done(struct server *server)
{
	metrics_unmap_place(server->counting.metrics);
	metrics_unmap_api(server->counting.api);
}
