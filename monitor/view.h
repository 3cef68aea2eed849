/*
 * view - what there is to see, as of the last time that the supervisor was asked: its status, with what was counted.
 */
#ifndef MONITOR_VIEW_H
#define MONITOR_VIEW_H

#include <jansson.h>

#include "common/metrics.h"
#include "common/util.h"
#include "monitor/numbers.h"

#define VIEW_STATUS_MAX  (256u << 20) /* bytes of the supervisor's text */
#define VIEW_FRESH_MS    200          /* so long it is not asked again */
#define VIEW_PATIENCE_MS 5000         /* after which those who wait are told that the supervisor does not answer */

struct view {
	struct metrics_reader *reader; /* NULL: what was counted cannot be read */
	json_t *status;                /* with the parts of the monitor; NULL: there is none yet */
	char *text;                    /* the same, compact */
	size_t length;
	int64_t made_ms;
	struct numbers *numbers; /* of status.apis, in its order */
	size_t n_apis;
	uint64_t other[4]; /* answers to requests for no api, 2XX to 5XX */
};

/* 0 or a negative errno. fd: of the scoreboard. */
MUSTCHECK int view_init(struct view *view, int fd);
void view_done(struct view *view);

/* Take the supervisor's text, from the memfd of a record STATUS, which is closed, and read what was counted; log: what is known about the
 * logs, taken as well. 0 or a negative errno, and the view is as it was. */
MUSTCHECK int view_take(struct view *view, int fd, json_t *log, int64_t now_ms);

/* The element of apis with that name: one that requests find, or else any; NULL: there is none. Borrowed. */
json_t *view_find_api(const struct view *view, const char *name);

#endif
