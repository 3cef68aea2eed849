/*
 * record - see record.h.
 */
#include "common/record.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

struct header {
	uint32_t kind;
	uint32_t length;
};

size_t
record_encode(enum record_kind kind, const char *text, uint8_t ret_wire[RECORD_MAX])
{
	struct header header = {.kind = (uint32_t)kind, .length = 0};

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

	if (length < sizeof(header))
		return -EBADMSG;
	memcpy(&header, wire, sizeof(header));
	if (header.length > RECORD_TEXT_MAX || header.length != length - sizeof(header))
		return -EBADMSG;
	if (memchr(wire + sizeof(header), '\0', header.length))
		return -EBADMSG;
	switch (header.kind) {
	case RECORD_READY:
	case RECORD_DRAIN:
		if (header.length > 0)
			return -EBADMSG;
		break;
	case RECORD_FAILED:
		break;
	default:
		return -EBADMSG;
	}
	ret_record->kind = (enum record_kind)header.kind;
	memcpy(ret_record->text, wire + sizeof(header), header.length);
	ret_record->text[header.length] = '\0';
	return 0;
}

int
record_send(int fd, enum record_kind kind, const char *text)
{
	uint8_t wire[RECORD_MAX];
	size_t length = record_encode(kind, text, wire);

	for (;;) {
		if (send(fd, wire, length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return errno == ECONNRESET ? -EPIPE : -errno;
	}
}

int
record_receive(int fd, struct record *ret_record)
{
	uint8_t wire[RECORD_MAX + 1];
	ssize_t n;
	int r;

	do
		n = recv(fd, wire, sizeof(wire), MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	if (n == 0)
		return 0;
	r = record_decode(wire, (size_t)n, ret_record);
	return r < 0 ? r : 1;
}
