/*
 * channel - see channel.h.
 */
#include "common/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"

#define BUFFER_BYTES     (1 << 20)
#define IN_FLIGHT_NAP_NS 1000000

static int
prepare(int fd)
{
	const struct timeval limit = {.tv_sec = CHANNEL_SEND_TIMEOUT_MS / 1000};
	int size = BUFFER_BYTES;

	/* The kernel gives what net.core.wmem_max allows; any size that holds one record will do. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	return 0;
}

int
channel_pair(int ret_fds[2])
{
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	r = prepare(fds[0]);
	if (r == 0)
		r = prepare(fds[1]);
	if (r < 0) {
		fd_close(&fds[0]);
		fd_close(&fds[1]);
		return r;
	}
	memcpy(ret_fds, fds, sizeof(fds));
	return 0;
}

/* ---- sending ---- */

/* The bytes as a sealed file, which the receiver can map without fear. The descriptor or a negative errno. */
static int
bytes_to_file(const struct channel_message *message)
{
	int fd = memfd_create("cortexd-bytes", MFD_CLOEXEC | MFD_ALLOW_SEALING), r = 0;

	if (fd < 0)
		return -errno;
	for (unsigned i = 0; r == 0 && i < message->n_bytes; i++)
		r = fd_write_all(fd, message->bytes[i].iov_base, message->bytes[i].iov_len);
	if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		r = -errno;
	if (r < 0)
		fd_close(&fd);
	return r < 0 ? r : fd;
}

/* ETOOMANYREFS: more descriptors are on their way than this user may open; they will be taken soon. */
static int
send_patiently(int fd, const struct msghdr *message, bool wait)
{
	static const struct timespec nap = {.tv_nsec = IN_FLIGHT_NAP_NS};
	int64_t until_ms = clock_ms() + CHANNEL_SEND_TIMEOUT_MS;

	for (;;) {
		if (sendmsg(fd, message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) >= 0)
			return 0;
		if (errno == ETOOMANYREFS && wait && clock_ms() < until_ms)
			nanosleep(&nap, NULL);
		else if (errno != EINTR)
			return errno == ECONNRESET ? -EPIPE : -errno;
	}
}

int
channel_send(int fd, const struct channel_message *message, bool wait)
{
	struct channel_header header = {
	    .kind = message->kind,
	    .flags = message->flags,
	    .sequence = message->sequence,
	    .n_conns = message->n_conns,
	};
	struct iovec parts[2 + 2 * CHANNEL_CONNS_MAX] = {
	    {&header, sizeof(header)},
	    {(void *)(uintptr_t)message->conns, message->n_conns * sizeof(*message->conns)},
	};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))] = {0};
	struct cmsghdr *passengers = (struct cmsghdr *)control;
	struct msghdr whole = {.msg_iov = parts, .msg_iovlen = message->n_conns > 0 ? 2 : 1};
	unsigned n_fds = message->n_conns;
	int fds[CHANNEL_FDS_MAX], file = -1, r;

	ASSERT(message->n_conns <= CHANNEL_CONNS_MAX && message->n_bytes <= 2 * CHANNEL_CONNS_MAX);
	if (n_fds > 0)
		memcpy(fds, message->fds, n_fds * sizeof(int));
	if (channel_record_bytes(message->conns, message->n_conns) > CHANNEL_INLINE_MAX) {
		file = bytes_to_file(message);
		if (file < 0)
			return file;
		header.flags |= CHANNEL_OUTSIDE;
		fds[n_fds++] = file;
	} else {
		for (unsigned i = 0; i < message->n_bytes; i++)
			parts[whole.msg_iovlen++] = message->bytes[i];
	}
	if (n_fds > 0) {
		whole.msg_control = control;
		whole.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		passengers->cmsg_level = SOL_SOCKET;
		passengers->cmsg_type = SCM_RIGHTS;
		passengers->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(passengers), fds, n_fds * sizeof(int));
	}
	r = send_patiently(fd, &whole, wait);
	fd_close(&file);
	return r;
}

/* ---- receiving ---- */

