/*
 * fetch - see fetch.h.
 */
#include "fetch/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "fetch/address.h"
#include "fetch/cache.h"
#include "fetch/digest.h"
#include "fetch/say.h"
#include "fetch/store.h"
#include "fetch/transfer.h"

#define CHANGES_MAX 5 /* times that a model may change while it is fetched */

static double
mib(int64_t bytes)
{
	return (double)bytes / (1 << 20);
}

/* An amount in the unit that suits it. */
static char *
amount(int64_t bytes)
{
	if (bytes < 10 << 10)
		return xasprintf("%lld bytes", (long long)bytes);
	if (bytes < 10 << 20)
		return xasprintf("%.1f KiB", (double)bytes / (1 << 10));
	return xasprintf("%.1f MiB", mib(bytes));
}

static void
progress(void *arg, int64_t bytes, int64_t all_bytes, int64_t new_bytes, int64_t ms)
{
	const struct address *address = arg;
	double rate = mib(new_bytes) * 1000 / (double)MAX(ms, 1);
	char *here = amount(bytes), *all = amount(all_bytes);

	if (all_bytes > 0 && rate > 0)
		say("%s: %s of %s, %.1f MiB/s, %.0f s left", address->shown, here, all, rate,
		    mib(all_bytes - bytes) / rate);
	else
		say("%s: %s, %.1f MiB/s", address->shown, here, rate);
	free(here);
	free(all);
}

/* Of a model whose store does not tell versions apart: by what it holds. */
static int
identify_content(const struct cache *cache, struct manifest *manifest, struct error *err)
{
	char digest[DIGEST_SHA256_DIGITS + 1], *text = NULL;
	size_t length = 0;
	FILE *stream = open_memstream(&text, &length);
	int r = 0;

	ASSERT(stream);
	for (size_t i = 0; r == 0 && i < manifest->n; i++) {
		char *path = xasprintf("%s/tree/%s", cache->partial, manifest->objects[i].path);
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		r = fd < 0 ? -errno : digest_file(fd, digest);
		if (r < 0)
			error_set(err, r, "cannot read \"%s\": %s", path, strerror(-r));
		fprintf(stream, "%s%c%s%c", manifest->objects[i].path, '\0', digest, '\0');
		fd_close(&fd);
		free(path);
	}
	ASSERT(fclose(stream) == 0);
	digest_text(text, length, manifest->id, ADDRESS_ID_MAX);
	free(text);
	return r;
}

/* Bring this version. */
static int
bring(struct cache *cache, struct store *store, struct manifest *manifest, bool resumes, struct error *err)
{
	const struct address *address = store->address;
	const struct transfer_plan plan = {.store = store,
	    .manifest = manifest,
	    .folder = cache->partial,
	    .progress = progress,
	    .arg = (void *)(uintptr_t)address};
	int64_t begin_ms = clock_ms(), bytes = 0;
	char *text;
	int r;

	say("%s: fetching %zu object%s%s", address->shown, manifest->n, manifest->n == 1 ? "" : "s",
	    resumes ? ", those that are not there yet" : "");
	store_learn_parts(store, manifest);
	r = transfer_run(&plan, err);
	if (r == 0 && !*manifest->id)
		r = identify_content(cache, manifest, err);
	if (r == 0)
		r = cache_publish(cache, address, manifest->id, err);
	if (r == -ENOSPC && address->kind == ADDRESS_HTTP)
		cache_discard(cache);
	if (r < 0)
		return r;
	for (size_t i = 0; i < manifest->n; i++)
		bytes += manifest->objects[i].size;
	text = amount(bytes);
	say("%s: fetched %s in %.1f s", address->shown, text, (double)(clock_ms() - begin_ms) / 1000);
	free(text);
	return 0;
}

/* Look, and bring what is not there. */
static int
get_once(struct cache *cache, struct store *store, struct error *err)
{
	const struct address *address = store->address;
	struct manifest manifest = {.objects = NULL};
	bool resumes;
	int r;

	r = store_look(store, &manifest, err);
	if (r == 0)
		r = cache_begin(cache, address, manifest.id, &resumes, err);
	/* Now that nobody else brings it: is it there? */
	if (r == 0 && cache_has(cache, address, manifest.id)) {
		r = cache_publish(cache, address, manifest.id, err);
		if (r == 0)
			say("%s: is there already", address->shown);
	} else if (r == 0) {
		r = bring(cache, store, &manifest, resumes, err);
	}
	cache_release(cache);
	manifest_done(&manifest);
	return r;
}

static int
get(const struct fetch_plan *plan, const struct address *address, struct cache *cache, struct error *err)
{
	struct store store;
	int r;

	r = store_open(&store, &plan->web, address, err);
	if (r < 0)
		error_prefix(err, "%s", address->shown);
	for (int changes = 0; r == 0; changes++) {
		r = get_once(cache, &store, err);
		if (r != -ESTALE || changes >= CHANGES_MAX)
			break;
		say("%s; beginning anew", err->text);
		r = 0;
	}
	store_done(&store);
	return r;
}

int
fetch_run(const struct fetch_plan *plan, struct error *err)
{
	struct address address;
	struct cache cache = {.lock = -1, .partial_lock = -1};
	char *copy = NULL;
	int r;

	r = address_parse(plan->address, &address, err);
	if (r < 0)
		return r;
	r = cache_open(&cache, plan->cache, false, err);
	if (r == 0)
		r = get(plan, &address, &cache, err);
	if (r < 0 && (plan->copy == FETCH_COPY_ALWAYS || (plan->copy == FETCH_COPY_UNREACHABLE && r == WEB_NOT_THERE)))
		copy = cache_latest(&cache, &address);
	if (copy) {
		say("warning: %s; the copy that was fetched earlier is used: %s", err->text, copy);
		r = 0;
	}
	free(copy);
	cache_done(&cache);
	address_done(&address);
	return r;
}
