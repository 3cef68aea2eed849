/*
 * The notify protocol: addresses, the watchdog's variables, and messages that arrive or do not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "supervisor/notify.h"

static char folder[] = "/tmp/test_notify.XXXXXX";

static int
open_manager(const char *where)
{
	struct sockaddr_un address;
	socklen_t length;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(notify_parse_address(where, &address, &length));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	return fd;
}

static void
assert_message(int manager, const char *text)
{
	char got[NOTIFY_TEXT_MAX + 1];
	ssize_t n = recv(manager, got, NOTIFY_TEXT_MAX, 0);

	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, text);
}

static void
test_addresses(UNUSED void **state)
{
	struct sockaddr_un address;
	char path[sizeof(address.sun_path) + 1];
	socklen_t length;

	assert_true(notify_parse_address("/run/n", &address, &length));
	assert_string_equal(address.sun_path, "/run/n");
	assert_int_equal(length, offsetof(struct sockaddr_un, sun_path) + 7);
	assert_true(notify_parse_address("@n", &address, &length));
	assert_memory_equal(address.sun_path, "\0n", 2);
	assert_int_equal(length, offsetof(struct sockaddr_un, sun_path) + 2);
	assert_false(notify_parse_address("", &address, &length));
	assert_false(notify_parse_address("/", &address, &length));
	assert_false(notify_parse_address("@", &address, &length));
	assert_false(notify_parse_address("run/n", &address, &length));
	assert_false(notify_parse_address("vsock:2:1", &address, &length));

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 2] = '\0'; /* the longest with its NUL */
	assert_true(notify_parse_address(path, &address, &length));
	assert_int_equal(length, sizeof(address));
	path[sizeof(path) - 2] = 'x';
	path[sizeof(path) - 1] = '\0';
	assert_false(notify_parse_address(path, &address, &length));
}

static void
test_who_is_watched(UNUSED void **state)
{
	assert_int_equal(notify_parse_watchdog(NULL, NULL, 7), 0);
	assert_int_equal(notify_parse_watchdog(NULL, "7", 7), 0);
	assert_int_equal(notify_parse_watchdog("30000000", NULL, 7), 30000000);
	assert_int_equal(notify_parse_watchdog("30000000", "7", 7), 30000000);
	assert_int_equal(notify_parse_watchdog("30000000", "8", 7), 0);
	assert_int_equal(notify_parse_watchdog("30000000", "", 7), -1);
	assert_int_equal(notify_parse_watchdog("30000000", "7x", 7), -1);
	assert_int_equal(notify_parse_watchdog("0", "7", 7), -1);
	assert_int_equal(notify_parse_watchdog("-1", "7", 7), -1);
	assert_int_equal(notify_parse_watchdog("", "7", 7), -1);
	assert_int_equal(notify_parse_watchdog("9999999999999999999999", "7", 7), -1);
}

static void
test_messages_arrive_whole_and_the_environment_is_clean(UNUSED void **state)
{
	char *path = xasprintf("%s/n", folder), *abstract = xasprintf("@cortexd-test-%d", (int)getpid());
	const char *const where[] = {path, abstract};

	for (size_t i = 0; i < N_ELEMENTS(where); i++) {
		int manager = open_manager(where[i]);
		struct notify notify;

		setenv("NOTIFY_SOCKET", where[i], 1);
		setenv("WATCHDOG_USEC", "5000000", 1);
		setenv("WATCHDOG_PID", "1", 1);
		notify_init(&notify);
		assert_true(notify.fd >= 0);
		assert_true(fcntl(notify.fd, F_GETFD) & FD_CLOEXEC);
		assert_int_equal(notify.watchdog_us, 0);
		assert_null(getenv("NOTIFY_SOCKET"));
		assert_null(getenv("WATCHDOG_USEC"));
		assert_null(getenv("WATCHDOG_PID"));
		assert_int_equal(notify_send(&notify, "READY=1\nSTATUS=3 of 3"), 0);
		assert_int_equal(notify_send(&notify, "WATCHDOG=1"), 0);
		assert_message(manager, "READY=1\nSTATUS=3 of 3");
		assert_message(manager, "WATCHDOG=1");
		notify_done(&notify);
		assert_int_equal(notify_send(&notify, "READY=1"), 0);
		assert_int_equal(recv(manager, &notify, 1, 0), -1);
		close(manager);
	}
	unlink(path);
	free(path);
	free(abstract);
}

static void
test_nobody_and_nonsense(UNUSED void **state)
{
	char *path = xasprintf("%s/nobody", folder);
	struct notify notify;

	notify_init(&notify);
	assert_int_equal(notify.fd, -1);
	assert_int_equal(notify_send(&notify, "READY=1"), 0);
	setenv("NOTIFY_SOCKET", "relative", 1);
	setenv("WATCHDOG_USEC", "5000000", 1);
	notify_init(&notify);
	assert_int_equal(notify.fd, -1);
	assert_int_equal(notify.watchdog_us, 0);
	assert_null(getenv("NOTIFY_SOCKET"));
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "often", 1);
	notify_init(&notify);
	assert_int_equal(notify.watchdog_us, 0);
	assert_int_equal(notify_send(&notify, "READY=1"), -ENOENT);
	notify_done(&notify);
	free(path);
}

static void
test_one_that_does_not_read_holds_nobody_up(UNUSED void **state)
{
	char *path = xasprintf("%s/full", folder);
	int manager = open_manager(path), sent = 0, r;
	struct notify notify;

	setenv("NOTIFY_SOCKET", path, 1);
	notify_init(&notify);
	while ((r = notify_send(&notify, "STATUS=x")) == 0)
		sent++;
	assert_int_equal(r, -EAGAIN);
	assert_true(sent > 0);
	assert_message(manager, "STATUS=x");
	assert_int_equal(notify_send(&notify, "READY=1"), 0);
	notify_done(&notify);
	close(manager);
	free(path);
}

static int
make_folder(UNUSED void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

static int
remove_folder(UNUSED void **state)
{
	return path_remove_all(folder);
}

/* What one process has read, the next one reads again. */
static void
test_the_environment_can_be_handed_on(UNUSED void **state)
{
	static const char *const paths[] = {"/run/notify", "@abstract"};

	for (size_t i = 0; i < N_ELEMENTS(paths); i++) {
		struct notify notify;
		char *strings[2], expected[64];

		assert_int_equal(setenv("NOTIFY_SOCKET", paths[i], 1), 0);
		assert_int_equal(setenv("WATCHDOG_USEC", "5000000", 1), 0);
		notify_init(&notify);
		assert_null(getenv("NOTIFY_SOCKET"));
		assert_int_equal(notify_environment(&notify, strings), 2);
		snprintf(expected, sizeof(expected), "NOTIFY_SOCKET=%s", paths[i]);
		assert_string_equal(strings[0], expected);
		assert_string_equal(strings[1], "WATCHDOG_USEC=5000000");
		free(strings[0]);
		free(strings[1]);
		notify_done(&notify);
		assert_int_equal(notify_environment(&notify, strings), 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_who_is_watched),
	    cmocka_unit_test(test_messages_arrive_whole_and_the_environment_is_clean),
	    cmocka_unit_test(test_the_environment_can_be_handed_on),
	    cmocka_unit_test(test_nobody_and_nonsense),
	    cmocka_unit_test(test_one_that_does_not_read_holds_nobody_up),
	};

	return cmocka_run_group_tests_name("notify", tests, make_folder, remove_folder);
}
