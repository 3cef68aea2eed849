/*
 * parcel - see parcel.h.
 */
#include "http/parcel.h"

bool
http_parcel_add(struct http_parcel *parcel, const struct http_kept *kept)
{
	struct iovec bytes[2];
	uint64_t n_bytes;

	if (parcel->n == CHANNEL_CONNS_MAX)
		return false;
	http_kept_describe(kept, &parcel->conns[parcel->n], bytes);
	n_bytes = bytes[0].iov_len + bytes[1].iov_len;
	if (parcel->n > 0 && parcel->n_bytes + n_bytes > CHANNEL_INLINE_MAX)
		return false;
	for (int i = 0; i < 2; i++)
		if (bytes[i].iov_len > 0)
			parcel->parts[parcel->n_parts++] = bytes[i];
	parcel->fds[parcel->n++] = kept->fd;
	parcel->n_bytes += n_bytes;
	return true;
}

int
http_parcel_send(
    const struct http_parcel *parcel, int channel, enum channel_kind kind, uint32_t sequence, uint32_t flags, bool wait)
{
	const struct channel_message message = {
	    .kind = kind,
	    .sequence = sequence,
	    .flags = flags,
	    .n_conns = parcel->n,
	    .conns = parcel->conns,
	    .fds = parcel->fds,
	    .bytes = parcel->parts,
	    .n_bytes = parcel->n_parts,
	};

	return parcel->n > 0 ? channel_send(channel, &message, wait) : 0;
}
