/*
 * Channel records on a real channel: what is sent arrives, with its descriptors; what is broken is refused and costs no
 * descriptor; a dead peer is noticed only after its last words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/channel.h"

static struct channel_inbox inbox;
static struct channel_record record;
static int pair[2], fds[CHANNEL_CONNS_MAX];

static int
setup(UNUSED void **state)
{
	return channel_pair(pair);
}

static int
teardown(UNUSED void **state)
{
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static unsigned
count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(folder))
		n++;
	closedir(folder);
	return n;
}

static void
test_a_request_arrives_with_its_bytes_and_descriptor(UNUSED void **state)
{
	const struct channel_conn conn = {
	    .state = CHANNEL_CONN_OPEN, .received = 9, .sent = 3, .since_ms = 4, .arrival_ns = 5, .n_request = 6};
	const struct iovec bytes[] = {{(void *)(uintptr_t) "abc", 3}, {(void *)(uintptr_t) "def", 3}};
	int null = open("/dev/null", O_RDONLY);
	const struct channel_message message = {
	    .kind = CHANNEL_REQUEST,
	    .sequence = 17,
	    .n_conns = 1,
	    .conns = &conn,
	    .fds = &null,
	    .bytes = bytes,
	    .n_bytes = 2,
	};

	assert_int_equal(channel_receive(pair[1], &inbox, &record, fds), -EAGAIN);
	assert_int_equal(channel_send(pair[0], &message, false), 0);
	assert_int_equal(channel_receive(pair[1], &inbox, &record, fds), 1);
	assert_int_equal(record.kind, CHANNEL_REQUEST);
	assert_int_equal(record.sequence, 17);
	assert_false(record.again);
	assert_int_equal(record.n_conns, 1);
	assert_memory_equal(&record.conns[0], &conn, sizeof(conn));
	assert_int_equal(record.n_bytes, 6);
	assert_memory_equal(record.bytes, "abcdef", 6);
	assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	/* Who died before it could write down that it had received the record is understood all the same. */
	inbox.length = 0;
	close(fds[0]);
	assert_int_equal(channel_inbox_decode(&inbox, &record, fds), 1);
	assert_memory_equal(record.bytes, "abcdef", 6);
	channel_release(&inbox, &record);
	assert_int_equal(channel_inbox_decode(&inbox, &record, fds), 0);
	close(null);
}

static void
test_many_bytes_travel_in_a_file(UNUSED void **state)
{
	size_t size = CHANNEL_INLINE_MAX + 1;
	char *text = malloc(size);
	struct channel_conn conns[2] = {
	    {.state = CHANNEL_CONN_OPEN, .received = 1, .n_request = 1},
	    {.state = CHANNEL_CONN_WRITING, .n_answer = CHANNEL_INLINE_MAX},
	};
	const struct iovec bytes = {text, size};
	int null[2] = {open("/dev/null", O_RDONLY), open("/dev/null", O_RDONLY)};
	const struct channel_message message = {
	    .kind = CHANNEL_MOVE,
	    .sequence = 1,
	    .flags = CHANNEL_AGAIN,
	    .n_conns = 2,
	    .conns = conns,
	    .fds = null,
	    .bytes = &bytes,
	    .n_bytes = 1,
	};
	unsigned before = count_fds();

	for (size_t i = 0; i < size; i++)
		text[i] = (char)i;
	assert_int_equal(channel_send(pair[0], &message, true), 0);
	assert_int_equal(channel_receive(pair[1], &inbox, &record, fds), 1);
	assert_true(record.outside && record.again);
	assert_int_equal(record.n_bytes, size);
	assert_memory_equal(record.bytes, text, size);
	/* Again, as the keeper of one that died before it had entered it. */
	assert_int_equal(munmap((void *)(uintptr_t)record.bytes, size), 0);
	assert_int_equal(channel_inbox_decode(&inbox, &record, fds), 1);
	assert_memory_equal(record.bytes, text, size);
	channel_release(&inbox, &record);
	assert_int_equal(count_fds(), before + 2);
	close(fds[0]);
	close(fds[1]);
	close(null[0]);
	close(null[1]);
	free(text);
}

static void
test_sixty_four_idle_connections_travel_in_one_record(UNUSED void **state)
{
	struct channel_conn conns[CHANNEL_CONNS_MAX];
	int null[CHANNEL_CONNS_MAX];
	const struct channel_message message = {
	    .kind = CHANNEL_MOVE, .sequence = 1, .n_conns = CHANNEL_CONNS_MAX, .conns = conns, .fds = null};

	for (unsigned i = 0; i < CHANNEL_CONNS_MAX; i++) {
		conns[i] = (struct channel_conn){.state = CHANNEL_CONN_OPEN, .sent = i};
		null[i] = open("/dev/null", O_RDONLY);
	}
	assert_int_equal(channel_send(pair[0], &message, true), 0);
	assert_int_equal(channel_receive(pair[1], &inbox, &record, fds), 1);
	assert_int_equal(record.n_conns, CHANNEL_CONNS_MAX);
	for (unsigned i = 0; i < CHANNEL_CONNS_MAX; i++) {
		assert_int_equal(record.conns[i].sent, i);
		close(fds[i]);
		close(null[i]);
	}
}

/* Bytes as they are, with descriptors. */
static void
send_raw(const void *bytes, size_t length, unsigned n_fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {0};
	struct cmsghdr *header = (struct cmsghdr *)control;
	struct iovec part = {(void *)(uintptr_t)bytes, length};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	int null = open("/dev/null", O_RDONLY);

	if (n_fds > 0) {
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		for (unsigned i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(header) + i * sizeof(int), &null, sizeof(int));
	}
	assert_int_equal(sendmsg(pair[0], &message, 0), length);
	close(null);
}

