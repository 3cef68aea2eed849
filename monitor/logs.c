/*
 * logs - GET /logs: the log of an api, from its files, and what is added to them.
 *
 *	api=NAME	required
 *	lines=N		at most the last N lines
 *	since=TIME	only what was logged since then: so many seconds ago, or an ISO 8601 time
 *	follow=1	goes on with what comes, until the client leaves
 *
 * The lines are as they are in the files, the oldest first; the end of the connection is their end. A stream is a file, a place in it and one
 * buffer: it reads when the client has taken what it was sent, so a slow one costs nothing. At the end of a file the next one is found by what
 * the names stand for at that moment: the files may have been renamed by then (logfile.h), once or many times, or be gone.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "http/answer.h"
#include "http/target.h"
#include "monitor/monitor.h"

#define STREAMS_MAX 32
#define BUFFER      (128 << 10)
#define BLOCK       (64 << 10)
#define SEARCH_MAX  (64 << 20) /* bytes that are looked through for the last lines */
#define LINES_LIMIT 1000000000
#define LOOK_MS     250 /* how often one that follows looks for what somebody else has written, or done to the files */
#define TURN_MAX    (4 << 20) /* bytes that are passed over in one turn of the loop */
#define STALL_MS    60000     /* for a client to take something */

static const char no_length[] = "Content-Length: 0\r\n\r\n";

struct stream {
	TAILQ_ENTRY(stream) in_all;
	int fd; /* of the client */
	struct event writable;
	struct event readable;
	struct event look;
	bool writes; /* writable is waited for */
	bool follow;
	char api[LINES_NAME_MAX + 1];
	char *path;
	unsigned n_files;
	char since[LOG_TIME_LENGTH + 1]; /* lines before are left out, until one is not; "": no more */
	int file;                        /* that is read; -1: there was none */
	dev_t device;
	ino_t inode;
	bool at_end; /* of a file that is not written to any more, but perhaps was in the last moment */
	int64_t progress_ms;
	char *buffer;
	size_t length;
	size_t sent;
};

static TAILQ_HEAD(, stream) streams = TAILQ_HEAD_INITIALIZER(streams);
static unsigned n_streams;

static void
close_stream(struct stream *stream)
{
	event_del(&stream->writable);
	event_del(&stream->readable);
	event_del(&stream->look);
	TAILQ_REMOVE(&streams, stream, in_all);
	n_streams--;
	fd_close(&stream->fd);
	fd_close(&stream->file);
	free(stream->path);
	free(stream->buffer);
	free(stream);
}

/* ---- files ---- */

/* Number `back` of the files: its descriptor, or -1. */
static int
open_back(const struct stream *stream, unsigned back)
{
	char *name = logfile_name(stream->path, back);
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	free(name);
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
		fd_close(&fd);
	return fd;
}

static bool
stat_back(const struct stream *stream, unsigned back, struct stat *ret_st)
{
	char *name = logfile_name(stream->path, back);
	int r = lstat(name, ret_st);

	free(name);
	return r == 0 && S_ISREG(ret_st->st_mode);
}

static bool
begin_file(struct stream *stream, unsigned back, off_t at)
{
	int fd = open_back(stream, back);
	struct stat st;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) < 0 || lseek(fd, at, SEEK_SET) < 0) {
		fd_close(&fd);
		return false;
	}
	fd_close(&stream->file);
	stream->file = fd;
	stream->device = st.st_dev;
	stream->inode = st.st_ino;
	stream->at_end = false;
	return true;
}

/* Where the last n_lines lines of a file begin; *n_lines is how many are still missing, 0 when the file has enough. */
static off_t
find_lines(int fd, uint64_t *n_lines, size_t *searched)
{
	static char block[BLOCK];
	off_t end = lseek(fd, 0, SEEK_END), at = end;

	while (at > 0 && *searched < SEARCH_MAX) {
		size_t size = (size_t)MIN(at, (off_t)BLOCK);
		const char *newline = block + size;

		at -= (off_t)size;
		if (pread(fd, block, size, at) != (ssize_t)size)
			return end;
		*searched += size;
		while ((newline = memrchr(block, '\n', (size_t)(newline - block)))) {
			off_t behind = at + (newline - block) + 1;

			if (behind == end)
				continue;
			if (*n_lines == 1) {
				*n_lines = 0;
				return behind;
			}
			--*n_lines;
		}
	}
	if (end > 0)
		--*n_lines; /* the first one has no newline before it */
	return at;
}

