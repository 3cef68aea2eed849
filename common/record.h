/*
 * record - what supervisor and replica tell each other on the control socket (SOCK_SEQPACKET, one record per message).
 *
 *   replica -> supervisor   READY            init() has returned, requests are taken
 *                           FAILED <text>    cannot start: one line for the log and for status; exit follows
 *   supervisor -> replica   DRAIN            take no new request, finish what was read, exit 0
 *
 * The end of the socket says the rest: the supervisor is gone (the replica drains), or the replica is.
 * A record on the wire: 32-bit kind, 32-bit length of the text, the text (valid UTF-8 or not: it is only printed).
 * Both ends are the same build on the same machine, so numbers are in host order.
 */
#ifndef COMMON_RECORD_H
#define COMMON_RECORD_H

#include "common/util.h"

#define RECORD_TEXT_MAX 1024
#define RECORD_MAX      (8 + RECORD_TEXT_MAX)

enum record_kind {
	RECORD_READY = 1,
	RECORD_FAILED = 2,
	RECORD_DRAIN = 3,
};

struct record {
	enum record_kind kind;
	char text[RECORD_TEXT_MAX + 1]; /* "" when the kind carries none */
};

/* Write the wire form; its length. A text beyond RECORD_TEXT_MAX is cut. */
size_t record_encode(enum record_kind kind, const char *text, uint8_t ret_wire[RECORD_MAX]);

/* 0, or -EBADMSG: unknown kind, wrong length, NUL in the text. Any bytes are safe. */
MUSTCHECK int record_decode(const uint8_t *wire, size_t length, struct record *ret_record);

/* Send without blocking. 0 or a negative errno: -EAGAIN the peer does not read, -EPIPE it is gone. */
MUSTCHECK int record_send(int fd, enum record_kind kind, const char *text);

/* Receive one without blocking: 1 a record, 0 the peer is gone, or a negative errno: -EAGAIN nothing there, -EBADMSG. */
MUSTCHECK int record_receive(int fd, struct record *ret_record);

#endif
