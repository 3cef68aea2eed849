/*
 * recycle - is it time for this process to be replaced, although nothing is wrong with it?
 *
 * For predictors that leak: after so many predictions, or when the resident memory has grown beyond a limit. The answer is
 * asked for between two predictions, and acting on it is somebody else's business: the replica tells the supervisor, goes on
 * serving, and drains when it is told to.
 *
 * Replicas that started together must not end together, so each process takes a random part off its number of predictions.
 * A process that is above the limit of memory before its first prediction would be followed by one just as large, for ever:
 * it is not replaced because of it.
 */
#ifndef REPLICA_RECYCLE_H
#define REPLICA_RECYCLE_H

#include "common/start_record.h"

#define RECYCLE_LOOK_NS \
	10000000 /* at most so often is the memory looked at: what is fast does not leak much meanwhile */
#define RECYCLE_TEXT_MAX 128

struct recycle {
	uint64_t max_requests; /* of this process; 0: no limit */
	int64_t max_mem_bytes; /* 0: no limit */
	int64_t next_look_ns;
};

/* The limits of a process. random is any number. */
void recycle_init(struct recycle *recycle, const struct start_record *start, uint32_t random);

/* Before the first prediction, with the resident memory of that moment: false when it is above the limit already, which is
 * forgotten then. */
bool recycle_begin(struct recycle *recycle, int64_t resident_bytes);

/* Must the memory be looked at now? Then the caller passes it to recycle_is_due. */
bool recycle_must_look(struct recycle *recycle, int64_t now_ns);

/* So many predictions were made; resident_bytes is 0 when nobody has looked. True and the reason in words. */
bool recycle_is_due(
    const struct recycle *recycle, uint64_t predictions, int64_t resident_bytes, char ret_text[RECYCLE_TEXT_MAX]);

/* The resident memory of this process, shared pages included, or a negative errno. */
int64_t recycle_read_resident(void);

/* The same from the text of /proc/self/statm, in pages; -EINVAL. */
int64_t recycle_parse_resident(const char *statm);

#endif
