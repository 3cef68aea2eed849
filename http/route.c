/*
 * route - see route.h. Open addressing, at most half full.
 */
#include "http/route.h"

#include <stdlib.h>
#include <string.h>

#include "http/limits.h"
#include "http/target.h"

/* FNV-1a. Endpoints come from the config, not from clients, so no one can choose collisions. */
static uint32_t
hash(const char *text, size_t length)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < length; i++)
		h = (h ^ (unsigned char)text[i]) * 16777619u;
	return h;
}

/* Where this endpoint is, or the free place where it would be. */
static struct http_place *
find(const struct http_routes *routes, const char *endpoint, size_t length)
{
	uint32_t at = hash(endpoint, length);

	for (;; at++) {
		struct http_place *place = &routes->places[at & (routes->n_places - 1)];

		if (!place->endpoint || (place->length == length && !memcmp(place->endpoint, endpoint, length)))
			return place;
	}
}

static struct http_route
route_to(const struct http_place *place)
{
	return (struct http_route){.kind = HTTP_ROUTE_API, .api = place->api, .describes = place->describes};
}

static void
grow(struct http_routes *routes)
{
	struct http_routes larger = {.n_places = MAX(2 * routes->n_places, 8u), .n_routes = routes->n_routes};

	larger.places = xcalloc(larger.n_places, sizeof(*larger.places));
	for (unsigned i = 0; i < routes->n_places; i++) {
		const struct http_place *place = &routes->places[i];

		if (place->endpoint)
			*find(&larger, place->endpoint, place->length) = *place;
	}
	free(routes->places);
	*routes = larger;
}

void
http_routes_add(struct http_routes *routes, const char *endpoint, unsigned api, bool describes)
{
	struct http_place *place;

	if (2 * (routes->n_routes + 1) > routes->n_places)
		grow(routes);
	place = find(routes, endpoint, strlen(endpoint));
	ASSERT(!place->endpoint);
	*place = (struct http_place){
	    .endpoint = endpoint, .length = strlen(endpoint), .api = api, .describes = describes};
	routes->n_routes++;
}

void
http_routes_done(struct http_routes *routes)
{
	free(routes->places);
	memset(routes, 0, sizeof(*routes));
}

struct http_route
http_route_find(const struct http_routes *routes, const char *raw, size_t length)
{
	struct http_route route = {.kind = HTTP_ROUTE_NONE};
	char path[HTTP_TARGET_MAX + 1];
	struct http_target target;
	const struct http_place *place;

	place = routes->n_places > 0 ? find(routes, raw, length) : NULL; /* as nearly every request has it */
	if (place && place->endpoint)
		return route_to(place);
	if (http_target_parse(raw, length, path, &target) < 0) {
		route.kind = HTTP_ROUTE_MALFORMED;
		return route;
	}
	route.debug = target.debug;
	if (target.asterisk) {
		route.kind = HTTP_ROUTE_SERVER;
	} else if (!strcmp(target.path, "/healthz")) {
		route.kind = HTTP_ROUTE_HEALTH;
	} else if (!strcmp(target.path, "/readyz")) {
		route.kind = HTTP_ROUTE_READY;
	} else if (routes->n_places > 0) {
		place = find(routes, target.path, target.path_length);
		if (place->endpoint) {
			route = route_to(place);
			route.debug = target.debug;
		}
	}
	return route;
}
