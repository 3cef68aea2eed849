/*
 * metrics - what is counted about the requests of an api, in shared memory: exact under kill -9, never going backwards.
 *
 * The memory follows the scoreboard (scoreboard.h) in the same memfd. It is made of equal areas, each with one writer:
 *
 *	a place's      of the replica process with that slot of the scoreboard; after its death of its keeper
 *	an api's GONE  what replicas had counted that are gone: of the supervisor, who adds a place's area and clears it (metrics_fold)
 *	an api's HELD  of the activator
 *
 * What an api has counted is the sum of its two areas and of those of its places. metrics_read gives it as of one instant: while the
 * supervisor moves numbers from a place to GONE it says so in `folds`, and the reader tries again.
 *
 * A request is counted when the socket has taken its answer. Between that and the counting the process may be killed, so the counts that
 * are about to be are written down first, with their new values (metrics_prepare); then the answer is sent, and they are
 * stored (metrics_commit). Who buries the process stores them again if the answer has left (replica/keeper.h): the same values,
 * so it does not matter how far it had come.
 *
 * Histograms are log-linear: 64 buckets for each power of two, so a value is known to two significant digits (0.8 %), in units of
 * 64 ns, from 64 ns to 2.4 hours. Only the octaves that were ever used are touched.
 *
 * Classes of a tracker are named in the api's own table, which all its replicas write: an entry is claimed, named and shown, and never
 * changes after that. Who dies while it names one leaves an entry that is never shown. Two may name the same class at the same time:
 * who reads adds up equal names.
 */
#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include <stdatomic.h>

#include "common/scoreboard.h"
#include "common/util.h"

enum metric {
	METRIC_2XX, /* answers to requests for the api's endpoint, by the class of their status */
	METRIC_3XX,
	METRIC_4XX,
	METRIC_5XX,
	METRIC_REJECTED,    /* of 5XX: 503, the queue was full, or cortexd stops */
	METRIC_TIMED_OUT,   /* of 5XX: 504 */
	METRIC_FAILED,      /* of 5XX: 500, the replica died in the prediction */
	METRIC_EXCEPTIONS,  /* of 4XX: 406, predict has raised */
	METRIC_CLIENT_GONE, /* requests without an answer: the client had left */
	METRIC_MOVED,       /* connections that were given to another process */
	METRIC_BYTES_IN,    /* of these requests, head and body */
	METRIC_BYTES_OUT,   /* of the answers */
	METRIC_OTHER_2XX,   /* answers to requests for anything but an api: health, unknown paths, malformed requests */
	METRIC_OTHER_3XX,
	METRIC_OTHER_4XX,
	METRIC_OTHER_5XX,
	METRIC_UNTRACKED,   /* predictions whose value the tracker could not use */
	METRIC_OTHER_CLASS, /* predictions of classes that have no name of their own, because there are too many */
	METRIC_N,
};

enum metrics_histogram {
	METRICS_QUEUE,   /* from the arrival of a request to the begin of its prediction */
	METRICS_PREDICT, /* predict() itself, conversions included */
	METRICS_TOTAL,   /* from arrival to answer, of POSTs to the api; not of those whose replica died */
	METRICS_N_HISTOGRAMS,
};

#define METRICS_OCTAVES     32
#define METRICS_PER_OCTAVE  64
#define METRICS_BUCKETS     (METRICS_OCTAVES * METRICS_PER_OCTAVE)
#define METRICS_UNIT_NS     64ull
#define METRICS_CLASSES     100 /* of a tracker, with a name of their own */
#define METRICS_CLASS_MAX   63  /* bytes of a name; longer ones are cut, at a character */
#define METRICS_COMMITS_MAX 16  /* counters that one answer changes */

/* What a regression tracker knows. */
struct metrics_values {
	uint64_t n;
	double min, max, sum; /* without meaning while n is 0 */
};

struct metrics_area {
	_Alignas(4096) _Atomic(uint64_t) counters[METRIC_N];
	_Atomic(uint64_t) classes[METRICS_CLASSES]; /* predictions, by the table of the api; follows at once */
	_Atomic(uint32_t) values_current;           /* goes up; its last bit says which of the two counts */
	struct metrics_values values[2];
	/* Of the answer that is being sent: see metrics_prepare. */
	struct metrics_commit {
		_Atomic(uint32_t) owner; /* number of the connection that it is for, from 1; 0: there is none */
		uint32_t n;
		uint32_t has_value; /* 0 or 1, unless somebody has scribbled on it */
		uint32_t current;   /* values_current will be this */
		struct {
			uint32_t offset; /* of the counter, in 8 bytes from the begin of the area */
			uint64_t value;  /* that it will have */
		} counts[METRICS_COMMITS_MAX];
	} commit;
	_Atomic(uint32_t) octaves[METRICS_N_HISTOGRAMS]; /* bits: which were ever used */
	_Alignas(4096) _Atomic(uint64_t) buckets[METRICS_N_HISTOGRAMS][METRICS_BUCKETS];
};

