/*
 * transfer - see transfer.h.
 */
#include "fetch/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "fetch/digest.h"
#include "fetch/say.h"

#define LANES         12 /* requests at a time */
#define PROGRESS_MS   5000
#define WORTH_BYTES   (1 << 20)     /* an attempt that brings so much has not failed */
#define CORRUPT_MAX   3             /* times that an object may arrive broken */
#define RESERVE_BYTES (100ll << 20) /* of the disk, for others */

struct part {
	struct file *file;
	int64_t offset;
	int64_t length; /* -1: to the end, wherever that is */
	int64_t got;
	int64_t best;    /* got, at most, so far */
	unsigned failed; /* attempts in a row that brought nothing to speak of */
	int64_t due_ms;  /* not before */
};

/* An object that is on its way. */
struct file {
	struct object *object;
	size_t number;
	int fd;
	int done_fd; /* -1: it is in one part */
	size_t n_parts;
	size_t n_left;
	unsigned corrupt;
	bool is_encrypted;
	bool restarts; /* it cannot be continued in the middle */
};

struct lane {
	CURL *curl;
	struct curl_slist *headers;
	char *url;
	char *extra;       /* a header line */
	struct part *part; /* NULL: nothing to do */
	struct reply_head head;
	bool checked;  /* that the answer is what was asked for */
	bool ignores;  /* the body is an error's */
	int64_t begun; /* part->got when it began */
	int fault;     /* negative errno: why the body was not taken */
	char *body;    /* an error's */
	size_t length;
	char detail[CURL_ERROR_SIZE];
	struct error err;
};

struct transfer {
	const struct transfer_plan *plan;
	const struct web *web;
	CURLM *multi;
	struct lane lanes[LANES];
	unsigned n_busy;
	int tree;
	int parts;
	size_t next; /* object that was not looked at yet */
	struct part **waiting;
	size_t n_waiting;
	int64_t bytes;     /* that are there */
	int64_t new_bytes; /* that this transfer has brought */
	int64_t begin_ms;
	int64_t said_ms;
};

/* ---- what is on disk ---- */

/* Make the folders that a path needs. 0 or a negative errno. */
static int
make_parents(int folder, const char *path)
{
	char *partial = xstrdup(path);
	int r = 0;

	for (char *slash = strchr(partial, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdirat(folder, partial, 0755) < 0 && errno != EEXIST)
			r = -errno;
		*slash = '/';
	}
	free(partial);
	return r;
}

static int
open_folder(const char *folder, const char *name, struct error *err)
{
	char *path = xasprintf("%s/%s", folder, name);
	int fd = -1;

	if (mkdir(path, 0755) == 0 || errno == EEXIST)
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fd = error_set(err, -errno, "cannot make \"%s\": %s", path, strerror(errno));
	free(path);
	return fd;
}

