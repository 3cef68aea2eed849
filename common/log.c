/*
 * log - see log.h.
 *
 * A line is put together on the stack and leaves in one system call; nothing is locked, so it may be called from any
 * thread. Nothing waits either: a reader that stalls must not stop the processes that serve. Only the buffer of prediction
 * lines is shared state, and that belongs to the main thread, or to who has its turn (replica/turn.h).
 */
#include "common/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

#define IDENTITY_MAX            128
#define GATHERED_MAX            4096 /* PIPE_BUF: leaves whole or not at all */
#define PREDICTION_ENDPOINT_MAX 512  /* bytes of the endpoint that a status line shows */
#define FRAME_MAX               (LOG_SECRET_MAX + 80)
#define PREDICTION_LINE_MAX     (PREDICTION_ENDPOINT_MAX + IDENTITY_MAX + FRAME_MAX + 128)

enum sink {
	SINK_FILE, /* never waits for anybody; or a terminal, where Ctrl-S means just that */
	SINK_PIPE,
	SINK_SOCKET,
};

static struct {
	_Atomic(enum sink) sink;
	_Atomic(unsigned) n_lost; /* lines, not told yet */
	_Atomic(bool) torn;       /* the last line that was written has no end */
	_Atomic(bool) framed;
	char secret[LOG_SECRET_MAX + 1]; /* of the frames; set once in a process */
	size_t secret_length;
	enum log_level level;
	enum log_format format;
	enum log_access access;
	void (*writer)(const char *lines, size_t length);
	char text_identity[IDENTITY_MAX]; /* "replica iris/0: " */
	char json_identity[IDENTITY_MAX]; /* ,"role":"replica","api":"iris","replica":0 */
	char gathered[GATHERED_MAX];
	size_t gathered_length;
	size_t text_identity_length, json_identity_length;
} logger = {.level = LOG_INFO};

static const char *const level_names[] = {"debug", "info", "warning", "error"};
static const char *const format_names[] = {"text", "json"};
static const char *const access_names[] = {"none", "combined", "json"};

/* How standard error is kept from making us wait. */
static enum sink
find_sink(void)
{
	struct stat st;

	if (fstat(STDERR_FILENO, &st) < 0)
		return SINK_FILE;
	if (S_ISSOCK(st.st_mode))
		return SINK_SOCKET;
	return S_ISFIFO(st.st_mode) ? SINK_PIPE : SINK_FILE;
}

static void
format_identity(const char *role, const char *api, int replica)
{
	if (!api) {
		snprintf(logger.text_identity, sizeof(logger.text_identity), "%s: ", role);
		snprintf(logger.json_identity, sizeof(logger.json_identity), ",\"role\":\"%s\"", role);
		return;
	}
	if (replica < 0) {
		snprintf(logger.text_identity, sizeof(logger.text_identity), "%s %.63s: ", role, api);
		snprintf(logger.json_identity, sizeof(logger.json_identity), ",\"role\":\"%s\",\"api\":\"%.63s\"", role,
		    api);
		return;
	}
	snprintf(logger.text_identity, sizeof(logger.text_identity), "%s %.63s/%d: ", role, api, replica);
	snprintf(logger.json_identity, sizeof(logger.json_identity),
	    ",\"role\":\"%s\",\"api\":\"%.63s\",\"replica\":%d", role, api, replica);
}

void
log_set_identity(const char *role, const char *api, int replica)
{
	logger.sink = find_sink();
	format_identity(role, api, replica);
	logger.text_identity_length = strlen(logger.text_identity);
	logger.json_identity_length = strlen(logger.json_identity);
}

void
log_set_format(enum log_format format)
{
	logger.format = format;
}

void
log_set_level(enum log_level level)
{
	logger.level = level;
}

enum log_level
log_get_level(void)
{
	return logger.level;
}

void
log_set_access(enum log_access access)
{
	logger.access = access;
}

enum log_access
log_get_access(void)
{
	return logger.access;
}

