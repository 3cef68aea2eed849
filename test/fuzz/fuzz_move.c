/*
 * Connections that arrive in any state, from a record of any bytes: no crash, nothing is left over, and what arrives whole
 * leaves as it came. The clients then say whatever they want to.
 */
#include <signal.h>

#include "test/unit/conn_helpers.h"

#define CLIENT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct side near, far;
static int channel[2];

static void
start_once(void)
{
	static bool started;

	if (started)
		return;
	started = true;
	signal(SIGPIPE, SIG_IGN);
	side_init(&near, true);
	side_init(&far, false);
	if (channel_pair(channel) < 0)
		abort();
}

/* A connection that is as it was described leaves with the same description. */
static void
check_description(const struct http_conn *conn, const struct channel_conn *was, const uint8_t *bytes)
{
	struct channel_conn now;
	struct iovec parts[2];

	http_kept_describe(conn->kept, &now, parts);
	if (was->state == CHANNEL_CONN_FAILED ||
	    (conn->state == HTTP_CONN_WRITE) != (was->state == CHANNEL_CONN_WRITING))
		return; /* it was answered meanwhile */
	if (conn->kept->received != was->received || now.n_request != was->n_request)
		return; /* a request was refused */
	ASSERT(now.state == was->state && now.n_answer == was->n_answer);
	ASSERT(parts[0].iov_len == 0 || !memcmp(parts[0].iov_base, bytes, parts[0].iov_len));
	ASSERT(parts[1].iov_len == 0 || !memcmp(parts[1].iov_base, bytes + was->n_request, parts[1].iov_len));
}

/* From one side to the other, all that there are. */
static void
move_all(void)
{
	for (int i = 0; i < CHANNEL_CONNS_MAX && side_conn(&near); i++) {
		side_move(&near, &far, channel);
		side_run(&far);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct channel_record record;
	int clients[CHANNEL_CONNS_MAX];
	size_t n_client, n_wire;
	const uint8_t *bytes;
	unsigned n_fds;

	if (size < 4)
		return 0;
	start_once();
	n_fds = data[0] % 5;
	n_client = MIN((size_t)(data[1] << 8 | data[2]) % CLIENT_MAX, size - 3);
	n_wire = size - 3 - n_client;
	if (channel_record_decode(data + 3 + n_client, n_wire, n_fds, &record) < 0 || record.outside)
		return 0;
	bytes = record.bytes;
	for (unsigned i = 0; i < record.n_conns; i++)
		if (MAX(record.conns[i].received, record.conns[i].sent) > CHANNEL_EVER_MAX / 2)
			return 0; /* leave room to go on */
	for (unsigned i = 0; i < record.n_conns; i++) {
		struct http_conn *conn;
		int fds[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
			abort();
		clients[i] = fds[0];
		if (write(fds[0], data + 3, n_client) < 0 && errno != EAGAIN)
			abort();
		conn = http_conns_arrive(&near.conns, &record.conns[i], fds[1], bytes);
		if (conn && conn->state != HTTP_CONN_CLOSED)
			check_description(conn, &record.conns[i], bytes);
		bytes += record.conns[i].n_request + record.conns[i].n_answer;
	}
	side_run(&near);
	move_all();
	for (unsigned i = 0; i < record.n_conns; i++)
		close(clients[i]);
	for (int i = 0; i < 100 && far.conns.n_open > 0; i++)
		side_run(&far);
	ASSERT(near.conns.n_open == 0 && far.conns.n_open == 0 && near.n_held == 0);
	return 0;
}
