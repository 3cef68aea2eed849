/*
 * monitor_start - all that the monitor must know, as one JSON text in a sealed memfd (see start_record.h). A reload that changes any of it
 * starts another monitor.
 */
#ifndef COMMON_MONITOR_START_H
#define COMMON_MONITOR_START_H

#include "common/error.h"
#include "common/log.h"
#include "common/util.h"

/* The descriptors that the monitor is started with. */
enum {
	MONITOR_FD_CONTROL = 3,    /* record.h */
	MONITOR_FD_START = 4,      /* the start record; closed after reading */
	MONITOR_FD_SCOREBOARD = 5, /* scoreboard.h, metrics.h */
	MONITOR_FD_LISTENER = 6,   /* the first admin listener: the unix socket, if there is one, then n_tcp others */
};

#define MONITOR_START_MAX     (1 << 20) /* bytes of JSON */
#define MONITOR_LISTENERS_MAX 64        /* TCP */
#define MONITOR_TOKEN_MAX     256       /* bytes */

struct monitor_start {
	bool has_unix; /* a listener on a unix socket */
	int n_tcp;     /* listeners on TCP */
	char *token;   /* that requests over TCP need; "" when n_tcp is 0 */
	char *state_dir;
	char *log_secret; /* of frames (log.h) */
	enum log_format log_format;
	enum log_level log_level;
	int log_files; /* of each log; 0: none are written */
	int64_t log_file_bytes;
};

/* The JSON text; the caller frees it. */
char *monitor_start_encode(const struct monitor_start *start);

/* Build *ret_start from JSON text (release with monitor_start_done). 0, or -EBADMSG and err; any bytes are safe. */
MUSTCHECK int monitor_start_decode(const char *json, size_t length, struct monitor_start *ret_start, struct error *err);
void monitor_start_done(struct monitor_start *start);

#endif
