/*
 * kept - what of a connection outlives its process.
 *
 * A replica can be killed at any instant. Its connections are not lost with it: their descriptors live on in its keeper
 * (replica/keeper.h), and everything else that must be known about them lies here, in memory that the keeper shares
 * (memory.h). The owner stores these fields in an order in which every instant makes sense; afterwards
 * http_kept_settle() works out what the last system call had done, and http_kept_describe() puts the connection into the
 * words of a channel record, for whoever goes on with it.
 *
 * Positions count the bytes of a connection from its very beginning, in both directions, as the kernel's own counters
 * (TCP_INFO) do, whoever owned it meanwhile.
 */
#ifndef HTTP_KEPT_H
#define HTTP_KEPT_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "common/channel_record.h"
#include "common/util.h"

enum http_phase {
	HTTP_PHASE_FREE,       /* no connection */
	HTTP_PHASE_OPEN,       /* reading, or a complete request that nobody has begun to answer */
	HTTP_PHASE_PREDICTING, /* the request at the front is with the predictor; no byte of its answer is out */
	HTTP_PHASE_ANSWERING,  /* an answer is being written, up to position answer_end */
	HTTP_PHASE_LINGERING,  /* the last answer is written and our side shut down */
};

enum {
	HTTP_KEPT_PEER_ENDED = CHANNEL_PEER_ENDED,   /* the client has shut down its side */
	HTTP_KEPT_CLOSE_AFTER = CHANNEL_CLOSE_AFTER, /* the answer to the request at the front is the last one */
	HTTP_KEPT_HTTP_1_0 = CHANNEL_HTTP_1_0,       /* that request speaks HTTP/1.0 */
	HTTP_KEPT_CONTINUED = CHANNEL_CONTINUED,     /* it was told to go on (100) */
	HTTP_KEPT_PREDICTED = 1 << 16,   /* ANSWERING: the answer is a prediction's, so it is not made again */
	HTTP_KEPT_OUT_PRIVATE = 1 << 17, /* out.data is not in the memory that is kept: it was too large */
};

/* A run of bytes: data[0] is at position base. */
struct http_block {
	char *data; /* of memory.h; NULL: none */
	size_t room;
	uint64_t base;
};

struct http_kept {
	_Atomic(enum http_phase) phase;
	uint32_t flags;
	int fd;
	uint32_t leaving;          /* the number of the record it leaves in; 0: it does not */
	volatile bool receiving;   /* recv is under way: `received` may lag behind */
	_Atomic(uint32_t) current; /* which of in[] holds what was read */
	struct http_block in[2];
	uint64_t received;     /* read up to here */
	uint64_t consumed;     /* the request at the front begins here */
	uint64_t request_end;  /* and ends here; valid once it is complete */
	uint64_t sent;         /* the socket has taken up to here */
	uint64_t answer_end;   /* ANSWERING: what it will have taken in the end */
	struct http_block out; /* what the socket did not take at once */
	int64_t since_ms;   /* of the state, or of its last progress: what its timeout counts from; CLOCK_MONOTONIC */
	int64_t arrival_ns; /* when the request at the front was complete; 0: it is not. CLOCK_MONOTONIC */
};

static inline const struct http_block *
http_kept_in(const struct http_kept *kept)
{
	return &kept->in[atomic_load_explicit(&kept->current, memory_order_relaxed)];
}

static inline enum http_phase
http_kept_phase(const struct http_kept *kept)
{
	return atomic_load_explicit(&kept->phase, memory_order_relaxed);
}

static inline void
http_kept_set_phase(struct http_kept *kept, enum http_phase phase)
{
	atomic_store_explicit(&kept->phase, phase, memory_order_release);
}

/*
 * The owner is dead: bring the fields up to what the kernel says was done last. False: the connection cannot be gone on
 * with (part of an answer is out and the rest is not here, or the descriptor is none of ours) and is to be closed.
 */
MUSTCHECK bool http_kept_settle(struct http_kept *kept);

/*
 * In the words of a record: where it stands, and its bytes as at most two runs (request, then answer; lengths may be 0).
 * A request that was with the predictor counts as failed.
 */
void http_kept_describe(const struct http_kept *kept, struct channel_conn *ret_conn, struct iovec ret_bytes[2]);

/* Is it one that may be a client's? */
bool http_is_stream_socket(int fd);

#endif