/* Is it there, complete and verified by an earlier transfer? */
static bool
is_there(const struct transfer *transfer, const struct object *object)
{
	struct stat st;

	return fstatat(transfer->tree, object->path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    object->size >= 0 && st.st_size == object->size;
}

static int
no_space(const struct transfer *transfer, int64_t needed, int64_t available, struct error *err)
{
	return error_set(err, -ENOSPC, "%s: needs %lld MiB more, and the disk of \"%s\" has %lld MiB to give",
	    transfer->plan->store->address->shown, (long long)(needed >> 20) + 1, transfer->plan->folder,
	    (long long)(MAX(available, 0) >> 20));
}

/* Is there room for so many bytes more? */
static int
check_space(const struct transfer *transfer, int64_t needed, struct error *err)
{
	struct statvfs disk;
	int64_t available;

	if (fstatvfs(transfer->tree, &disk) < 0)
		return error_set(
		    err, -errno, "cannot look at the disk of \"%s\": %s", transfer->plan->folder, strerror(errno));
	available = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize - RESERVE_BYTES;
	return needed <= available ? 0 : no_space(transfer, needed, available, err);
}

/* The same for all that is not there yet. */
static int
check_all_space(struct transfer *transfer, struct error *err)
{
	const struct manifest *manifest = transfer->plan->manifest;
	int64_t needed = manifest->bytes;
	struct stat st;

	for (size_t i = 0; i < manifest->n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%zu", i);
		if (is_there(transfer, &manifest->objects[i]))
			needed -= manifest->objects[i].size;
		else if (fstatat(transfer->parts, name, &st, 0) == 0)
			needed -= MIN((int64_t)st.st_blocks * 512, MAX(manifest->objects[i].size, 0));
	}
	return check_space(transfer, needed, err);
}

static void
wait_for(struct transfer *transfer, struct part *part)
{
	transfer->waiting = xrealloc(transfer->waiting, transfer->n_waiting + 1, sizeof(*transfer->waiting));
	transfer->waiting[transfer->n_waiting++] = part;
}

static void
file_free(struct file *file)
{
	fd_close(&file->fd);
	fd_close(&file->done_fd);
	free(file);
}

/* The parts of a file that are not on disk yet. */
static void
add_parts(struct transfer *transfer, struct file *file)
{
	char *done = xcalloc(file->n_parts, 1);
	int64_t size = file->object->size;

	if (file->done_fd >= 0 && pread(file->done_fd, done, file->n_parts, 0) < 0)
		memset(done, 0, file->n_parts);
	file->n_left = 0;
	for (size_t i = 0; i < file->n_parts; i++) {
		struct part part = {.file = file, .offset = (int64_t)i * TRANSFER_PART_BYTES, .length = size}, *copy;

		if (file->n_parts > 1)
			part.length = MIN(TRANSFER_PART_BYTES, size - part.offset);
		if (done[i]) {
			transfer->bytes += part.length;
			continue;
		}
		copy = xcalloc(1, sizeof(*copy));
		*copy = part;
		wait_for(transfer, copy);
		file->n_left++;
	}
	free(done);
}

static int
open_part_file(const struct transfer *transfer, size_t number, const char *ending)
{
	char name[32];

	snprintf(name, sizeof(name), "%zu%s", number, ending);
	return openat(transfer->parts, name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
}

static int complete(struct transfer *transfer, struct file *file, struct error *err);

/* Begin with an object. */
static int
begin_file(struct transfer *transfer, size_t number, struct error *err)
{
	struct object *object = &transfer->plan->manifest->objects[number];
	struct file *file;

	if (is_there(transfer, object)) {
		transfer->bytes += object->size;
		return 0;
	}
	file = xcalloc(1, sizeof(*file));
	*file = (struct file){.object = object, .number = number, .fd = -1, .done_fd = -1, .n_parts = 1};
	file->fd = open_part_file(transfer, number, "");
	/* Web servers need not know ranges, and what they do not know they answer in full. */
	if (object->key && object->size > TRANSFER_PART_BYTES) {
		file->n_parts = (size_t)((object->size + TRANSFER_PART_BYTES - 1) / TRANSFER_PART_BYTES);
		file->done_fd = open_part_file(transfer, number, ".done");
	}
	if (file->fd < 0 || (file->n_parts > 1 && file->done_fd < 0)) {
		int r = -errno;

		file_free(file);
		return error_set(
		    err, r, "cannot make a file in \"%s/parts\": %s", transfer->plan->folder, strerror(-r));
	}
	add_parts(transfer, file);
	return file->n_left == 0 ? complete(transfer, file, err) : 0;
}

/* ---- what an object holds ---- */

int
transfer_check_etag(int fd, int64_t part_size, const char *etag)
{
	size_t length = strlen(etag), digits;
	char bare[DIGEST_ETAG_MAX], found[DIGEST_ETAG_MAX];
	int r;

	if (length >= 2 && etag[0] == '"' && etag[length - 1] == '"') {
		etag++;
		length -= 2;
	}
	if (length < DIGEST_MD5_DIGITS || length >= sizeof(bare))
		return -1;
	memcpy(bare, etag, length);
	bare[length] = '\0';
	digits = strspn(bare, "0123456789abcdef");
	if (digits != DIGEST_MD5_DIGITS || (length > digits && (bare[digits] != '-' || part_size == 0)))
		return -1;
	r = digest_etag(fd, length > digits ? (off_t)part_size : 0, found);
	return r < 0 ? r : !strcmp(bare, found);
}

/* All parts are there. Move it where it belongs, or, when it is broken, begin it again. */
static int
complete(struct transfer *transfer, struct file *file, struct error *err)
{
	struct object *object = file->object;
	char name[32], done[40];
	struct stat st;
	int r = -1;

	snprintf(name, sizeof(name), "%zu", file->number);
	snprintf(done, sizeof(done), "%s.done", name);
	if (fstat(file->fd, &st) == 0 && object->size < 0)
		object->size = st.st_size;
	if (object->key && !file->is_encrypted)
		r = transfer_check_etag(file->fd, object->part_size, object->etag);
	if (r < -1) {
		error_set(err, r, "cannot read \"%s/parts/%s\": %s", transfer->plan->folder, name, strerror(-r));
	} else if (r == 0 && ++file->corrupt >= CORRUPT_MAX) {
		r = error_set(err, -EBADMSG, "%s: what comes is not what the store says it is: its MD5 is not %s",
		    transfer->plan->store->address->shown, object->etag);
		unlinkat(transfer->parts, name, 0);
		unlinkat(transfer->parts, done, 0);
	} else if (r == 0 && (ftruncate(file->fd, 0) < 0 || (file->done_fd >= 0 && ftruncate(file->done_fd, 0) < 0))) {
		r = error_set(err, -errno, "ftruncate: %s", strerror(errno));
	} else if (r == 0) {
		transfer->bytes -= object->size;
		add_parts(transfer, file);
		return 0;
	} else {
		r = make_parents(transfer->tree, object->path);
		if (r == 0 && renameat(transfer->parts, name, transfer->tree, object->path) < 0)
			r = -errno;
		if (r < 0)
			error_set(err, r, "%s: cannot store the object \"%s\": %s",
			    transfer->plan->store->address->shown, object->key ? object->key : object->path,
			    r == -ENOTDIR || r == -EISDIR || r == -ENOTEMPTY ? "another one has the name of its folder"
									     : strerror(-r));
		unlinkat(transfer->parts, done, 0);
	}
	file_free(file);
	return MIN(r, 0);
}

/* ---- one request ---- */

static PRINTFLIKE(2) void nonsense(struct lane *lane, const char *format, ...)
{
	va_list ap;

	lane->ignores = true;
	lane->fault = -EPROTO;
	va_start(ap, format);
	vsnprintf(lane->err.text, sizeof(lane->err.text), format, ap);
	va_end(ap);
}

/* Is it of the version that is being brought? What the answer does not say cannot be told. */
static bool
is_same_version(const struct object *object, const struct reply_head *head)
{
	const char *found = object->by_date ? head->modified : head->etag;

	return !*object->etag || !found || !strcmp(found, object->etag);
}

/*
 * Is the answer, whose body begins, what was asked for? If not, the body is ignored, or kept as an error's. The length that a web
 * server gave to HEAD is a hint: some say 0 for want of a body. What it says now holds, and if it says nothing, not even by
 * chunks (RFC 9112, section 6.3), nobody could tell the end of the file from the end of the connection.
 */
static void
check_answer(struct lane *lane)
{
	const struct reply_head *head = &lane->head;
	struct part *part = lane->part;
	struct file *file = part->file;
	struct object *object = file->object;
	bool whole = file->n_parts == 1;
	long version = 0;

	lane->checked = true;
	file->is_encrypted |= head->is_encrypted;
	if (head->status != 200 && head->status != 206) {
		lane->ignores = true;
	} else if (!is_same_version(object, head)) {
		lane->ignores = true;
		lane->fault = error_set(&lane->err, -ESTALE, "it changes while it is fetched");
	} else if (head->status == 200 && whole) {
		part->got = lane->begun = 0; /* it begins anew, asked or not */
		if (ftruncate(file->fd, 0) < 0)
			lane->fault = error_set(&lane->err, -errno, "ftruncate: %s", strerror(errno));
		if (!object->key)
			part->length = object->size = head->length;
		curl_easy_getinfo(lane->curl, CURLINFO_HTTP_VERSION, &version);
		if (part->length < 0 && !head->is_chunked && version < CURL_HTTP_VERSION_2_0)
			nonsense(lane, "the server does not say how long the file is");
		else if (head->length >= 0 && head->length != part->length)
			nonsense(lane, "the server wants to send %lld bytes where there should be %lld",
			    (long long)head->length, (long long)part->length);
	} else if (head->status == 200 || head->range_first != part->offset + part->got ||
	    (head->range_of >= 0 && object->size >= 0 && head->range_of != object->size)) {
		nonsense(lane, "the server does not send the range that was asked for");
	} else if (part->length >= 0 && head->length >= 0 && head->length != part->length - part->got) {
		nonsense(lane, "the server wants to send %lld bytes where there should be %lld",
		    (long long)head->length, (long long)(part->length - part->got));
	}
}

static size_t
body_cb(char *data, size_t size, size_t n, void *arg)
{
	struct lane *lane = arg;
	struct part *part = lane->part;

	n *= size;
	if (!lane->checked)
		check_answer(lane);
	if (lane->fault < 0)
		return 0;
	if (lane->ignores) {
		size_t room = WEB_ERROR_MAX - lane->length, kept = MIN(n, room);

		lane->body = lane->body ? lane->body : xcalloc(1, WEB_ERROR_MAX + 1);
		memcpy(lane->body + lane->length, data, kept);
		lane->length += kept;
		return n;
	}
	if (part->length >= 0 && (int64_t)n > part->length - part->got) {
		lane->fault = error_set(&lane->err, -EPROTO, "the server sends more than there should be");
		return 0;
	}
	for (size_t written = 0; written < n;) {
		ssize_t w = pwrite(part->file->fd, data + written, n - written, (off_t)(part->offset + part->got));

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0) {
			lane->fault = error_set(&lane->err, -errno, "cannot write to the disk: %s", strerror(errno));
			return 0;
		}
		written += (size_t)w;
		part->got += w;
	}
	return n;
}

/* Can a web server be asked to go on in the middle, and only if it is still the same? RFC 9110, section 13.1.5. */
static bool
can_continue(const struct object *object)
{
	return *object->etag && strncmp(object->etag, "W/", 2) != 0;
}

static void
start(struct transfer *transfer, struct lane *lane, struct part *part)
{
	struct object *object = part->file->object;
	struct request request;

	*lane = (struct lane){.curl = lane->curl, .part = part};
	reply_head_done(&lane->head);
	if (!object->key && part->got > 0 && (part->file->restarts || !can_continue(object)))
		part->got = 0;
	if (part->got == 0 && part->file->n_parts == 1 && ftruncate(part->file->fd, 0) < 0)
		lane->fault = error_set(&lane->err, -errno, "ftruncate: %s", strerror(errno));
	lane->begun = part->got;
	store_ask(transfer->plan->store, object, &request, &lane->url);
	if (*object->etag && object->key)
		lane->extra = xasprintf("If-Match: %s", object->etag);
	else if (part->got > 0)
		lane->extra = xasprintf("If-Range: %s", object->etag);
	request.headers[0] = lane->extra;
	curl_easy_reset(lane->curl);
	web_set_up(transfer->web, &request, lane->curl, &lane->headers);
	if (part->file->n_parts > 1 || part->got > 0) {
		char range[64];

		if (part->length >= 0)
			snprintf(range, sizeof(range), "%lld-%lld", (long long)(part->offset + part->got),
			    (long long)(part->offset + part->length - 1));
		else
			snprintf(range, sizeof(range), "%lld-", (long long)part->got);
		curl_easy_setopt(lane->curl, CURLOPT_RANGE, range);
	}
	curl_easy_setopt(lane->curl, CURLOPT_ERRORBUFFER, lane->detail);
	curl_easy_setopt(lane->curl, CURLOPT_HEADERFUNCTION, web_header_cb);
	curl_easy_setopt(lane->curl, CURLOPT_HEADERDATA, &lane->head);
	curl_easy_setopt(lane->curl, CURLOPT_WRITEFUNCTION, body_cb);
	curl_easy_setopt(lane->curl, CURLOPT_WRITEDATA, lane);
	curl_easy_setopt(lane->curl, CURLOPT_PRIVATE, lane);
	ASSERT(curl_multi_add_handle(transfer->multi, lane->curl) == CURLM_OK);
	transfer->n_busy++;
}

static void
clear(struct transfer *transfer, struct lane *lane)
{
	curl_multi_remove_handle(transfer->multi, lane->curl);
	curl_slist_free_all(take_ptr(&lane->headers));
	free(take_ptr(&lane->url));
	free(take_ptr(&lane->extra));
	free(take_ptr(&lane->body));
	reply_head_done(&lane->head);
	lane->part = NULL;
	transfer->n_busy--;
}

/* The part is there. */
static int
end_part(struct transfer *transfer, struct part *part, struct error *err)
{
	struct file *file = part->file;
	off_t number = (off_t)(part->offset / TRANSFER_PART_BYTES);
	int r = 0;

	free(part);
	file->n_left--;
	if (file->done_fd >= 0 && pwrite(file->done_fd, "x", 1, number) != 1)
		r = error_set(err, -errno, "cannot write to \"%s/parts\": %s", transfer->plan->folder, strerror(errno));
	if (file->n_left > 0)
		return r;
	if (r == 0)
		return complete(transfer, file, err);
	file_free(file);
	return r;
}

/*
 * What has become of it? 0: the part is complete; 1: try again; or a negative errno and err. A write that failed is the disk's
 * fault, and final; a server that sends nonsense may have been interrupted by somebody in between.
 */
static int
judge(const struct transfer *transfer, struct lane *lane, CURLcode code, struct error *err)
{
	const struct store *store = transfer->plan->store;
	const char *shown = store->address->shown;
	struct part *part = lane->part;
	long status = lane->head.status;
	bool may_retry, last;

	if (code == CURLE_OK && !lane->checked)
		check_answer(lane);
	if (lane->fault < 0 && lane->fault != -EPROTO)
		return error_set(err, lane->fault, "%s: %s", shown, lane->err.text);
	if (code == CURLE_OK && !lane->ignores && (part->length < 0 || part->got == part->length))
		return 0;
	if (status == 412 || (status == 404 && part->file->object->key && !transfer->plan->manifest->is_file))
		return error_set(err, -ESTALE, "%s: it changes while it is fetched", shown);
	if (status == 416 && !part->file->object->key)
		part->file->restarts = true;
	part->failed = part->got >= part->best + WORTH_BYTES ? 1 : part->failed + 1;
	part->best = MAX(part->best, part->got);
	last = part->failed >= transfer->web->attempts;
	if (lane->fault < 0 || (code == CURLE_OK && !lane->ignores)) {
		error_set(err, WEB_NOT_THERE, "%s: %s", shown,
		    lane->fault < 0 ? lane->err.text : "the answer ends too early");
		may_retry = true;
	} else if (code != CURLE_OK) {
		error_set(err, WEB_NOT_THERE, "%s: %s", shown, web_explain(code, lane->detail));
		may_retry = web_may_retry(code);
	} else {
		int r = store_explain(store, status, lane->body ? lane->body : "", lane->length, err);

		may_retry = web_may_retry_status(status) || (status == 416 && !part->file->object->key);
		if (!may_retry)
			return r;
	}
	return may_retry && !last ? 1 : WEB_NOT_THERE;
}

/* A request has ended. */
static int
finish(struct transfer *transfer, struct lane *lane, CURLcode code, struct error *err)
{
	int64_t asked_ms = lane->head.retry_after_ms, before = lane->begun;
	struct part *part = lane->part;
	int r = judge(transfer, lane, code, err);

	if (part->got > before)
		transfer->new_bytes += part->got - before;
	clear(transfer, lane);
	if (r == 0) {
		transfer->bytes += part->got;
		return end_part(transfer, part, err);
	}
	if (r == 1) {
		say("%s; trying again", err->text);
		part->due_ms = clock_ms() + web_backoff_ms(part->failed, asked_ms, arc4random());
	}
	wait_for(transfer, part);
	return MIN(r, 0);
}

/* ---- all of them ---- */

/* Give every lane that is free something to do. *ret_due_ms: when the next part that waits may be tried. */
static int
fill_lanes(struct transfer *transfer, int64_t *ret_due_ms, struct error *err)
{
	const struct manifest *manifest = transfer->plan->manifest;
	int64_t now_ms = clock_ms();
	int r;

	*ret_due_ms = INT64_MAX;
	for (size_t i = 0; i < LANES; i++) {
		struct lane *lane = &transfer->lanes[i];
		size_t found = 0;

		if (lane->part)
			continue;
		for (;;) {
			for (found = 0; found < transfer->n_waiting; found++)
				if (transfer->waiting[found]->due_ms <= now_ms)
					break;
			/* Those that wait for another attempt are not overtaken by hundreds that would fail as well. */
			if (found < transfer->n_waiting || transfer->n_waiting >= LANES ||
			    transfer->next >= manifest->n)
				break;
			r = begin_file(transfer, transfer->next++, err);
			if (r < 0)
				return r;
		}
		if (found == transfer->n_waiting)
			break;
		start(transfer, lane, transfer->waiting[found]);
		transfer->n_waiting--;
		memmove(&transfer->waiting[found], &transfer->waiting[found + 1],
		    (transfer->n_waiting - found) * sizeof(*transfer->waiting));
	}
	for (size_t i = 0; i < transfer->n_waiting; i++)
		*ret_due_ms = MIN(*ret_due_ms, transfer->waiting[i]->due_ms);
	return 0;
}

static void
say_progress(struct transfer *transfer)
{
	const struct transfer_plan *plan = transfer->plan;
	int64_t now_ms = clock_ms(), bytes = transfer->bytes, fresh = transfer->new_bytes;

	if (now_ms - transfer->said_ms < PROGRESS_MS)
		return;
	for (size_t i = 0; i < LANES; i++)
		if (transfer->lanes[i].part) {
			bytes += transfer->lanes[i].part->got;
			fresh += transfer->lanes[i].part->got - transfer->lanes[i].begun;
		}
	transfer->said_ms = now_ms;
	plan->progress(plan->arg, bytes, plan->manifest->bytes, fresh, now_ms - transfer->begin_ms);
}

static int
run(struct transfer *transfer, struct error *err)
{
	int r = check_all_space(transfer, err);

	while (r == 0) {
		int64_t due_ms;
		CURLMsg *message;
		int n, running;

		r = fill_lanes(transfer, &due_ms, err);
		if (r < 0 || (transfer->n_busy == 0 && transfer->n_waiting == 0))
			break;
		curl_multi_poll(transfer->multi, NULL, 0,
		    (int)MIN(transfer->n_busy == 0 ? MAX(due_ms - clock_ms(), 1) : 200, 1000), NULL);
		curl_multi_perform(transfer->multi, &running);
		while (r == 0 && (message = curl_multi_info_read(transfer->multi, &n))) {
			struct lane *lane;

			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &lane);
			r = finish(transfer, lane, message->data.result, err);
		}
		say_progress(transfer);
		if (r == 0)
			r = check_space(transfer, 0, err);
	}
	return r;
}