void
log_set_framed(const char *secret)
{
	snprintf(logger.secret, sizeof(logger.secret), "%s", secret);
	logger.secret_length = strlen(logger.secret);
	atomic_store_explicit(&logger.framed, *secret != '\0', memory_order_release);
}

void
log_set_writer(void (*writer)(const char *lines, size_t length))
{
	logger.writer = writer;
}

const char *
log_level_name(enum log_level level)
{
	return level_names[level];
}

const char *
log_format_name(enum log_format format)
{
	return format_names[format];
}

const char *
log_access_name(enum log_access access)
{
	return access_names[access];
}

bool
log_level_parse(const char *name, enum log_level *ret_level)
{
	for (size_t i = 0; i < N_ELEMENTS(level_names); i++)
		if (!strcmp(name, level_names[i])) {
			*ret_level = (enum log_level)i;
			return true;
		}
	return false;
}

bool
log_format_parse(const char *name, enum log_format *ret_format)
{
	for (size_t i = 0; i < N_ELEMENTS(format_names); i++)
		if (!strcmp(name, format_names[i])) {
			*ret_format = (enum log_format)i;
			return true;
		}
	return false;
}

bool
log_access_parse(const char *name, enum log_access *ret_access)
{
	for (size_t i = 0; i < N_ELEMENTS(access_names); i++)
		if (!strcmp(name, access_names[i])) {
			*ret_access = (enum log_access)i;
			return true;
		}
	return false;
}

static char *
put(char *at, const char *text, size_t length)
{
	memcpy(at, text, length);
	return at + length;
}

/* With its zeros. */
static char *
put_three_digits(char *at, unsigned number)
{
	at[0] = (char)('0' + number / 100);
	at[1] = (char)('0' + number / 10 % 10);
	at[2] = (char)('0' + number % 10);
	return at + 3;
}

/* "2026-11-23T21:40:00.123Z": the date part is kept for the second that it belongs to. Returns its length. */
static void
format_time(char text[LOG_TIME_LENGTH])
{
	static __thread time_t second;
	static __thread char date[20];
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec != second) {
		gmtime_r(&now.tv_sec, &tm);
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
		second = now.tv_sec;
	}
	memcpy(text, date, 19);
	text[19] = '.';
	put_three_digits(text + 20, (unsigned)now.tv_nsec / 1000000);
	text[23] = 'Z';
}

void
log_put_time(char *to)
{
	format_time(to);
}

/* The beginning of a line, if it is framed. */
static char *
put_frame(char *at, char kind, const char *name)
{
	if (!atomic_load_explicit(&logger.framed, memory_order_acquire))
		return at;
	*at++ = '\x1e';
	at = put(at, logger.secret, logger.secret_length);
	*at++ = kind;
	if (name)
		at = put(at, name, strnlen(name, 63));
	*at++ = '\x1f';
	return at;
}

/* Append one character, escaped where it would break the line. False when it does not fit with room for the end. */
static bool
put_escaped(char *line, size_t *length, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	bool json = logger.format == LOG_JSON;

	if (*length + 8 > LOG_LINE_MAX)
		return false;
	if (json && (c == '"' || c == '\\')) {
		line[(*length)++] = '\\';
		line[(*length)++] = (char)c;
	} else if (c == '\t' && !json) {
		line[(*length)++] = '\t';
	} else if (c < 0x20 || c == 0x7f) {
		memcpy(line + *length, json ? "\\u00" : "\\x", json ? 4 : 2);
		*length += json ? 4 : 2;
		line[(*length)++] = hex[c >> 4];
		line[(*length)++] = hex[c & 15];
	} else {
		line[(*length)++] = (char)c;
	}
	return true;
}

/* One text line "<time> <level> <identity><message>\n" behind what the line has, from message up to its next newline. Returns where to
 * go on. */