static void
test_nonsense_is_refused_and_costs_no_descriptor(UNUSED void **state)
{
	struct {
		struct channel_header header;
		struct channel_conn conn;
		char bytes[8];
	} good =
	    {
		.header = {.kind = CHANNEL_MOVE, .sequence = 1, .n_conns = 1},
		.conn = {.state = CHANNEL_CONN_OPEN, .received = 8, .n_request = 8},
	    },
	  bad;
	unsigned before = count_fds();

	send_raw(&good, sizeof(good), 1);
	assert_int_equal(channel_receive(pair[1], &inbox, &record, fds), 1);
	close(fds[0]);
	channel_release(&inbox, &record);
#define REFUSED(n_fds, length)                                                      \
	send_raw(&bad, length, n_fds);                                              \
	assert_int_equal(channel_receive(pair[1], &inbox, &record, fds), -EBADMSG); \
	assert_int_equal(count_fds(), before);                                      \
	bad = good
	bad = good;
	REFUSED(0, sizeof(bad));
	REFUSED(2, sizeof(bad));
	REFUSED(1, sizeof(bad) - 1);
	REFUSED(1, sizeof(struct channel_header) - 1);
	bad.header.kind = 99;
	REFUSED(1, sizeof(bad));
	bad.header.kind = CHANNEL_IDLE;
	REFUSED(1, sizeof(bad));
	bad.header.kind = CHANNEL_REQUEST; /* without an arrival */
	REFUSED(1, sizeof(bad));
	bad.header.flags = 1 << 5;
	REFUSED(1, sizeof(bad));
	bad.header.n_conns = CHANNEL_CONNS_MAX + 1;
	REFUSED(1, sizeof(bad));
	bad.header.flags = CHANNEL_OUTSIDE; /* the second descriptor is no file of ours */
	REFUSED(2, sizeof(bad) - sizeof(bad.bytes));
	bad.conn.state = 0;
	REFUSED(1, sizeof(bad));
	bad.conn.flags = 1 << 30;
	REFUSED(1, sizeof(bad));
	bad.conn.n_request = UINT64_MAX;
	REFUSED(1, sizeof(bad));
	bad.conn.received = 7; /* fewer than there are */
	REFUSED(1, sizeof(bad));
	bad.conn.state = CHANNEL_CONN_LINGERING; /* has no bytes */
	REFUSED(1, sizeof(bad));
	bad.conn.since_ms = -1;
	REFUSED(1, sizeof(bad));
#undef REFUSED
}

static void
test_a_file_that_could_shrink_is_refused(UNUSED void **state)
{
	struct {
		struct channel_header header;
		struct channel_conn conn;
	} wire = {
	    .header = {.kind = CHANNEL_MOVE, .flags = CHANNEL_OUTSIDE, .sequence = 1, .n_conns = 1},
	    .conn = {.state = CHANNEL_CONN_OPEN, .received = 4, .n_request = 4},
	};
	char path[] = "/tmp/cortexd-test-XXXXXX";
	int file = mkstemp(path), both[2] = {file, file};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(both))] = {0};
	struct cmsghdr *header = (struct cmsghdr *)control;
	struct iovec part = {&wire, sizeof(wire)};
	struct msghdr message = {
	    .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};

	assert_int_equal(write(file, "abcd", 4), 4);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(both));
	memcpy(CMSG_DATA(header), both, sizeof(both));
	assert_int_equal(sendmsg(pair[0], &message, 0), sizeof(wire));
	assert_int_equal(channel_receive(pair[1], &inbox, &record, fds), -EBADMSG);
	close(file);
	unlink(path);
}

/* A replica that dies with an unread request resets the channel, but its last records are still there. */
static void
test_the_last_words_come_before_the_end(UNUSED void **state)
{
	const struct channel_message note = {.kind = CHANNEL_STATE, .sequence = 1};

	assert_int_equal(channel_send(pair[1], &note, false), 0); /* never read by the other side */
	assert_int_equal(channel_send(pair[0], &note, true), 0);
	assert_int_equal(channel_send(pair[0], &note, true), 0);
	close(pair[0]);
	assert_int_equal(channel_receive(pair[1], &inbox, &record, fds), 1);
	assert_int_equal(channel_receive(pair[1], &inbox, &record, fds), 1);
	assert_int_equal(channel_receive(pair[1], &inbox, &record, fds), 0);
	assert_int_equal(channel_send(pair[1], &note, false), -EPIPE);
	pair[0] = dup(pair[1]);
}

static void
test_a_full_channel_does_not_block_who_does_not_want_to_wait(UNUSED void **state)
{
	const struct channel_message note = {.kind = CHANNEL_STATE, .sequence = 1};
	int r, n = 0;

	while ((r = channel_send(pair[0], &note, false)) == 0 && n < 1000000)
		n++;
	assert_int_equal(r, -EAGAIN);
	assert_true(n > 100);
	assert_int_equal(channel_receive(pair[1], &inbox, &record, fds), 1);
	assert_int_equal(channel_send(pair[0], &note, false), 0); /* although POLLOUT would still say no */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_a_request_arrives_with_its_bytes_and_descriptor, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_many_bytes_travel_in_a_file, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sixty_four_idle_connections_travel_in_one_record, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nonsense_is_refused_and_costs_no_descriptor, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_file_that_could_shrink_is_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_the_last_words_come_before_the_end, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_a_full_channel_does_not_block_who_does_not_want_to_wait, setup, teardown),
	};

	return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
