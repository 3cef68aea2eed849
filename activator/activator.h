/*
 * activator - the process that holds connections and queues requests whenever replicas are busy.
 *
 * It owns every connection that no replica can serve at once: moved away from a long prediction, accepted while all
 * replicas are busy or none is ready, left behind by one that died, or with a request for another api than that of the
 * replica that accepted it. It reads and parses them, queues complete requests per api in the order of their arrival,
 * claims an idle replica for the oldest one, and sends it the request with the connection. It answers by itself what needs
 * no prediction, what waited too long (504), and what is too much (503).
 *
 * C only: no Python in this address space. One thread, one loop; it never blocks.
 *
 * activator.c is the loop and the way out; apis.c which apis there are; queue.c the requests of one api; peer.c the channel to
 * one replica; succession.c the channel between the activators of two cortexds, while one replaces the other.
 */
#ifndef ACTIVATOR_ACTIVATOR_H
#define ACTIVATOR_ACTIVATOR_H

#include <event2/event_struct.h>
#include <sys/types.h>

#include "common/activator_start.h"
#include "common/channel.h"
#include "common/metrics.h"
#include "common/scoreboard.h"
#include "http/conn.h"
#include "http/listener.h"

struct activator;

/* The replicas of an api, and those of its requests that wait. */
struct api {
	struct activator *activator;
	struct activator_api config;
	bool listed; /* while the apis of a reload are taken over: among them */
	struct scoreboard_api *words;
	struct metrics_api *metrics;
	TAILQ_HEAD(, peer) peers;
	struct http_conn_list queue; /* complete requests, the oldest first, by in_pending */
	unsigned n_queued;
	struct event
	    expire; /* pending while there is a queue: at the deadline of its head, or when it is to be tried again */
	bool try_again;        /* soon, for a replica is owed a request */
	struct event overflow; /* pending while the queue is longer than it may be for more than a moment */
	/* How fast its replicas are: predictions since a time not long ago. */
	int64_t counted_ns;
	uint64_t counted;
	double per_second; /* 0: not known */
};

/* One replica, as long as its channel lasts. */
struct peer {
	TAILQ_ENTRY(peer) in_api;
	struct api *api;
	struct scoreboard_slot *slot;
	uint32_t slot_number;
	int channel;
	struct event event;
	uint32_t sequence; /* of the last record */
	bool greeted;      /* it has sent a record on this channel: it reads it */
	bool out;          /* counts as one that cannot accept */
	bool was_long;     /* its last prediction was long, as far as we know */
	bool presumed;     /* so its present one was presumed to be long as well */
	bool owed;         /* was claimed for a request that could not be sent: no memory, no descriptor */
	bool broken;       /* cannot be sent to; its end is near */
};

struct activator {
	struct event_base *base;
	int epoll_fd;
	struct scoreboard *scoreboard;
	int scoreboard_fd;
	struct metrics_api *no_api;    /* where answers are counted that are for none */
	struct metrics_area *counting; /* the answer that is being sent */
	const struct api
	    *failed; /* a connection is being taken over whose prediction died with a replica of this one */
	struct http_memory memory;
	struct http_conns conns;
	struct http_routes routes;
	struct http_listener *listeners;
	bool *is_new; /* which of them not all replicas have: they are always waited for */
	int n_listeners;
	int *next_listeners; /* descriptors of those after a reload, until all have come */
	bool next_is_new[ACTIVATOR_LISTENERS_MAX];
	uint32_t n_next_listeners;
	bool accepts; /* from new clients. False: not before it is told */
	bool armed;   /* the listeners that are not new as well */
	bool closes_listeners;
	struct event disarm; /* pending while replicas can accept again */
	unsigned max_conns;

	struct activator_start start;
	struct api **apis; /* by their numbers; NULL: none has it */
	size_t n_apis;
	unsigned n_peers, n_out;
	struct channel_inbox inbox;
	struct http_departure departure;
	bool arriving; /* a connection is being taken over: the limits of queues are not for it */

	/* While one cortexd replaces another (succession.c). */
	int successor; /* the channel to the new activator, where all connections go; -1: none */
	uint32_t successor_sequence;
	int predecessor; /* the channel to the old one; -1: none */
	struct event predecessor_event;
	unsigned n_expected; /* connections from there that are counted on the scoreboard already */

	struct event control;
	struct event flush;
	bool flush_armed;
	struct event sigterm;
	int64_t sigterm_ms; /* when somebody else than the supervisor sent it first; 0: nobody has */
	pid_t parent;
	bool stopping;
};

/* Build everything from the descriptors that the process was started with. 0, or a negative errno and err. */
MUSTCHECK int activator_init(struct activator *activator, struct error *err);

/* Serve until told to stop and all is answered. */
void activator_run(struct activator *activator);

/* ---- activator.c, for the others ---- */

/* Is there a ready replica for every api? */
bool activator_is_ready(const struct activator *activator);

/* The state of a replica may have changed: wait for connections while no replica can, and a moment longer. */
void activator_consider_listening(struct activator *activator);

/* Accept what is there, armed or not: a wake-up may have died with its replica, or sleeps behind a long prediction. */
void activator_sweep(struct activator *activator);

/* A line "<status> POST <endpoint> <ms since arrival>" for a request that was answered here. */
void activator_log_answer(struct activator *activator, const struct api *api, int status, int64_t arrival_ns);

/* ---- apis.c ---- */

/* These are the apis from now on. Takes their texts out of *start. */
void apis_apply(struct activator *activator, struct activator_start *start);

/* The same, with a record APIS; takes the descriptor over. */
void apis_receive(struct activator *activator, int fd);

/* Requests that wait for an api that is not routed any more go where they belong; those that belong nowhere get a 404, if it has
 * no replicas either. */
void apis_route_queue(struct api *api);

/* ---- queue.c ---- */

void queue_init(struct api *api, struct activator *activator, unsigned number);
void queue_done(struct api *api); /* it must be empty */

/* A complete request. It is refused a moment later if there are too many. */
void queue_add(struct api *api, struct http_conn *conn);

/* Its client has gone. */
void queue_remove(struct api *api, struct http_conn *conn);

/* Give requests to idle replicas, as many as there are of both. To be called after every record and every new request. */
void queue_dispatch(struct api *api);

/* 503 for all of them. */
void queue_refuse_all(struct api *api);

/* Take all requests out, into an empty list; put one back, or into another queue, without any of the limits, and without looking
 * for a replica. */
void queue_take_all(struct api *api, struct http_conn_list *ret_all);
void queue_put(struct api *api, struct http_conn *conn);

/* ---- peer.c ---- */

/* There is a replica with this slot; the descriptor is taken over. */
void peer_add(struct activator *activator, uint32_t slot_number, int channel);

/* Claim it: true when it was idle, or still waits for a request that it is owed, and is ours now. */
MUSTCHECK bool peer_claim(struct peer *peer);

/* Send it the request of a connection, which it was claimed for. False: the connection is still here; and the replica is
 * about to end, or it is owed a request, and may be claimed for that in a moment. */
MUSTCHECK bool peer_send(struct peer *peer, struct http_conn *conn);

/* ---- succession.c ---- */

/* All connections are to go there from now on; the descriptor is taken over. */
void succession_take_successor(struct activator *activator, int channel);

/* After each turn, with a successor: send it all that is here. When it does not take them, there is no successor any more. */
void succession_hand_over(struct activator *activator);

/* About so many connections will come from there; the descriptor is taken over. */
void succession_take_predecessor(struct activator *activator, int channel, unsigned n_connections);

#endif