/* After a failure: everything that is under way is given up. */
static void
abandon(struct transfer *transfer)
{
	for (size_t i = 0; i < LANES; i++)
		if (transfer->lanes[i].part) {
			struct part *part = transfer->lanes[i].part;

			clear(transfer, &transfer->lanes[i]);
			wait_for(transfer, part);
		}
	for (size_t i = 0; i < transfer->n_waiting; i++) {
		struct file *file = transfer->waiting[i]->file;

		free(transfer->waiting[i]);
		if (--file->n_left == 0)
			file_free(file);
	}
	transfer->n_waiting = 0;
}

int
transfer_run(const struct transfer_plan *plan, struct error *err)
{
	struct transfer *transfer = xcalloc(1, sizeof(*transfer));
	int r = 0;

	transfer->plan = plan;
	transfer->web = plan->store->web;
	transfer->begin_ms = transfer->said_ms = clock_ms();
	transfer->tree = transfer->parts = -1;
	r = transfer->tree = open_folder(plan->folder, "tree", err);
	if (r >= 0)
		r = transfer->parts = open_folder(plan->folder, "parts", err);
	transfer->multi = curl_multi_init();
	ASSERT(transfer->multi);
	for (size_t i = 0; i < LANES; i++) {
		transfer->lanes[i].curl = curl_easy_init();
		ASSERT(transfer->lanes[i].curl);
	}
	if (r >= 0)
		r = run(transfer, err);
	abandon(transfer);
	for (size_t i = 0; i < LANES; i++)
		curl_easy_cleanup(transfer->lanes[i].curl);
	curl_multi_cleanup(transfer->multi);
	fd_close(&transfer->tree);
	fd_close(&transfer->parts);
	free(transfer->waiting);
	free(transfer);
	return r;
}
