/*
 * link - see link.h.
 */
#include "replica/link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"

/* False: there is no place for another descriptor. */
static bool
take_spare(struct link *link)
{
	link->spare = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	return link->spare >= 0 || errno != EMFILE;
}

void
link_init(struct link *link, struct scoreboard *scoreboard, uint32_t slot, struct keeper *keeper, int channel)
{
	memset(link, 0, sizeof(*link));
	link->scoreboard = scoreboard;
	link->slot = &scoreboard->slots[slot];
	link->api = &scoreboard->apis[link->slot->api];
	link->keeper = keeper;
	link->channel = channel;
	http_departure_init(&link->departure);
	take_spare(link);
}

void
link_set_channel(struct link *link, int channel)
{
	fd_close(&link->channel);
	link->channel = channel;
	link->sequence = 0;
	atomic_store(&link->keeper->channel, channel);
}

bool
link_swap_state(struct link *link, enum replica_state from, enum replica_state to)
{
	uint32_t expected = from;

	return atomic_compare_exchange_strong(&link->slot->state, &expected, to);
}

/* The activator is gone, or does not read: do without it. The descriptor stays ours until there is a new one. */
static void
went_down(int error)
{
	if (error != -EPIPE)
		log_warning("cannot send to the activator: %s", strerror(-error));
}

void
link_send_note(struct link *link, enum channel_kind kind)
{
	const struct channel_message message = {.kind = kind, .sequence = link->sequence + 1};
	int r;

	if (!link_is_up(link))
		return;
	r = channel_send(link->channel, &message, true);
	if (r < 0)
		went_down(r);
	else
		link->sequence++;
}

bool
link_flush(struct link *link)
{
	unsigned n = link->departure.parcel.n;
	int r;

	if (n == 0)
		return true;
	if (!link_is_up(link)) {
		http_departure_cancel(&link->departure);
		return false;
	}
	r = http_departure_send(&link->departure, link->channel, CHANNEL_MOVE, link->sequence + 1, 0, true);
	if (r < 0) {
		went_down(r);
		return false;
	}
	link->sequence++;
	if (link->keeper->metrics)
		metrics_add(link->keeper->metrics, METRIC_MOVED, n);
	return true;
}

bool
link_move(struct link *link, struct http_conn *conn)
{
	if (http_departure_add(&link->departure, conn))
		return true;
	return link_flush(link) && http_departure_add(&link->departure, conn);
}

int
link_receive(struct link *link, struct channel_record *ret_record, int ret_fds[CHANNEL_CONNS_MAX])
{
	int r;

	if (!link_is_up(link))
		return -EAGAIN;
	/* A descriptor that finds no place is lost, and its client with it. So there is a place, or nothing is received. */
	if (link->spare < 0 && !take_spare(link))
		return -EMFILE;
	fd_close(&link->spare);
	r = channel_receive(link->channel, &link->keeper->inbox, ret_record, ret_fds);
	if (!take_spare(link))
		log_debug("the last descriptor is in use");
	return r;
}
