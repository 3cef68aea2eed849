/*
 * moving - when a replica gives connections away, and which.
 *
 * To the activator, always: it knows which replica is idle. A prediction that takes long sends all other connections away
 * (moving_evacuate, in the helper thread), so that nobody waits behind it. A replica that has more to do than it can do
 * at once, while another one is idle, gives that one some of its own (moving_share). One that ends gives everything
 * (moving_leave). All of it happens in the turn of the thread that does it (turn.h).
 */
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/record.h"
#include "replica/server_internal.h"

#define IDLE_LONG_ENOUGH_NS 100000  /* so that those who are about to find work of their own are left alone */
#define WORK_AHEAD_NS       200000  /* of a request, beyond which it is better off elsewhere */
#define NO_REST_NS          1000000 /* without waiting, after which connections are shared; and between two times */

/*
 * The link broke while connections were on their way: they are all still here, and those with a complete request belong
 * into the queue again, by their arrival.
 */
static void
pend_again(struct server *server)
{
	struct http_conn *conn, *other;

	TAILQ_INIT(&server->pending);
	server->n_pending = 0;
	TAILQ_FOREACH (conn, &server->conns.in_state[HTTP_CONN_REQUEST], in_state) {
		if (conn == server->current)
			continue;
		TAILQ_FOREACH (other, &server->pending, in_pending)
			if (other->kept->arrival_ns > conn->kept->arrival_ns)
				break;
		if (other)
			TAILQ_INSERT_BEFORE(other, conn, in_pending);
		else
			TAILQ_INSERT_TAIL(&server->pending, conn, in_pending);
		server->n_pending++;
	}
}

/* Put it into the next record. */
static bool
pack(struct server *server, struct http_conn *conn)
{
	if (conn->state == HTTP_CONN_REQUEST)
		server_unpend(server, conn);
	return link_move(&server->link, conn);
}

/* Send what was packed. ok: nothing has failed so far. */
static bool
send_off(struct server *server, bool ok)
{
	if (ok && link_flush(&server->link))
		return true;
	pend_again(server);
	return false;
}

bool
moving_send(struct server *server, struct http_conn *conn)
{
	return link_is_up(&server->link) && send_off(server, pack(server, conn));
}

void
moving_send_soon(struct server *server, struct http_conn *conn)
{
	if (link_is_up(&server->link) && !pack(server, conn))
		pend_again(server);
}

void
moving_send_refused(struct server *server)
{
	struct http_conn *conn, *next;
	bool ok = true;

	for (conn = TAILQ_FIRST(&server->conns.in_state[HTTP_CONN_HEAD]); ok && conn; conn = next) {
		next = TAILQ_NEXT(conn, in_state);
		if (conn->parser.refused)
			ok = pack(server, conn);
	}
	send_off(server, ok);
}

bool
moving_flush(struct server *server)
{
	return !link_is_empty(&server->link) && send_off(server, true);
}

/* All connections but one, complete requests first, in the order of their arrival. Ends early when hurried. */
static bool
send_all_but(struct server *server, const struct http_conn *stays, bool may_be_hurried)
{
	static const enum http_conn_state order[] = {
	    HTTP_CONN_BODY, HTTP_CONN_HEAD, HTTP_CONN_IDLE, HTTP_CONN_WRITE, HTTP_CONN_LINGER};
	struct http_conn *conn, *next;
	bool ok = true;

	if (!link_is_up(&server->link))
		return false;
	while (ok && (conn = TAILQ_FIRST(&server->pending))) {
		if (may_be_hurried && turn_is_wanted_back(&server->turn))
			return send_off(server, ok);
		ok = pack(server, conn);
	}
	for (size_t i = 0; ok && i < N_ELEMENTS(order); i++)
		for (conn = TAILQ_FIRST(&server->conns.in_state[order[i]]); ok && conn; conn = next) {
			next = TAILQ_NEXT(conn, in_state);
			if (may_be_hurried && turn_is_wanted_back(&server->turn))
				return send_off(server, ok);
			if (conn != stays)
				ok = pack(server, conn);
		}
	return send_off(server, ok);
}

void
moving_evacuate(void *arg)
{
	struct server *server = arg;
	bool presumed = link_state(&server->link) == REPLICA_LONG;
	uint32_t sequence = server->link.sequence;

	/* The state before the record: the activator reads the one when it gets the other. Any record will do. */
	link_set_state(&server->link, REPLICA_LONG);
	if (!send_all_but(server, server->current, true))
		log_debug("connections stay here behind a long prediction: there is no activator");
	if (!presumed && server->link.sequence == sequence)
		link_send_note(&server->link, CHANNEL_STATE);
}

