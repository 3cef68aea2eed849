/*
 * succession - the channel between the activators of two cortexds, while the new one replaces the old (supervisor/upgrade.h).
 *
 * The old one sends everything that it has, and whatever its replicas still give it as they drain: idle connections, half-read
 * requests, complete ones with their time of arrival, answers that are not written yet. The new one takes them as if they came
 * from replicas of its own: they queue by arrival, and no limit of a queue is for them. Nobody answers, on either side.
 *
 * Each cortexd counts the open connections of all its processes, to stay within the descriptors that one process may have. Those
 * that are to come are counted by the new one before it accepts any itself, so that there is a descriptor for each of them.
 *
 * The old activator sends with patience: it has nothing else to do any more. If the new one does not take what it is sent, there
 * is no successor, and the old one keeps what it has.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "activator/activator.h"
#include "common/fd.h"
#include "common/log.h"

/* ---- the old one ---- */

void
succession_take_successor(struct activator *activator, int channel)
{
	fd_close(&activator->successor);
	activator->successor = channel;
	activator->successor_sequence = 0;
}

/* Send what is packed. False: there is no successor any more, and what was packed is still here. */
static bool
send_off(struct activator *activator)
{
	unsigned n = activator->departure.parcel.n;
	int r;

	if (n == 0)
		return true;
	r = http_departure_send(
	    &activator->departure, activator->successor, CHANNEL_MOVE, ++activator->successor_sequence, 0, true);
	if (r < 0) {
		log_warning("cannot hand connections over to the new cortexd: %s; keeping them", strerror(-r));
		fd_close(&activator->successor);
		return false;
	}
	atomic_fetch_sub(&activator->scoreboard->connections, (int32_t)n);
	return true;
}

static bool
pack(struct activator *activator, struct http_conn *conn)
{
	if (http_departure_add(&activator->departure, conn))
		return true;
	return send_off(activator) && http_departure_add(&activator->departure, conn);
}

/* The requests of an api, in their order. False: they are not in its queue any more, and some are still here. */
static bool
hand_over_queue(struct api *api)
{
	struct http_conn_list all = TAILQ_HEAD_INITIALIZER(all);
	struct http_conn *conn;
	bool ok = true;

	queue_take_all(api, &all);
	TAILQ_FOREACH (conn, &all, in_pending) {
		ok = pack(api->activator, conn);
		if (!ok)
			break;
	}
	return ok && send_off(api->activator);
}

/* All that have a complete request belong into a queue. */
static void
queue_again(struct activator *activator)
{
	struct http_conn_list all;
	struct http_conn *conn;

	for (size_t i = 0; i < activator->n_apis; i++)
		if (activator->apis[i]) {
			TAILQ_INIT(&all);
			queue_take_all(activator->apis[i], &all);
		}
	TAILQ_FOREACH (conn, &activator->conns.in_state[HTTP_CONN_REQUEST], in_state)
		queue_put(activator->apis[conn->route.api], conn);
	for (size_t i = 0; i < activator->n_apis; i++)
		if (activator->apis[i])
			queue_dispatch(activator->apis[i]);
}

void
succession_hand_over(struct activator *activator)
{
	static const enum http_conn_state order[] = {
	    HTTP_CONN_BODY, HTTP_CONN_HEAD, HTTP_CONN_IDLE, HTTP_CONN_WRITE, HTTP_CONN_LINGER};
	struct http_conn *conn, *next;
	bool ok = true;

	for (size_t i = 0; ok && i < activator->n_apis; i++)
		if (activator->apis[i] && !TAILQ_EMPTY(&activator->apis[i]->queue)) {
			ok = hand_over_queue(activator->apis[i]);
			queue_dispatch(activator->apis[i]); /* nobody waits here any more */
		}
	if (!ok) {
		queue_again(activator);
		return;
	}
	for (size_t i = 0; ok && i < N_ELEMENTS(order); i++)
		for (conn = TAILQ_FIRST(&activator->conns.in_state[order[i]]); ok && conn; conn = next) {
			next = TAILQ_NEXT(conn, in_state);
			ok = pack(activator, conn);
		}
	if (ok)
		send_off(activator);
}

/* ---- the new one ---- */

static void
end_predecessor(struct activator *activator)
{
	event_del(&activator->predecessor_event);
	fd_close(&activator->predecessor);
	atomic_fetch_sub(&activator->scoreboard->connections, (int32_t)activator->n_expected);
	log_debug("the old cortexd has handed over all of its clients (%u less than expected)", activator->n_expected);
	activator->n_expected = 0;
}

static void
take_connections(struct activator *activator, const struct channel_record *record, const int *fds)
{
	const uint8_t *bytes = record->bytes;

	for (unsigned i = 0; i < record->n_conns; i++) {
		const struct channel_conn *conn = &record->conns[i];

		if (activator->n_expected > 0)
			activator->n_expected--;
		else
			atomic_fetch_add(&activator->scoreboard->connections, 1);
		activator->arriving = conn->arrival_ns != 0;
		http_conns_arrive(&activator->conns, conn, fds[i], bytes);
		activator->arriving = false;
		bytes += conn->n_request + conn->n_answer;
	}
}

static void
on_predecessor_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct activator *activator = arg;
	struct channel_record record;
	int fds[CHANNEL_CONNS_MAX], r;

	r = channel_receive(activator->predecessor, &activator->inbox, &record, fds);
	if (r == 1) {
		if (record.kind == CHANNEL_MOVE)
			take_connections(activator, &record, fds);
		else
			r = -EBADMSG;
		for (unsigned i = 0; r < 0 && i < record.n_conns; i++)
			close(fds[i]);
		channel_release(&activator->inbox, &record);
	}
	if (r == -EMFILE || r == -ENOMEM) {
		log_error("lost what the old cortexd handed over: %s", strerror(-r));
	} else if (r != 1 && r != -EAGAIN) {
		if (r < 0)
			log_error("bad record from the old cortexd; nothing more is taken over from it");
		end_predecessor(activator);
	}
}

void
succession_take_predecessor(struct activator *activator, int channel, unsigned n_connections)
{
	if (activator->predecessor >= 0)
		end_predecessor(activator);
	activator->predecessor = channel;
	activator->n_expected = MIN(n_connections, activator->max_conns);
	atomic_fetch_add(&activator->scoreboard->connections, (int32_t)activator->n_expected);
	event_assign(&activator->predecessor_event, activator->base, channel, EV_READ | EV_PERSIST, on_predecessor_cb,
	    activator);
	if (event_add(&activator->predecessor_event, NULL) < 0) {
		log_error("cannot watch the channel to the old cortexd");
		end_predecessor(activator);
	}
}
