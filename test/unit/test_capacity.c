/*
 * Capacity: tables of what a host's apis get, and what holds for any host and any apis.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "supervisor/capacity.h"

#define GI     (1ll << 30)
#define N_APIS 4 /* of a row */

/* --- tables ------------------------------------------------------------------------------------------------------- */

struct row {
	const char *what;
	struct capacity host;
	struct {
		struct capacity request;
		int min, wanted, existing, leaving;
		int allowed, startable;
	} apis[N_APIS]; /* up to one without a request */
};

static const struct row rows[] = {
    {"ten replicas with the default request fit on two cores, the eleventh does not", {2000, GI, 0},
	{{{200, 0, 0}, 1, 11, 0, 0, 10, 10}}},
    {"whoever wants one gets it from the first core on", {1000, GI, 0}, {{{1000, GI, 0}, 1, 1, 0, 0, 1, 1}}},
    {"what is larger than the host never fits", {2000, GI, 0}, {{{2001, 0, 0}, 1, 1, 0, 0, 0, 0}}},
    {"memory counts as well", {8000, 4 * GI, 0}, {{{100, 3 * GI / 2, 0}, 1, 9, 0, 0, 2, 2}}},
    {"who asks for no memory needs none", {2000, 0, 0}, {{{200, 0, 0}, 1, 2, 0, 0, 2, 2}}},
    {"GPUs are whole, and only for those who ask", {9000, GI, 3},
	{{{100, 0, 2}, 1, 2, 0, 0, 1, 1}, {{100, 0, 0}, 1, 5, 0, 0, 5, 5}}},
    {"minimums of all come before the extras of the first", {1000, GI, 0},
	{{{200, 0, 0}, 1, 5, 0, 0, 2, 2}, {{200, 0, 0}, 2, 2, 0, 0, 2, 2}, {{200, 0, 0}, 1, 1, 0, 0, 1, 1}}},
    {"equals share extras equally, the first of the file has the odd one", {1000, GI, 0},
	{{{200, 0, 0}, 1, 9, 0, 0, 3, 3}, {{200, 0, 0}, 1, 9, 0, 0, 2, 2}}},
    {"who wants twice as much gets twice as much", {1200, GI, 0},
	{{{200, 0, 0}, 1, 10, 0, 0, 2, 2}, {{200, 0, 0}, 1, 20, 0, 0, 4, 4}}},
    {"minimums that do not fit together are shared as well", {1000, GI, 0},
	{{{200, 0, 0}, 4, 4, 0, 0, 3, 3}, {{200, 0, 0}, 4, 4, 0, 0, 2, 2}}},
    {"an extra that exists stays when another api wants one", {1000, GI, 0},
	{{{200, 0, 0}, 1, 5, 4, 0, 4, 0}, {{200, 0, 0}, 1, 5, 1, 0, 1, 0}}},
    {"an extra goes for another api's minimum, which waits until it is gone", {1000, GI, 0},
	{{{200, 0, 0}, 1, 5, 5, 0, 4, 0}, {{200, 0, 0}, 1, 5, 0, 0, 1, 0}}},
    {"while it is leaving it holds its room", {1000, GI, 0},
	{{{200, 0, 0}, 1, 5, 5, 1, 4, 0}, {{200, 0, 0}, 1, 5, 0, 0, 1, 0}}},
    {"and then it does not", {1000, GI, 0}, {{{200, 0, 0}, 1, 5, 4, 0, 4, 0}, {{200, 0, 0}, 1, 5, 0, 0, 1, 1}}},
    {"extras go from the api with the largest part of what it wants", {1000, GI, 0},
	{{{200, 0, 0}, 1, 4, 4, 0, 3, 0}, {{200, 0, 0}, 1, 4, 1, 0, 1, 0}, {{200, 0, 0}, 1, 1, 0, 0, 1, 0}}},
    {"a minimum that exists stays, whoever has none", {1000, GI, 0},
	{{{500, 0, 0}, 2, 2, 2, 0, 2, 0}, {{500, 0, 0}, 1, 1, 0, 0, 0, 0}}},
    {"a minimum that does not fit in any case takes nobody's extra", {1000, GI, 0},
	{{{200, 0, 0}, 1, 5, 5, 0, 5, 0}, {{900, 0, 0}, 1, 1, 0, 0, 0, 0}}},
    {"who does not fit is passed over", {1000, GI, 0},
	{{{700, 0, 0}, 1, 9, 0, 0, 1, 1}, {{100, 0, 0}, 1, 9, 0, 0, 3, 3}}},
    {"a replica that leaves is replaced as soon as there is room for both", {1000, GI, 0},
	{{{200, 0, 0}, 1, 2, 2, 1, 2, 1}}},
    {"and not before", {400, GI, 0}, {{{200, 0, 0}, 1, 2, 2, 1, 2, 0}}},
    {"when the host has become smaller some must go, nobody's minimum first", {600, GI, 0},
	{{{200, 0, 0}, 1, 5, 4, 0, 2, 0}, {{200, 0, 0}, 1, 1, 1, 0, 1, 0}}},
    {"room for the small does not come before the minimum that it is kept for", {1000, GI, 0},
	{{{600, 0, 0}, 1, 1, 0, 0, 1, 0}, {{200, 0, 0}, 1, 9, 4, 0, 2, 0}, {{200, 0, 0}, 0, 2, 0, 0, 0, 0}}},
    {"what there is room for now goes to a minimum first", {1000, GI, 0},
	{{{200, 0, 0}, 1, 3, 1, 0, 2, 0}, {{200, 0, 0}, 2, 2, 1, 0, 2, 1}, {{200, 0, 0}, 1, 1, 2, 1, 1, 0}}},
    {"an api that is to have none has none", {1000, GI, 0}, {{{200, 0, 0}, 1, 0, 2, 0, 0, 0}}},
    {"large numbers", {INT64_MAX, INT64_MAX, INT_MAX},
	{{{INT64_MAX, 1, 0}, 1, INT_MAX, 0, 0, 1, 1}, {{1, INT64_MAX, 0}, 0, 1, 0, 0, 0, 0}}},
    {"large numbers of everything", {INT64_MAX, INT64_MAX, INT_MAX}, {{{1, 1, 1}, 1, INT_MAX, 0, 0, INT_MAX, INT_MAX}}},
};

