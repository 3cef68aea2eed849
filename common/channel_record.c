/*
 * channel_record - see channel_record.h.
 */
#include "common/channel_record.h"

#include <errno.h>
#include <string.h>

uint64_t
channel_record_bytes(const struct channel_conn *conns, unsigned n_conns)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n_conns; i++)
		sum += conns[i].n_request + conns[i].n_answer;
	return sum;
}

static bool
conn_makes_sense(const struct channel_conn *conn)
{
	if (conn->n_request > CHANNEL_BYTES_MAX || conn->n_answer > CHANNEL_BYTES_MAX ||
	    conn->received > CHANNEL_EVER_MAX || conn->sent > CHANNEL_EVER_MAX || conn->n_request > conn->received ||
	    (conn->flags & ~(uint32_t)CHANNEL_CONN_FLAGS) || conn->since_ms < 0 || conn->arrival_ns < 0)
		return false;
	switch (conn->state) {
	case CHANNEL_CONN_OPEN:
		return conn->n_answer == 0 && (conn->arrival_ns == 0 || conn->n_request > 0);
	case CHANNEL_CONN_FAILED:
		return conn->n_answer == 0 && conn->arrival_ns == 0;
	case CHANNEL_CONN_WRITING:
		return conn->n_answer > 0 && conn->arrival_ns == 0;
	case CHANNEL_CONN_LINGERING:
		return conn->n_answer == 0 && conn->n_request == 0 && conn->arrival_ns == 0;
	default:
		return false;
	}
}

/* How many connections may this kind bring? */
static bool
count_makes_sense(const struct channel_header *header)
{
	switch (header->kind) {
	case CHANNEL_REQUEST:
		return header->n_conns == 1;
	case CHANNEL_MOVE:
		return header->n_conns >= 1 && header->n_conns <= CHANNEL_CONNS_MAX;
	case CHANNEL_IDLE:
	case CHANNEL_STATE:
		return header->n_conns == 0;
	default:
		return false;
	}
}

int
channel_record_decode(const uint8_t *wire, size_t length, unsigned n_fds, struct channel_record *ret_record)
{
	struct channel_record *record = ret_record;
	struct channel_header header;
	size_t list;

	if (length < sizeof(header))
		return -EBADMSG;
	memcpy(&header, wire, sizeof(header));
	if (!count_makes_sense(&header) ||
	    (header.flags & ~(uint32_t)(CHANNEL_AGAIN | CHANNEL_OUTSIDE | CHANNEL_PRESUMED_LONG)) ||
	    ((header.flags & CHANNEL_PRESUMED_LONG) && header.kind != CHANNEL_REQUEST))
		return -EBADMSG;
	record->kind = (enum channel_kind)header.kind;
	record->again = header.flags & CHANNEL_AGAIN;
	record->outside = header.flags & CHANNEL_OUTSIDE;
	record->presumed_long = header.flags & CHANNEL_PRESUMED_LONG;
	record->sequence = header.sequence;
	record->n_conns = header.n_conns;
	list = header.n_conns * sizeof(struct channel_conn);
	if (n_fds != header.n_conns + record->outside || length < sizeof(header) + list)
		return -EBADMSG;
	memcpy(record->conns, wire + sizeof(header), list);
	for (unsigned i = 0; i < record->n_conns; i++)
		if (!conn_makes_sense(&record->conns[i]))
			return -EBADMSG;
	record->n_bytes = channel_record_bytes(record->conns, record->n_conns);
	record->bytes = wire + sizeof(header) + list;
	length -= sizeof(header) + list;
	if (record->outside ? length != 0 || record->n_bytes == 0 : length != record->n_bytes)
		return -EBADMSG;
	if (record->kind == CHANNEL_REQUEST &&
	    (record->conns[0].state != CHANNEL_CONN_OPEN || record->conns[0].arrival_ns == 0))
		return -EBADMSG;
	return 0;
}
