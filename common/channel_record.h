/*
 * channel_record - what a replica and the activator say to each other on their channel, as bytes.
 *
 *   REQUEST   activator -> replica   one connection with a complete request; the replica was claimed for it
 *   MOVE      replica -> activator   1 .. CHANNEL_CONNS_MAX connections, in any state
 *   IDLE      replica -> activator   look at my slot of the scoreboard: I am idle
 *   STATE     replica -> activator   look at my slot: a prediction is long, or I drain
 *
 * A connection is its descriptor (SCM_RIGHTS, in the order of the list), a struct channel_conn, and its bytes: those that
 * were read and not answered yet, then those of an answer that are not written yet. The bytes of all connections follow
 * the list, or lie in a sealed memfd that travels as one more descriptor (OUTSIDE) when they are many. Who receives a
 * connection owns it: there is never a second owner, so nothing has to be given back or confirmed.
 *
 * A replica numbers its records. After its death its keeper repeats those connections whose record may or may not have
 * left, under the number of that record and marked AGAIN: the activator drops what it has had already.
 *
 * Wire form: struct header, the list, the bytes; both ends are on the same machine, so it is in host order. They are the same build,
 * but for the activators of two cortexds while one replaces the other (MOVE): what changes that record changes HANDOVER_FORMAT
 * (supervisor/handover.h).
 * Pure: no descriptor is touched here. Any bytes are safe to decode; what does not make sense is -EBADMSG.
 */
#ifndef COMMON_CHANNEL_RECORD_H
#define COMMON_CHANNEL_RECORD_H

#include "common/util.h"

#define CHANNEL_CONNS_MAX  64
#define CHANNEL_INLINE_MAX 65536        /* bytes in the record itself */
#define CHANNEL_BYTES_MAX  (1ull << 40) /* of one connection at a time; a bound for arithmetic, not for memory */
#define CHANNEL_EVER_MAX   (1ull << 62) /* of one connection since its beginning */

enum channel_kind {
	CHANNEL_REQUEST = 1,
	CHANNEL_MOVE,
	CHANNEL_IDLE,
	CHANNEL_STATE,
};

enum channel_conn_state {
	CHANNEL_CONN_OPEN = 1, /* bytes of requests, perhaps a complete one, perhaps none */
	CHANNEL_CONN_FAILED,  /* the request at its front was being predicted when the replica died: its bytes are gone,
				   the client is to be told */
	CHANNEL_CONN_WRITING, /* the rest of an answer is to be written */
	CHANNEL_CONN_LINGERING, /* read and dropped until the client ends it */
};

/* Flags of a connection. */
enum {
	CHANNEL_PEER_ENDED = 1 << 0,  /* the client has shut down its side */
	CHANNEL_CLOSE_AFTER = 1 << 1, /* FAILED, WRITING: that answer is the last */
	CHANNEL_HTTP_1_0 = 1 << 2,    /* FAILED: the request spoke HTTP/1.0 */
	CHANNEL_CONTINUED = 1 << 3,   /* OPEN: 100 was sent already */
};
#define CHANNEL_CONN_FLAGS (CHANNEL_PEER_ENDED | CHANNEL_CLOSE_AFTER | CHANNEL_HTTP_1_0 | CHANNEL_CONTINUED)

struct channel_conn {
	uint32_t state;
	uint32_t flags;
	uint64_t received;  /* bytes since its beginning, n_request included */
	uint64_t sent;      /* bytes since its beginning */
	int64_t since_ms;   /* of its state, for its timeout; CLOCK_MONOTONIC */
	int64_t arrival_ns; /* when its first request was complete; 0: not. CLOCK_MONOTONIC */
	uint64_t n_request; /* bytes read and not answered */
	uint64_t n_answer;  /* bytes of an answer, not written */
};

struct channel_header {
	uint32_t kind;
	uint32_t flags; /* of the enum below */
	uint32_t sequence;
	uint32_t n_conns;
};

enum {
	CHANNEL_AGAIN = 1 << 0,
	CHANNEL_OUTSIDE = 1 << 1,
	CHANNEL_PRESUMED_LONG = 1 << 2, /* REQUEST: the replica's last prediction was long; it counts as LONG already */
};

#define CHANNEL_RECORD_MAX \
	(sizeof(struct channel_header) + CHANNEL_CONNS_MAX * sizeof(struct channel_conn) + CHANNEL_INLINE_MAX)

struct channel_record {
	enum channel_kind kind;
	bool again;
	bool outside; /* the last descriptor is a file with the bytes ... */
	int file;     /* ... which channel_release closes */
	bool presumed_long;
	uint32_t sequence;
	unsigned n_conns;
	struct channel_conn conns[CHANNEL_CONNS_MAX];
	const uint8_t *bytes; /* of all connections; inside the wire form, or the caller's to fetch when outside */
	uint64_t n_bytes;
};

/* 0, or -EBADMSG. n_fds: how many descriptors came along. */
MUSTCHECK int channel_record_decode(
    const uint8_t *wire, size_t length, unsigned n_fds, struct channel_record *ret_record);

/* The sum of the bytes of the connections; every length must be within CHANNEL_BYTES_MAX. */
uint64_t channel_record_bytes(const struct channel_conn *conns, unsigned n_conns);

#endif
