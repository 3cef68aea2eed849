/*
 * board - the supervisor's side of the scoreboard (common/scoreboard.h): who has which slot of it.
 *
 * Not to be confused with the supervisor's own slots (slot.h), which outlive processes: a place of the board belongs to one
 * process, from before its fork until the activator has dealt with what it left. So there are some more places than
 * replicas.
 *
 * A place also remembers the activator's end of the replica's channel, until there is an activator to give it to.
 */
#ifndef SUPERVISOR_BOARD_H
#define SUPERVISOR_BOARD_H

#include "common/error.h"
#include "common/metrics.h"
#include "common/scoreboard.h"
#include "common/util.h"

struct slot;

enum place_state {
	PLACE_FREE,
	PLACE_WAITING, /* the activator does not know the replica, yet or any more */
	PLACE_GIVEN,   /* it does, and will say when it has dealt with its end */
};

struct place {
	enum place_state state;
	int channel;       /* WAITING: the activator's end, or -1: it is still to be made; else -1 */
	struct slot *slot; /* of the process, NULL once it is gone */
};

/* The places of one api. */
struct range {
	uint32_t first;
	uint32_t n;
	uint32_t n_used;             /* those beyond were never used */
	bool given;                  /* an api has it */
	struct metrics_api *metrics; /* of it; NULL: not mapped yet */
};

struct board {
	struct scoreboard *scoreboard; /* children can write anywhere in it: nothing that is read from it is trusted */
	int fd;                        /* for children */
	struct metrics_api *no_api;    /* what is counted for no api */
	struct range *ranges;          /* of the apis */
	struct place *places;
	uint32_t n_places; /* in the ranges of all apis */
	uint32_t n_apis;   /* ranges: apis that are or were */
};

/* 0, or a negative errno and err. */
MUSTCHECK int board_init(struct board *board, struct error *err);
void board_done(struct board *board);

/* An api gets room for so many replicas, and some for those that are on their way out: its number, or -ENOSPC and err. */
MUSTCHECK int board_add_api(struct board *board, int max_replicas, struct error *err);

/* Does the room of an api suffice for so many? */
bool board_has_room(const struct board *board, uint32_t api, int max_replicas);

/* The number, and all of its places, which must be free, may be another api's. */
void board_remove_api(struct board *board, uint32_t api);
bool board_is_unused(const struct board *board, uint32_t api);

/* Has an api so many free places? Will one become free by itself, whose process has ended? Does a request wait for the api that
 * no replica was free for? */
bool board_has_places(const struct board *board, uint32_t api, unsigned n);
bool board_will_have_place(const struct board *board, uint32_t api);
bool board_waits(const struct board *board, uint32_t api);

/* Requests of an api that run or wait, as seen now. */
int64_t board_in_flight(const struct board *board, uint32_t api);

/* A free place of an api, cleared and in state STARTING; or -ENOSPC. */
MUSTCHECK int board_take(struct board *board, uint32_t api, uint32_t replica, struct slot *slot);

/* Nothing refers to the place any more. */
void board_release(struct board *board, uint32_t number);

#endif
