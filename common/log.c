/*
 * log - see log.h.
 *
 * A line is put together on the stack and leaves in one write(2); nothing is locked, so it may be called from any
 * thread. Only the buffer of prediction lines is shared state, and that belongs to the main thread.
 */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

#define IDENTITY_MAX            128
#define PREDICTIONS_MAX         4096
#define PREDICTION_ENDPOINT_MAX 512 /* bytes of the endpoint that a status line shows */
#define PREDICTION_LINE_MAX     (PREDICTION_ENDPOINT_MAX + IDENTITY_MAX + 128)

static struct {
	enum log_level level;
	enum log_format format;
	char text_identity[IDENTITY_MAX]; /* "replica iris/0: " */
	char json_identity[IDENTITY_MAX]; /* ,"role":"replica","api":"iris","replica":0 */
	char predictions[PREDICTIONS_MAX];
	size_t predictions_length;
} logger = {.level = LOG_INFO};

static const char *const level_names[] = {"debug", "info", "warning", "error"};
static const char *const format_names[] = {"text", "json"};

void
log_set_identity(const char *role, const char *api, int replica)
{
	if (!api) {
		snprintf(logger.text_identity, sizeof(logger.text_identity), "%s: ", role);
		snprintf(logger.json_identity, sizeof(logger.json_identity), ",\"role\":\"%s\"", role);
		return;
	}
	snprintf(logger.text_identity, sizeof(logger.text_identity), "%s %.63s/%d: ", role, api, replica);
	snprintf(logger.json_identity, sizeof(logger.json_identity),
	    ",\"role\":\"%s\",\"api\":\"%.63s\",\"replica\":%d", role, api, replica);
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

/* "2026-11-23T21:40:00.123Z": the date part is kept for the second that it belongs to. Returns its length. */
static size_t
format_time(char text[32])
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
	for (long ms = now.tv_nsec / 1000000, i = 22; i >= 20; i--, ms /= 10)
		text[i] = (char)('0' + ms % 10);
	text[23] = 'Z';
	text[24] = '\0';
	return 24;
}

/* Nothing waits for a log: what standard error does not take is lost. */
static void
write_out(const char *data, size_t length)
{
	int saved = errno;

	while (length > 0) {
		ssize_t n = write(STDERR_FILENO, data, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		data += n;
		length -= (size_t)n;
	}
	errno = saved;
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

/* One text line "<time> <level> <identity><message>\n" from message up to its next newline. Returns where to go on. */
static const char *
put_text_line(char *line, size_t *length, enum log_level level, const char *message)
{
	static const char *const padded[] = {"debug ", "info  ", "warn  ", "error "};

	*length = format_time(line);
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
	char now[32];

	format_time(now);
	*length = (size_t)snprintf(line, LOG_LINE_MAX, "{\"time\":\"%s\",\"level\":\"%s\"%s,\"message\":\"", now,
	    level_names[level], logger.json_identity);
	while (*message && put_escaped(line, length, (unsigned char)*message))
		message++;
	memcpy(line + *length, "\"}\n", 3);
	*length += 3;
}

void
log_line(enum log_level level, const char *format, ...)
{
	char message[LOG_LINE_MAX / 2];
	char line[LOG_LINE_MAX];
	const char *rest = message;
	size_t length;
	va_list ap;

	if (level < logger.level)
		return;
	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	if (logger.format == LOG_JSON) {
		put_json_line(line, &length, level, message);
		write_out(line, length);
		return;
	}
	do {
		rest = put_text_line(line, &length, level, rest);
		write_out(line, length);
	} while (*rest);
}

static char *
put(char *at, const char *text, size_t length)
{
	memcpy(at, text, length);
	return at + length;
}

static char *
put_number(char *at, int64_t number, size_t min_digits)
{
	char digits[24];
	size_t n = 0;

	for (; number > 0 || n < min_digits; number /= 10)
		digits[sizeof(digits) - ++n] = (char)('0' + number % 10);
	return put(at, digits + sizeof(digits) - n, n);
}

/* By hand: printf would be an eighth of all instructions of a trivial prediction. */
void
log_prediction(int status, const char *endpoint, int64_t duration_ns)
{
	size_t length = strnlen(endpoint, PREDICTION_ENDPOINT_MAX);
	bool json = logger.format == LOG_JSON;
	int64_t us = MAX(duration_ns, 0) / 1000;
	char now[32], *at;

	if (logger.level > LOG_INFO)
		return;
	if (logger.predictions_length + PREDICTION_LINE_MAX > PREDICTIONS_MAX)
		log_flush();
	at = logger.predictions + logger.predictions_length;
#define PUT(literal) at = put(at, literal, sizeof(literal) - 1)
	format_time(now);
	if (json)
		PUT("{\"time\":\"");
	at = put(at, now, 24);
	if (json) {
		PUT("\",\"level\":\"info\"");
		at = put(at, logger.json_identity, strlen(logger.json_identity));
		PUT(",\"status\":");
	} else {
		PUT(" info  ");
		at = put(at, logger.text_identity, strlen(logger.text_identity));
	}
	at = put_number(at, status, 3);
	if (json)
		PUT(",\"method\":\"POST\",\"endpoint\":\"");
	else
		PUT(" POST ");
	at = put(at, endpoint, length);
	if (json)
		PUT("\",\"ms\":");
	else
		PUT(" ");
	at = put_number(at, us / 1000, 1);
	PUT(".");
	at = put_number(at, us % 1000, 3);
	if (json)
		PUT("}\n");
	else
		PUT(" ms\n");
#undef PUT
	logger.predictions_length = (size_t)(at - logger.predictions);
	ASSERT(logger.predictions_length <= PREDICTIONS_MAX);
}

bool
log_flush(void)
{
	if (logger.predictions_length == 0)
		return false;
	write_out(logger.predictions, logger.predictions_length);
	logger.predictions_length = 0;
	return true;
}
