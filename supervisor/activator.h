/*
 * activator - the child that queues requests while replicas are busy: how it is started, and how it gets to know replicas.
 *
 * It is started again whenever it dies. Then each replica gets a new channel, whose other end waits (board.h) for the new
 * activator to be ready. The replicas go on meanwhile. The same happens to a replica that has lost its channel.
 */
#ifndef SUPERVISOR_ACTIVATOR_H
#define SUPERVISOR_ACTIVATOR_H

#include "common/util.h"

struct supervisor;

/* Make supervisor->activator an empty slot. */
void activator_init(struct supervisor *supervisor);

/* There is a channel at that place of the board: give it to the activator, now or once there is one. */
void activator_introduce(struct supervisor *supervisor, uint32_t place);

/* Which listeners do not all ready replicas have? It waits for connections there itself. */
void activator_compare_listeners(struct supervisor *supervisor);

/* The apis, or the listeners, have changed: tell it, now or once there is one. */
void activator_tell_apis(struct supervisor *supervisor);
void activator_tell_listeners(struct supervisor *supervisor);

#endif