static bool
begin_with_last(struct stream *stream, uint64_t n_lines)
{
	size_t searched = 0;
	unsigned back = 0;
	off_t at = 0;
	bool found = false;

	for (; back < stream->n_files && n_lines > 0 && searched < SEARCH_MAX; back++) {
		int fd = open_back(stream, back);

		if (fd < 0)
			break;
		at = find_lines(fd, &n_lines, &searched);
		fd_close(&fd);
		found = true;
	}
	return found && begin_file(stream, back - 1, at);
}

/* The oldest file that was written to since then. */
static bool
begin_with_first(struct stream *stream, time_t since)
{
	unsigned back = 0;
	struct stat st;

	while (back < stream->n_files && stat_back(stream, back, &st) && st.st_mtime >= since)
		back++;
	return begin_file(stream, back > 0 ? back - 1 : 0, 0);
}

static bool
is_older(const struct timespec *one, const struct timespec *two)
{
	return one->tv_sec != two->tv_sec ? one->tv_sec < two->tv_sec : one->tv_nsec < two->tv_nsec;
}

/* The file after the one that is read: its number, -1 there is none yet, because this is PATH itself or nothing is there. */
static int
find_next(const struct stream *stream)
{
	struct stat st, ours;
	int next = -1;

	if (stream->file < 0 || fstat(stream->file, &ours) < 0)
		return stat_back(stream, 0, &st) ? 0 : -1;
	for (unsigned back = 0; back < stream->n_files; back++) {
		if (!stat_back(stream, back, &st))
			continue;
		if (st.st_ino == stream->inode && st.st_dev == stream->device)
			return (int)back - 1;
		if (!is_older(&st.st_mtim, &ours.st_mtim))
			next = (int)back;
	}
	return next; /* ours is gone: the oldest of those that are not older */
}

/* ---- sending ---- */

/* Leave out what is too old. */
static void
skip_old(struct stream *stream)
{
	size_t prefix = stream->buffer[0] == '{' ? strlen("{\"time\":\"") : 0, from = 0;

	while (*stream->since && from < stream->length) {
		const char *line = stream->buffer + from;
		const char *newline = memchr(line, '\n', stream->length - from);

		if (stream->length - from > prefix + LOG_TIME_LENGTH &&
		    memcmp(line + prefix, stream->since, LOG_TIME_LENGTH) >= 0) {
			stream->since[0] = '\0';
			break;
		}
		if (!newline && from > 0) /* the beginning of a line: the rest follows */
			break;
		from = newline ? (size_t)(newline - stream->buffer) + 1 : stream->length;
	}
	if (*stream->since) {
		if (from < stream->length && lseek(stream->file, -(off_t)(stream->length - from), SEEK_CUR) < 0)
			from = stream->length;
		stream->length = 0;
	}
	stream->sent = MIN(from, stream->length);
}

/* Put something into the empty buffer. False: there is nothing now. True and nothing in it: there may be more, after others had their turn. */
static bool
fill(struct stream *stream)
{
	size_t passed = 0;

	while (passed < TURN_MAX) {
		ssize_t n = stream->file < 0 ? 0 : read(stream->file, stream->buffer, BUFFER);
		int next;

		stream->length = (size_t)MAX(n, 0);
		stream->sent = 0;
		if (n > 0) {
			stream->at_end = false;
			if (*stream->since)
				skip_old(stream);
			if (stream->length > stream->sent)
				return true;
			passed += (size_t)n;
			continue;
		}
		next = find_next(stream);
		if (next < 0)
			return false;
		if (stream->file >= 0 && !stream->at_end) { /* something may have come before it was renamed */
			stream->at_end = true;
			continue;
		}
		if (!begin_file(stream, (unsigned)next, 0))
			return false;
	}
	stream->progress_ms = clock_ms();
	return true;
}

static void
wait_to_write(struct stream *stream, bool wait)
{
	if (wait == stream->writes)
		return;
	stream->writes = wait;
	if (wait)
		event_add(&stream->writable, NULL);
	else
		event_del(&stream->writable);
}

/* Has the client left, as far as that can be seen without sending anything? */
static bool
is_gone(const struct stream *stream)
{
	struct pollfd client = {.fd = stream->fd};

	return poll(&client, 1, 0) > 0 && (client.revents & (POLLHUP | POLLERR));
}

