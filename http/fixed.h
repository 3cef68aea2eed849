/*
 * fixed - the answers that need no prediction: hints, health, preflights, and what is not there.
 */
#ifndef HTTP_FIXED_H
#define HTTP_FIXED_H

#include "http/conn.h"

/* Answer the request of a connection by its route and method. False, and nothing is done: it is a POST to an api. ready:
 * what /readyz says. */
MUSTCHECK bool http_fixed_answer(struct http_conn *conn, bool ready);

#endif
