/*
 * Inherited sockets: which descriptors are ours, which entry of server.listen they are, and what is wrong with others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "supervisor/inherited.h"
#include "supervisor/listener.h"

#define MANY 4

static char folder[] = "/tmp/test_inherited.XXXXXX";
static int set_aside[MANY]; /* what was open at 3 and up before the test */

static struct inherited inherited;
static struct error err;

/* Give the process these sockets as a service manager does; fds NULL: only say so. */
static void
pass(const int *fds, int n, const char *names)
{
	char text[16];

	for (int i = 0; fds && i < n; i++) {
		assert_int_equal(dup2(fds[i], INHERITED_FD_FIRST + i), INHERITED_FD_FIRST + i);
		close(fds[i]);
	}
	snprintf(text, sizeof(text), "%d", n);
	setenv("LISTEN_FDS", text, 1);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
}

/* A listening socket, its descriptor out of the way of those that are passed; *port may be 0. */
static int
open_tcp(const char *host, uint16_t *port, bool v6_only)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(*port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(*port)};
	bool is_v6 = inet_pton(AF_INET, host, &v4.sin_addr) != 1;
	struct sockaddr *address = is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
	socklen_t length = is_v6 ? sizeof(v6) : sizeof(v4);
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), far, only = v6_only;

	if (is_v6) {
		assert_int_equal(inet_pton(AF_INET6, host, &v6.sin6_addr), 1);
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)), 0);
	}
	assert_int_equal(bind(fd, address, length), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, address, &length), 0);
	*port = ntohs(is_v6 ? v6.sin6_port : v4.sin_port);
	far = fcntl(fd, F_DUPFD_CLOEXEC, 100);
	close(fd);
	return far;
}

static int
open_unix(int kind, const char *path, size_t length)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, kind | SOCK_CLOEXEC, 0), far = fcntl(fd, F_DUPFD_CLOEXEC, 100);

	close(fd);
	memcpy(address.sun_path, path, length);
	assert_int_equal(
	    bind(far, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)), 0);
	if (kind == SOCK_STREAM)
		assert_int_equal(listen(far, 16), 0);
	return far;
}

static struct listen_config
tcp_entry(const char *host, uint16_t port)
{
	return (struct listen_config){.kind = LISTEN_TCP, .text = "an entry", .host = (char *)host, .port = port};
}

static int
match(struct listen_config *entries, size_t n)
{
	struct server_config server = {.listen = entries, .n_listen = n};
	int r = inherited_take(&inherited, &err);

	return r < 0 ? r : inherited_match(&inherited, &server, &err);
}