static void
writable_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct stream *stream = arg;
	ssize_t n;

	if (stream->sent == stream->length && !fill(stream)) {
		if (stream->follow)
			wait_to_write(stream, false);
		else
			close_stream(stream);
		return;
	}
	if (stream->sent == stream->length) {
		if (is_gone(stream))
			close_stream(stream);
		return;
	}
	n = send(stream->fd, stream->buffer + stream->sent, stream->length - stream->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		close_stream(stream);
		return;
	}
	if (n > 0) {
		stream->sent += (size_t)n;
		stream->progress_ms = clock_ms();
	}
}

/* Nobody sends anything after the request: it is the end of the connection. */
static void
readable_cb(evutil_socket_t fd, UNUSED short what, void *arg)
{
	char waste[4096];
	ssize_t n = recv(fd, waste, sizeof(waste), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_stream(arg);
}

static void
look_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct stream *stream = arg;

	if (stream->writes && clock_ms() - stream->progress_ms > STALL_MS) {
		close_stream(stream);
		return;
	}
	if (!stream->writes)
		stream->progress_ms = clock_ms();
	wait_to_write(stream, true);
}

void
logs_written(const char *api, UNUSED void *arg)
{
	struct stream *stream;

	TAILQ_FOREACH (stream, &streams, in_all)
		if (!stream->writes && !strcmp(stream->api, api)) {
			stream->progress_ms = clock_ms();
			wait_to_write(stream, true);
		}
}

json_t *
logs_status(const struct monitor *monitor)
{
	json_t *text = json_string(monitor->sources.trouble);

	if (!text) /* a path that was cut in the middle of a character */
		text = json_string("a log cannot be written to");
	return json_pack(
	    "{sI so}", "lost_lines", (json_int_t)atomic_load(&monitor->scoreboard->log_lost_lines), "text", text);
}

/* ---- asking ---- */

struct query {
	char api[LINES_NAME_MAX + 1];
	bool possible; /* an api may have that name */
	bool follow;
	uint64_t n_lines; /* 0: all */
	int64_t since_ms; /* of the epoch; INT64_MIN: all */
};

/* A parameter in value. 1, or 0: there is none; -EINVAL: it is no good. */
static int
parameter(struct http_conn *conn, const char *name, char *value, size_t size)
{
	const struct http_span target = http_conn_request(conn)->target;
	int r = http_target_query(http_conn_bytes(conn) + target.offset, target.length, name, value, size);

	if (r == -ENOENT)
		return 0;
	return r < 0 ? -EINVAL : 1;
}

static bool
parse_number(const char *text, uint64_t limit, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 12)
		return false;
	for (; *text; text++)
		number = number * 10 + (uint64_t)(*text - '0');
	*ret_number = number;
	return number <= limit;
}

bool
logs_parse_since(const char *text, int64_t now_ms, int64_t *ret_ms)
{
	static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};
	uint64_t seconds;
	struct tm tm;

	if (parse_number(text, (uint64_t)now_ms / 1000, &seconds)) {
		*ret_ms = now_ms - (int64_t)seconds * 1000;
		return true;
	}
	for (size_t i = 0; i < N_ELEMENTS(forms); i++) {
		int64_t ms = 0, offset_s = 0;
		const char *rest;

		memset(&tm, 0, sizeof(tm));
		rest = strptime(text, forms[i], &tm);
		if (!rest)
			continue;
		if (i == 0 && *rest == '.') {
			int64_t scale = 100;

			for (rest++; *rest >= '0' && *rest <= '9'; rest++, scale /= 10)
				ms += (*rest - '0') * scale;
		}
		if (*rest == 'Z') {
			rest++;
		} else if (i < 2 && (*rest == '+' || *rest == '-' || *rest == ' ')) { /* + in a query is a blank */
			int hours, minutes, used = 0;

			if (sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &used) < 2 || used != 5)
				return false;
			offset_s = (hours * 60 + minutes) * 60 * (*rest == '-' ? -1 : 1);
			rest += 6;
		}
		if (*rest)
			return false;
		*ret_ms = MAX(((int64_t)timegm(&tm) - offset_s) * 1000 + ms, 0);
		return true;
	}
	return false;
}

