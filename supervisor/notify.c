/*
 * notify - see notify.h.
 */
#include "supervisor/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"

bool
notify_parse_address(const char *text, struct sockaddr_un *ret_address, socklen_t *ret_length)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(text);

	if ((*text != '/' && *text != '@') || length < 2 || length >= sizeof(address.sun_path))
		return false;
	memcpy(address.sun_path, text, length);
	*ret_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	if (*text == '@')
		address.sun_path[0] = '\0'; /* abstract: as long as the length says */
	else
		*ret_length += 1;
	*ret_address = address;
	return true;
}

/* A positive decimal number, or -1. */
static int64_t
parse_positive(const char *text)
{
	size_t length = strlen(text);

	if (length == 0 || length > 18 || strspn(text, "0123456789") != length)
		return -1;
	return strtoll(text, NULL, 10) > 0 ? strtoll(text, NULL, 10) : -1;
}

int64_t
notify_parse_watchdog(const char *usec, const char *pid, pid_t self)
{
	int64_t watched;

	if (!usec)
		return 0;
	if (pid) {
		watched = parse_positive(pid);
		if (watched != self)
			return watched < 0 ? -1 : 0;
	}
	return parse_positive(usec);
}

void
notify_init(struct notify *notify)
{
	const char *path = getenv("NOTIFY_SOCKET");

	*notify = (struct notify){.fd = -1};
	if (path && !notify_parse_address(path, &notify->address, &notify->length)) {
		log_warning("NOTIFY_SOCKET: \"%s\" is neither an absolute path nor @name; nobody is notified", path);
	} else if (path) {
		notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (notify->fd < 0)
			log_warning("NOTIFY_SOCKET: cannot make a socket: %s", strerror(errno));
	}
	if (notify->fd >= 0) {
		notify->watchdog_us = notify_parse_watchdog(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"), getpid());
		if (notify->watchdog_us < 0) {
			log_warning("WATCHDOG_USEC and WATCHDOG_PID make no sense; the watchdog is not answered");
			notify->watchdog_us = 0;
		}
	}
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

size_t
notify_environment(const struct notify *notify, char *ret_strings[2])
{
	const char *path = notify->address.sun_path;
	size_t n = 0;

	if (notify->fd < 0)
		return 0;
	if (*path)
		ret_strings[n++] = xasprintf("NOTIFY_SOCKET=%s", path);
	else
		ret_strings[n++] = xasprintf("NOTIFY_SOCKET=@%.*s",
		    (int)(notify->length - offsetof(struct sockaddr_un, sun_path) - 1), path + 1);
	if (notify->watchdog_us > 0)
		ret_strings[n++] = xasprintf("WATCHDOG_USEC=%lld", (long long)notify->watchdog_us);
	return n;
}

int
notify_send(const struct notify *notify, const char *text)
{
	ssize_t n;

	if (notify->fd < 0)
		return 0;
	/* Not connected: a service manager that was started again has a new socket at the old address. */
	n = sendto(notify->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
	    (const struct sockaddr *)&notify->address, notify->length);
	return n < 0 ? -errno : 0;
}

void
notify_done(struct notify *notify)
{
	fd_close(&notify->fd);
}