static size_t
fill(const struct row *row, struct capacity_api apis[N_APIS])
{
	size_t n = 0;

	for (; n < N_APIS && row->apis[n].request.cpu_millicpu > 0; n++)
		apis[n] = (struct capacity_api){
		    .request = row->apis[n].request,
		    .min = row->apis[n].min,
		    .wanted = row->apis[n].wanted,
		    .existing = row->apis[n].existing,
		    .leaving = row->apis[n].leaving,
		};
	return n;
}

static void
test_tables(UNUSED void **state)
{
	for (size_t r = 0; r < N_ELEMENTS(rows); r++) {
		struct capacity_api apis[N_APIS];
		size_t n = fill(&rows[r], apis);
		struct capacity left;

		capacity_share(&rows[r].host, apis, n, &left);
		for (size_t i = 0; i < n; i++)
			if (apis[i].allowed != rows[r].apis[i].allowed ||
			    apis[i].startable != rows[r].apis[i].startable)
				fail_msg("%s: api %zu may have %d, start %d; must be %d, %d", rows[r].what, i,
				    apis[i].allowed, apis[i].startable, rows[r].apis[i].allowed,
				    rows[r].apis[i].startable);
	}
}

static void
test_no_apis(UNUSED void **state)
{
	const struct capacity host = {1000, GI, 1};
	struct capacity left;

	capacity_share(&host, NULL, 0, &left);
	assert_memory_equal(&left, &host, sizeof(left));
}

/* --- words -------------------------------------------------------------------------------------------------------- */

