/*
 * activator_start - all that the activator must know, as one JSON text in a sealed memfd (see start_record.h): to begin with,
 * and again whenever a reload has changed the apis (record APIS).
 */
#ifndef COMMON_ACTIVATOR_START_H
#define COMMON_ACTIVATOR_START_H

#include "common/error.h"
#include "common/log.h"
#include "common/util.h"

/* The descriptors that the activator is started with. */
enum {
	ACTIVATOR_FD_CONTROL = 3,    /* record.h */
	ACTIVATOR_FD_START = 4,      /* the start record; closed after reading */
	ACTIVATOR_FD_SCOREBOARD = 5, /* scoreboard.h; closed once it is mapped */
	ACTIVATOR_FD_LISTENER = 6,   /* the first of n_listeners, in the order of server.listen */
};

#define ACTIVATOR_START_MAX     (16 << 20) /* bytes of JSON */
#define ACTIVATOR_LISTENERS_MAX 64

struct activator_api {
	uint32_t number; /* on the scoreboard */
	char *name;
	char *endpoint; /* canonical */
	bool routed;    /* requests find it. False: its replicas are still to come, or on their way out */
	bool describes; /* its replicas answer GET, too */
	int64_t timeout_ms;
	int64_t max_body_bytes;
	int max_queue_length;
};

struct activator_start {
	struct activator_api *apis; /* no two with the same number, nor two that are routed with the same endpoint */
	size_t n_apis;
	int n_listeners;
	bool accepts;            /* false: not before it is told (record ACCEPT). Counts at the start only */
	int64_t stop_timeout_ms; /* an activator that lost its supervisor ends itself after this */
	enum log_format log_format;
	enum log_level log_level;
	enum log_access log_access;
	char log_secret[LOG_SECRET_MAX +
	    1]; /* log_set_framed, if standard output and error lead to the monitor. Counts at the start only */
};

/* The JSON text; the caller frees it. */
char *activator_start_encode(const struct activator_start *start);

/* Build *ret_start from JSON text (release with activator_start_done). 0, or -EBADMSG and err; any bytes are safe. */
MUSTCHECK int activator_start_decode(
    const char *json, size_t length, struct activator_start *ret_start, struct error *err);
void activator_start_done(struct activator_start *start);

#endif
