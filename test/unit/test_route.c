/*
 * Routing: every endpoint is found, nothing else is, and it costs the same with a thousand apis as with one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "http/route.h"

static struct http_route
find(const struct http_routes *routes, const char *target)
{
	return http_route_find(routes, target, strlen(target));
}

static void
test_targets_lead_where_they_should(UNUSED void **state)
{
	static const struct {
		const char *target;
		enum http_route_kind kind;
		unsigned api;
		bool debug;
		bool describes;
	} cases[] = {
	    {"/iris", HTTP_ROUTE_API, 7, false, true},
	    {"/iris/", HTTP_ROUTE_API, 7, false, true},
	    {"/iris?debug=true", HTTP_ROUTE_API, 7, true, true},
	    {"/i%72is", HTTP_ROUTE_API, 7, false, true},
	    {"http://h/iris", HTTP_ROUTE_API, 7, false, true},
	    {"/iris/v2", HTTP_ROUTE_API, 0, false, false},
	    {"/iris/v", HTTP_ROUTE_NONE, 0, false, false},
	    {"/iri", HTTP_ROUTE_NONE, 0, false, false},
	    {"/IRIS", HTTP_ROUTE_NONE, 0, false, false},
	    {"/", HTTP_ROUTE_NONE, 0, false, false},
	    {"/healthz", HTTP_ROUTE_HEALTH, 0, false, false},
	    {"/readyz", HTTP_ROUTE_READY, 0, false, false},
	    {"/readyz/", HTTP_ROUTE_READY, 0, false, false},
	    {"*", HTTP_ROUTE_SERVER, 0, false, false},
	    {"iris", HTTP_ROUTE_MALFORMED, 0, false, false},
	    {"/%zz", HTTP_ROUTE_MALFORMED, 0, false, false},
	};
	struct http_routes routes = {0};

	assert_int_equal(find(&routes, "/iris").kind, HTTP_ROUTE_NONE);
	http_routes_add(&routes, "/iris", 7, true);
	http_routes_add(&routes, "/iris/v2", 0, false);
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct http_route route = find(&routes, cases[i].target);

		assert_int_equal(route.kind, cases[i].kind);
		assert_int_equal(route.api, cases[i].api);
		assert_int_equal(route.debug, cases[i].debug);
		assert_int_equal(route.describes, cases[i].describes);
	}
	http_routes_done(&routes);
}

/* The most places that any lookup looks at. */
static unsigned
longest_search(const struct http_routes *routes)
{
	unsigned longest = 0, run = 0;

	/* A search ends at a free place, so none is longer than the longest run of taken ones, around the end too. */
	for (unsigned i = 0; i < 2 * routes->n_places; i++) {
		run = routes->places[i % routes->n_places].endpoint ? run + 1 : 0;
		longest = run > longest ? run : longest;
	}
	return longest + 1;
}

static void
test_a_thousand_apis_are_found_as_fast_as_one(UNUSED void **state)
{
	static char endpoints[4000][40];
	struct http_routes routes = {0};

	for (unsigned i = 0; i < N_ELEMENTS(endpoints); i++) {
		snprintf(endpoints[i], sizeof(endpoints[i]), "/deployment/api-%u", i);
		http_routes_add(&routes, endpoints[i], i, false);
		if (i + 1 == 1000 || i + 1 == N_ELEMENTS(endpoints))
			assert_in_range(longest_search(&routes), 1, 40);
	}
	for (unsigned i = 0; i < N_ELEMENTS(endpoints); i++) {
		assert_int_equal(find(&routes, endpoints[i]).kind, HTTP_ROUTE_API);
		assert_int_equal(find(&routes, endpoints[i]).api, i);
	}
	assert_int_equal(find(&routes, "/deployment/api-4000").kind, HTTP_ROUTE_NONE);
	http_routes_done(&routes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_targets_lead_where_they_should),
	    cmocka_unit_test(test_a_thousand_apis_are_found_as_fast_as_one),
	};

	return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
