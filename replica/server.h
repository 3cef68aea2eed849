/*
 * server - the replica's life between READY and its end: the event loop, routing, and predictions one at a time.
 *
 * A turn of the loop (EVLOOP_ONCE) accepts, reads, parses and writes; its callbacks put complete requests into a queue
 * and never run Python. The queue is served between two turns, so the loop is never on the stack while predict runs.
 * Reading does not starve either: after 200 us of predictions there is a turn that does not block. The GIL is released
 * while a turn blocks, so that the predictor's own threads run.
 *
 * With whom it shares the work: a replica that is idle says so in its slot of the scoreboard, and the activator may claim
 * it and send it a request (link.h). What takes longer than a moment is the helper thread's business (turn.h, moving.c).
 * docs/dataplane.md tells the whole.
 */
#ifndef REPLICA_SERVER_H
#define REPLICA_SERVER_H

#include "common/error.h"
#include "common/start_record.h"
#include "replica/predictor.h"

struct server;

/* Make the loop, the memory of connections, the keeper and the helper thread. Before there is any other thread: the
 * keeper is a copy of the process. Before Python starts, too, unless a template has started it. */
MUSTCHECK int server_new(const struct start_record *start, struct server **ret_server, struct error *err);
void server_free(struct server *server);

/* Serve until a drain is over. The caller holds the GIL. Returns the exit status of the process. */
int server_run(struct server *server, struct predictor *predictor);

#endif
