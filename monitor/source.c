/*
 * source - see source.h.
 */
#include "monitor/source.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "monitor/sink.h"

#define QUIET_BYTES (16 << 10) /* a read of less than this is followed by a rest */
#define PREFIX_MAX  256
#define SCRATCH     (2 * PREFIX_MAX + LINES_ESCAPED_MAX * LINES_MAX)
#define TICK_MS     1000
#define IDLE_MS     10000 /* after which a log that nobody writes to is closed */
#define SAY_MS      10000 /* between two complaints about the same file */
#define COLLECT_MS  (3600 * 1000)
#define COLLECT_AT  60000 /* the first time: by then it is known who is there */
#define OLD_S       (7 * 24 * 3600)
#define LEFT_TURNS  64 /* of SOURCE_TURN: what is read of one at the end */
#define ACCESS      "access"

struct source {
	TAILQ_ENTRY(source) in_all;
	TAILQ_ENTRY(source) in_resting;
	struct sources *sources;
	struct event event;
	int fd;
	bool rests;
	bool is_activator;
	char text_identity[PREFIX_MAX]; /* "replica iris/0 (generation 2): " */
	char json_identity[PREFIX_MAX]; /* ,"role":"replica","api":"iris","replica":0,"generation":2 */
	struct api_log *log;            /* of its api, or NULL */
	struct lines lines;
};

static void
call_in(struct event *event, int64_t ms)
{
	const struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	if (!evtimer_pending(event, NULL))
		evtimer_add(event, &wait);
}

static void
count_lost(struct sources *sources, uint64_t n)
{
	atomic_fetch_add_explicit(sources->config.n_lost, n, memory_order_relaxed);
}

/* ---- logs ---- */

char *
source_log_path(const char *state_dir, const char *api)
{
	if (!*api)
		return xasprintf("%s/logs/" ACCESS ".log", state_dir);
	/* No api has a name with an underscore. */
	return xasprintf("%s/logs/%s%s.log", state_dir, api, strcmp(api, ACCESS) ? "" : "_");
}

static struct api_log *
find_log(const struct sources *sources, const char *api)
{
	struct api_log *log;

	TAILQ_FOREACH (log, &sources->logs, in_all)
		if (!strcmp(log->api, api))
			return log;
	return NULL;
}

static struct api_log *
get_log(struct sources *sources, const char *api)
{
	struct api_log *log = find_log(sources, api);
	char *path;

	if (log || sources->config.n_files == 0)
		return log;
	log = xcalloc(1, sizeof(*log));
	snprintf(log->api, sizeof(log->api), "%s", api);
	path = source_log_path(sources->config.state_dir, api);
	logfile_init(&log->file, path, (unsigned)sources->config.n_files, (uint64_t)sources->config.file_bytes);
	free(path);
	log->said_ms = -SAY_MS;
	TAILQ_INSERT_TAIL(&sources->logs, log, in_all);
	return log;
}

static size_t
format_line(enum log_format format, char *to, size_t size, const char *level, const char *identity, const char *message)
{
	char now[LOG_TIME_LENGTH];
	int n;

	log_put_time(now);
	if (format == LOG_JSON)
		n = snprintf(to, size, "{\"time\":\"%.*s\",\"level\":\"%s\"%s,\"message\":\"%s\"}\n", LOG_TIME_LENGTH,
		    now, level, identity, message);
	else
		n = snprintf(to, size, "%.*s %s %s%s\n", LOG_TIME_LENGTH, now, level, identity, message);
	return MIN((size_t)MAX(n, 0), size - 1);
}

static size_t
file_notice(char *to, size_t size, uint64_t n_lost, int error, void *arg)
{
	const struct sources *sources = arg;
	bool json = sources->config.format == LOG_JSON;
	char message[200];

	snprintf(message, sizeof(message), "%llu line%s of this log %s lost: %s", (unsigned long long)n_lost,
	    n_lost == 1 ? "" : "s", n_lost == 1 ? "was" : "were", strerror(error));
	return format_line(sources->config.format, to, size, json ? "warning" : "warn ",
	    json ? ",\"role\":\"monitor\"" : "monitor: ", message);
}

static enum log_format sink_format; /* the thread's own */

static size_t
sink_notice_text(char *to, size_t size, uint64_t n_lost)
{
	bool json = sink_format == LOG_JSON;
	char message[100];

	snprintf(message, sizeof(message), "%llu line%s of the log %s lost here: nobody read standard error",
	    (unsigned long long)n_lost, n_lost == 1 ? "" : "s", n_lost == 1 ? "was" : "were");
	return format_line(
	    sink_format, to, size, json ? "warning" : "warn ", json ? ",\"role\":\"monitor\"" : "monitor: ", message);
}

