/*
 * queue - the requests of one api that wait for a replica.
 *
 * Sorted by arrival: what comes from a replica had arrived there before. The limit is for new requests only; one that was
 * accepted into the system once is never refused because of where it waits. And it is a limit to waiting: requests that
 * find the queue full are refused only if they have no place in it a moment later. When a replica with a thousand busy
 * clients hands them away because of one slow prediction, all of them ask here at once, and are served in no time.
 *
 * Rule (docs/dataplane.md): `waiting` on the scoreboard is the arrival of the head, stored before the states are scanned a
 * second time, and each time the head changes. A replica stores its state and then loads `waiting`. So one of the two sees
 * the other, and no request waits while a replica is idle.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "activator/activator.h"
#include "common/clock.h"
#include "common/log.h"

#define COUNT_NS        1000000000 /* over which the rate of predictions is measured */
#define RETRY_AFTER_MAX 60
#define OVERFLOW_NS     100000000 /* how long a new request may stand behind a full queue */
#define TRY_AGAIN_US    10000     /* when a request could not be sent, for want of memory or descriptors */

/* ---- answers ---- */

static void
answer(struct api *api, struct http_conn *conn, int status, const char *json, const char *fields)
{
	int64_t arrival_ns = conn->kept->arrival_ns;
	struct http_answer a = http_answer_json(status, json);

	a.fields = fields;
	http_conn_answer(conn, &a);
	activator_log_answer(api->activator, api, status, arrival_ns);
}

/* Predictions of all replicas of the api so far. Those of a replica that died drop out, so this may go back. */
static uint64_t
count_predictions(const struct api *api)
{
	const struct peer *peer;
	uint64_t sum = 0;

	TAILQ_FOREACH (peer, &api->peers, in_api)
		sum += atomic_load_explicit(&peer->slot->predictions, memory_order_relaxed);
	return sum;
}

/* Keep the measured rate up to date: a mean over the last second or two in which there was a queue. */
static void
measure(struct api *api, int64_t now_ns)
{
	uint64_t count;

	if (now_ns - api->counted_ns < COUNT_NS)
		return;
	count = count_predictions(api);
	if (now_ns - api->counted_ns < 3ll * COUNT_NS && count >= api->counted)
		api->per_second = (double)(count - api->counted) * 1e9 / (double)(now_ns - api->counted_ns);
	api->counted_ns = now_ns;
	api->counted = count;
}

/* In how many seconds will those who wait now have been served? */
static int
retry_after(const struct api *api)
{
	double seconds = api->per_second > 0 ? (api->n_queued + 1) / api->per_second + 0.999 : 1;

	return (int)MIN(MAX(seconds, 1), RETRY_AFTER_MAX);
}

static void
refuse(struct api *api, struct http_conn *conn, const char *why)
{
	char fields[64], json[128];

	snprintf(fields, sizeof(fields), "Retry-After: %d\r\n", retry_after(api));
	snprintf(json, sizeof(json), "{\"error\": \"%s\"}", why);
	answer(api, conn, 503, json, fields);
}

/* ---- the order ---- */

/* The head has changed, or there is none any more. */
static void
publish(struct api *api, bool waits)
{
	const struct http_conn *head = TAILQ_FIRST(&api->queue);

	atomic_store(&api->words->waiting_ns, head && waits ? head->kept->arrival_ns : 0);
	atomic_store_explicit(&api->words->n_queued, api->n_queued, memory_order_relaxed);
}

/* Wake up at the deadline of the head, or to try again. */
static void
arm_expire(struct api *api)
{
	const struct http_conn *head = TAILQ_FIRST(&api->queue);
	int64_t wait_us;
	struct timeval wait;

	if (!head) {
		evtimer_del(&api->expire);
		return;
	}
	wait_us = (head->kept->arrival_ns - clock_ns()) / 1000 + api->config.timeout_ms * 1000 + 1000;
	wait_us = MAX(MIN(wait_us, api->try_again ? TRY_AGAIN_US : INT64_MAX), 0);
	wait = (struct timeval){.tv_sec = wait_us / 1000000, .tv_usec = wait_us % 1000000};
	evtimer_add(&api->expire, &wait);
}

static void
insert(struct api *api, struct http_conn *conn)
{
	struct http_conn *before = TAILQ_LAST(&api->queue, http_conn_list);

	while (before && before->kept->arrival_ns > conn->kept->arrival_ns)
		before = TAILQ_PREV(before, http_conn_list, in_pending);
	if (before)
		TAILQ_INSERT_AFTER(&api->queue, before, conn, in_pending);
	else
		TAILQ_INSERT_HEAD(&api->queue, conn, in_pending);
	api->n_queued++;
}

static void
take_out(struct api *api, struct http_conn *conn)
{
	TAILQ_REMOVE(&api->queue, conn, in_pending);
	api->n_queued--;
}

