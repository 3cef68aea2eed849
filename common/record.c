/*
 * record - see record.h.
 */
#include "common/record.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct header {
	uint32_t kind;
	uint32_t numbers[2];
	uint32_t length;
};

/* One descriptor beside a record. */
union passenger {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static bool
has_fd(enum record_kind kind)
{
	return kind == RECORD_CHANNEL || kind == RECORD_PEER || kind == RECORD_APIS || kind == RECORD_LISTENER ||
	    kind == RECORD_START || kind == RECORD_FORK || kind == RECORD_SUCCESSOR || kind == RECORD_PREDECESSOR ||
	    kind == RECORD_STATUS || kind == RECORD_SOURCE || kind == RECORD_OUTPUT;
}

static bool
may_have_text(uint32_t kind)
{
	return kind == RECORD_FAILED || kind == RECORD_RECYCLE || kind == RECORD_UNFIT || kind == RECORD_SOURCE ||
	    kind == RECORD_DONE || kind == RECORD_DELETE;
}

size_t
record_encode(enum record_kind kind, const uint32_t numbers[2], const char *text, uint8_t ret_wire[RECORD_MAX])
{
	struct header header = {.kind = (uint32_t)kind, .numbers = {numbers[0], numbers[1]}};

	if (text)
		header.length = (uint32_t)strnlen(text, RECORD_TEXT_MAX);
	memcpy(ret_wire, &header, sizeof(header));
	if (header.length > 0)
		memcpy(ret_wire + sizeof(header), text, header.length);
	return sizeof(header) + header.length;
}

int
record_decode(const uint8_t *wire, size_t length, struct record *ret_record)
{
	struct header header;

	ret_record->fd = -1;
	if (length < sizeof(header))
		return -EBADMSG;
	memcpy(&header, wire, sizeof(header));
	if (header.kind < RECORD_READY || header.kind >= RECORD_N_KINDS || header.length > RECORD_TEXT_MAX ||
	    header.length != length - sizeof(header) || memchr(wire + sizeof(header), '\0', header.length) ||
	    (header.length > 0 && !may_have_text(header.kind)))
		return -EBADMSG;
	ret_record->kind = (enum record_kind)header.kind;
	memcpy(ret_record->numbers, header.numbers, sizeof(header.numbers));
	memcpy(ret_record->text, wire + sizeof(header), header.length);
	ret_record->text[header.length] = '\0';
	return 0;
}

static int
send_record(int fd, enum record_kind kind, const uint32_t numbers[2], const char *text, int passed)
{
	uint8_t wire[RECORD_MAX];
	struct iovec part = {wire, record_encode(kind, numbers, text, wire)};
	union passenger passenger = {.bytes = {0}};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (passed >= 0) {
		message.msg_control = passenger.bytes;
		message.msg_controllen = sizeof(passenger.bytes);
		passenger.header.cmsg_level = SOL_SOCKET;
		passenger.header.cmsg_type = SCM_RIGHTS;
		passenger.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&passenger.header), &passed, sizeof(int));
	}
	for (;;) {
		if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return errno == ECONNRESET ? -EPIPE : -errno;
	}
}

int
record_send(int fd, enum record_kind kind, const char *text)
{
	return send_record(fd, kind, (const uint32_t[2]){0, 0}, text, -1);
}

int
record_send_numbers(int fd, enum record_kind kind, uint32_t first, uint32_t second, int passed)
{
	return send_record(fd, kind, (const uint32_t[2]){first, second}, NULL, passed);
}

int
record_send_full(int fd, enum record_kind kind, uint32_t first, uint32_t second, const char *text, int passed)
{
	return send_record(fd, kind, (const uint32_t[2]){first, second}, text, passed);
}

/* The descriptor that came along, or -1. There is no room for a second one: the kernel closes it and sets MSG_CTRUNC. */
static int
passenger_fd(const union passenger *passenger, size_t length)
{
	int fd = -1;

	if (length >= CMSG_LEN(sizeof(int)) && passenger->header.cmsg_len >= CMSG_LEN(sizeof(int)) &&
	    passenger->header.cmsg_level == SOL_SOCKET && passenger->header.cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(&passenger->header), sizeof(int));
	return fd;
}

int
record_receive(int fd, struct record *ret_record)
{
	uint8_t wire[RECORD_MAX + 1];
	struct iovec part = {wire, sizeof(wire)};
	union passenger passenger;
	struct msghdr message = {
	    .msg_iov = &part,
	    .msg_iovlen = 1,
	    .msg_control = passenger.bytes,
	    .msg_controllen = CMSG_LEN(sizeof(int)), /* with CMSG_SPACE, padding is room for another one */
	};
	ssize_t n;
	int passed, r;

	do
		n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET)); /* a reset comes before the last records, once */
	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;
	passed = passenger_fd(&passenger, message.msg_controllen);
	r = record_decode(wire, (size_t)n, ret_record);
	if (r == 0 && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && (passed >= 0) == has_fd(ret_record->kind)) {
		ret_record->fd = passed;
		return 1;
	}
	if (passed >= 0)
		close(passed);
	return -EBADMSG;
}