static void
write_log(struct sources *sources, struct api_log *log)
{
	uint64_t n_lost = 0, lost_before = log->file.n_lost_ever;
	int64_t now_ms = clock_ms();
	enum logfile_event event = logfile_flush(&log->file, now_ms, file_notice, sources, &n_lost);

	log->used_ms = now_ms;
	count_lost(sources, log->file.n_lost_ever - lost_before);
	if (event == LOGFILE_FAILS)
		snprintf(sources->trouble, sizeof(sources->trouble), "%.180s: %s", log->file.path,
		    strerror(log->file.error));
	if (event != LOGFILE_FINE && now_ms - log->said_ms >= SAY_MS) {
		log->said_ms = now_ms;
		if (event == LOGFILE_FAILS)
			log_warning("%s: %s; lines are lost until it can be written to again", log->file.path,
			    strerror(log->file.error));
		else
			log_warning("%s: can be written to again; %llu line%s lost", log->file.path,
			    (unsigned long long)n_lost, n_lost == 1 ? " was" : "s were");
	}
	if (sources->config.on_written)
		sources->config.on_written(log->api, sources->config.arg);
}

static void
write_out(struct sources *sources)
{
	if (sources->n_out > 0)
		sink_put(sources->out, sources->n_out);
	sources->n_out = 0;
}

static void
write_all(struct sources *sources)
{
	struct api_log *log;

	write_out(sources);
	while ((log = TAILQ_FIRST(&sources->dirty))) {
		TAILQ_REMOVE(&sources->dirty, log, in_dirty);
		log->dirty = false;
		write_log(sources, log);
	}
}

static void
flush_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	write_all(arg);
}

/* When the callbacks of this turn are done. */
static void
flush_soon(struct sources *sources)
{
	event_active(&sources->flush, EV_TIMEOUT, 0);
}

static void
put_log(struct sources *sources, struct api_log *log, const char *line, size_t length)
{
	char *room = logfile_room(&log->file, length + 1);

	if (!room) {
		write_log(sources, log);
		room = logfile_room(&log->file, length + 1);
	}
	memcpy(room, line, length);
	room[length] = '\n';
	logfile_added(&log->file, length + 1);
	if (!log->dirty)
		TAILQ_INSERT_TAIL(&sources->dirty, log, in_dirty);
	log->dirty = true;
}

static void
put_out(struct sources *sources, const char *line, size_t length)
{
	if (sources->n_out + length + 1 > SOURCE_OUT)
		write_out(sources);
	memcpy(sources->out + sources->n_out, line, length);
	sources->n_out += length;
	sources->out[sources->n_out++] = '\n';
}

/* ---- lines ---- */

/* Of what a process has printed: "<time> out   <identity>...", in scratch. Its length. */
static size_t
format_output(const struct source *source, const struct lines_line *line)
{
	bool json = source->sources->config.format == LOG_JSON;
	char *scratch = source->sources->scratch, *at = scratch;

	if (json)
		at = stpcpy(at, "{\"time\":\"");
	log_put_time(at);
	at += LOG_TIME_LENGTH;
	at = stpcpy(at, json ? "\",\"level\":\"output\"" : " out   ");
	at = stpcpy(at, json ? source->json_identity : source->text_identity);
	if (json)
		at = stpcpy(at, ",\"message\":\"");
	at += (json ? lines_put_json : lines_put_text)(at, LINES_ESCAPED_MAX * line->length, line->bytes, line->length);
	if (json)
		at += line->n_cut > 0 ? sprintf(at, "\",\"cut\":%llu}", (unsigned long long)line->n_cut)
				      : sprintf(at, "\"}");
	else if (line->n_cut > 0)
		at += sprintf(at, " ... and %llu bytes more", (unsigned long long)line->n_cut);
	return (size_t)(at - scratch);
}

static size_t
format_loss(const struct source *source, const struct lines_line *line)
{
	struct sources *sources = source->sources;
	bool json = sources->config.format == LOG_JSON;
	int64_t rate = line->is_framed ? LINES_FRAMED_RATE : LINES_RAW_RATE;
	char message[256];

	snprintf(message, sizeof(message),
	    "%llu line%s of what it %s %s lost, %llu KiB: more than %lld MiB a second is too much",
	    (unsigned long long)line->n_lost, line->n_lost == 1 ? "" : "s", line->is_framed ? "logged" : "printed",
	    line->n_lost == 1 ? "was" : "were", (unsigned long long)line->n_lost_bytes >> 10, (long long)rate >> 20);
	snprintf(sources->trouble, sizeof(sources->trouble), "%.60s%.190s", json ? "" : source->text_identity, message);
	return format_line(sources->config.format, sources->scratch, SCRATCH, json ? "warning" : "warn ",
		   json ? source->json_identity : source->text_identity, message) -
	    1;
}