static void
test_each_socket_finds_its_entry(UNUSED void **state)
{
	char *path = xasprintf("%s/socket", folder), *other = xasprintf("%s/../%s/socket", folder, folder + 5);
	uint16_t port[3] = {0, 0, 0};
	int fds[] = {open_unix(SOCK_STREAM, path, strlen(path) + 1), open_tcp("127.0.0.1", &port[0], false),
	    open_tcp("::1", &port[1], true), open_tcp("::", &port[2], false)};
	struct listen_config entries[] = {tcp_entry("127.0.0.1", 1), /* is bound as usual */
	    tcp_entry("127.0.0.1", port[0]), tcp_entry("::1", port[1]), tcp_entry("", port[2]),
	    {.kind = LISTEN_UNIX, .text = "unix", .path = other}};
	struct listener listener;

	pass(fds, 4, NULL);
	assert_int_equal(match(entries, N_ELEMENTS(entries)), 0);
	assert_null(getenv("LISTEN_FDS"));
	assert_null(getenv("LISTEN_PID"));
	assert_int_equal(inherited_detach(&inherited, 0), -1);
	assert_int_equal(inherited_detach(&inherited, 1), 4);
	assert_int_equal(inherited_detach(&inherited, 1), -1);
	assert_int_equal(inherited_detach(&inherited, 2), 5);
	assert_int_equal(inherited_detach(&inherited, 3), 6);
	assert_int_equal(inherited_detach(&inherited, 4), 3);
	assert_true(fcntl(3, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(3, F_GETFL) & O_NONBLOCK);

	assert_int_equal(listener_adopt(&listener, &entries[4], 3, &err), 0);
	listener_done(&listener);
	assert_int_equal(access(path, F_OK), 0); /* whoever made it removes it */
	assert_int_equal(listener_adopt(&listener, &entries[1], 4, &err), 0);
	assert_int_equal(listener_listen(&listener, &err), 0);
	assert_int_equal(strncmp(listener.url, "http://127.0.0.1:", 17), 0);
	listener_done(&listener);
	assert_int_equal(fcntl(4, F_GETFD), -1);
	unlink(path);
	free(path);
	free(other);
}

static void
test_v6_any_is_the_entry_that_says_so(UNUSED void **state)
{
	uint16_t port = 0;
	int fd = open_tcp("::", &port, true);
	struct listen_config v6 = tcp_entry("::", port), any = tcp_entry("", port);

	pass(&fd, 1, NULL);
	assert_int_equal(match(&any, 1), -ENOENT); /* it does not take IPv4 */
	assert_non_null(strstr(err.text, "[::]:"));
	inherited_done(&inherited);
	fd = open_tcp("::", &port, false);
	pass(&fd, 1, NULL);
	assert_int_equal(match(&v6, 1), 0);
}

static void
test_one_that_is_no_entry_is_named(UNUSED void **state)
{
	uint16_t port = 0;
	int fds[] = {open_tcp("127.0.0.1", &port, false), -1};
	struct listen_config entry = tcp_entry("127.0.0.1", port);
	char text[64];

	fds[1] = open_tcp("::", (uint16_t[]){0}, false);
	pass(fds, 2, "first:second");
	assert_int_equal(match(&entry, 1), -ENOENT);
	assert_int_equal(strncmp(err.text, "inherited socket 2 (\"second\") listens on *:", 43), 0);
	inherited_done(&inherited);
	assert_int_equal(fcntl(3, F_GETFD), -1);
	fds[0] = open_tcp("127.0.0.1", &port, false);
	pass(fds, 1, NULL);
	entry.port++;
	assert_int_equal(match(&entry, 1), -ENOENT);
	snprintf(text, sizeof(text), "inherited socket 1 listens on 127.0.0.1:%u, ", port);
	assert_int_equal(strncmp(err.text, text, strlen(text)), 0);
}

static void
test_what_cannot_be_listened_on_is_refused(UNUSED void **state)
{
	char *path = xasprintf("%s/datagram", folder);
	struct listen_config entry = {.kind = LISTEN_UNIX, .text = "unix", .path = path};
	int pair[2], fd = open_unix(SOCK_DGRAM, path, strlen(path) + 1);

	pass(&fd, 1, NULL);
	assert_int_equal(match(&entry, 1), -EPROTOTYPE);
	assert_non_null(strstr(err.text, "ListenStream"));
	inherited_done(&inherited);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fd = fcntl(pair[0], F_DUPFD_CLOEXEC, 100);
	close(pair[0]);
	pass(&fd, 1, NULL);
	assert_int_equal(match(&entry, 1), -EISCONN);
	assert_non_null(strstr(err.text, "Accept=no"));
	inherited_done(&inherited);
	close(pair[1]);
	fd = open_unix(SOCK_STREAM, "\0cortexd-test", 13);
	pass(&fd, 1, NULL);
	assert_int_equal(match(&entry, 1), -ENOENT);
	assert_non_null(strstr(err.text, "unix:@cortexd-test"));
	inherited_done(&inherited);
	fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
	pass(&fd, 1, NULL);
	assert_int_equal(match(&entry, 1), -ENOTSOCK);
	unlink(path);
	free(path);
}

static void
test_two_on_one_address(UNUSED void **state)
{
	uint16_t port = 0;
	int first = open_tcp("127.0.0.1", &port, false);
	int fds[] = {first, fcntl(first, F_DUPFD_CLOEXEC, 100)};
	struct listen_config entry = tcp_entry("127.0.0.1", port);

	pass(fds, 2, NULL);
	assert_int_equal(match(&entry, 1), -EEXIST);
}

static void
test_variables_for_others_and_nonsense(UNUSED void **state)
{
	uint16_t port = 0;
	int fd = open_tcp("127.0.0.1", &port, false);

	pass(&fd, 1, "name");
	setenv("LISTEN_PID", "1", 1);
	assert_int_equal(inherited_take(&inherited, &err), 0);
	assert_int_equal(inherited.n, 0);
	assert_null(getenv("LISTEN_FDS"));
	assert_null(getenv("LISTEN_PID"));
	assert_null(getenv("LISTEN_FDNAMES"));
	assert_true(fcntl(3, F_GETFD) >= 0); /* not ours to close */
	close(3);

	pass(NULL, 0, NULL);
	assert_int_equal(inherited_take(&inherited, &err), 0);
	assert_int_equal(inherited.n, 0);
	pass(NULL, 1, NULL);
	assert_int_equal(inherited_take(&inherited, &err), -EBADF);
	assert_non_null(strstr(err.text, "LISTEN_FDS"));
	for (size_t i = 0; i < 4; i++) {
		pass(NULL, 0, NULL);
		setenv("LISTEN_FDS", ((const char *[]){"-1", "65", "1x", ""})[i], 1);
		assert_int_equal(inherited_take(&inherited, &err), -EINVAL);
	}
}

/* What a test runner leaves open at 3 and up moves aside. */
static int
set_up(UNUSED void **state)
{
	for (int i = 0; i < MANY; i++) {
		set_aside[i] = fcntl(INHERITED_FD_FIRST + i, F_DUPFD_CLOEXEC, 200);
		close(INHERITED_FD_FIRST + i);
	}
	return 0;
}

static int
tear_down(UNUSED void **state)
{
	inherited_done(&inherited);
	for (int i = 0; i < MANY; i++) {
		if (set_aside[i] >= 0)
			dup2(set_aside[i], INHERITED_FD_FIRST + i);
		fd_close(&set_aside[i]);
	}
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
	return 0;
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

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(test_each_socket_finds_its_entry),
	    TEST(test_v6_any_is_the_entry_that_says_so),
	    TEST(test_one_that_is_no_entry_is_named),
	    TEST(test_what_cannot_be_listened_on_is_refused),
	    TEST(test_two_on_one_address),
	    TEST(test_variables_for_others_and_nonsense),
	};

	return cmocka_run_group_tests_name("inherited", tests, make_folder, remove_folder);
}
