/*
 * transfer - bring the objects of a manifest into a folder, many at a time.
 *
 * The folder is the transfer's own, and survives it: what has arrived there need not be brought again by the next one for the same
 * manifest. An object arrives in parts/, and moves to tree/ when it is complete and what its ETag says of its content holds. A
 * large one is brought in parts of 32 MiB, side by side; which of them are there is written down beside it.
 *
 *   folder/parts/7         object 7, as far as it is there
 *   folder/parts/7.done    a byte for each of its parts that is there
 *   folder/tree/<path>     objects that are complete and verified
 */
#ifndef FETCH_TRANSFER_H
#define FETCH_TRANSFER_H

#include "fetch/store.h"

#define TRANSFER_PART_BYTES (32 << 20) /* of one request for a large object */

struct transfer_plan {
	const struct store *store;
	struct manifest *manifest; /* sizes that were not known are filled in */
	const char *folder;        /* exists; what lies there is of this very manifest */
	/* Now and then: so much of all is there, of so much (0: not known), and came within this time. */
	void (*progress)(void *arg, int64_t bytes, int64_t all_bytes, int64_t new_bytes, int64_t ms);
	void *arg;
};

/*
 * 0 when everything is in tree/. Else a negative errno and err: -ESTALE: the store has another version of something by now;
 * WEB_NOT_THERE; what store_explain gives; -ENOSPC; -EBADMSG: what came is not what the store says it is, time and again.
 */
MUSTCHECK int transfer_run(const struct transfer_plan *plan, struct error *err);

/* Does this ETag say something about the content: 1 and it is right, 0 and it is wrong, -1: it says nothing that can be checked; or
 * another negative errno. part_size: as in struct object. */
MUSTCHECK int transfer_check_etag(int fd, int64_t part_size, const char *etag);

#endif
