/*
 * record - what the supervisor and a child tell each other on the child's control socket (SOCK_SEQPACKET, one record per
 * message).
 *
 *   replica -> supervisor     READY            init() has returned, requests are taken
 *                             FAILED <text>    cannot start: one line for the log and for status; exit follows
 *                             OVERDUE          a prediction has outlived its deadline; its client was answered
 *                             BACK             and has ended now
 *                             RECYCLE <text>   it serves, but would like to be replaced (config: recycle): the reason, for the log
 *                             BORN pid         of one that a template has forked, its first: who it is
 *   supervisor -> replica     DRAIN last       take no new request, finish what was read, exit 0. last 1: cortexd stops,
 *                                              so clients may as well be told that their connections end
 *                             CHANNEL          + descriptor: the channel to a new activator
 *                             START            + descriptor: the start record, for one that a template forks; OUTPUT, if the record says
 *                                              so (log_secret), and CHANNEL follow
 *                             OUTPUT           + descriptor: the pipe that it is to write to
 *                             ACCEPT           take connections from now on (it was started with `accepts` false)
 *   template -> supervisor    READY            the predictor is loaded, replicas can be forked
 *                             FAILED <text>
 *                             UNFIT <text>     it is loaded, but must not be forked: why, for the log; exit follows
 *                             FORKED           one FORK is done, or has failed: then the replica's FAILED says why
 *   supervisor -> template    FORK             + descriptor: the control socket of a new replica, in which START, OUTPUT and CHANNEL wait
 *                             DRAIN            exit 0
 *   activator -> supervisor   READY, FAILED
 *                             GONE slot bad    the channel of that replica has ended and all is dealt with: its slot of the
 *                                              scoreboard may be used again. bad 1: it was ended because of nonsense
 *   supervisor -> activator   PEER slot        + descriptor: the channel to the replica with that slot
 *                             APIS             + descriptor: a memfd with the apis from now on (activator_start.h)
 *                             LISTENER i n     + descriptor: number i of the n listeners from now on; the last one completes them.
 *                                              i | RECORD_LISTENER_NEW: not all ready replicas have it
 *                             ACCEPT           as for a replica
 *                             SUCCESSOR        + descriptor: a channel to the activator of the cortexd that replaces this one: all
 *                                              connections go there from now on
 *                             PREDECESSOR n    + descriptor: the other end of that channel; about n connections will come
 *                             DRAIN            take no new connection, answer what there is, exit 0
 *   monitor -> supervisor     READY, FAILED
 *                             ASK              what is there to see? STATUS follows
 *                             PONG             it is alive
 *                             RELOAD n         do it; DONE n follows
 *                             STOP n           the same
 *                             DELETE n <text>  the same for the api of that name
 *   supervisor -> monitor     STATUS           + descriptor: a memfd with the supervisor's part of the status, in JSON (status.h)
 *                             DONE n r <text>  what came of the action n, as the status of an HTTP answer: 202, or why not. Of
 *                                              RELOAD the text is its number
 *                             PING             PONG follows soon, or it is killed
 *                             SOURCE replica generation <text>   + descriptor: the read end of the pipe that a process that was
 *                                              just started writes its output to; the text is "<role> <api>", replica -1: none
 *                             REPLACED         another cortexd has the admin sockets by now: close them
 *                             DRAIN            exit 0
 *
 * The end of the socket says the rest: the supervisor is gone (the child drains), or the child is.
 *
 * Two supervisors, while one replaces the other (supervisor/upgrade.h), on a socket between them:
 *
 *   new -> old                CHANNEL          + descriptor: it is ready; the channel for the activators (SUCCESSOR)
 *   old -> new                ACCEPT n again   it is yours: take connections, of which there are n; again 1: reload as well
 *                             DRAIN            never mind: end
 *
 * A record on the wire: kind, two numbers, length of the text, 32 bits each, then the text (valid UTF-8 or not: it is only
 * printed). Both ends are on the same machine, so numbers are in host order; and they are the same build, but for the two
 * supervisors: what changes the numbers of these three kinds changes HANDOVER_FORMAT (supervisor/handover.h).
 */
#ifndef COMMON_RECORD_H
#define COMMON_RECORD_H

#include "common/util.h"

#define RECORD_TEXT_MAX     1024
#define RECORD_LISTENER_NEW (1u << 31)
#define RECORD_MAX          (16 + RECORD_TEXT_MAX)

enum record_kind {
	RECORD_READY = 1,
	RECORD_FAILED,
	RECORD_DRAIN,
	RECORD_CHANNEL,
	RECORD_PEER,
	RECORD_GONE,
	RECORD_OVERDUE,
	RECORD_BACK,
	RECORD_APIS,
	RECORD_LISTENER,
	RECORD_RECYCLE,
	RECORD_BORN,
	RECORD_START,
	RECORD_UNFIT,
	RECORD_FORKED,
	RECORD_FORK,
	RECORD_ACCEPT,
	RECORD_SUCCESSOR,
	RECORD_PREDECESSOR,
	RECORD_STATUS,
	RECORD_SOURCE,
	RECORD_DONE,
	RECORD_PING,
	RECORD_PONG,
	RECORD_ASK,
	RECORD_RELOAD,
	RECORD_STOP,
	RECORD_DELETE,
	RECORD_REPLACED,
	RECORD_OUTPUT,
	RECORD_N_KINDS,
};

struct record {
	enum record_kind kind;
	uint32_t numbers[2];            /* 0 when the kind has none */
	char text[RECORD_TEXT_MAX + 1]; /* "" when the kind carries none */
	int fd; /* the receiver's, close-on-exec; -1: none came. CHANNEL, PEER, APIS, LISTENER, START, FORK, SUCCESSOR, PREDECESSOR,
		 * STATUS, SOURCE and OUTPUT have one */
};

/* Write the wire form; its length. A text (NULL: none) beyond RECORD_TEXT_MAX is cut. */
size_t record_encode(enum record_kind kind, const uint32_t numbers[2], const char *text, uint8_t ret_wire[RECORD_MAX]);

/* 0, or -EBADMSG: unknown kind, wrong length, NUL in the text. Any bytes are safe. Sets fd to -1. */
MUSTCHECK int record_decode(const uint8_t *wire, size_t length, struct record *ret_record);

/* Send without blocking. 0 or a negative errno: -EAGAIN the peer does not read, -EPIPE it is gone. */
MUSTCHECK int record_send(int fd, enum record_kind kind, const char *text);

/* The same with numbers and a descriptor, which stays the caller's; -1: none. */
MUSTCHECK int record_send_numbers(int fd, enum record_kind kind, uint32_t first, uint32_t second, int passed);

/* The same with all that a record can have; text NULL: none. */
MUSTCHECK int record_send_full(
    int fd, enum record_kind kind, uint32_t first, uint32_t second, const char *text, int passed);

/* Receive one without blocking: 1 a record, 0 the peer is gone, or a negative errno: -EAGAIN nothing there, -EBADMSG. */
MUSTCHECK int record_receive(int fd, struct record *ret_record);

#endif
