/*
 * What is worked out about a connection after its owner has died: from the kernel's counters, while the client goes on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/kept.h"

#define ANSWER_END (1ull << 40)

static int client, server;
static char bytes[1 << 16];

static int
setup(UNUSED void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ASSERT(
	    setsockopt(listener, SOL_SOCKET, SO_OOBINLINE, &(int){1}, sizeof(int)) == 0); /* as http/listener.c does */
	ASSERT(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(listener, 1) == 0);
	ASSERT(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ASSERT(connect(client, (struct sockaddr *)&address, sizeof(address)) == 0);
	server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	ASSERT(server >= 0);
	return close(listener);
}

static int
teardown(UNUSED void **state)
{
	close(client);
	close(server);
	return 0;
}

/* One of a predicted answer of which a part was kept. */
static struct http_kept
answering(uint64_t sent, uint32_t flags)
{
	struct http_kept kept = {
	    .fd = server,
	    .flags = HTTP_KEPT_PREDICTED | flags,
	    .sent = sent,
	    .answer_end = ANSWER_END,
	    .out = {.data = bytes, .room = sizeof(bytes), .base = sent},
	};

	http_kept_set_phase(&kept, HTTP_PHASE_ANSWERING);
	return kept;
}

static void *
read_slowly(UNUSED void *arg)
{
	static char nowhere[16384];
	const struct timespec nap = {.tv_nsec = 50000};

	while (recv(client, nowhere, sizeof(nowhere), 0) > 0)
		nanosleep(&nap, NULL);
	return NULL;
}

static void
test_what_was_written_is_known_while_the_client_reads(UNUSED void **state)
{
	pthread_t reader;
	uint64_t written = 0;

	ASSERT(pthread_create(&reader, NULL, read_slowly, NULL) == 0);
	for (int i = 0; i < 20000; i++) {
		struct http_kept kept = answering(written, 0);
		ssize_t n = i % 20 ? 0 : send(server, bytes, sizeof(bytes), MSG_DONTWAIT);

		written += n > 0 ? (uint64_t)n : 0;
		assert_true(http_kept_settle(&kept));
		assert_int_equal(kept.sent, written);
	}
	shutdown(server, SHUT_RDWR);
	ASSERT(pthread_join(reader, NULL) == 0);
}

static void
test_no_other_answer_follows_a_part_of_one_that_was_not_kept(UNUSED void **state)
{
	struct http_kept kept = answering(5000, HTTP_KEPT_OUT_PRIVATE);

	ASSERT(send(server, bytes, 5000, 0) == 5000);
	assert_false(http_kept_settle(&kept));
}

static void
test_what_nobody_was_reading_is_not_taken_for_read(UNUSED void **state)
{
	static char block[4096];
	struct http_kept kept = {.fd = server, .received = 3, .in[0] = {.data = block, .room = sizeof(block)}};
	char got[16];

	http_kept_set_phase(&kept, HTTP_PHASE_OPEN);
	ASSERT(
	    send(client, "abcde", 5, 0) == 5 && send(client, "!", 1, MSG_OOB) == 1 && send(client, "fgh", 3, 0) == 3);
	ASSERT(recv(server, got, 3, MSG_WAITALL) == 3);
	assert_true(http_kept_settle(&kept));
	ASSERT(recv(server, got, 2, 0) == 2);
	assert_false(http_kept_settle(&kept)); /* somebody else has read from it */
	kept.receiving = true;
	assert_true(http_kept_settle(&kept));
	assert_int_equal(kept.received, 5);
	/* Urgent data is data. */
	kept.receiving = false;
	ASSERT(recv(server, got, 4, MSG_WAITALL) == 4 && !memcmp(got, "!fgh", 4));
	kept.received = 9;
	assert_true(http_kept_settle(&kept));
}

static void
test_what_comes_while_it_lingers_does_not_count(UNUSED void **state)
{
	struct http_kept kept = {.fd = server};
	char nowhere[16];

	http_kept_set_phase(&kept, HTTP_PHASE_LINGERING);
	ASSERT(send(client, "abc", 3, 0) == 3 && recv(server, nowhere, 3, MSG_WAITALL) == 3);
	assert_true(http_kept_settle(&kept));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_what_was_written_is_known_while_the_client_reads, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_no_other_answer_follows_a_part_of_one_that_was_not_kept, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_what_nobody_was_reading_is_not_taken_for_read, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_what_comes_while_it_lingers_does_not_count, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
