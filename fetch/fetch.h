/*
 * fetch - bring the model of one address into the cache, or say why not.
 */
#ifndef FETCH_FETCH_H
#define FETCH_FETCH_H

#include "fetch/web.h"

/* What may be served from the cache, when there is a copy of an earlier version, instead of a failure. */
enum fetch_copy {
	FETCH_COPY_NEVER,
	FETCH_COPY_UNREACHABLE, /* the store does not answer */
	FETCH_COPY_ALWAYS,      /* whatever it answers */
};

struct fetch_plan {
	struct web web;
	const char *address;
	const char *cache; /* a folder */
	enum fetch_copy copy;
};

/* Says on standard output what goes on: lines of text, "warning: " before those that somebody should read. 0: the address's link in
 * the cache leads to a model that may be served; or a negative errno and err. */
MUSTCHECK int fetch_run(const struct fetch_plan *plan, struct error *err);

#endif
