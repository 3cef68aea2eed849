/*
 * channel - sending and receiving channel records (channel_record.h) with their descriptors.
 *
 * A channel is a SOCK_SEQPACKET socketpair between one replica and the activator. Both ends are blocking descriptors:
 * receiving never waits; a replica's send waits while the channel is full, with a limit (channel_prepare), because a
 * record may not be dropped; the activator's send need not wait, for at most one REQUEST is in a channel (waiting for
 * POLLOUT is no way: it comes back only when three quarters are free).
 */
#ifndef COMMON_CHANNEL_H
#define COMMON_CHANNEL_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "common/channel_record.h"
#include "common/util.h"

#define CHANNEL_SEND_TIMEOUT_MS 5000
#define CHANNEL_FDS_MAX         (CHANNEL_CONNS_MAX + 1)

/* Room for one record as it was received. Whoever keeps it where another process can see it (replica/keeper.h) loses
 * nothing when it dies between the system call and the decoding. */
struct channel_inbox {
	size_t length; /* of what is in wire; 0: nothing, or it was not written down any more */
	_Alignas(struct channel_conn) uint8_t wire[CHANNEL_RECORD_MAX];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
};

/* What one send carries. */
struct channel_message {
	enum channel_kind kind;
	uint32_t sequence;
	uint32_t flags; /* CHANNEL_AGAIN, CHANNEL_PRESUMED_LONG */
	unsigned n_conns;
	const struct channel_conn *conns;
	const int *fds;            /* of the connections; stay the caller's */
	const struct iovec *bytes; /* in the order of the connections */
	unsigned n_bytes;          /* of these, at most 2 * n_conns */
};

/* Make a pair: larger buffers, and a limit to waiting in send. 0 or a negative errno. */
MUSTCHECK int channel_pair(int ret_fds[2]);

/* 0 or a negative errno: -EPIPE the peer is gone, -EAGAIN it does not read. wait: whether to wait until there is room. */
MUSTCHECK int channel_send(int fd, const struct channel_message *message, bool wait);

/*
 * Receive one record without waiting. 1: *ret_record, and its descriptors in fds, close-on-exec and the caller's; record
 * bytes are in the inbox, or in a file and a mapping that channel_release undoes. 0: the peer is gone and everything it sent was
 * read. Negative errno: -EAGAIN nothing there now, -EBADMSG nonsense (its descriptors are closed), -EMFILE its descriptors
 * found no room in this process and are lost, -ENOMEM likewise.
 */
MUSTCHECK int channel_receive(
    int fd, struct channel_inbox *inbox, struct channel_record *ret_record, int ret_fds[CHANNEL_CONNS_MAX]);

/* The record is dealt with; empties the inbox. */
void channel_release(struct channel_inbox *inbox, struct channel_record *record);

/* Decode what an inbox holds, whoever received it. As channel_receive: 1, or -EBADMSG; 0 when it is empty. */
MUSTCHECK int channel_inbox_decode(
    struct channel_inbox *inbox, struct channel_record *ret_record, int ret_fds[CHANNEL_CONNS_MAX]);

#endif
