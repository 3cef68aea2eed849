/*
 * cache - see cache.h.
 */
#include "fetch/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "fetch/say.h"
#include "fetch/transfer.h"

#define CONTENT  "content"
#define LATEST   "latest"
#define PARTIAL  "partial"
#define SYNC_MAX 64
#define VERSION  "version" /* in the folder of an address: the id of what lies there */

/* Lock a file or folder that is open. 0 or a negative errno. */
static int
lock(int fd, int how)
{
	while (flock(fd, how) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int
cache_open(struct cache *cache, const char *folder, bool alone, struct error *err)
{
	static const char *const inside[] = {CONTENT, LATEST, PARTIAL};
	char *path = xasprintf("%s/lock", folder);
	int r = 0;

	*cache = (struct cache){.folder = xstrdup(folder), .lock = -1, .partial_lock = -1};
	for (size_t i = 0; r == 0 && i < N_ELEMENTS(inside); i++) {
		char *inner = xasprintf("%s/%s", folder, inside[i]);

		r = folder_make_all(inner);
		free(inner);
	}
	if (r == 0) {
		cache->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		r = cache->lock < 0 ? -errno : lock(cache->lock, alone ? LOCK_EX | LOCK_NB : LOCK_SH);
	}
	if (r == -EWOULDBLOCK)
		error_set(err, r, "somebody is using the cache of models \"%s\"", folder);
	else if (r < 0)
		error_set(err, r, "cannot use the cache of models \"%s\": %s", folder, strerror(-r));
	free(path);
	return r;
}

void
cache_release(struct cache *cache)
{
	fd_close(&cache->partial_lock);
	free(take_ptr(&cache->partial));
}

void
cache_done(struct cache *cache)
{
	cache_release(cache);
	fd_close(&cache->lock);
	free(cache->folder);
	*cache = (struct cache){.lock = -1, .partial_lock = -1};
}

/* Have a file or folder written to disk. */
static int
sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), r;

	r = fd < 0 || fsync(fd) < 0 ? -errno : 0;
	fd_close(&fd);
	return r;
}

static int n_synced; /* by nftw, which has no argument of ours */

static int
sync_cb(const char *path, UNUSED const struct stat *st, UNUSED int type, UNUSED struct FTW *ftw)
{
	return ++n_synced > SYNC_MAX ? SYNC_MAX : sync_path(path);
}

/* The same for all that is in a folder: one by one, or, when that would take long, with everything on its disk. */
static int
sync_tree(const struct cache *cache, const char *path)
{
	int r;

	n_synced = 0;
	r = nftw(path, sync_cb, 16, FTW_PHYS | FTW_DEPTH);
	if (r == SYNC_MAX)
		r = syncfs(cache->lock) < 0 ? -errno : 0;
	return r;
}

static int
write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, text, strlen(text));
	fd_close(&fd);
	return r;
}

/*
 * What tells whether a folder may be gone on with: the version of the model, what the parts are, and that the machine has not been
 * started again since. After a loss of power files may have their sizes without their contents.
 */
static char *
make_version(const char *id)
{
	char *boot = NULL, *version;

	if (file_read_all("/proc/sys/kernel/random/boot_id", 64, &boot, NULL) < 0)
		boot = xstrdup("?");
	version = xasprintf("%s %d %s", id, TRANSFER_PART_BYTES, boot);
	free(boot);
	return version;
}

/* Remove what is on its way. */
static int
clear_partial(const struct cache *cache)
{
	static const char *const names[] = {VERSION, "tree", "parts"};
	int r = 0;

	for (size_t i = 0; r == 0 && i < N_ELEMENTS(names); i++) {
		char *path = xasprintf("%s/%s", cache->partial, names[i]);

		r = path_remove_all(path);
		free(path);
	}
	return r;
}

void
cache_discard(struct cache *cache)
{
	if (clear_partial(cache) < 0)
		say("warning: cannot remove what is in \"%s\"", cache->partial);
}