static void
on_line(const struct lines_line *line, void *arg)
{
	struct source *source = arg;
	struct sources *sources = source->sources;
	struct api_log *log = source->log;
	const char *bytes = line->bytes;
	size_t length = line->length;

	if (line->n_lost > 0)
		count_lost(sources, line->n_lost);
	switch (line->kind) {
	case LINES_ACCESS:
		log = get_log(sources, "");
		if (log)
			put_log(sources, log, bytes, length);
		else
			put_out(sources, bytes, length);
		return;
	case LINES_LOG: /* only the activator speaks for others */
		if (source->is_activator && *line->name)
			log = find_log(sources, line->name);
		break;
	case LINES_LOST:
		bytes = sources->scratch;
		length = format_loss(source, line);
		break;
	default:
		bytes = sources->scratch;
		length = format_output(source, line);
		break;
	}
	put_out(sources, bytes, length);
	if (log)
		put_log(sources, log, bytes, length);
}

/* ---- reading ---- */

static void
drop(struct source *source)
{
	struct sources *sources = source->sources;

	event_del(&source->event);
	if (source->rests)
		TAILQ_REMOVE(&sources->resting, source, in_resting);
	TAILQ_REMOVE(&sources->all, source, in_all);
	if (source->log)
		source->log->n_sources--;
	fd_close(&source->fd);
	free(source);
}

/* One read. Its bytes; 0: the end, or a negative errno. */
static ssize_t
read_some(struct source *source)
{
	ssize_t n;

	do
		n = read(source->fd, source->sources->input, SOURCE_TURN);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		lines_feed(&source->lines, source->sources->input, (size_t)n, clock_ns());
		flush_soon(source->sources);
	}
	return n < 0 ? -errno : n;
}

static void
end(struct source *source)
{
	lines_end(&source->lines);
	flush_soon(source->sources);
	drop(source);
}

static void
readable_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct source *source = arg;
	struct sources *sources = source->sources;
	ssize_t n = read_some(source);

	if (n == 0 || (n < 0 && n != -EAGAIN)) {
		end(source);
		return;
	}
	if (n >= QUIET_BYTES)
		return;
	event_del(&source->event);
	source->rests = true;
	TAILQ_INSERT_TAIL(&sources->resting, source, in_resting);
	call_in(&sources->rest, SOURCE_REST_MS);
}

static void
rest_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct sources *sources = arg;
	struct source *source;

	while ((source = TAILQ_FIRST(&sources->resting))) {
		TAILQ_REMOVE(&sources->resting, source, in_resting);
		source->rests = false;
		event_add(&source->event, NULL);
	}
}

/* ---- once a second ---- */

static bool
is_wanted(const char *stem, void *arg)
{
	const struct sources *sources = arg;
	size_t length = strlen(stem);
	struct api_log *log;

	TAILQ_FOREACH (log, &sources->logs, in_all) {
		const char *name = strrchr(log->file.path, '/') + 1;

		if ((log->n_sources > 0 || !*log->api) && !strncmp(name, stem, length) &&
		    !strcmp(name + length, ".log"))
			return true;
	}
	return false;
}

static void
collect(struct sources *sources, int64_t now_ms)
{
	char *folder = xasprintf("%s/logs", sources->config.state_dir);
	unsigned n = logfile_collect(folder, OLD_S, time(NULL), is_wanted, sources);

	if (n > 0)
		log_info("removed %u log files of apis that are gone for a week", n);
	free(folder);
	sources->collect_ms = now_ms + COLLECT_MS;
}

static void
rest_logs(struct sources *sources, int64_t now_ms)
{
	struct api_log *log, *next;

	for (log = TAILQ_FIRST(&sources->logs); log; log = next) {
		next = TAILQ_NEXT(log, in_all);
		if (log->dirty || now_ms - log->used_ms < IDLE_MS)
			continue;
		logfile_close(&log->file);
		if (log->n_sources > 0 || !*log->api)
			continue;
		TAILQ_REMOVE(&sources->logs, log, in_all);
		logfile_done(&log->file);
		free(log);
	}
}

static void
tick_cb(UNUSED evutil_socket_t fd, UNUSED short what, void *arg)
{
	struct sources *sources = arg;
	int64_t now_ns = clock_ns();
	struct source *source;
	uint64_t n;

	TAILQ_FOREACH (source, &sources->all, in_all)
		lines_tick(&source->lines, now_ns);
	n = sink_take_lost();
	if (n > 0) {
		count_lost(sources, n);
		snprintf(sources->trouble, sizeof(sources->trouble), "nobody read standard error");
	}
	write_all(sources);
	rest_logs(sources, now_ns / 1000000);
	if (now_ns / 1000000 >= sources->collect_ms)
		collect(sources, now_ns / 1000000);
}

