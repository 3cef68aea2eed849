/*
 * parcel - connections on their way to another process, as one channel record.
 *
 * Works on what is kept of them (kept.h) alone, so their owner can send them, and after its death its keeper.
 */
#ifndef HTTP_PARCEL_H
#define HTTP_PARCEL_H

#include "common/channel.h"
#include "common/util.h"
#include "http/kept.h"

struct http_parcel {
	unsigned n, n_parts;
	uint64_t n_bytes;
	struct channel_conn conns[CHANNEL_CONNS_MAX];
	int fds[CHANNEL_CONNS_MAX];
	struct iovec parts[2 * CHANNEL_CONNS_MAX]; /* point into their blocks */
};

static inline void
http_parcel_init(struct http_parcel *parcel)
{
	parcel->n = parcel->n_parts = 0;
	parcel->n_bytes = 0;
}

/* Add one. False when the parcel is full and must be sent first. */
MUSTCHECK bool http_parcel_add(struct http_parcel *parcel, const struct http_kept *kept);

/* Send it as channel_send does; an empty one not at all. Nothing is closed, nothing changed. 0 or a negative errno. */
MUSTCHECK int http_parcel_send(const struct http_parcel *parcel, int channel, enum channel_kind kind, uint32_t sequence,
    uint32_t flags, bool wait);

#endif
