/*
 * board - see board.h.
 */
#include "supervisor/board.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "common/log.h"

#define IN_FLIGHT_MAX 1000000u /* at one place; more are no requests */

int
board_init(struct board *board, struct error *err)
{
	int r;

	memset(board, 0, sizeof(*board));
	board->fd = -1;
	r = scoreboard_new(&board->scoreboard, &board->fd);
	if (r < 0)
		return error_set(err, r, "cannot make the scoreboard: %s", strerror(-r));
	r = metrics_map_api(board->fd, METRICS_NO_API, &board->no_api);
	return r < 0 ? error_set(err, r, "cannot map the metrics: %s", strerror(-r)) : 0;
}

void
board_done(struct board *board)
{
	for (uint32_t i = 0; i < board->n_places; i++)
		fd_close(&board->places[i].channel);
	for (uint32_t i = 0; i < board->n_apis; i++)
		metrics_unmap_api(board->ranges[i].metrics);
	metrics_unmap_api(board->no_api);
	free(board->places);
	free(board->ranges);
	scoreboard_unmap(board->scoreboard);
	fd_close(&board->fd);
	memset(board, 0, sizeof(*board));
	board->fd = -1;
}

/* A range that was given back and is large enough, the smallest of those; or -1. */
static int
find_range(const struct board *board, uint32_t n)
{
	int best = -1;

	for (uint32_t i = 0; i < board->n_apis; i++) {
		const struct range *range = &board->ranges[i];

		if (!range->given && range->n >= n && (best < 0 || range->n < board->ranges[best].n))
			best = (int)i;
	}
	return best;
}

static int
add_range(struct board *board, uint32_t n, struct error *err)
{
	struct scoreboard_api *api = &board->scoreboard->apis[board->n_apis];

	if (board->n_apis == SCOREBOARD_APIS_MAX)
		return error_set(err, -ENOSPC, "more than %d apis", SCOREBOARD_APIS_MAX);
	if (n > SCOREBOARD_SLOTS_MAX - board->n_places)
		return error_set(err, -ENOSPC,
		    "too many replicas: compute.max_replicas of all apis, plus %d for each api, may be %d together",
		    SCOREBOARD_SPARE, SCOREBOARD_SLOTS_MAX);
	board->ranges = xrealloc(board->ranges, board->n_apis + 1, sizeof(*board->ranges));
	board->ranges[board->n_apis] = (struct range){.first = board->n_places, .n = n};
	board->places = xrealloc(board->places, board->n_places + n, sizeof(*board->places));
	for (uint32_t i = 0; i < n; i++)
		board->places[board->n_places + i] = (struct place){.channel = -1};
	api->first_slot = board->n_places;
	api->n_slots = n;
	board->n_places += n;
	return (int)board->n_apis++;
}

int
board_add_api(struct board *board, int max_replicas, struct error *err)
{
	uint32_t n = (uint32_t)max_replicas + SCOREBOARD_SPARE;
	int number = find_range(board, n), r = 0;

	if (number < 0)
		number = add_range(board, n, err);
	else
		r = metrics_clear_api(board->fd, (uint32_t)number); /* they were another api's */
	if (number < 0)
		return number;
	if (r == 0 && !board->ranges[number].metrics)
		r = metrics_map_api(board->fd, (uint32_t)number, &board->ranges[number].metrics);
	if (r < 0)
		return error_set(err, r, "cannot make the metrics: %s", strerror(-r));
	board->ranges[number].given = true;
	return number;
}

bool
board_has_room(const struct board *board, uint32_t api, int max_replicas)
{
	return (uint32_t)max_replicas + SCOREBOARD_SPARE <= board->ranges[api].n;
}

bool
board_is_unused(const struct board *board, uint32_t api)
{
	const struct range *range = &board->ranges[api];

	for (uint32_t i = 0; i < range->n_used; i++)
		if (board->places[range->first + i].state != PLACE_FREE)
			return false;
	return true;
}