/* The number of an api that there is not: who answers for no api counts here, and what such answers of replicas come to, that are
 * gone, is here. */
#define METRICS_NO_API SCOREBOARD_APIS_MAX

#define METRICS_COUNTERS       (METRIC_N + METRICS_CLASSES)
#define METRICS_BUCKETS_OFFSET (offsetof(struct metrics_area, buckets) / sizeof(uint64_t))

enum metrics_class_state {
	METRICS_CLASS_FREE,
	METRICS_CLASS_CLAIMED,
	METRICS_CLASS_SHOWN,
};

struct metrics_class {
	_Atomic(uint32_t) state; /* enum metrics_class_state */
	char name[METRICS_CLASS_MAX + 1];
};

struct metrics_api {
	struct metrics_area gone;
	struct metrics_area held;
	_Alignas(4096) struct metrics_class classes[METRICS_CLASSES];
	_Atomic(uint32_t) folds; /* odd while numbers are moved from a place to `gone` */
};

/* All that an api has counted. */
struct metrics_sum {
	uint64_t counters[METRIC_N];
	uint64_t buckets[METRICS_N_HISTOGRAMS][METRICS_BUCKETS];
	struct metrics_values values;
	size_t n_classes;
	struct {
		char name[METRICS_CLASS_MAX + 1];
		uint64_t n;
	} classes[METRICS_CLASSES]; /* each name once, in the order of the table */
};

/* ---- where they are ---- */

size_t metrics_end(void); /* bytes of the memfd, with the scoreboard */

/* Map the area of one place, or the memory of one api, of the memfd of a scoreboard. 0 or a negative errno. */
MUSTCHECK int metrics_map_place(int fd, uint32_t place, struct metrics_area **ret_area);
MUSTCHECK int metrics_map_api(int fd, uint32_t api, struct metrics_api **ret_api);
void metrics_unmap_place(struct metrics_area *area); /* NULL is fine */
void metrics_unmap_api(struct metrics_api *api);

/* All zero from now on, for whoever has mapped it, and the system has the memory back: the number will be another api's. 0 or a
 * negative errno. */
MUSTCHECK int metrics_clear_api(int fd, uint32_t api);

/* ---- the writer of an area ---- */

