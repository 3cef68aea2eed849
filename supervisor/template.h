/*
 * template - the child that has loaded the predictor of a generation and forks its replicas (config: preload).
 *
 * It stands in a slot like any other child and is started again when it dies; replicas that it has forked do not depend on
 * it. A slot of a replica is filled by it as follows: template_fork leaves in the replica's control socket what it has to begin
 * with, and passes the other end to the template. The process is *unborn* until its first record says who it is: it has no
 * number by which it could be signalled or reaped, and the end of its control socket is all there is to know that it failed.
 *
 * A generation without a template (none was asked for, or it would not work) has its replicas exec'd.
 */
#ifndef SUPERVISOR_TEMPLATE_H
#define SUPERVISOR_TEMPLATE_H

#include "common/error.h"
#include "supervisor/api.h"
#include "supervisor/slot.h"

#define TEMPLATE_FORK_TIMEOUT_MS 30000 /* for one replica; then it is killed, and there is no other */
#define TEMPLATE_ASKED_MAX       16    /* replicas at once: what its socket surely holds */

/* Has the generation a template? Finds out, once, what speaks against it before it is even tried. */
bool template_is_wanted(struct generation *generation);

/* Start with an empty slot of the api. */
void template_init(struct slot *slot, struct api *api, struct generation *generation);

/* May it be asked for one more replica now? */
bool template_is_free(const struct slot *template);

/* For spawn of a replica: let it be forked with this end of its control socket, this start record, this pipe to write to (-1: that of
 * the template) and this channel, which all stay the caller's. 0, or a negative errno and err. */
MUSTCHECK int template_fork(
    struct slot *template, struct slot *replica, int control, int start, int output, int channel, struct error *err);

#endif