static const char *
put_text_line(char *line, size_t *length, enum log_level level, const char *message)
{
	static const char *const padded[] = {"debug ", "info  ", "warn  ", "error "};

	format_time(line + *length);
	*length += LOG_TIME_LENGTH;
	*length += (size_t)snprintf(
	    line + *length, LOG_LINE_MAX - *length, " %s%s", padded[level], logger.text_identity);
	while (*message && *message != '\n') {
		if (!put_escaped(line, length, (unsigned char)*message))
			break;
		message++;
	}
	line[(*length)++] = '\n';
	message += strcspn(message, "\n");
	return *message ? message + 1 : message;
}

static void
put_json_line(char *line, size_t *length, enum log_level level, const char *message)
{
	char now[LOG_TIME_LENGTH];

	format_time(now);
	*length += (size_t)snprintf(line + *length, LOG_LINE_MAX - *length,
	    "{\"time\":\"%.*s\",\"level\":\"%s\"%s,\"message\":\"", LOG_TIME_LENGTH, now, level_names[level],
	    logger.json_identity);
	while (*message && put_escaped(line, length, (unsigned char)*message))
		message++;
	memcpy(line + *length, "\"}\n", 3);
	*length += 3;
}

/*
 * write(2), but with -EAGAIN in place of waiting for a reader. O_NONBLOCK would be for others as well.
 * A pipe that can be polled for writing has room for PIPE_BUF bytes; another process may take that room before us, so
 * poll is only for kernels without RWF_NOWAIT for pipes (before Linux 6.4).
 */