static inline uint64_t
metrics_load(const _Atomic(uint64_t) *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* By its offset, as in a commit. */
static inline _Atomic(uint64_t) *
metrics_at(struct metrics_area *area, uint32_t offset)
{
	return (_Atomic(uint64_t) *)(void *)area + offset;
}

static inline void
metrics_add(struct metrics_area *area, enum metric metric, uint64_t n)
{
	_Atomic(uint64_t) *counter = &area->counters[metric];

	atomic_store_explicit(counter, metrics_load(counter) + n, memory_order_relaxed);
}

/* The counter of 2XX to 5XX for a status; other: of a request that is not for an api. */
static inline enum metric
metrics_class_of(int status, bool other)
{
	int class = status < 300 ? 0 : MIN(status / 100, 5) - 2;

	return (enum metric)((other ? METRIC_OTHER_2XX : METRIC_2XX) + class);
}

/* Below 128 units a bucket is a unit; above, the highest bit says which octave, and the six below it which bucket of that. */
static inline unsigned
metrics_bucket_of(int64_t duration_ns)
{
	uint64_t units = (uint64_t)MAX(duration_ns, 0) / METRICS_UNIT_NS;
	unsigned shift;

	if (units < 2 * METRICS_PER_OCTAVE)
		return (unsigned)units;
	shift = 63 - (unsigned)__builtin_clzll(units) - 6;
	return MIN(shift * METRICS_PER_OCTAVE + (unsigned)(units >> shift), METRICS_BUCKETS - 1);
}

/*
 * The answer for the connection with this number, from 1, is about to be sent: begin, name what will be counted (each counter once), then
 * prepare. Nothing of it counts before metrics_commit, and nothing else may be counted in this area until then, or metrics_cancel. All inline: this
 * is on the way of every answer.
 */
static inline void
metrics_begin(struct metrics_area *area)
{
	area->commit.n = 0;
	area->commit.has_value = 0;
}

static inline void
metrics_will_change(struct metrics_area *area, uint32_t offset, uint64_t n)
{
	struct metrics_commit *commit = &area->commit;
	uint32_t i = commit->n++ % METRICS_COMMITS_MAX; /* there are never so many: metrics_prepare looks */

	commit->counts[i].offset = offset;
	commit->counts[i].value = metrics_load(metrics_at(area, offset)) + n;
}

static inline void
metrics_will_add(struct metrics_area *area, enum metric metric, uint64_t n)
{
	metrics_will_change(area, metric, n);
}

/* Before there is something in it: who reads looks at no other. */
static inline void
metrics_use_octave(struct metrics_area *area, enum metrics_histogram histogram, unsigned bucket)
{
	atomic_fetch_or_explicit(&area->octaves[histogram], 1u << (bucket / METRICS_PER_OCTAVE), memory_order_relaxed);
}

static inline void
metrics_will_observe(struct metrics_area *area, enum metrics_histogram histogram, int64_t duration_ns)
{
	unsigned bucket = metrics_bucket_of(duration_ns);

	if (metrics_load(&area->buckets[histogram][bucket]) == 0)
		metrics_use_octave(area, histogram, bucket);
	metrics_will_change(area, (uint32_t)METRICS_BUCKETS_OFFSET + histogram * METRICS_BUCKETS + bucket, 1);
}

static inline void
metrics_will_class(struct metrics_area *area, int class) /* -1: METRIC_OTHER_CLASS */
{
	metrics_will_change(area, class < 0 ? METRIC_OTHER_CLASS : METRIC_N + (uint32_t) class, 1);
}

void metrics_will_value(struct metrics_area *area, double value);

static inline void
metrics_prepare(struct metrics_area *area, uint32_t connection)
{
	ASSERT(area->commit.n <= METRICS_COMMITS_MAX);
	atomic_store_explicit(&area->commit.owner, connection, memory_order_release);
}

/* It could not be sent. */
static inline void
metrics_cancel(struct metrics_area *area)
{
	atomic_store_explicit(&area->commit.owner, 0, memory_order_release);
}

/* It has been sent. */
static inline void
metrics_commit(struct metrics_area *area)
{
	const struct metrics_commit *commit = &area->commit;

	for (uint32_t i = 0, n = commit->n; i < n; i++)
		atomic_store_explicit(
		    metrics_at(area, commit->counts[i].offset), commit->counts[i].value, memory_order_relaxed);
	if (commit->has_value)
		atomic_store_explicit(&area->values_current, commit->current, memory_order_release);
	metrics_cancel(area);
}

/* The same for who buries the writer, whatever of it was done already; what stands there is not trusted. Nothing when nothing was prepared. */
void metrics_complete(struct metrics_area *area);

/* The number of a class in the table of the api, named now if it is new; -1: there are too many. Any process of the api. */
int metrics_find_class(struct metrics_api *api, const char *name);

/* ---- the supervisor ---- */

/* Add what a place has counted to what is gone, of its api and of METRICS_NO_API, and clear it. The place has no process, and no
 * keeper, any more. 0 or a negative errno. */
MUSTCHECK int metrics_fold(int fd, struct metrics_api *api, struct metrics_api *no_api, uint32_t place);

/* ---- the reader ---- */

/* Whoever reads needs one. It maps all that there is, and looks at what is in use. The descriptor stays the caller's. 0 or a negative
 * errno. */
struct metrics_reader;
MUSTCHECK int metrics_reader_new(int fd, struct metrics_reader **ret_reader);
void metrics_reader_free(struct metrics_reader *reader); /* NULL is fine */
const struct scoreboard *metrics_reader_scoreboard(const struct metrics_reader *reader);

/* The sum for the api with this number, as of one instant; without METRIC_OTHER_*. 0 or a negative errno; -EAGAIN: the supervisor seems to
 * have died in the middle. */
MUSTCHECK int metrics_read(struct metrics_reader *reader, uint32_t api, struct metrics_sum *ret_sum);

/* The four METRIC_OTHER_* of all processes together. 0 or -EAGAIN. */
MUSTCHECK int metrics_read_other(const struct metrics_reader *reader, uint64_t ret_counters[4]);

/* The value in ns below which a share of all lies (0.99: the 99th percentile), interpolated; 0 when there are none. */
double metrics_quantile_ns(const uint64_t buckets[METRICS_BUCKETS], double share);

/* The sum of all, as far as the buckets tell: within 0.8 %, and the mean of many much closer. */
double metrics_sum_ns(const uint64_t buckets[METRICS_BUCKETS]);

/* How many of a histogram there are, and the lower bound in ns of a bucket. */
uint64_t metrics_count(const uint64_t buckets[METRICS_BUCKETS]);
uint64_t metrics_bucket_ns(unsigned bucket);

/* How many are below a limit, which is a power of two of at least 128 times METRICS_UNIT_NS: exact then. For Prometheus' `le`. */
uint64_t metrics_count_below(const uint64_t buckets[METRICS_BUCKETS], uint64_t limit_ns);

#endif
