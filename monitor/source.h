/*
 * source - the output pipes of replicas, templates and the activator, and where their lines go.
 *
 * A pipe comes with a SOURCE record and is read until its end, at most SOURCE_TURN bytes in one turn of the loop, so that no flood keeps the
 * others waiting. One that has little to say is left alone for SOURCE_REST_MS afterwards: what it writes meanwhile is read at once,
 * and nobody is woken for every line. Lines (lines.h) go to standard error (sink.h) and to the log of the api (logfile.h), those of the access
 * log to that alone. Nothing here waits for anybody but the disk.
 */
#ifndef MONITOR_SOURCE_H
#define MONITOR_SOURCE_H

#include <event2/event_struct.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "common/error.h"
#include "common/log.h"
#include "common/record.h"
#include "monitor/lines.h"
#include "monitor/logfile.h"

#define SOURCE_TURN    (64 << 10)
#define SOURCE_REST_MS 5
#define SOURCE_OUT     (128 << 10)

struct sources_config {
	struct event_base *base;
	const char *state_dir;
	const char *secret; /* of frames */
	enum log_format format;
	int n_files; /* of each log; 0: none */
	int64_t file_bytes;
	_Atomic(uint64_t) *n_lost; /* lines that were lost, counted here */
	/* New lines are in the log of the api. */
	void (*on_written)(const char *api, void *arg);
	void *arg;
};

/* The log of an api, or the access log (api ""). */
struct api_log {
	TAILQ_ENTRY(api_log) in_all;
	TAILQ_ENTRY(api_log) in_dirty;
	char api[LINES_NAME_MAX + 1];
	struct logfile file;
	unsigned n_sources;
	bool dirty;
	int64_t used_ms;
	int64_t said_ms; /* when its failure was logged */
};

struct source;

struct sources {
	struct sources_config config;
	TAILQ_HEAD(, source) all;
	TAILQ_HEAD(, source) resting;
	TAILQ_HEAD(, api_log) logs;
	TAILQ_HEAD(, api_log) dirty;
	struct event rest;
	struct event tick;
	struct event flush;
	char *out; /* lines for standard error */
	size_t n_out;
	char *input;   /* SOURCE_TURN bytes */
	char *scratch; /* a line as it is written */
	int64_t collect_ms;
	char trouble[256]; /* what was lost last, in words */
};

/* Begin, without any. 0, or a negative errno and err. */
MUSTCHECK int sources_init(struct sources *sources, const struct sources_config *config, struct error *err);

/* Take the pipe of a SOURCE record. */
void sources_add(struct sources *sources, const struct record *record);

bool sources_are_gone(const struct sources *sources);

/* The end: read what there is, write everything. */
void sources_done(struct sources *sources);

/* Where the log of an api is; caller frees. */
char *source_log_path(const char *state_dir, const char *api);

/* Is there a process of that api? */
bool sources_have(const struct sources *sources, const char *api);

#endif