int
cache_begin(struct cache *cache, const struct address *address, const char *id, bool *ret_resumes, struct error *err)
{
	char *file, *version = make_version(id), *found = NULL;
	int r;

	cache->partial = xasprintf("%s/" PARTIAL "/%s", cache->folder, address->id);
	file = xasprintf("%s/" VERSION, cache->partial);
	r = folder_make_all(cache->partial);
	if (r == 0) {
		cache->partial_lock = open(cache->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = cache->partial_lock < 0 ? -errno : lock(cache->partial_lock, LOCK_EX);
	}
	*ret_resumes = r == 0 && *id && file_read_all(file, 256, &found, NULL) == 0 && !strcmp(found, version);
	if (r == 0 && !*ret_resumes)
		r = clear_partial(cache);
	if (r == 0 && !*ret_resumes)
		r = write_text(file, version);
	if (r < 0)
		error_set(err, r, "cannot use \"%s\": %s", cache->partial, strerror(-r));
	free(found);
	free(file);
	free(version);
	return r;
}

static char *
content_path(const struct cache *cache, const struct address *address, const char *id)
{
	return xasprintf("%s/" CONTENT "/%s/%s", cache->folder, id, address->name);
}

bool
cache_has(const struct cache *cache, const struct address *address, const char *id)
{
	char *path = content_path(cache, address, id);
	bool has = *id && access(path, F_OK) == 0;

	free(path);
	return has;
}

char *
cache_latest(const struct cache *cache, const struct address *address)
{
	char *link = xasprintf("%s/" LATEST "/%s", cache->folder, address->id), *path = realpath(link, NULL);

	free(link);
	return path;
}

/* The link that names a version the address's latest. */
static int
link_latest(const struct cache *cache, const struct address *address, const char *id)
{
	char *target = xasprintf("../" CONTENT "/%s/%s", id, address->name);
	char *link = xasprintf("%s/" LATEST "/%s", cache->folder, address->id), *next = xasprintf("%s.next", link);
	int r = 0;

	if (unlink(next) < 0 && errno != ENOENT)
		r = -errno;
	if (r == 0 && (symlink(target, next) < 0 || rename(next, link) < 0))
		r = -errno;
	free(next);
	free(link);
	free(target);
	return r;
}

int
cache_publish(struct cache *cache, const struct address *address, const char *id, struct error *err)
{
	static const char *const folders[] = {CONTENT, LATEST};
	char *home = xasprintf("%s/" CONTENT "/%s", cache->folder, id), *tree = xasprintf("%s/tree", cache->partial);
	int r = 0;

	if (!cache_has(cache, address, id)) {
		r = sync_tree(cache, tree);
		/* Another address may have the same content, and have brought it meanwhile. */
		if (r == 0 && rename(tree, home) < 0 && !cache_has(cache, address, id))
			r = -errno;
	}
	if (r == 0)
		r = clear_partial(cache);
	/* In this order: the link may never be there without what it leads to. */
	for (size_t i = 0; r == 0 && i < N_ELEMENTS(folders); i++) {
		char *path = xasprintf("%s/%s", cache->folder, folders[i]);

		r = sync_path(path);
		if (r == 0 && i == 0)
			r = link_latest(cache, address, id);
		free(path);
	}
	if (r < 0)
		error_set(err, r, "cannot make \"%s\": %s", home, strerror(-r));
	free(tree);
	free(home);
	return r;
}

/* ---- removing ---- */

static bool
contains(char *const *texts, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(texts[i], text))
			return true;
	return false;
}

/* The name of the folder in content/ that a path leads to. False: it does not. */
static bool
id_of_path(const char *content, const char *path, char ret_id[ADDRESS_ID_MAX + 1])
{
	char *real = realpath(path, NULL), *root = realpath(content, NULL);
	size_t length = root ? strlen(root) : 0;
	bool inside = real && root && !strncmp(real, root, length) && real[length] == '/';

	if (inside)
		snprintf(ret_id, ADDRESS_ID_MAX + 1, "%.*s", (int)strcspn(real + length + 1, "/"), real + length + 1);
	free(real);
	free(root);
	return inside;
}

struct keep {
	char **ids;
	size_t n;
};

static void
keep(struct keep *keep, const char *content, const char *path)
{
	char id[ADDRESS_ID_MAX + 1];

	if (!id_of_path(content, path, id))
		return;
	keep->ids = xrealloc(keep->ids, keep->n + 1, sizeof(*keep->ids));
	keep->ids[keep->n++] = xstrdup(id);
}

/* Remove all entries of a folder but some: not one is in use half removed, because it is moved away first. */
static int
remove_others(const struct cache *cache, const char *name, char *const *ids, size_t n)
{
	char *path = xasprintf("%s/%s", cache->folder, name),
	     *trash = xasprintf("%s/" PARTIAL "/.trash", cache->folder);
	DIR *folder = opendir(path);
	struct dirent *entry;
	int removed = 0, r = folder ? path_remove_all(trash) : -errno;

	while (r == 0 && (entry = readdir(folder))) {
		char *inner = xasprintf("%s/%s", path, entry->d_name);

		if (!contains(ids, n, entry->d_name) && *entry->d_name != '.') {
			r = rename(inner, trash) < 0 ? -errno : path_remove_all(trash);
			removed += r == 0;
		}
		free(inner);
	}
	if (folder)
		closedir(folder);
	free(trash);
	free(path);
	return r < 0 ? r : removed;
}

int
cache_collect(
    struct cache *cache, char *const *paths, size_t n_paths, char *const *ids, size_t n_ids, struct error *err)
{
	char *content = xasprintf("%s/" CONTENT, cache->folder);
	struct keep kept = {.ids = NULL};
	int removed = 0, r;

	r = remove_others(cache, LATEST, ids, n_ids);
	if (r >= 0)
		r = remove_others(cache, PARTIAL, ids, n_ids);
	for (size_t i = 0; i < n_paths; i++)
		keep(&kept, content, paths[i]);
	for (size_t i = 0; i < n_ids; i++) {
		char *link = xasprintf("%s/" LATEST "/%s", cache->folder, ids[i]);

		keep(&kept, content, link);
		free(link);
	}
	if (r >= 0)
		r = removed = remove_others(cache, CONTENT, kept.ids, kept.n);
	if (r < 0)
		error_set(err, r, "cannot remove old models from \"%s\": %s", cache->folder, strerror(-r));
	for (size_t i = 0; i < kept.n; i++)
		free(kept.ids[i]);
	free(kept.ids);
	free(content);
	return r < 0 ? r : removed;
}
