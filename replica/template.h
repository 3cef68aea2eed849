/*
 * template - the process that has loaded a predictor and forks replicas of it, in milliseconds and with shared memory
 * (config: preload).
 *
 * It is cortexd-replica like the replicas, started with a start record that says so. It has no thread, no event loop and no
 * client: it sleeps in poll(2) until the supervisor asks for a replica. What waits in that replica's own control socket
 * (record.h) makes it one: its start record and its channel. All else it has from the template, the listeners for example.
 *
 * A replica is forked twice, so that it is a child of the supervisor, which is a subreaper, like any other; it begins its
 * life when that is so. Neither it nor the supervisor needs the template any more then.
 */
#ifndef REPLICA_TEMPLATE_H
#define REPLICA_TEMPLATE_H

#include "common/error.h"
#include "common/start_record.h"
#include "replica/predictor.h"

/*
 * Load what start->preload says, and be a template until told to end: that does not return. It returns in each replica: 0, *start
 * is that replica's start record, *ret_predictor what was loaded, *ret_done how far; the caller holds the GIL. Or a negative
 * errno and err: the template cannot start, or the replica. REPLICA_FD_CONTROL is who must be told in either case.
 */
MUSTCHECK int template_run(
    struct start_record *start, struct predictor **ret_predictor, enum preload *ret_done, struct error *err);

/* Read a start record. 0, or a negative errno and err. */
MUSTCHECK int template_read_start(int fd, struct start_record *ret_start, struct error *err);

#endif
