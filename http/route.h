/*
 * route - which api, if any, a request target belongs to.
 *
 * Endpoints are looked up in a hash table, so the number of apis does not matter. /healthz and /readyz are cortexd's own.
 */
#ifndef HTTP_ROUTE_H
#define HTTP_ROUTE_H

#include "common/util.h"

enum http_route_kind {
	HTTP_ROUTE_MALFORMED, /* no valid target */
	HTTP_ROUTE_NONE,      /* nothing is there */
	HTTP_ROUTE_SERVER,    /* "*": the server as a whole */
	HTTP_ROUTE_HEALTH,
	HTTP_ROUTE_READY,
	HTTP_ROUTE_API,
};

struct http_route {
	enum http_route_kind kind;
	bool debug;     /* ?debug=true */
	bool describes; /* of an api: its replicas answer GET, too */
	unsigned api;   /* its number */
};

struct http_routes {
	unsigned n_places; /* a power of two; 0: none yet */
	unsigned n_routes;
	struct http_place {
		const char *endpoint; /* NULL: free */
		size_t length;
		unsigned api;
		bool describes;
	} * places;
};

/* Add an endpoint in canonical form (leading slash, none at the end), borrowed; it must not be there yet. describes: what its
 * routes say. */
void http_routes_add(struct http_routes *routes, const char *endpoint, unsigned api, bool describes);
void http_routes_done(struct http_routes *routes);

/* Find where a target as it stands in the request leads. Any bytes are safe; at most HTTP_TARGET_MAX. */
struct http_route http_route_find(const struct http_routes *routes, const char *target, size_t length);

#endif
