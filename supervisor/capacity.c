/*
 * capacity - see capacity.h.
 */
#include "supervisor/capacity.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A deal in progress: who has how many, up to where. */
struct deal {
	const struct capacity_api *apis;
	size_t n;
	struct capacity free;
	int *has;
	int *limit;
	size_t *heap; /* apis that may get more, the one with the smallest share first */
	size_t n_heap;
};

bool
capacity_fits(const struct capacity *free, const struct capacity *request)
{
	/* Who asks for nothing does not care how much is missing. */
	return (request->cpu_millicpu == 0 || request->cpu_millicpu <= free->cpu_millicpu) &&
	    (request->mem_bytes == 0 || request->mem_bytes <= free->mem_bytes) &&
	    (request->gpus == 0 || request->gpus <= free->gpus);
}

/* Does a have a smaller part of what it wants than b? */
static bool
is_before(const struct deal *deal, size_t a, size_t b)
{
	int64_t left = (int64_t)deal->has[a] * deal->apis[b].wanted;
	int64_t right = (int64_t)deal->has[b] * deal->apis[a].wanted;

	return left != right ? left < right : a < b;
}

static void
sift_down(struct deal *deal, size_t at)
{
	size_t *heap = deal->heap, moved = heap[at];

	for (size_t child; (child = 2 * at + 1) < deal->n_heap; at = child) {
		if (child + 1 < deal->n_heap && is_before(deal, heap[child + 1], heap[child]))
			child++;
		if (!is_before(deal, heap[child], moved))
			break;
		heap[at] = heap[child];
	}
	heap[at] = moved;
}

/* Take n times the request out of what is free. False, and nothing happens, when it is not there. */
static bool
take(struct capacity *free, const struct capacity *request, int n)
{
	int64_t cpu, mem, gpus;

	if (__builtin_mul_overflow(request->cpu_millicpu, (int64_t)n, &cpu) ||
	    __builtin_mul_overflow(request->mem_bytes, (int64_t)n, &mem) ||
	    __builtin_mul_overflow((int64_t)request->gpus, (int64_t)n, &gpus))
		return false;
	if ((cpu > 0 && cpu > free->cpu_millicpu) || (mem > 0 && mem > free->mem_bytes) ||
	    (gpus > 0 && gpus > free->gpus))
		return false;
	free->cpu_millicpu -= cpu;
	free->mem_bytes -= mem;
	free->gpus -= (int)gpus;
	return true;
}

/* Mostly there is room for everybody, and nothing to be decided. */
static bool
deal_all(struct deal *deal)
{
	struct capacity free = deal->free;

	for (size_t i = 0; i < deal->n; i++)
		if (deal->limit[i] > deal->has[i] &&
		    !take(&free, &deal->apis[i].request, deal->limit[i] - deal->has[i]))
			return false;
	deal->free = free;
	for (size_t i = 0; i < deal->n; i++)
		deal->has[i] = MAX(deal->has[i], deal->limit[i]);
	return true;
}

/* Give one at a time until nobody who may have more has room. */
static void
deal_up_to_the_limit(struct deal *deal)
{
	if (deal_all(deal))
		return;
	deal->n_heap = 0;
	for (size_t i = 0; i < deal->n; i++)
		if (deal->limit[i] > deal->has[i])
			deal->heap[deal->n_heap++] = i;
	for (size_t i = deal->n_heap / 2; i-- > 0;)
		sift_down(deal, i);
	while (deal->n_heap > 0) {
		size_t next = deal->heap[0];

		/* What does not fit now never will: room only becomes less. */
		if (!take(&deal->free, &deal->apis[next].request, 1) || ++deal->has[next] == deal->limit[next])
			deal->heap[0] = deal->heap[--deal->n_heap];
		sift_down(deal, 0);
	}
}

/* Of the replicas that are to stay. */
static int
present(const struct capacity_api *api)
{
	return api->existing - api->leaving;
}

static int
minimum(const struct capacity_api *api)
{
	return MIN(api->min, api->wanted);
}

static void
find_allowed(struct deal *deal, struct capacity_api *apis)
{
	for (int step = 1; step <= 4; step++) {
		for (size_t i = 0; i < deal->n; i++) {
			int min = minimum(&apis[i]);

			deal->limit[i] = step == 1 ? MIN(present(&apis[i]), min)
			    : step == 2            ? min
			    : step == 3            ? MIN(MAX(present(&apis[i]), min), apis[i].wanted)
						   : apis[i].wanted;
		}
		deal_up_to_the_limit(deal);
	}
	for (size_t i = 0; i < deal->n; i++)
		apis[i].allowed = deal->has[i];
}

