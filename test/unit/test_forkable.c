/*
 * What a process may have that is forked: each kind of thing that stands in the way, alone; files get positions of their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "replica/forkable.h"

#define N_LISTENERS 2
#define FIRST_FREE  9 /* 3 to 8 are ours, but for 4 */

static void
check(const char *why)
{
	char text[FORKABLE_TEXT_MAX] = "";
	bool good = forkable_check(N_LISTENERS, text);

	if (good != !why || (why && !strstr(text, why)))
		fail_msg("%s, \"%s\"; expected \"%s\"", good ? "good" : "not good", text, why ? why : "good");
}

static void
test_nothing_stands_in_the_way(UNUSED void **state)
{
	int fd = open("/dev/null", O_RDWR);

	check(NULL);
	close(fd);
}

static void
test_what_stands_in_the_way(UNUSED void **state)
{
	int fds[2], epoll;

	assert_int_equal(pipe(fds), 0);
	check("it has a pipe open (descriptor ");
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	check("it has a socket open");
	assert_int_equal(dup2(fds[0], FIRST_FREE - 1), FIRST_FREE - 1); /* a listener of ours */
	close(fds[0]);
	close(fds[1]);
	check(NULL);
	assert_int_equal(dup2(FIRST_FREE - 1, FIRST_FREE), FIRST_FREE);
	check("it has a socket open (descriptor 9, socket:");
	close(FIRST_FREE);
	assert_int_equal(dup2(STDERR_FILENO, FIRST_FREE - 1), FIRST_FREE - 1);
	epoll = epoll_create1(0);
	check("it has an event loop open");
	close(epoll);
	check(NULL);
}

static void
test_gpus_are_known_by_their_devices(UNUSED void **state)
{
	static const char *const gpus[] = {
	    "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/kfd", "/dev/dri/renderD128"};
	static const char *const others[] = {
	    "/dev/null", "/dev/urandom", "/srv/dev/nvidia0", "/srv/model.bin", "anon_inode:[eventfd]"};

	for (size_t i = 0; i < N_ELEMENTS(gpus); i++)
		assert_string_equal(forkable_judge(gpus[i]), "it uses a gpu");
	for (size_t i = 0; i < N_ELEMENTS(others); i++)
		assert_null(forkable_judge(others[i]));
}

static void *
wait_for_end(void *arg)
{
	pthread_mutex_lock(arg);
	pthread_mutex_unlock(arg);
	return NULL;
}

static void
test_a_thread(UNUSED void **state)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_t thread;

	pthread_mutex_lock(&mutex);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_end, &mutex), 0);
	assert_int_equal(pthread_setname_np(thread, "counter"), 0);
	check("it has started 1 thread (counter)");
	pthread_mutex_unlock(&mutex);
	pthread_join(thread, NULL);
	check(NULL);
}

static void
test_a_process(UNUSED void **state)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	check("it has started a process and not waited for its end");
	assert_int_equal(kill(pid, SIGKILL), 0);
	check("it has started a process and not waited for its end"); /* a zombie at the latest now */
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	check(NULL);
}

static void
test_files_get_a_position_of_their_own(UNUSED void **state)
{
	int file = memfd_create("test", MFD_CLOEXEC), inherited = dup(file);

	assert_int_equal(write(file, "0123456789", 10), 10);
	assert_int_equal(lseek(file, 4, SEEK_SET), 4);
	assert_int_equal(lseek(inherited, 0, SEEK_CUR), 4); /* one and the same open file, as after a fork */
	assert_int_equal(forkable_open_anew(N_LISTENERS), 0);
	assert_int_equal(lseek(file, 0, SEEK_CUR), 4);
	assert_int_equal(lseek(file, 7, SEEK_SET), 7);
	assert_int_equal(lseek(inherited, 0, SEEK_CUR), 4);
	assert_int_equal(fcntl(file, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(inherited, F_GETFD), 0);
	assert_int_equal(fcntl(file, F_GETFL) & O_ACCMODE, O_RDWR);
	close(file);
	close(inherited);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing_stands_in_the_way),
	    cmocka_unit_test(test_what_stands_in_the_way),
	    cmocka_unit_test(test_gpus_are_known_by_their_devices),
	    cmocka_unit_test(test_a_thread),
	    cmocka_unit_test(test_a_process),
	    cmocka_unit_test(test_files_get_a_position_of_their_own),
	};

	closefrom(3); /* what make has open */
	for (int fd = 3; fd < FIRST_FREE; fd++)
		if (dup2(STDERR_FILENO, fd) < 0)
			return 1;
	close(4); /* the start record was read */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
