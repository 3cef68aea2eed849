/*
 * Listeners: addresses, stale and living socket files, and what a person is told when it does not work; and the lock of
 * the state directory.
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
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "supervisor/listener.h"
#include "supervisor/state_dir.h"

static char folder[] = "/tmp/test_listener.XXXXXX";

static int
connect_v4(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static uint16_t
port_of(const struct listener *listener)
{
	return (uint16_t)atoi(strrchr(listener->text, ':') + 1);
}

static void
test_a_free_port_is_found_and_told(UNUSED void **state)
{
	char *text = xstrdup("127.0.0.1:0"), *host = xstrdup("127.0.0.1");
	struct listen_config config = {.kind = LISTEN_TCP, .text = text, .host = host};
	struct listener listener;
	struct error err;
	int on = 0;
	socklen_t length = sizeof(on);
	char url[64];

	assert_int_equal(listener_bind(&listener, &config, &err), 0);
	assert_true(port_of(&listener) > 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", port_of(&listener));
	assert_string_equal(listener.url, url);
	assert_int_equal(connect_v4(port_of(&listener)), -ECONNREFUSED);
	assert_int_equal(listener_listen(&listener, &err), 0);
	assert_int_equal(connect_v4(port_of(&listener)), 0);
	assert_int_equal(getsockopt(listener.fd, IPPROTO_TCP, TCP_NODELAY, &on, &length), 0);
	assert_int_equal(on, 1);
	assert_true(fcntl(listener.fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(listener.fd, F_GETFD) & FD_CLOEXEC);
	listener_done(&listener);
	assert_int_equal(listener.fd, -1);
	listener_done(&listener);
	free(text);
	free(host);
}

static void
test_every_address_takes_v4(UNUSED void **state)
{
	char text[] = ":0", host[] = "";
	struct listen_config config = {.kind = LISTEN_TCP, .text = text, .host = host};
	struct listener listener;
	struct error err;

	assert_int_equal(listener_bind(&listener, &config, &err), 0);
	assert_int_equal(listener_listen(&listener, &err), 0);
	assert_int_equal(connect_v4(port_of(&listener)), 0);
	listener_done(&listener);
}

static void
test_a_taken_port_is_an_error_that_helps(UNUSED void **state)
{
	char text[] = "127.0.0.1:0", host[] = "127.0.0.1";
	struct listen_config config = {.kind = LISTEN_TCP, .text = text, .host = host};
	struct listener first, second;
	struct error err;
	char beginning[128];

	assert_int_equal(listener_bind(&first, &config, &err), 0);
	assert_int_equal(listener_listen(&first, &err), 0);
	config.port = port_of(&first);
	assert_int_equal(listener_bind(&second, &config, &err), -EADDRINUSE);
	snprintf(beginning, sizeof(beginning), "cannot listen on %s: Address already in use; ", text);
	assert_int_equal(strncmp(err.text, beginning, strlen(beginning)), 0);
	assert_int_equal(second.fd, -1);
	listener_done(&first);
}

static void
test_an_address_of_another_machine(UNUSED void **state)
{
	char text[] = "192.0.2.1:80", host[] = "192.0.2.1";
	struct listen_config config = {.kind = LISTEN_TCP, .text = text, .host = host, .port = 8888};
	struct listener listener;
	struct error err;

	assert_int_equal(listener_bind(&listener, &config, &err), -EADDRNOTAVAIL);
	assert_non_null(strstr(err.text, "this machine does not have that address"));
}

static void
test_the_life_of_a_socket_file(UNUSED void **state)
{
	char *path = xasprintf("%s/socket", folder), *text = xasprintf("unix:%s", path);
	struct listen_config config = {.kind = LISTEN_UNIX, .text = text, .path = path};
	struct listener first, second;
	struct error err;
	struct stat st;
	int fd;

	assert_int_equal(listener_bind(&first, &config, &err), 0);
	assert_int_equal(listener_listen(&first, &err), 0);
	assert_int_equal(listener_bind(&second, &config, &err), -EADDRINUSE);
	assert_int_equal(lstat(path, &st), 0);

	fd_close(&first.fd); /* as after a crash: the file stays */
	assert_int_equal(listener_bind(&second, &config, &err), 0);
	assert_int_equal(listener_listen(&second, &err), 0);
	listener_done(&first); /* not its file any more */
	assert_int_equal(lstat(path, &st), 0);
	listener_done(&second);
	assert_int_equal(lstat(path, &st), -1);

	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	close(fd);
	assert_int_equal(listener_bind(&first, &config, &err), -EEXIST);
	assert_int_equal(lstat(path, &st), 0);
	unlink(path);
	free(path);
	free(text);
}

static void
test_a_path_that_is_too_long(UNUSED void **state)
{
	char text[] = "unix:/long", path[200];
	struct listen_config config = {.kind = LISTEN_UNIX, .text = text, .path = path};
	struct listener listener;
	struct error err;

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(listener_bind(&listener, &config, &err), -ENAMETOOLONG);
}

static void
test_the_state_directory_has_one_owner(UNUSED void **state)
{
	char *path = xasprintf("%s/deep/state", folder), *pid = xasprintf("(pid %d)", (int)getpid());
	struct error err;
	int first, second = -1;

	assert_int_equal(state_dir_lock(path, &first, &err), 0);
	assert_int_equal(state_dir_lock(path, &second, &err), -EBUSY);
	assert_int_equal(second, -1);
	assert_non_null(strstr(err.text, path));
	assert_non_null(strstr(err.text, pid));
	close(first);
	assert_int_equal(state_dir_lock(path, &second, &err), 0);
	close(second);
	assert_int_equal(state_dir_lock("/proc/no/such", &first, &err), -ENOENT);
	free(path);
	free(pid);
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
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_free_port_is_found_and_told),
	    cmocka_unit_test(test_every_address_takes_v4),
	    cmocka_unit_test(test_a_taken_port_is_an_error_that_helps),
	    cmocka_unit_test(test_an_address_of_another_machine),
	    cmocka_unit_test(test_the_life_of_a_socket_file),
	    cmocka_unit_test(test_a_path_that_is_too_long),
	    cmocka_unit_test(test_the_state_directory_has_one_owner),
	};

	return cmocka_run_group_tests_name("listener", tests, make_folder, remove_folder);
}