static void
on_expire_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct api *api = arg;
	int64_t now_ns = clock_ns();
	struct http_conn *head;
	char json[128];

	snprintf(json, sizeof(json), "{\"error\": \"no replica was free within %g s\"}",
	    (double)api->config.timeout_ms / 1000);
	while (
	    (head = TAILQ_FIRST(&api->queue)) && head->kept->arrival_ns + api->config.timeout_ms * 1000000 <= now_ns) {
		take_out(api, head);
		answer(api, head, 504, json, NULL);
	}
	queue_dispatch(api);
}

static void
arm_overflow(struct api *api)
{
	static const struct timeval moment = {0, OVERFLOW_NS / 1000};

	if (api->n_queued > (unsigned)api->config.max_queue_length && !evtimer_pending(&api->overflow, NULL))
		evtimer_add(&api->overflow, &moment);
}

/* Refuse those behind the last place that have stood there for long enough. */
static void
on_overflow_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct api *api = arg;
	unsigned max = (unsigned)api->config.max_queue_length, n = api->n_queued > max ? api->n_queued - max : 0;
	struct http_conn *conn = TAILQ_LAST(&api->queue, http_conn_list), *before;
	struct http_conn_list refused = TAILQ_HEAD_INITIALIZER(refused);
	int64_t now_ns = clock_ns();

	for (; n-- > 0; conn = before) {
		before = TAILQ_PREV(conn, http_conn_list, in_pending);
		if (conn->mark || now_ns - conn->kept->arrival_ns < OVERFLOW_NS)
			continue;
		take_out(api, conn);
		TAILQ_INSERT_HEAD(&refused, conn, in_pending);
	}
	/* Only now: the next request of a connection that is answered may come at once, and change the queue. */
	while ((conn = TAILQ_FIRST(&refused))) {
		TAILQ_REMOVE(&refused, conn, in_pending);
		refuse(api, conn, "too many requests wait for this api");
	}
	publish(api, true);
	arm_expire(api);
	arm_overflow(api);
}

void
queue_init(struct api *api, struct activator *activator, unsigned number)
{
	api->activator = activator;
	api->words = &activator->scoreboard->apis[number];
	TAILQ_INIT(&api->peers);
	TAILQ_INIT(&api->queue);
	evtimer_assign(&api->expire, activator->base, on_expire_cb, api);
	evtimer_assign(&api->overflow, activator->base, on_overflow_cb, api);
	atomic_store(&api->words->waiting_ns, 0);
}

void
queue_done(struct api *api)
{
	ASSERT(TAILQ_EMPTY(&api->queue));
	evtimer_del(&api->expire);
	evtimer_del(&api->overflow);
	atomic_store(&api->words->waiting_ns, 0);
}

void
queue_take_all(struct api *api, struct http_conn_list *ret_all)
{
	TAILQ_CONCAT(ret_all, &api->queue, in_pending);
	api->n_queued = 0;
}

void
queue_put(struct api *api, struct http_conn *conn)
{
	conn->mark = true;
	insert(api, conn);
}

void
queue_add(struct api *api, struct http_conn *conn)
{
	conn->mark = api->activator->arriving;
	insert(api, conn);
	measure(api, clock_ns());
	queue_dispatch(api);
	arm_overflow(api);
}

void
queue_remove(struct api *api, struct http_conn *conn)
{
	take_out(api, conn);
	publish(api, true);
	arm_expire(api);
}

void
queue_refuse_all(struct api *api)
{
	struct http_conn *conn;

	while ((conn = TAILQ_FIRST(&api->queue))) {
		take_out(api, conn);
		refuse(api, conn, "the server is stopping");
	}
	publish(api, false);
	arm_expire(api);
}

/* ---- giving out ---- */

/* The idle replica with the fewest connections, claimed; or NULL. */
static struct peer *
claim_idle(struct api *api)
{
	for (;;) {
		struct peer *peer, *best = NULL;
		unsigned fewest = UINT32_MAX;

		TAILQ_FOREACH (peer, &api->peers, in_api) {
			unsigned connections;

			if (!peer->greeted || peer->broken ||
			    (atomic_load(&peer->slot->state) != REPLICA_IDLE && !peer->owed))
				continue;
			connections = atomic_load_explicit(&peer->slot->connections, memory_order_relaxed);
			if (!best || connections < fewest) {
				best = peer;
				fewest = connections;
			}
		}
		if (!best || peer_claim(best))
			return best;
	}
}

void
queue_dispatch(struct api *api)
{
	bool told = atomic_load_explicit(&api->words->waiting_ns, memory_order_relaxed) != 0;
	struct http_conn *head;

	api->try_again = false;
	while (!api->try_again && (head = TAILQ_FIRST(&api->queue))) {
		struct peer *peer = claim_idle(api);

		if (!peer && !told) {
			publish(api, true);
			told = true;
			peer = claim_idle(api); /* who went idle since the first look has not seen it */
		}
		if (!peer)
			break;
		take_out(api, head);
		if (!peer_send(peer, head)) {
			insert(api, head);
			api->try_again = peer->owed;
		}
	}
	publish(api, true);
	arm_expire(api);
}