void
board_remove_api(struct board *board, uint32_t api)
{
	board->ranges[api].given = false;
}

bool
board_has_places(const struct board *board, uint32_t api, unsigned n)
{
	const struct range *range = &board->ranges[api];
	unsigned n_free = 0;

	for (uint32_t i = 0; i < range->n && n_free < n; i++)
		n_free += board->places[range->first + i].state == PLACE_FREE;
	return n_free >= n;
}

bool
board_will_have_place(const struct board *board, uint32_t api)
{
	const struct range *range = &board->ranges[api];

	for (uint32_t i = 0; i < range->n_used; i++) {
		const struct place *place = &board->places[range->first + i];

		if (place->state != PLACE_FREE && !place->slot)
			return true;
	}
	return false;
}

bool
board_waits(const struct board *board, uint32_t api)
{
	return atomic_load(&board->scoreboard->apis[api].waiting_ns) != 0;
}

/* A replica that is not idle runs one, or is about to. What is read may be nonsense, so it is bounded. */
int64_t
board_in_flight(const struct board *board, uint32_t api)
{
	const struct scoreboard *scoreboard = board->scoreboard;
	const struct range *range = &board->ranges[api];
	int64_t sum = MIN(atomic_load(&scoreboard->apis[api].n_queued), IN_FLIGHT_MAX);

	for (uint32_t i = 0; i < range->n_used; i++) {
		const struct scoreboard_slot *words = &scoreboard->slots[range->first + i];
		uint32_t state = atomic_load(&words->state);

		if (!board->places[range->first + i].slot)
			continue;
		sum += state == REPLICA_CLAIMED || state == REPLICA_BUSY || state == REPLICA_LONG;
		sum += MIN(atomic_load(&words->pending), IN_FLIGHT_MAX);
	}
	return sum;
}

int
board_take(struct board *board, uint32_t api_number, uint32_t replica, struct slot *slot)
{
	struct range *range = &board->ranges[api_number];

	for (uint32_t i = 0; i < range->n; i++) {
		struct place *place = &board->places[range->first + i];
		struct scoreboard_slot *words = &board->scoreboard->slots[range->first + i];

		if (place->state != PLACE_FREE)
			continue;
		place->state = PLACE_WAITING;
		place->slot = slot;
		words->api = api_number;
		words->replica = replica;
		atomic_store(&words->connections, 0);
		atomic_store(&words->idle_since_ns, 0);
		atomic_store(&words->predictions, 0);
		atomic_store(&words->pending, 0);
		atomic_store(&words->counts, 1);
		atomic_store(&words->state, REPLICA_STARTING);
		range->n_used = MAX(range->n_used, i + 1);
		atomic_store(&board->scoreboard->apis[api_number].n_used, range->n_used);
		return (int)(range->first + i);
	}
	return -ENOSPC;
}

/* What has been counted at the place becomes the api's. Not trusted: which api that is. */
static void
fold_metrics(struct board *board, uint32_t number)
{
	struct scoreboard_slot *words = &board->scoreboard->slots[number];
	int r = 0;

	for (uint32_t i = 0; i < board->n_apis; i++)
		if (number - board->ranges[i].first < board->ranges[i].n)
			r = metrics_fold(board->fd, board->ranges[i].metrics, board->no_api, number);
	if (r < 0)
		log_warning("what a replica has counted is lost: %s", strerror(-r));
	atomic_store(&words->counts, 0);
}

void
board_release(struct board *board, uint32_t number)
{
	struct place *place = &board->places[number];
	struct scoreboard_slot *words = &board->scoreboard->slots[number];
	int32_t n_lost = (int32_t)atomic_exchange(&words->connections, 0);

	/* What neither the replica nor its keeper has handed on has ended with them. */
	atomic_fetch_sub(&board->scoreboard->connections, n_lost);
	atomic_store(&words->state, REPLICA_DEAD);
	fold_metrics(board, number);
	fd_close(&place->channel);
	place->state = PLACE_FREE;
	place->slot = NULL;
}