static ssize_t
write_some(const char *data, size_t length)
{
	const struct iovec part = {(void *)(uintptr_t)data, MIN(length, PIPE_BUF)};
	struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
	enum sink sink = atomic_load_explicit(&logger.sink, memory_order_relaxed);
	ssize_t n;

	if (sink == SINK_FILE)
		return write(STDERR_FILENO, data, length);
	if (sink == SINK_SOCKET)
		return send(STDERR_FILENO, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	n = pwritev2(STDERR_FILENO, &part, 1, -1, RWF_NOWAIT);
	if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
		return n;
	if (poll(&room, 1, 0) > 0)
		return write(STDERR_FILENO, part.iov_base, part.iov_len);
	errno = EAGAIN;
	return -1;
}

/* How much of it standard error takes now. */
static size_t
write_now(const char *data, size_t length)
{
	size_t written = 0;

	while (written < length) {
		ssize_t n = write_some(data + written, length - written);
		enum sink sink;

		if (n > 0) {
			written += (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		sink = find_sink(); /* a predictor may have put something else in its place */
		if (sink == atomic_exchange_explicit(&logger.sink, sink, memory_order_relaxed))
			break;
	}
	return written;
}

static unsigned
count_lines(const char *data, size_t length)
{
	unsigned n = 0;

	for (size_t i = 0; i < length; i++)
		n += data[i] == '\n';
	return n;
}

/* Lines were lost; standard error may take some again. False: it does not. */
static bool
say_lost(void)
{
	unsigned n = atomic_exchange_explicit(&logger.n_lost, 0, memory_order_relaxed);
	char message[64], number[64], line[LOG_LINE_MAX];
	size_t length, from = !atomic_load_explicit(&logger.torn, memory_order_relaxed);

	if (n == 0)
		return true;
	snprintf(
	    message, sizeof(message), "%u line%s of the log %s lost", n, n == 1 ? "" : "s", n == 1 ? "was" : "were");
	snprintf(number, sizeof(number), "%u", n);
	line[0] = '\n'; /* the last one may have been cut */
	length = (size_t)(put_frame(line + 1, 'D', number) - line);
	if (logger.format == LOG_JSON)
		put_json_line(line, &length, LOG_WARNING, message);
	else
		put_text_line(line, &length, LOG_WARNING, message);
	length = write_now(line + from, length - from);
	if (length == 0)
		atomic_fetch_add_explicit(&logger.n_lost, n, memory_order_relaxed);
	else
		atomic_store_explicit(&logger.torn, false, memory_order_relaxed);
	return length > 0;
}

/* Nobody waits for a log: what standard error does not take at once is lost, and counted. */
static void
write_out(const char *data, size_t length)
{
	int saved = errno;
	size_t written = 0;

	if (logger.writer) {
		logger.writer(data, length);
		errno = saved;
		return;
	}
	if (atomic_load_explicit(&logger.n_lost, memory_order_relaxed) == 0 || say_lost())
		written = write_now(data, length);
	if (written < length) {
		atomic_fetch_add_explicit(
		    &logger.n_lost, count_lines(data + written, length - written), memory_order_relaxed);
		if (written > 0)
			atomic_store_explicit(&logger.torn, data[written - 1] != '\n', memory_order_relaxed);
	}
	errno = saved;
}

void
log_line(enum log_level level, const char *format, ...)
{
	char message[LOG_MESSAGE_MAX + 1];
	char line[LOG_LINE_MAX];
	const char *rest = message;
	size_t begin, length;
	va_list ap;

	if (level < logger.level)
		return;
	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	begin = (size_t)(put_frame(line, 'L', NULL) - line);
	length = begin;
	if (logger.format == LOG_JSON) {
		put_json_line(line, &length, level, message);
		write_out(line, length);
		return;
	}
	do {
		length = begin;
		rest = put_text_line(line, &length, level, rest);
		write_out(line, length);
	} while (*rest);
}

static char *
put_number(char *at, uint64_t number)
{
	char digits[24];
	size_t n = 0;

	if (number < 10) { /* as of most predictions, in ms */
		*at = (char)('0' + number);
		return at + 1;
	}
	for (; number > 0; number /= 10)
		digits[sizeof(digits) - ++n] = (char)('0' + number % 10);
	return put(at, digits + sizeof(digits) - n, n);
}

/* By hand: printf would be an eighth of all instructions of a trivial prediction. */
void
log_prediction(const char *api, int status, const char *endpoint, int64_t duration_ns)
{
	size_t length = strnlen(endpoint, PREDICTION_ENDPOINT_MAX);
	bool json = logger.format == LOG_JSON;
	uint64_t us = (uint64_t)MAX(duration_ns, 0) / 1000;
	char *at;

	if (logger.level > LOG_INFO)
		return;
	if (logger.gathered_length + PREDICTION_LINE_MAX > GATHERED_MAX)
		log_flush();
	at = put_frame(logger.gathered + logger.gathered_length, 'L', api);
#define PUT(literal) at = put(at, literal, sizeof(literal) - 1)
	if (json)
		PUT("{\"time\":\"");
	format_time(at);
	at += LOG_TIME_LENGTH;
	if (json) {
		PUT("\",\"level\":\"info\"");
		at = put(at, logger.json_identity, logger.json_identity_length);
		PUT(",\"status\":");
	} else {
		PUT(" info  ");
		at = put(at, logger.text_identity, logger.text_identity_length);
	}
	at = put_three_digits(at, (unsigned)status);
	if (json)
		PUT(",\"method\":\"POST\",\"endpoint\":\"");
	else
		PUT(" POST ");
	at = put(at, endpoint, length);
	if (json)
		PUT("\",\"ms\":");
	else
		PUT(" ");
	at = put_number(at, us / 1000);
	PUT(".");
	at = put_three_digits(at, (unsigned)(us % 1000));
	if (json)
		PUT("}\n");
	else
		PUT(" ms\n");
#undef PUT
	logger.gathered_length = (size_t)(at - logger.gathered);
	ASSERT(logger.gathered_length <= GATHERED_MAX);
}

void
log_access_line(const char *line, size_t length)
{
	char *at;

	length = MIN(length, LOG_ACCESS_MAX);
	if (logger.gathered_length + FRAME_MAX + length + 1 > GATHERED_MAX)
		log_flush();
	at = put_frame(logger.gathered + logger.gathered_length, 'A', NULL);
	at = put(at, line, length);
	*at++ = '\n';
	logger.gathered_length = (size_t)(at - logger.gathered);
}

bool
log_flush(void)
{
	if (logger.gathered_length == 0)
		return false;
	write_out(logger.gathered, logger.gathered_length);
	logger.gathered_length = 0;
	return true;
}