/* ---- coming and going ---- */

/* "<role> <api>". False: that is none. */
static bool
identify(struct source *source, const struct record *record, char api[LINES_NAME_MAX + 1])
{
	unsigned replica = record->numbers[0], generation = record->numbers[1];
	const char *space = strchr(record->text, ' ');
	int length = space ? (int)(space - record->text) : 0;
	char number[16] = "";

	if (length == 0 || length > 16 || strlen(space + 1) > LINES_NAME_MAX || strchr(space, '/') ||
	    !lines_is_name(space + 1))
		return false;
	strcpy(api, space + 1);
	source->is_activator = !*api;
	if (!*api) {
		snprintf(source->text_identity, PREFIX_MAX, "%.*s: ", length, record->text);
		snprintf(source->json_identity, PREFIX_MAX, ",\"role\":\"%.*s\"", length, record->text);
		return true;
	}
	if (replica != UINT32_MAX)
		snprintf(number, sizeof(number), "/%u", replica);
	snprintf(source->text_identity, PREFIX_MAX, "%.*s %s%s (generation %u): ", length, record->text, api, number,
	    generation);
	if (replica != UINT32_MAX)
		snprintf(source->json_identity, PREFIX_MAX,
		    ",\"role\":\"%.*s\",\"api\":\"%s\",\"replica\":%u,\"generation\":%u", length, record->text, api,
		    replica, generation);
	else
		snprintf(source->json_identity, PREFIX_MAX, ",\"role\":\"%.*s\",\"api\":\"%s\",\"generation\":%u",
		    length, record->text, api, generation);
	return true;
}

void
sources_add(struct sources *sources, const struct record *record)
{
	struct source *source = xcalloc(1, sizeof(*source));
	char api[LINES_NAME_MAX + 1];

	source->fd = record->fd;
	if (source->fd < 0 || fd_set_nonblocking(source->fd, true) < 0 || !identify(source, record, api)) {
		log_error("bad record SOURCE");
		fd_close(&source->fd);
		free(source);
		return;
	}
	source->sources = sources;
	lines_init(&source->lines, sources->config.secret, clock_ns(), on_line, source);
	if (*api)
		source->log = get_log(sources, api);
	if (source->log)
		source->log->n_sources++;
	event_assign(&source->event, sources->config.base, source->fd, EV_READ | EV_PERSIST, readable_cb, source);
	TAILQ_INSERT_TAIL(&sources->all, source, in_all);
	if (event_add(&source->event, NULL) < 0) {
		log_error("%scannot watch its output", source->text_identity);
		drop(source);
	}
}

bool
sources_are_gone(const struct sources *sources)
{
	return TAILQ_EMPTY(&sources->all);
}

bool
sources_have(const struct sources *sources, const char *api)
{
	const struct api_log *log = find_log(sources, api);

	return log && log->n_sources > 0;
}

/* Lines of our own. */
static void
write_own(const char *lines, size_t length)
{
	sink_put(lines, length);
}

int
sources_init(struct sources *sources, const struct sources_config *config, struct error *err)
{
	static const struct timeval second = {TICK_MS / 1000, 0};
	int r;

	sources->config = *config;
	TAILQ_INIT(&sources->all);
	TAILQ_INIT(&sources->resting);
	TAILQ_INIT(&sources->logs);
	TAILQ_INIT(&sources->dirty);
	sources->out = xcalloc(1, SOURCE_OUT);
	sources->input = xcalloc(1, SOURCE_TURN);
	sources->scratch = xcalloc(1, SCRATCH);
	sources->collect_ms = clock_ms() + COLLECT_AT;
	sink_format = config->format;
	r = sink_init(STDERR_FILENO, sink_notice_text);
	if (r < 0)
		return error_set(err, r, "cannot begin to write to standard error: %s", strerror(-r));
	log_set_writer(write_own);
	evtimer_assign(&sources->rest, config->base, rest_cb, sources);
	evtimer_assign(&sources->flush, config->base, flush_cb, sources);
	event_assign(&sources->tick, config->base, -1, EV_PERSIST, tick_cb, sources);
	return event_add(&sources->tick, &second) < 0 ? error_set(err, -ENOMEM, "cannot set a timer") : 0;
}

void
sources_done(struct sources *sources)
{
	struct source *source;

	if (!sources->out)
		return;
	while ((source = TAILQ_FIRST(&sources->all))) {
		ssize_t n = 1;

		for (int i = 0; n > 0 && i < LEFT_TURNS; i++)
			n = read_some(source);
		end(source);
	}
	write_all(sources);
	sink_done();
}