/* The descriptors that came along; how many. */
static unsigned
inbox_fds(const struct channel_inbox *inbox, int fds[CHANNEL_FDS_MAX])
{
	const struct cmsghdr *header = (const struct cmsghdr *)inbox->control;
	unsigned n;

	if (header->cmsg_len < CMSG_LEN(0) || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
		return 0;
	n = (unsigned)MIN((header->cmsg_len - CMSG_LEN(0)) / sizeof(int), (size_t)CHANNEL_FDS_MAX);
	memcpy(fds, CMSG_DATA(header), n * sizeof(int));
	return n;
}

/* Map the file with the bytes. Sealed against shrinking, or it is not taken: reading beyond its end would kill us. */
static int
map_bytes(int file, struct channel_record *record)
{
	struct stat st;
	int seals = fcntl(file, F_GET_SEALS);
	void *bytes;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(file, &st) < 0 || (uint64_t)st.st_size != record->n_bytes)
		return -EBADMSG;
	bytes = mmap(NULL, (size_t)record->n_bytes, PROT_READ, MAP_PRIVATE, file, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	record->bytes = bytes;
	return 0;
}

/* The owner died between the system call and writing its result down: as long as the record itself says. */
static void
recover_length(struct channel_inbox *inbox)
{
	struct channel_header header;
	uint64_t length;

	memcpy(&header, inbox->wire, sizeof(header));
	if (header.kind == 0 || header.n_conns > CHANNEL_CONNS_MAX)
		return;
	length = sizeof(header) + header.n_conns * sizeof(struct channel_conn);
	if (!(header.flags & CHANNEL_OUTSIDE))
		length += channel_record_bytes(
		    (const struct channel_conn *)(inbox->wire + sizeof(header)), header.n_conns);
	inbox->length = (size_t)MIN(length, sizeof(inbox->wire));
}

static void
inbox_clear(struct channel_inbox *inbox)
{
	inbox->length = 0;
	memset(inbox->wire, 0, sizeof(struct channel_header));
	memset(inbox->control, 0, sizeof(struct cmsghdr));
}

int
channel_inbox_decode(struct channel_inbox *inbox, struct channel_record *ret_record, int ret_fds[CHANNEL_CONNS_MAX])
{
	int fds[CHANNEL_FDS_MAX], r;
	unsigned n_fds;

	if (inbox->length == 0)
		recover_length(inbox);
	if (inbox->length == 0)
		return 0;
	n_fds = inbox_fds(inbox, fds);
	r = channel_record_decode(inbox->wire, inbox->length, n_fds, ret_record);
	if (r == 0 && ret_record->outside)
		r = map_bytes(fds[n_fds - 1], ret_record);
	if (r < 0) {
		for (unsigned i = 0; i < n_fds; i++)
			close(fds[i]);
		inbox_clear(inbox);
		return r;
	}
	if (ret_record->outside) /* open until the inbox is empty, so that it can be decoded again */
		ret_record->file = fds[n_fds - 1];
	memcpy(ret_fds, fds, ret_record->n_conns * sizeof(int));
	return 1;
}

int
channel_receive(int fd, struct channel_inbox *inbox, struct channel_record *ret_record, int ret_fds[CHANNEL_CONNS_MAX])
{
	struct iovec part = {inbox->wire, sizeof(inbox->wire)};
	struct msghdr message = {
	    .msg_iov = &part,
	    .msg_iovlen = 1,
	    .msg_control = inbox->control,
	    .msg_controllen = CMSG_LEN(
		CHANNEL_FDS_MAX * sizeof(int)), /* with its padding there would be room for one more */
	};
	int truncated, r;
	ssize_t n;

	inbox_clear(inbox);
	do
		n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET)); /* a reset comes before the last records, once */
	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;
	inbox->length = (size_t)n;
	truncated = message.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
	if (truncated)
		inbox->length = 1; /* cannot be decoded, and its descriptors are closed */
	r = channel_inbox_decode(inbox, ret_record, ret_fds);
	return truncated == MSG_CTRUNC ? -EMFILE : r;
}

void
channel_release(struct channel_inbox *inbox, struct channel_record *record)
{
	inbox_clear(inbox);
	if (record->outside) {
		munmap((void *)(uintptr_t)record->bytes, (size_t)record->n_bytes);
		close(record->file);
	}
}
