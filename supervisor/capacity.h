/*
 * capacity - how many replicas may each api have on this host?
 *
 * The rule is that of Kubernetes' requests: what the replicas of all apis ask for together is never more than the host
 * has, whatever they really use. Pure: the caller says what is there and wanted, and starts or ends the difference.
 *
 * Room is given away in this order, and within a step one replica at a time, to the api that has the smallest part of
 * what it wants (of equals, the first of the file):
 *
 *   1. minimums that exist. A replica below its api's minimum is never ended for somebody else: two apis whose minimums
 *      do not fit together would only take turns, and neither would ever be well.
 *   2. minimums that are missing. They come before anybody's extras, also before those that exist: an extra is taken back
 *      for another api's minimum, because an api without its minimum is broken, one without an extra is slow.
 *   3. extras that exist. They are not ended for somebody else's extra: that would cost a start and help nobody in sum.
 *   4. extras that are missing.
 *
 * An api whose next replica does not fit is passed over, so room that somebody can use is used. Nothing is kept back for
 * cortexd itself: it sleeps while replicas work, and Kubernetes reserves nothing either unless told to. Who wants to leave
 * something to others says so with server.capacity.
 *
 * A replica that is on its way out holds what it asked for until it is gone. So there are two answers: how many an api may
 * have in the end, and how many of these may be started now.
 */
#ifndef SUPERVISOR_CAPACITY_H
#define SUPERVISOR_CAPACITY_H

#include "common/util.h"

/* What a host has, or a replica asks for. */
struct capacity {
	int64_t cpu_millicpu;
	int64_t mem_bytes;
	int gpus;
};

struct capacity_api {
	struct capacity request; /* of one replica; 0: it asks for none of that */
	int min;                 /* it is broken with fewer, as far as they are wanted */
	int wanted;
	int existing; /* replicas that hold what they asked for: all processes there are */
	int leaving;  /* of those, on their way out */

	/* the answers */
	int allowed;   /* may have so many: at most wanted, and fewer than there are when some must go */
	int startable; /* of those that it does not have yet, may be started now */
};

/* Answer for all apis. *ret_free is what is left when each has what it is allowed. */
void capacity_share(const struct capacity *host, struct capacity_api *apis, size_t n_apis, struct capacity *ret_free);

/* Does one more replica fit into what is free? */
bool capacity_fits(const struct capacity *free, const struct capacity *request);

#define CAPACITY_TEXT_MAX 192

/* Why an api that is allowed less than it wants gets no more: "compute unavailable: needs cpu 300m, 120m free". "" when the
 * request fits. */
void capacity_explain(const struct capacity *host, const struct capacity *free, const struct capacity *request,
    char ret_text[CAPACITY_TEXT_MAX]);

#endif