static void
test_what_is_missing_is_said(UNUSED void **state)
{
	static const struct {
		struct capacity host, free, request;
		const char *text;
	} examples[] = {
	    {{2000, GI, 0}, {120, GI, 0}, {300, 0, 0}, "compute unavailable: needs cpu 300m, 120m free"},
	    {{4000, GI, 0}, {1000, GI, 0}, {2000, 0, 0}, "compute unavailable: needs cpu 2, 1 free"},
	    {{2000, GI, 0}, {500, GI, 0}, {2001, 0, 0}, "compute unavailable: needs cpu 2001m, the host has 2"},
	    {{2000, 4 * GI, 0}, {2000, 2 * GI - 1, 0}, {1000, 2 * GI, 0},
		"compute unavailable: needs mem 2Gi, 1.9Gi free"},
	    {{2000, 4 * GI, 0}, {2000, 5 << 20, 0}, {1000, 1536ll << 20, 0},
		"compute unavailable: needs mem 1536Mi, 5Mi free"},
	    {{2000, 4 * GI, 0}, {2000, 999, 0}, {1000, 1001, 0}, "compute unavailable: needs mem 1001, 999 free"},
	    {{2000, GI / 2, 0}, {2000, 0, 0}, {1000, GI, 0}, "compute unavailable: needs mem 1Gi, the host has 0.5Gi"},
	    {{1000, GI, 2}, {0, 0, 1}, {1000, GI, 2},
		"compute unavailable: needs cpu 1, 0 free; mem 1Gi, 0Gi free; gpu 2, 1 free"},
	    {{1000, GI, 0}, {1000, GI, 0}, {1000, GI, 1}, "compute unavailable: needs gpu 1, the host has 0"},
	    {{1000, GI, 0}, {1000, GI, 0}, {1000, GI, 0}, ""},
	    {{INT64_MAX - 1, INT64_MAX - 1, 1}, {INT64_MAX - 1, INT64_MAX - 1, 0}, {INT64_MAX, INT64_MAX, INT_MAX},
		"compute unavailable: needs cpu 9223372036854775807m, the host has 9223372036854775806m; "
		"mem 9223372036854775807, the host has 9223372036854775806; gpu 2147483647, the host has 1"},
	    {{1, 1ll << 62, 0}, {1, (1ll << 62) - 1, 0}, {1, 1ll << 62, 0},
		"compute unavailable: needs mem 4Ei, 3.9Ei free"},
	};

	for (size_t i = 0; i < N_ELEMENTS(examples); i++) {
		char text[CAPACITY_TEXT_MAX];

		capacity_explain(&examples[i].host, &examples[i].free, &examples[i].request, text);
		assert_string_equal(text, examples[i].text);
		assert_int_equal(capacity_fits(&examples[i].free, &examples[i].request), *examples[i].text == '\0');
	}
}

/* --- what always holds -------------------------------------------------------------------------------------------- */

#define APIS_MAX 8

static uint32_t seed = 1;

/* 0 .. n - 1 */
static int
roll(int n)
{
	seed = seed * 1664525 + 1013904223;
	return (int)((seed >> 8) % (uint32_t)n);
}

static void
add(struct capacity *sum, const struct capacity *request, int n)
{
	sum->cpu_millicpu += request->cpu_millicpu * n;
	sum->mem_bytes += request->mem_bytes * n;
	sum->gpus += request->gpus * n;
}

static bool
is_within(const struct capacity *sum, const struct capacity *host)
{
	return sum->cpu_millicpu <= host->cpu_millicpu && sum->mem_bytes <= host->mem_bytes && sum->gpus <= host->gpus;
}

static struct capacity
less(const struct capacity *host, const struct capacity *sum)
{
	return (struct capacity){
	    host->cpu_millicpu - sum->cpu_millicpu, host->mem_bytes - sum->mem_bytes, host->gpus - sum->gpus};
}

static size_t
make_up(struct capacity *host, struct capacity_api apis[APIS_MAX])
{
	size_t n = (size_t)roll(APIS_MAX) + 1;

	*host = (struct capacity){(roll(40) + 1) * 100, roll(40), roll(6)};
	for (size_t i = 0; i < n; i++) {
		struct capacity_api *api = &apis[i];

		*api = (struct capacity_api){
		    .request = {(roll(9) + 1) * 50, roll(2) ? 0 : roll(6), roll(4) ? 0 : roll(3)},
		    .min = roll(5),
		    .wanted = roll(12),
		    .existing = roll(3) ? 0 : roll(8),
		};
		api->leaving = api->existing > 0 && roll(2) ? roll(api->existing + 1) : 0;
	}
	return n;
}

static int
min_of(const struct capacity_api *api)
{
	return MIN(api->min, api->wanted);
}

static int
stay_of(const struct capacity_api *api)
{
	return api->existing - api->leaving;
}

/* The order of capacity.h, word by word, without any haste. */
static void
share_slowly(const struct capacity *host, const struct capacity_api *apis, size_t n, int *allowed)
{
	struct capacity left = *host;

	memset(allowed, 0, n * sizeof(*allowed));
	for (int step = 1; step <= 4; step++) {
		for (;;) {
			const struct capacity_api *best = NULL;

			for (size_t i = 0; i < n; i++) {
				const struct capacity_api *api = &apis[i];
				int limit = step % 2 == 1 ? stay_of(api) : INT_MAX;

				limit = MIN(limit, step <= 2 ? min_of(api) : api->wanted);
				if (allowed[i] < limit && capacity_fits(&left, &api->request) &&
				    (!best || allowed[i] * best->wanted < allowed[best - apis] * api->wanted))
					best = api;
			}
			if (!best)
				break;
			allowed[best - apis]++;
			add(&left, &best->request, -1);
		}
	}
}

