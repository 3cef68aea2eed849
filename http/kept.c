/*
 * kept - see kept.h.
 */
#include "http/kept.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* tcpi_state, as in netinet/tcp.h, which knows an older struct tcp_info than linux/tcp.h does and cannot be included with it. */
enum {
	STATE_TIME_WAIT = 6,
	STATE_CLOSE = 7,
	STATE_CLOSE_WAIT = 8,
	STATE_LAST_ACK = 9,
	STATE_CLOSING = 11,
};

#define COUNT_TRIES 1000

/* What the kernel has counted. */
struct counts {
	uint64_t read;    /* bytes that were taken out of the socket */
	uint64_t written; /* bytes that were put into it */
	bool reset;       /* there is no connection any more, and the counts mean nothing */
};

static bool
get_info(int fd, struct tcp_info *ret_info)
{
	socklen_t length = sizeof(*ret_info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret_info, &length) == 0;
}

/*
 * False when the kernel does not count (unix sockets). A FIN counts as a byte that was received (measured). The client goes
 * on meanwhile, so what is asked for in three calls belongs together only if nothing has arrived from the first to the last.
 */
static bool
count(int fd, struct counts *ret_counts)
{
	struct tcp_info info, again;
	int unread, unacknowledged, n = 0;
	bool fin, calm;

	do {
		if (!get_info(fd, &info) || ioctl(fd, SIOCINQ, &unread) < 0 ||
		    ioctl(fd, SIOCOUTQ, &unacknowledged) < 0 || !get_info(fd, &again))
			return false;
		calm = info.tcpi_bytes_acked == again.tcpi_bytes_acked &&
		    info.tcpi_bytes_received == again.tcpi_bytes_received && info.tcpi_state == again.tcpi_state;
	} while (!calm && ++n < COUNT_TRIES);
	if (!calm)
		return false;
	fin = info.tcpi_state == STATE_CLOSE_WAIT || info.tcpi_state == STATE_LAST_ACK ||
	    info.tcpi_state == STATE_CLOSING || info.tcpi_state == STATE_TIME_WAIT;
	ret_counts->read = info.tcpi_bytes_received - fin - (uint64_t)unread;
	ret_counts->written = info.tcpi_bytes_acked + (uint64_t)unacknowledged;
	ret_counts->reset = info.tcpi_state == STATE_CLOSE;
	return true;
}

bool
http_is_stream_socket(int fd)
{
	int type;
	socklen_t length = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

/* Forget the request at the front: it is answered. */
static void
settle_answered(struct http_kept *kept)
{
	kept->sent = kept->answer_end;
	kept->consumed = kept->request_end;
	kept->arrival_ns = 0;
	if (kept->flags & HTTP_KEPT_CLOSE_AFTER) {
		http_kept_set_phase(kept, HTTP_PHASE_LINGERING);
		shutdown(kept->fd, SHUT_WR);
	} else {
		http_kept_set_phase(kept, HTTP_PHASE_OPEN);
	}
}

static bool
settle_answer(struct http_kept *kept, uint64_t written)
{
	if (written == kept->answer_end) {
		settle_answered(kept);
	} else if (kept->out.data) {
		if (kept->flags & HTTP_KEPT_OUT_PRIVATE || written < kept->out.base || written > kept->answer_end)
			return false;
		kept->sent = written;
	} else if (written != kept->sent) {
		return false;
	} else {
		http_kept_set_phase(kept, kept->flags & HTTP_KEPT_PREDICTED ? HTTP_PHASE_PREDICTING : HTTP_PHASE_OPEN);
	}
	return true;
}

bool
http_kept_settle(struct http_kept *kept)
{
	const struct http_block *in = http_kept_in(kept);
	struct counts counts;

	if (http_kept_phase(kept) == HTTP_PHASE_LINGERING) /* what still comes is read without being counted */
		return http_is_stream_socket(kept->fd);
	if (!count(kept->fd, &counts))
		return http_is_stream_socket(kept->fd) && !kept->receiving &&
		    http_kept_phase(kept) != HTTP_PHASE_ANSWERING;
	if (counts.reset)
		return false;
	/* recv put its bytes where they belong; only the sum was not written down any more. Else it is another socket. */
	if (counts.read != kept->received) {
		if (!kept->receiving || counts.read < kept->received || !in->data || counts.read - in->base > in->room)
			return false;
		kept->received = counts.read;
	}
	if (http_kept_phase(kept) == HTTP_PHASE_ANSWERING)
		return settle_answer(kept, counts.written);
	kept->sent = counts.written;
	return true;
}

/* Of the bytes that were read, those from position `from` on. */
static struct iovec
bytes_from(const struct http_kept *kept, uint64_t from)
{
	const struct http_block *in = http_kept_in(kept);

	if (kept->received == from)
		return (struct iovec){NULL, 0};
	return (struct iovec){in->data + (from - in->base), kept->received - from};
}

void
http_kept_describe(const struct http_kept *kept, struct channel_conn *ret_conn, struct iovec ret_bytes[2])
{
	*ret_conn = (struct channel_conn){
	    .state = CHANNEL_CONN_OPEN,
	    .flags = kept->flags & CHANNEL_CONN_FLAGS,
	    .received = kept->received,
	    .sent = kept->sent,
	    .since_ms = kept->since_ms,
	};
	ret_bytes[0] = ret_bytes[1] = (struct iovec){NULL, 0};
	switch (http_kept_phase(kept)) {
	case HTTP_PHASE_FREE:
	case HTTP_PHASE_OPEN:
		ret_conn->arrival_ns = kept->arrival_ns;
		ret_bytes[0] = bytes_from(kept, kept->consumed);
		break;
	case HTTP_PHASE_PREDICTING:
		ret_conn->state = CHANNEL_CONN_FAILED;
		ret_bytes[0] = bytes_from(kept, kept->request_end);
		break;
	case HTTP_PHASE_ANSWERING:
		ret_conn->state = CHANNEL_CONN_WRITING;
		ret_bytes[0] = bytes_from(kept, kept->request_end);
		ret_bytes[1] = (struct iovec){
		    kept->out.data + (kept->sent - kept->out.base), kept->answer_end - kept->sent};
		break;
	case HTTP_PHASE_LINGERING:
		ret_conn->state = CHANNEL_CONN_LINGERING;
		break;
	}
	ret_conn->n_request = ret_bytes[0].iov_len;
	ret_conn->n_answer = ret_bytes[1].iov_len;
}
