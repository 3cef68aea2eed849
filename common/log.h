/*
 * log - one line per event on standard error, text or JSON.
 *
 *   2026-11-23T21:40:00.123Z info  supervisor: listening on 127.0.0.1:8888
 *   2026-11-23T21:40:01.377Z info  replica iris/0: ready after 1.21 s
 *
 * "<role> <api>/<replica>" is set once per process. Lines of up to 4 KiB (PIPE_BUF) leave in one piece, so those of
 * several processes do not mix. A message is cut after LOG_MESSAGE_MAX bytes, a line, with what escaping adds, at
 * LOG_LINE_MAX. Control characters in a line are escaped. Newlines split text into several lines with the same prefix
 * (tracebacks), or become \n in JSON.
 *
 * log_prediction() and log_access_line() are the exception: those lines come by the ten thousand per second, so they are gathered and written
 * when 4 KiB are there, or at log_flush(), which the owner of the event loop calls soon after the last one. Other lines
 * may overtake them; the times tell.
 *
 * In a process whose standard error is a pipe to cortexd-monitor lines are framed (log_set_framed), so that they can be told from what
 * the process prints: 0x1e, a secret, a kind, the name of an api or nothing, 0x1f, the line. Without the secret, which nobody but the processes
 * of one cortexd has, a client could have lines of its own made by a predictor that prints what it is sent. Kind L is a line of the log, A one of the
 * access log, D one that says that lines were lost, with their number in place of the name.
 *
 * Thread-safe; never fails towards the caller, and never waits, unless for a terminal: what a full disk, a full pipe or a
 * closed one does not take is lost, and "5 lines of the log were lost" follows when it does again.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/util.h"

#define LOG_LINE_MAX    8192
#define LOG_MESSAGE_MAX 4095

enum log_level {
	LOG_DEBUG,
	LOG_INFO,
	LOG_WARNING,
	LOG_ERROR,
};

enum log_format {
	LOG_TEXT,
	LOG_JSON,
};

enum log_access {
	LOG_ACCESS_NONE,
	LOG_ACCESS_COMBINED,
	LOG_ACCESS_JSON,
};

/* Who speaks: role "supervisor", "activator", "replica" or "template"; api NULL when none, replica -1 when none. The strings are copied. Looks at what
 * standard error is. */
void log_set_identity(const char *role, const char *api, int replica);
void log_set_format(enum log_format format);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* Is there a line of the access log for each answer, and of what form (http/access.h)? At first there is none. */
void log_set_access(enum log_access access);
enum log_access log_get_access(void);

/* Standard error leads to cortexd-monitor, which knows the secret: at most LOG_SECRET_MAX letters and digits. "": it does not. */
#define LOG_SECRET_MAX 16
void log_set_framed(const char *secret);

/* Give lines to this function instead of standard error; it must be thread-safe and not log. */
void log_set_writer(void (*writer)(const char *lines, size_t length));

/* The printable name, and back: false when there is no such level or format. */
const char *log_level_name(enum log_level level);
bool log_level_parse(const char *name, enum log_level *ret_level);
const char *log_format_name(enum log_format format);
bool log_format_parse(const char *name, enum log_format *ret_format);
const char *log_access_name(enum log_access access);
bool log_access_parse(const char *name, enum log_access *ret_access);

void log_line(enum log_level level, const char *format, ...) PRINTFLIKE(2);

#define log_debug(...)                                    \
	do {                                              \
		if (log_get_level() <= LOG_DEBUG)         \
			log_line(LOG_DEBUG, __VA_ARGS__); \
	} while (0)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)

/* "<status> POST <endpoint> <ms>": the status line of one prediction, at level info. api: whose it is, in a process that speaks for many; or
 * NULL. Main thread only, or who has its turn. */
void log_prediction(const char *api, int status, const char *endpoint, int64_t duration_ns);

/* One line of the access log, without a newline; what is beyond LOG_ACCESS_MAX is cut. As log_prediction, at any level. */
#define LOG_ACCESS_MAX 3072
void log_access_line(const char *line, size_t length);

/* The time as in lines of the log; not ended by NUL. */
#define LOG_TIME_LENGTH 24
void log_put_time(char *to);

/* Write what log_prediction and log_access_line gathered. True when there was something. Main thread only, or who has its turn. */
bool log_flush(void);

#endif