static void
check(const struct capacity *host, const struct capacity_api *apis, size_t n, const struct capacity *left)
{
	struct capacity promised = {0}, minimums = {0}, held = {0}, stay = {0}, without_extras;
	bool minimum_missing = false;
	int expected[APIS_MAX];

	share_slowly(host, apis, n, expected);
	for (size_t i = 0; i < n; i++) {
		const struct capacity_api *api = &apis[i];

		assert_true(api->allowed >= 0 && api->allowed <= api->wanted);
		assert_int_equal(api->allowed, expected[i]);
		assert_true(api->startable >= 0);
		assert_true(api->startable == 0 || stay_of(api) + api->startable <= api->allowed);
		add(&promised, &api->request, api->allowed);
		add(&minimums, &api->request, MIN(api->allowed, min_of(api)));
		add(&stay, &api->request, MIN(stay_of(api), api->wanted));
		add(&held, &api->request, api->existing);
		minimum_missing |= stay_of(api) < min_of(api);
	}
	/* Never more than there is, and what is left is what is left. */
	assert_true(is_within(&promised, host));
	without_extras = less(host, &promised);
	assert_memory_equal(left, &without_extras, sizeof(*left));
	/* All that can be used is used. */
	for (size_t i = 0; i < n; i++)
		assert_true(apis[i].allowed == apis[i].wanted || !capacity_fits(left, &apis[i].request));
	/* Nobody is below the minimum for somebody's extra. */
	without_extras = less(host, &minimums);
	for (size_t i = 0; i < n; i++)
		assert_true(apis[i].allowed >= min_of(&apis[i]) || !capacity_fits(&without_extras, &apis[i].request));
	/* Nothing that exists goes but for a minimum. */
	for (size_t i = 0; !minimum_missing && is_within(&stay, host) && i < n; i++)
		assert_true(apis[i].allowed >= MIN(stay_of(&apis[i]), apis[i].wanted));
	/* Nothing starts in room that somebody holds. */
	if (!is_within(&held, host))
		return;
	for (size_t i = 0; i < n; i++)
		add(&held, &apis[i].request, apis[i].startable);
	assert_true(is_within(&held, host));
}

static void
test_what_always_holds(UNUSED void **state)
{
	for (int round = 0; round < 30000; round++) {
		struct capacity_api apis[APIS_MAX], again[APIS_MAX];
		struct capacity host, left;
		size_t n = make_up(&host, apis);

		memcpy(again, apis, sizeof(again));
		capacity_share(&host, apis, n, &left);
		check(&host, apis, n, &left);
		capacity_share(&host, again, n, &left);
		assert_memory_equal(apis, again, n * sizeof(*apis));
	}
}

/* Starting what may start and ending what must go comes to rest, with what was allowed at the beginning. */
static void
test_it_comes_to_rest(UNUSED void **state)
{
	for (int round = 0; round < 10000; round++) {
		struct capacity_api apis[APIS_MAX];
		struct capacity host, left;
		size_t n = make_up(&host, apis), still = 0;
		int allowed[APIS_MAX];

		capacity_share(&host, apis, n, &left);
		for (size_t i = 0; i < n; i++)
			allowed[i] = apis[i].allowed;
		for (int step = 0; step < 4 && still < n; step++) {
			still = 0;
			for (size_t i = 0; i < n; i++) {
				struct capacity_api *api = &apis[i];
				int starting = api->startable, going = MAX(stay_of(api) - api->allowed, 0);

				still += starting == 0 && going == 0 && api->leaving == 0;
				api->existing += starting - api->leaving; /* those that were leaving are gone now */
				api->leaving = going;
			}
			capacity_share(&host, apis, n, &left);
			for (size_t i = 0; i < n; i++)
				assert_int_equal(apis[i].allowed, allowed[i]);
		}
		assert_int_equal(still, n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(apis[i].existing, allowed[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tables),
	    cmocka_unit_test(test_no_apis),
	    cmocka_unit_test(test_what_is_missing_is_said),
	    cmocka_unit_test(test_what_always_holds),
	    cmocka_unit_test(test_it_comes_to_rest),
	};

	return cmocka_run_group_tests_name("capacity", tests, NULL, NULL);
}
