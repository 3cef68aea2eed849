/*
 * logfile - a log file of bounded size: PATH, and its predecessors PATH.1 (the last one) to PATH.N-1.
 *
 * Lines are gathered and appended with one write by logfile_flush. When PATH is full it becomes PATH.1. Two processes may append to the same
 * files (two monitors, while one cortexd replaces another): O_APPEND, a lock on the file itself around the renaming, and a look at whether
 * PATH is still the file that is open, which also finds one that somebody has deleted or renamed.
 *
 * Never fails towards the caller and never waits for anybody, but for the disk. What a full disk does not take is lost and counted;
 * when it takes some again, the file says how many are missing. The caller logs what logfile_flush returns.
 */
#ifndef MONITOR_LOGFILE_H
#define MONITOR_LOGFILE_H

#include <sys/types.h>

#include "common/util.h"

#define LOGFILE_BUFFER    (128 << 10)
#define LOGFILE_CHECK_MS  1000 /* how often PATH is looked at */
#define LOGFILE_FILES_MAX 100

struct logfile {
	char *path;
	unsigned n_files; /* at most, PATH included; at least 1 */
	uint64_t max_bytes;
	int fd; /* -1: not open */
	dev_t device;
	ino_t inode;
	uint64_t size;
	int64_t checked_ms;
	bool torn;       /* the last line in the file has no end */
	int error;       /* errno of what failed last; 0: nothing */
	uint64_t n_lost; /* lines, since it failed */
	uint64_t n_lost_ever;
	char *buffer;
	size_t length;
};

enum logfile_event {
	LOGFILE_FINE,
	LOGFILE_FAILS,       /* lines are lost from now on: logfile->error */
	LOGFILE_WORKS_AGAIN, /* *ret_lost lines were */
};

void logfile_init(struct logfile *logfile, const char *path, unsigned n_files, uint64_t max_bytes);

/* Let go of the file and of memory until there is something to write again. Not while there are lines to flush. */
void logfile_close(struct logfile *logfile);

/* Closes it; what was not flushed is gone. */
void logfile_done(struct logfile *logfile);

/* Room for a line of so many bytes, its newline included, or NULL: flush first. Then logfile_added says how many there are. */
char *logfile_room(struct logfile *logfile, size_t length);
static inline void
logfile_added(struct logfile *logfile, size_t length)
{
	logfile->length += length;
}

/* The notice that a file begins with after a loss; *ret_length its bytes, at most size. */
typedef size_t logfile_notice(char *to, size_t size, uint64_t n_lost, int error, void *arg);

/* Write what there is: whole lines. */
enum logfile_event logfile_flush(
    struct logfile *logfile, int64_t now_ms, logfile_notice *notice, void *arg, uint64_t *ret_lost);

/* Number `back` of the predecessors, 0: PATH itself. Caller frees. */
char *logfile_name(const char *path, unsigned back);

/*
 * Remove files of a folder that end in .log or .log.N, were not written to for that long, and whose stem (the name without that)
 * is not wanted any more. How many.
 */
unsigned logfile_collect(
    const char *folder, int64_t older_than_s, int64_t now_s, bool (*wanted)(const char *stem, void *arg), void *arg);

#endif