void
moving_answer_late(struct server *server, struct http_conn *conn, bool last)
{
	double seconds = (double)server->timeout_ns / 1e9;
	int64_t arrival_ns = conn->kept->arrival_ns;
	char *text = xasprintf("{\"error\": \"no prediction within %g s\"}", seconds);
	const struct http_answer answer = http_answer_json(504, text);

	if (last)
		http_conn_answer_last(conn, &answer);
	else
		http_conn_answer(conn, &answer);
	log_warning("504 POST %s: not answered within %g s (requests.timeout)", server->endpoint, seconds);
	log_prediction(NULL, 504, server->endpoint, clock_ns() - arrival_ns);
	log_flush();
	free(text);
}

void
moving_time_out(void *arg)
{
	struct server *server = arg;
	struct http_conn *conn = take_ptr(&server->current);

	moving_answer_late(server, conn, link_is_up(&server->link));
	if (conn->state != HTTP_CONN_CLOSED && !moving_send(server, conn))
		log_debug("a connection stays here behind a long prediction: there is no activator");
	if (record_send(REPLICA_FD_CONTROL, RECORD_OVERDUE, NULL) < 0)
		log_debug("the supervisor cannot be told");
}

bool
moving_leave(struct server *server)
{
	uint32_t sequence = server->link.sequence;

	if (!send_all_but(server, NULL, false))
		return false;
	if (server->link.sequence == sequence) /* we accept nothing any more, and the end may take its time */
		link_send_note(&server->link, CHANNEL_STATE);
	return true;
}

/* ---- sharing ---- */

/* Replicas of our api that have been idle for a moment; how many, and the fewest connections that one of them has. */
static unsigned
count_idle(const struct server *server, int64_t now_ns, unsigned *ret_fewest)
{
	const struct scoreboard_api *api = server->link.api;
	unsigned n_used = atomic_load_explicit(&api->n_used, memory_order_relaxed), n = 0;

	*ret_fewest = UINT32_MAX;
	for (unsigned i = 0; i < n_used; i++) {
		const struct scoreboard_slot *slot = &server->scoreboard->slots[api->first_slot + i];
		unsigned connections;

		if (slot == server->link.slot || atomic_load(&slot->state) != REPLICA_IDLE ||
		    atomic_load_explicit(&slot->idle_since_ns, memory_order_relaxed) > now_ns - IDLE_LONG_ENOUGH_NS)
			continue;
		connections = atomic_load_explicit(&slot->connections, memory_order_relaxed);
		*ret_fewest = MIN(*ret_fewest, connections);
		n++;
	}
	return n;
}

/* From the end of the queue. */
static void
share_requests(struct server *server, unsigned n)
{
	bool ok = true;

	while (ok && n-- > 0 && server->n_pending > 0)
		ok = pack(server, TAILQ_LAST(&server->pending, http_conn_list));
	send_off(server, ok);
}

static void
share_connections(struct server *server, unsigned n)
{
	struct http_conn *conn, *next;
	bool ok = true;

	moving_flush(server); /* who is to leave already stands among the idle ones, and must not be packed twice */
	while (ok && n > 0 && server->n_pending > 0) {
		ok = pack(server, TAILQ_LAST(&server->pending, http_conn_list));
		n--;
	}
	for (conn = TAILQ_FIRST(&server->conns.in_state[HTTP_CONN_IDLE]); ok && n > 0 && conn; conn = next, n--) {
		next = TAILQ_NEXT(conn, in_state);
		ok = pack(server, conn);
	}
	send_off(server, ok);
}

void
moving_share(struct server *server, int64_t now_ns)
{
	unsigned can_wait = (unsigned)(WORK_AHEAD_NS / MAX(server->predict_ns, 1000)) + 1;
	bool restless = now_ns - server->rested_ns > NO_REST_NS && now_ns - server->shared_ns > NO_REST_NS;
	unsigned n_idle, fewest, n_open = server->conns.n_open;

	if (!link_is_up(&server->link) || server->draining || (server->n_pending <= can_wait && !restless))
		return;
	n_idle = count_idle(server, now_ns, &fewest);
	if (n_idle > 0 && server->n_pending > can_wait)
		share_requests(server, MIN(server->n_pending - can_wait, n_idle));
	else if (n_idle > 0 && n_open >= fewest + 2)
		share_connections(server, (n_open - fewest) / 2);
	if (restless)
		server->shared_ns = now_ns;
}
