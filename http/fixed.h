/*
 * fixed - the answers that need no prediction: hints, health, preflights, and what is not there.
 */
#ifndef HTTP_FIXED_H
#define HTTP_FIXED_H

#include "http/conn.h"

/* What a GET of an api says. */
#define HTTP_FIXED_HINT "make a prediction by sending a post request to this endpoint with a json sample"

/* Answer the request of a connection by its route and method. False, and nothing is done: it is a POST to an api, or a GET or HEAD to
 * one that describes itself. ready: what /readyz says. */
MUSTCHECK bool http_fixed_answer(struct http_conn *conn, bool ready);

#endif
