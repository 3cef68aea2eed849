/*
 * conn_move - connections that leave for another process, and such that arrive. See conn.h.
 *
 * The order on the way out: no event any more, then the record, then close. Whoever has a connection's record owns it, so
 * nothing is said to the client, and the last of our descriptors closing means nothing to it either.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "http/conn_internal.h"

bool
http_departure_add(struct http_departure *departure, struct http_conn *conn)
{
	unsigned n = departure->parcel.n;

	ASSERT(conn->state != HTTP_CONN_CLOSED && http_kept_phase(conn->kept) != HTTP_PHASE_PREDICTING);
	if (!http_parcel_add(&departure->parcel, conn->kept))
		return false;
	http_conn_wait_for(conn, 0);
	departure->who[n] = conn;
	return true;
}

int
http_departure_send(
    struct http_departure *departure, int channel, enum channel_kind kind, uint32_t sequence, uint32_t flags, bool wait)
{
	unsigned n = departure->parcel.n;
	int r;

	for (unsigned i = 0; i < n; i++)
		departure->who[i]->kept->leaving = sequence;
	r = http_parcel_send(&departure->parcel, channel, kind, sequence, flags, wait);
	if (r < 0) {
		http_departure_cancel(departure);
		return r;
	}
	for (unsigned i = 0; i < n; i++)
		http_conn_forget(departure->who[i]);
	http_departure_init(departure);
	return 0;
}

void
http_departure_cancel(struct http_departure *departure)
{
	struct http_conn *who[CHANNEL_CONNS_MAX];
	unsigned n = departure->parcel.n;

	memcpy(who, departure->who, n * sizeof(*who));
	http_departure_init(departure); /* one of them may have to leave again at once */
	for (unsigned i = 0; i < n; i++) {
		struct http_conn *conn = who[i];

		if (conn->state == HTTP_CONN_CLOSED)
			continue;
		conn->kept->leaving = 0;
		http_conn_watch(conn);
		if (http_conn_is_reading(conn) && !conn->processing)
			http_conn_process(conn); /* what was left unparsed because it was to move */
	}
}

/* ---- arriving ---- */

static bool
copy_request(struct http_conn *conn, const struct channel_conn *described, const uint8_t *bytes)
{
	size_t n = (size_t)described->n_request;

	if (n == 0)
		return true;
	if (http_conn_reserve(conn, n) < 0)
		return false;
	memcpy(http_conn_bytes(conn), bytes, n);
	conn->kept->received += n;
	return true;
}

static bool
copy_answer(struct http_conn *conn, const struct channel_conn *described, const uint8_t *bytes)
{
	struct iovec parts[2] = {{(void *)(uintptr_t)bytes, (size_t)described->n_answer}, {NULL, 0}};

	conn->kept->answer_end = conn->kept->sent + described->n_answer;
	return described->n_answer == 0 || http_conn_keep_rest(conn, parts, 0);
}

static const char failed_json[] = "{\"error\": \"the replica died while it ran this prediction\"}";

/* Answer the request at its front although it is not here. */
static void
answer_lost(struct http_conn *conn, const struct channel_conn *described, int status, const char *json, bool last)
{
	const struct http_answer answer = http_answer_json(status, json);

	http_parser_init(&conn->parser, NULL, NULL);
	conn->parser.keep_alive = !last;
	conn->parser.llhttp.http_minor = described->flags & CHANNEL_HTTP_1_0 ? 0 : 1;
	conn->parser.llhttp.method = HTTP_POST;
	http_conn_set_state(conn, HTTP_CONN_REQUEST);
	http_conn_answer_now(conn, &answer);
}

/* Its bytes could not be copied. Nothing that follows can be understood, and the rest of an answer cannot be made up. */
static void
give_up(struct http_conn *conn, const struct channel_conn *described)
{
	struct http_kept *kept = conn->kept;

	log_warning("out of memory for a connection with %llu bytes; ended it",
	    (unsigned long long)(described->n_request + described->n_answer));
	kept->received = kept->consumed = kept->request_end = described->received;
	if (described->state == CHANNEL_CONN_FAILED) {
		answer_lost(conn, described, 500, failed_json, true);
	} else if (described->state == CHANNEL_CONN_OPEN) {
		http_kept_set_phase(kept, HTTP_PHASE_OPEN);
		answer_lost(conn, described, 503, "{\"error\": \"there is no memory for this request now\"}", true);
	} else {
		http_conn_close(conn);
	}
}

/* Put it into the state that it had, as far as it goes without its socket. */
static void
resume(struct http_conn *conn, const struct channel_conn *described)
{
	struct http_kept *kept = conn->kept;

	switch ((enum channel_conn_state)described->state) {
	case CHANNEL_CONN_OPEN:
		kept->arrival_ns = described->arrival_ns;
		http_kept_set_phase(kept, HTTP_PHASE_OPEN);
		break;
	case CHANNEL_CONN_FAILED:
		http_kept_set_phase(kept, HTTP_PHASE_PREDICTING);
		answer_lost(conn, described, 500, failed_json, described->flags & CHANNEL_CLOSE_AFTER);
		break;
	case CHANNEL_CONN_WRITING:
		http_kept_set_phase(kept, HTTP_PHASE_ANSWERING);
		http_conn_set_state(conn, HTTP_CONN_WRITE);
		http_conn_wait_for(conn, EV_WRITE);
		break;
	case CHANNEL_CONN_LINGERING:
		http_kept_set_phase(kept, HTTP_PHASE_LINGERING);
		http_conn_set_state(conn, HTTP_CONN_LINGER);
		http_conn_wait_for(conn, EV_READ);
		break;
	}
}

struct http_conn *
http_conns_arrive(struct http_conns *conns, const struct channel_conn *described, int fd, const uint8_t *bytes)
{
	struct http_conn *conn = http_conn_new(conns, fd);
	struct http_kept *kept;
	bool fits;

	if (!conn) {
		close(fd);
		if (conns->n_everywhere)
			atomic_fetch_sub_explicit(conns->n_everywhere, 1, memory_order_relaxed);
		return NULL;
	}
	kept = conn->kept;
	kept->flags = described->flags;
	kept->received = kept->consumed = kept->request_end = described->received - described->n_request;
	kept->sent = described->sent;
	fits = copy_request(conn, described, bytes) && copy_answer(conn, described, bytes + described->n_request);
	http_conns_count_open(
	    conns, 1); /* not before it is about to be entered: until then a keeper sends the record back */
	if (!fits) {
		give_up(conn, described);
		return conn;
	}
	resume(conn, described);
	if (http_conn_is_reading(conn))
		http_conn_process(conn);
	if (conn->held && conn->state == HTTP_CONN_REQUEST && (conn->kept->flags & HTTP_KEPT_PEER_ENDED) &&
	    conns->callbacks->on_peer_ended)
		conns->callbacks->on_peer_ended(conn, conns->arg);
	/* Its time goes on: being moved about is not progress. */
	if (conn->state != HTTP_CONN_CLOSED && conn->state != HTTP_CONN_REQUEST &&
	    described->state != CHANNEL_CONN_FAILED)
		conn->kept->since_ms = MIN(described->since_ms, conn->kept->since_ms);
	return conn;
}
