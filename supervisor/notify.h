/*
 * notify - the protocol by which a service manager (systemd) hears from its daemon: sd_notify(3), without libsystemd.
 *
 * A message is one datagram of lines NAME=VALUE to the socket that $NOTIFY_SOCKET names. What is said, and when, is
 * report.c's. Nothing here blocks, and nothing that goes wrong here is more than a message that was not sent: who has to
 * say something that must arrive tries again.
 */
#ifndef SUPERVISOR_NOTIFY_H
#define SUPERVISOR_NOTIFY_H

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "common/util.h"

#define NOTIFY_TEXT_MAX 512 /* bytes of a message */

struct notify {
	int fd; /* -1: nobody listens */
	struct sockaddr_un address;
	socklen_t length;
	int64_t watchdog_us; /* at least so often WATCHDOG=1 must be said, or we are killed; 0: nobody watches */
};

/* Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and remove them from the environment: they are not for children. A
 * value that makes no sense is logged and counts as absent. */
void notify_init(struct notify *notify);

/* Send one message: lines with "\n" between them. 0 (also when nobody listens), or a negative errno: -EAGAIN when the
 * other end has not read what it got before. */
MUSTCHECK int notify_send(const struct notify *notify, const char *text);

void notify_done(struct notify *notify);

/* What a process needs in its environment to go on with this: at most two strings NAME=VALUE, the caller's to free. How many. */
size_t notify_environment(const struct notify *notify, char *ret_strings[2]);

/* "/path" or "@abstract" as an address. False: it is neither, or too long. */
bool notify_parse_address(const char *text, struct sockaddr_un *ret_address, socklen_t *ret_length);

/* The values of WATCHDOG_USEC and WATCHDOG_PID (NULL: not set) for the process self: microseconds, or 0 when it is not
 * watched, or -1 when the texts make no sense. */
int64_t notify_parse_watchdog(const char *usec, const char *pid, pid_t self);

#endif