/* The same among those that are missing, with the room that nobody holds any more. */
static void
find_startable(struct deal *deal, struct capacity_api *apis)
{
	for (int step = 1; step <= 2; step++) {
		for (size_t i = 0; i < deal->n; i++) {
			deal->has[i] = step == 1 ? present(&apis[i]) : deal->has[i];
			deal->limit[i] = step == 1 ? MIN(apis[i].allowed, minimum(&apis[i])) : apis[i].allowed;
		}
		deal_up_to_the_limit(deal);
	}
	for (size_t i = 0; i < deal->n; i++)
		apis[i].startable = deal->has[i] - present(&apis[i]);
}

/* Less than nothing is free when the host has become smaller; what is below that makes no difference. */
static struct capacity
room_now(const struct capacity *host, const struct capacity_api *apis, size_t n)
{
	struct capacity free = *host;

	for (size_t i = 0; i < n; i++) {
		const struct capacity *request = &apis[i].request;
		int64_t used;

		if (__builtin_mul_overflow(request->cpu_millicpu, (int64_t)apis[i].existing, &used) ||
		    used > free.cpu_millicpu)
			used = free.cpu_millicpu;
		free.cpu_millicpu -= used;
		if (__builtin_mul_overflow(request->mem_bytes, (int64_t)apis[i].existing, &used) ||
		    used > free.mem_bytes)
			used = free.mem_bytes;
		free.mem_bytes -= used;
		used = MIN((int64_t)request->gpus * apis[i].existing, free.gpus);
		free.gpus -= (int)used;
	}
	return free;
}

void
capacity_share(const struct capacity *host, struct capacity_api *apis, size_t n_apis, struct capacity *ret_free)
{
	struct deal deal = {
	    .apis = apis,
	    .n = n_apis,
	    .free = *host,
	    .has = xcalloc(n_apis, sizeof(int)),
	    .limit = xcalloc(n_apis, sizeof(int)),
	    .heap = xcalloc(n_apis, sizeof(size_t)),
	};

	find_allowed(&deal, apis);
	*ret_free = deal.free;
	deal.free = room_now(host, apis, n_apis);
	find_startable(&deal, apis);
	free(deal.has);
	free(deal.limit);
	free(deal.heap);
}

/* --- in words ----------------------------------------------------------------------------------------------------- */

static PRINTFLIKE(2) void append(char text[CAPACITY_TEXT_MAX], const char *format, ...)
{
	size_t length = strlen(text);
	va_list ap;

	va_start(ap, format);
	vsnprintf(text + length, CAPACITY_TEXT_MAX - length, format, ap);
	va_end(ap);
}

static void
append_cpu(char text[CAPACITY_TEXT_MAX], int64_t millicpu)
{
	if (millicpu % 1000 == 0)
		append(text, "%lld", (long long)millicpu / 1000);
	else
		append(text, "%lldm", (long long)millicpu);
}

/* In the unit in which the request is a whole number, rounded down: so what is free never looks like enough. */
static void
append_bytes(char text[CAPACITY_TEXT_MAX], int64_t bytes, int64_t request)
{
	static const char *const names[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
	size_t unit = 0;
	int64_t size, tenths = 0;

	while (unit + 1 < N_ELEMENTS(names) && request % (1ll << (10 * (unit + 1))) == 0)
		unit++;
	size = 1ll << (10 * unit);
	if (unit > 0)
		tenths = MIN(bytes % size / (size / 10), 9);
	if (tenths > 0)
		append(text, "%lld.%lld%s", (long long)(bytes / size), (long long)tenths, names[unit]);
	else
		append(text, "%lld%s", (long long)(bytes / size), names[unit]);
}

void
capacity_explain(const struct capacity *host, const struct capacity *free, const struct capacity *request,
    char ret_text[CAPACITY_TEXT_MAX])
{
	const char *separator = "compute unavailable: needs";
	bool never;

	ret_text[0] = '\0';
	if (request->cpu_millicpu > 0 && request->cpu_millicpu > free->cpu_millicpu) {
		never = request->cpu_millicpu > host->cpu_millicpu;
		append(ret_text, "%s cpu ", separator);
		append_cpu(ret_text, request->cpu_millicpu);
		append(ret_text, never ? ", the host has " : ", ");
		append_cpu(ret_text, never ? host->cpu_millicpu : free->cpu_millicpu);
		append(ret_text, never ? "" : " free");
		separator = ";";
	}
	if (request->mem_bytes > 0 && request->mem_bytes > free->mem_bytes) {
		never = request->mem_bytes > host->mem_bytes;
		append(ret_text, "%s mem ", separator);
		append_bytes(ret_text, request->mem_bytes, request->mem_bytes);
		append(ret_text, never ? ", the host has " : ", ");
		append_bytes(ret_text, never ? host->mem_bytes : free->mem_bytes, request->mem_bytes);
		append(ret_text, never ? "" : " free");
		separator = ";";
	}
	if (request->gpus > 0 && request->gpus > free->gpus) {
		never = request->gpus > host->gpus;
		append(ret_text, "%s gpu %d, ", separator, request->gpus);
		append(ret_text, never ? "the host has %d" : "%d free", never ? host->gpus : free->gpus);
	}
}
