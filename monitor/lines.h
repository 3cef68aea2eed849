/*
 * lines - what comes out of the output pipe of one process, bytes in whatever pieces, as lines.
 *
 * Two things come through such a pipe. What the process prints, and what its libraries and children print, is raw: lines of any
 * length and content. What cortexd itself says there is framed (common/log.h, log_set_framed): 0x1e, the secret, a kind, a name, 0x1f,
 * the line as it is to be written, newline. A frame that begins while a raw line has no end yet ends it, so the order of
 * what was written is kept; so does a pause of HALF_NS. Bytes that only look like the beginning of a frame are raw.
 *
 * A line is delivered up to LINES_MAX bytes; of a longer one the rest is skipped and counted. Each pipe has a budget for what is raw
 * and one for what is framed: BURST bytes at once, RATE bytes a second. What is beyond is skipped, and counted by lines; the
 * count is delivered when there is budget for a while again, or at the end. Skipping costs one memchr a line.
 *
 * Pure: no descriptor, no clock, no allocation. lines_put_* escape what would break a line of the log.
 */
#ifndef MONITOR_LINES_H
#define MONITOR_LINES_H

#include "common/log.h"
#include "common/util.h"

#define LINES_MAX       16384 /* bytes of a line that are delivered */
#define LINES_LINE_COST 64    /* bytes that each line takes of the budget besides its own: it will get a prefix */

#define LINES_RAW_BURST    (2 << 20)
#define LINES_RAW_RATE     (1 << 20)
#define LINES_FRAMED_BURST (64 << 20)
#define LINES_FRAMED_RATE  (16 << 20)

#define LINES_HALF_NS  2000000000 /* after which a line that has no end is delivered as it is */
#define LINES_NAME_MAX 63

enum lines_kind {
	LINES_RAW,    /* printed: to be escaped and given a prefix */
	LINES_LOG,    /* a line of the log, with its prefix */
	LINES_ACCESS, /* a line of the access log */
	LINES_LOST,   /* not a line: so many were skipped */
	LINES_N_KINDS,
};

struct lines_line {
	enum lines_kind kind;
	const char *name;  /* of the api, of a framed line that says it; else "" */
	const char *bytes; /* without the newline; valid in the callback only */
	size_t length;
	uint64_t n_cut; /* bytes of the line that are missing at its end */
	uint64_t
	    n_lost; /* lines: of LINES_LOST; of LINES_LOG, which its process has lost and tells of with this line */
	uint64_t n_lost_bytes; /* LINES_LOST: of these lines */
	bool is_framed;        /* LINES_LOST: they were framed */
};

typedef void lines_cb(const struct lines_line *line, void *arg);

struct lines_budget {
	int64_t burst;
	int64_t rate; /* a second */
	int64_t left;
	uint64_t n_lost; /* since it was told last */
	uint64_t n_lost_bytes;
	bool spent; /* skipping until a quarter of the burst is there again */
};

struct lines {
	lines_cb *on_line;
	void *arg;
	struct lines_budget raw;
	struct lines_budget framed;
	int64_t fed_ns; /* when bytes came last */
	int64_t now_ns; /* when budgets were filled last */

	/* the line that has begun */
	enum lines_kind kind;
	char name[LINES_NAME_MAX + 1];
	uint64_t n_told_lost;
	bool begun;
	bool after_half; /* what came before it on the same line was delivered already */
	uint64_t n_cut;
	size_t length;
	char buffer[LINES_MAX]; /* its bytes so far */

	char secret[LOG_SECRET_MAX + 1];
	size_t n_secret;
	char head[LOG_SECRET_MAX + LINES_NAME_MAX + 3]; /* what may be the beginning of a frame */
	size_t n_head;
};

void lines_init(struct lines *lines, const char *secret, int64_t now_ns, lines_cb *on_line, void *arg);

/* More bytes. */
void lines_feed(struct lines *lines, const char *bytes, size_t length, int64_t now_ns);

/* Time goes by: tell what was lost if the flood is over. Once a second is often enough. */
void lines_tick(struct lines *lines, int64_t now_ns);

/* There will be no more: deliver what has no end, and tell what was lost. */
void lines_end(struct lines *lines);

/* Could this be the name of an api in a frame, or none? */
bool lines_is_name(const char *name);

/*
 * Write bytes in printable form, at most room bytes of it; returns how many. Control characters but for tab, and what is not
 * valid UTF-8, become \x1b; in JSON (the inside of a string) \u001b and \\xff. room for all of it: LINES_ESCAPED_MAX times length.
 */
#define LINES_ESCAPED_MAX 6
size_t lines_put_text(char *to, size_t room, const char *bytes, size_t length);
size_t lines_put_json(char *to, size_t room, const char *bytes, size_t length);

#endif