/* NULL, or what is wrong. */
static const char *
parse_query(struct http_conn *conn, struct query *query)
{
	struct timespec now;
	char value[64];
	int r;

	*query = (struct query){.since_ms = INT64_MIN};
	r = parameter(conn, "api", query->api, sizeof(query->api));
	if (r == 0 || (r == 1 && !*query->api))
		return "api: the name of an api is needed\n";
	query->possible = r == 1 && lines_is_name(query->api);
	r = parameter(conn, "follow", value, sizeof(value));
	query->follow = r == 1 && (!strcmp(value, "1") || !strcmp(value, "true"));
	if (r < 0 || (r == 1 && !query->follow && strcmp(value, "0") && strcmp(value, "false")))
		return "follow: must be 1 or 0\n";
	r = parameter(conn, "lines", value, sizeof(value));
	if (r < 0 || (r == 1 && !parse_number(value, LINES_LIMIT, &query->n_lines)))
		return "lines: must be a whole number\n";
	if (r == 1 && query->n_lines == 0)
		query->since_ms = INT64_MAX; /* none, but perhaps those that follow */
	r = parameter(conn, "since", value, sizeof(value));
	clock_gettime(CLOCK_REALTIME, &now);
	if (r < 0 ||
	    (r == 1 && query->since_ms == INT64_MIN &&
		!logs_parse_since(value, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, &query->since_ms)))
		return "since: must be a number of seconds, or a time like 2026-11-30T05:00:00Z\n";
	return NULL;
}

static void
begin(struct stream *stream, const struct query *query)
{
	struct stat st;

	if (query->since_ms == INT64_MAX) {
		if (stat_back(stream, 0, &st))
			begin_file(stream, 0, st.st_size);
		return;
	}
	if (query->since_ms != INT64_MIN) {
		time_t seconds = (time_t)(query->since_ms / 1000);
		struct tm tm;

		gmtime_r(&seconds, &tm);
		strftime(stream->since, sizeof(stream->since), "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(stream->since + 19, sizeof(stream->since) - 19, ".%03uZ",
		    (unsigned)(query->since_ms % 1000) % 1000);
	}
	if (query->n_lines > 0)
		begin_with_last(stream, query->n_lines);
	else
		begin_with_first(stream, query->since_ms == INT64_MIN ? 0 : (time_t)(query->since_ms / 1000));
}

/* The head of an answer that ends with its connection. */
static size_t
put_head(const struct monitor *monitor, struct http_conn *conn, char *to)
{
	const struct http_answer answer = {
	    .status = 200,
	    .content_type = monitor->start.log_format == LOG_JSON ? "application/x-ndjson"
								  : "text/plain; charset=utf-8",
	    .common = conn->conns->common,
	};
	size_t length = http_answer_head(&answer, true, false, to) - strlen(no_length);

	memcpy(to + length, "\r\n", 2);
	return length + 2;
}

static void
answer_unknown(struct http_conn *conn)
{
	answer_text(conn, 404, "there is no log of an api of that name\n", NULL);
}

static void
start(struct monitor *monitor, struct http_conn *conn, struct stream *stream)
{
	static const struct timeval period = {0, LOOK_MS * 1000};

	stream->buffer = xcalloc(1, BUFFER);
	stream->length = put_head(monitor, conn, stream->buffer);
	stream->fd = http_conn_detach(conn);
	stream->progress_ms = clock_ms();
	event_assign(&stream->writable, monitor->base, stream->fd, EV_WRITE | EV_PERSIST, writable_cb, stream);
	event_assign(&stream->readable, monitor->base, stream->fd, EV_READ | EV_PERSIST, readable_cb, stream);
	event_assign(&stream->look, monitor->base, -1, EV_PERSIST, look_cb, stream);
	TAILQ_INSERT_TAIL(&streams, stream, in_all);
	n_streams++;
	event_add(&stream->look, &period);
	if (stream->follow)
		event_add(&stream->readable, NULL);
	wait_to_write(stream, true);
}

void
logs_request(struct monitor *monitor, struct http_conn *conn)
{
	struct query query;
	const char *wrong = parse_query(conn, &query);
	struct stream *stream;

	if (wrong) {
		answer_text(conn, 400, wrong, NULL);
		return;
	}
	if (monitor->start.log_files == 0) {
		answer_text(conn, 404, "no logs are kept: log.files is 0\n", NULL);
		return;
	}
	if (!query.possible) {
		answer_unknown(conn);
		return;
	}
	if (n_streams >= STREAMS_MAX) {
		answer_text(conn, 503, "too many are reading logs\n", NULL);
		return;
	}
	stream = xcalloc(1, sizeof(*stream));
	stream->file = -1;
	stream->follow = query.follow;
	stream->n_files = (unsigned)monitor->start.log_files;
	stream->path = source_log_path(monitor->start.state_dir, query.api);
	memcpy(stream->api, query.api, sizeof(stream->api));
	begin(stream, &query);
	if (stream->file < 0 && !sources_have(&monitor->sources, query.api)) {
		answer_unknown(conn);
		free(stream->path);
		free(stream);
		return;
	}
	start(monitor, conn, stream);
}
