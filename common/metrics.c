/*
 * metrics - see metrics.h.
 */
#include "common/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/scoreboard.h"

#define READ_TRIES 1000

_Static_assert(sizeof(struct metrics_area) % 4096 == 0 && sizeof(struct metrics_api) % 4096 == 0, "whole pages");
_Static_assert(METRICS_PER_OCTAVE == 1 << 6, "bucket_of shifts by it");
_Static_assert(offsetof(struct metrics_area, counters) == 0, "offsets count from there");
_Static_assert(offsetof(struct metrics_area, classes) == METRIC_N * sizeof(uint64_t), "they follow at once");

/* ---- where they are ---- */

#define ROUND_UP(n) (((n) + 4095) / 4096 * 4096)
#define APIS_BEGIN  ROUND_UP(sizeof(struct scoreboard))

static off_t
api_offset(uint32_t api)
{
	return (off_t)(APIS_BEGIN + api * sizeof(struct metrics_api));
}

static off_t
place_offset(uint32_t place)
{
	return api_offset(METRICS_NO_API + 1) + (off_t)(place * sizeof(struct metrics_area));
}

size_t
metrics_end(void)
{
	return (size_t)place_offset(SCOREBOARD_SLOTS_MAX);
}

static int
map(int fd, size_t size, off_t offset, int protection, void *ret_mapping)
{
	void *mapping = mmap(NULL, size, protection, MAP_SHARED, fd, offset);

	if (mapping == MAP_FAILED)
		return -errno;
	*(void **)ret_mapping = mapping;
	return 0;
}

int
metrics_map_place(int fd, uint32_t place, struct metrics_area **ret_area)
{
	return map(fd, sizeof(**ret_area), place_offset(place), PROT_READ | PROT_WRITE, ret_area);
}

int
metrics_map_api(int fd, uint32_t api, struct metrics_api **ret_api)
{
	return map(fd, sizeof(**ret_api), api_offset(api), PROT_READ | PROT_WRITE, ret_api);
}

void
metrics_unmap_place(struct metrics_area *area)
{
	if (area)
		munmap(area, sizeof(*area));
}

void
metrics_unmap_api(struct metrics_api *api)
{
	if (api)
		munmap(api, sizeof(*api));
}

static int
clear(int fd, off_t offset, size_t size)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)size) < 0 ? -errno : 0;
}

int
metrics_clear_api(int fd, uint32_t api)
{
	return clear(fd, api_offset(api), sizeof(struct metrics_api));
}

/* ---- histograms ---- */

uint64_t
metrics_bucket_ns(unsigned bucket)
{
	unsigned octave = bucket / METRICS_PER_OCTAVE;

	if (octave < 2)
		return (uint64_t)bucket * METRICS_UNIT_NS;
	return ((uint64_t)(bucket % METRICS_PER_OCTAVE + METRICS_PER_OCTAVE) << (octave - 1)) * METRICS_UNIT_NS;
}

uint64_t
metrics_count(const uint64_t buckets[METRICS_BUCKETS])
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < METRICS_BUCKETS; i++)
		sum += buckets[i];
	return sum;
}

double
metrics_sum_ns(const uint64_t buckets[METRICS_BUCKETS])
{
	double sum = 0;

	for (unsigned i = 0; i < METRICS_BUCKETS; i++)
		if (buckets[i] > 0)
			sum += (double)buckets[i] * (double)(metrics_bucket_ns(i) + metrics_bucket_ns(i + 1)) / 2;
	return sum;
}

double
metrics_quantile_ns(const uint64_t buckets[METRICS_BUCKETS], double share)
{
	double rank = share * (double)metrics_count(buckets), below = 0;

	for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
		double n = (double)buckets[i], begin = (double)metrics_bucket_ns(i);

		if (n > 0 && below + n >= rank)
			return begin + ((double)metrics_bucket_ns(i + 1) - begin) * MAX(rank - below, 0) / n;
		below += n;
	}
	return 0;
}

uint64_t
metrics_count_below(const uint64_t buckets[METRICS_BUCKETS], uint64_t limit_ns)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < METRICS_BUCKETS && metrics_bucket_ns(i + 1) <= limit_ns; i++)
		sum += buckets[i];
	return sum;
}

/* ---- the writer ---- */

static void
store(_Atomic(uint64_t) *counter, uint64_t value)
{
	atomic_store_explicit(counter, value, memory_order_relaxed);
}

void
metrics_will_value(struct metrics_area *area, double value)
{
	uint32_t current = atomic_load_explicit(&area->values_current, memory_order_relaxed);
	const struct metrics_values *old = &area->values[current & 1];
	struct metrics_values *new = &area->values[~current & 1];

	new->min = old->n > 0 ? MIN(old->min, value) : value;
	new->max = old->n > 0 ? MAX(old->max, value) : value;
	new->sum = (old->n > 0 ? old->sum : 0) + value;
	new->n = old->n + 1;
	area->commit.has_value = 1;
	area->commit.current = current + 1;
}

void
metrics_complete(struct metrics_area *area)
{
	struct metrics_commit *commit = &area->commit;

	if (atomic_load_explicit(&commit->owner, memory_order_acquire) == 0)
		return;
	for (uint32_t i = 0; i < MIN(commit->n, METRICS_COMMITS_MAX); i++) {
		uint32_t offset = commit->counts[i].offset;

		if (offset < METRICS_COUNTERS ||
		    (offset >= METRICS_BUCKETS_OFFSET &&
			offset - METRICS_BUCKETS_OFFSET < METRICS_N_HISTOGRAMS * METRICS_BUCKETS))
			store(metrics_at(area, offset), commit->counts[i].value);
	}
	if (commit->has_value == 1)
		atomic_store_explicit(&area->values_current, commit->current, memory_order_release);
	metrics_cancel(area);
}

/* ---- classes ---- */

/* An entry is named in a microsecond, by somebody who may have died: then it is passed over. */
static enum metrics_class_state
await_name(const struct metrics_class *class)
{
	uint32_t state = atomic_load_explicit(&class->state, memory_order_acquire);

	for (int i = 0; state == METRICS_CLASS_CLAIMED && i < 100; i++) {
		sched_yield();
		state = atomic_load_explicit(&class->state, memory_order_acquire);
	}
	return (enum metrics_class_state)state;
}

int
metrics_find_class(struct metrics_api *api, const char *name)
{
	for (int i = 0; i < METRICS_CLASSES; i++) {
		struct metrics_class *class = &api->classes[i];
		uint32_t state = atomic_load_explicit(&class->state, memory_order_acquire);

		if (state == METRICS_CLASS_FREE &&
		    atomic_compare_exchange_strong(&class->state, &state, METRICS_CLASS_CLAIMED)) {
			snprintf(class->name, sizeof(class->name), "%s", name);
			atomic_store_explicit(&class->state, METRICS_CLASS_SHOWN, memory_order_release);
			return i;
		}
		if (await_name(class) == METRICS_CLASS_SHOWN && !strncmp(class->name, name, sizeof(class->name) - 1))
			return i;
	}
	return -1;
}

/* ---- sums ---- */

static void
merge_values(struct metrics_values *sum, const struct metrics_values *more)
{
	if (more->n == 0)
		return;
	sum->min = sum->n > 0 ? MIN(sum->min, more->min) : more->min;
	sum->max = sum->n > 0 ? MAX(sum->max, more->max) : more->max;
	sum->sum = (sum->n > 0 ? sum->sum : 0) + more->sum;
	sum->n += more->n;
}

/* In this order, so that what is loaded afterwards is not older. (A fence would do, but ThreadSanitizer knows none.) */
static struct metrics_values
copy_values(const struct metrics_values *from)
{
	typedef uint64_t __attribute__((may_alias)) word;
	struct metrics_values copy;

	_Static_assert(sizeof(copy) % sizeof(word) == 0, "whole words");
	for (size_t i = 0; i < sizeof(copy) / sizeof(word); i++)
		((word *)&copy)[i] = __atomic_load_n((const word *)from + i, __ATOMIC_ACQUIRE);
	return copy;
}

/* While the writer writes the other one; unless it comes round to this one meanwhile. */
static struct metrics_values
read_values(const struct metrics_area *area)
{
	struct metrics_values values;
	uint32_t current, after = atomic_load_explicit(&area->values_current, memory_order_acquire);

	do {
		current = after;
		values = copy_values(&area->values[current & 1]);
		after = atomic_load_explicit(&area->values_current, memory_order_acquire);
	} while (after != current);
	return values;
}

static void
fold(struct metrics_area *gone, struct metrics_area *other, const struct metrics_area *place)
{
	uint32_t next = atomic_load_explicit(&gone->values_current, memory_order_relaxed) + 1;
	struct metrics_values values = read_values(place);

	for (size_t i = 0; i < METRIC_N; i++) {
		bool is_other = i >= METRIC_OTHER_2XX && i <= METRIC_OTHER_5XX;
		_Atomic(uint64_t) *counter = &(is_other ? other : gone)->counters[i];

		store(counter, metrics_load(counter) + metrics_load(&place->counters[i]));
	}
	for (size_t i = 0; i < METRICS_CLASSES; i++)
		store(&gone->classes[i], metrics_load(&gone->classes[i]) + metrics_load(&place->classes[i]));
	merge_values(&values, &gone->values[~next & 1]);
	gone->values[next & 1] = values;
	atomic_store_explicit(&gone->values_current, next, memory_order_release);
	for (size_t h = 0; h < METRICS_N_HISTOGRAMS; h++) {
		uint32_t octaves = atomic_load_explicit(&place->octaves[h], memory_order_relaxed);

		atomic_fetch_or(&gone->octaves[h], octaves);
		for (size_t i = 0; i < METRICS_BUCKETS; i++) {
			if (!(octaves & 1u << (i / METRICS_PER_OCTAVE))) {
				i += METRICS_PER_OCTAVE - 1;
				continue;
			}
			store(&gone->buckets[h][i],
			    metrics_load(&gone->buckets[h][i]) + metrics_load(&place->buckets[h][i]));
		}
	}
}

int
metrics_fold(int fd, struct metrics_api *api, struct metrics_api *no_api, uint32_t number)
{
	struct metrics_area *place = NULL;
	int r = metrics_map_place(fd, number, &place);

	if (r < 0)
		return r;
	atomic_fetch_add(&no_api->folds, 1);
	atomic_fetch_add(&api->folds, 1);
	fold(&api->gone, &no_api->gone, place);
	r = clear(fd, place_offset(number), sizeof(*place));
	if (r < 0)
		memset(place, 0, sizeof(*place));
	atomic_fetch_add(&api->folds, 1);
	atomic_fetch_add(&no_api->folds, 1);
	metrics_unmap_place(place);
	return 0;
}

/* ---- the reader ---- */

struct metrics_reader {
	const struct scoreboard *scoreboard;
	const char *mapping; /* all of it; what was never written to is not looked at, so it takes no memory */
	bool class_known[METRICS_CLASSES];
	unsigned class_number[METRICS_CLASSES]; /* where the entries of an api's table are in the sum */
};

int
metrics_reader_new(int fd, struct metrics_reader **ret_reader)
{
	void *mapping = NULL;
	int r = map(fd, metrics_end(), 0, PROT_READ, &mapping);

	if (r < 0)
		return r;
	*ret_reader = xcalloc(1, sizeof(**ret_reader));
	(*ret_reader)->scoreboard = mapping;
	(*ret_reader)->mapping = mapping;
	return 0;
}

void
metrics_reader_free(struct metrics_reader *reader)
{
	if (!reader)
		return;
	munmap((void *)(uintptr_t)reader->mapping, metrics_end());
	free(reader);
}

const struct scoreboard *
metrics_reader_scoreboard(const struct metrics_reader *reader)
{
	return reader->scoreboard;
}

/* The names of the table, each once. */
static void
read_classes(struct metrics_reader *reader, const struct metrics_api *api, struct metrics_sum *sum)
{
	for (size_t i = 0; i < METRICS_CLASSES; i++) {
		const struct metrics_class *class = &api->classes[i];
		char name[METRICS_CLASS_MAX + 1];
		size_t at = 0;

		reader->class_known[i] = atomic_load_explicit(&class->state, memory_order_acquire) ==
		    METRICS_CLASS_SHOWN;
		if (!reader->class_known[i])
			continue;
		memcpy(name, class->name, sizeof(name));
		name[METRICS_CLASS_MAX] = '\0';
		while (at < sum->n_classes && strcmp(sum->classes[at].name, name) != 0)
			at++;
		if (at == sum->n_classes) {
			memcpy(sum->classes[at].name, name, sizeof(name));
			sum->n_classes++;
		}
		reader->class_number[i] = (unsigned)at;
	}
}

static uint64_t
load_ordered(const _Atomic(uint64_t) *counter)
{
	return atomic_load_explicit(counter, memory_order_acquire);
}

static void
add_area(const struct metrics_reader *reader, const struct metrics_area *area, struct metrics_sum *sum)
{
	const struct metrics_values values = read_values(area);

	for (size_t i = 0; i < METRIC_N; i++)
		if (i < METRIC_OTHER_2XX || i > METRIC_OTHER_5XX)
			sum->counters[i] += load_ordered(&area->counters[i]);
	for (size_t i = 0; i < METRICS_CLASSES; i++)
		if (reader->class_known[i])
			sum->classes[reader->class_number[i]].n += load_ordered(&area->classes[i]);
	merge_values(&sum->values, &values);
	for (size_t h = 0; h < METRICS_N_HISTOGRAMS; h++) {
		uint32_t octaves = atomic_load_explicit(&area->octaves[h], memory_order_acquire);

		for (size_t octave = 0; octave < METRICS_OCTAVES; octave++) {
			size_t first = octave * METRICS_PER_OCTAVE;

			for (size_t i = first; octaves >> octave & 1 && i < first + METRICS_PER_OCTAVE; i++)
				sum->buckets[h][i] += load_ordered(&area->buckets[h][i]);
		}
	}
}

static void
add_other(const struct metrics_area *area, uint64_t counters[4])
{
	for (int i = 0; i < 4; i++)
		counters[i] += load_ordered(&area->counters[METRIC_OTHER_2XX + i]);
}

static const struct metrics_api *
api_at(const struct metrics_reader *reader, uint32_t api)
{
	return (const void *)(reader->mapping + api_offset(api));
}

/* The area of number i of the places of an api; NULL: it has nothing, or (*ret_end) there is no more. */
static const struct metrics_area *
place_of(const struct metrics_reader *reader, uint32_t api, uint32_t i, bool *ret_end)
{
	const struct scoreboard *scoreboard = reader->scoreboard;
	uint32_t place = scoreboard->apis[api].first_slot + i;

	*ret_end = i >= atomic_load(&scoreboard->apis[api].n_used) || place >= SCOREBOARD_SLOTS_MAX;
	if (*ret_end || !atomic_load(&scoreboard->slots[place].counts))
		return NULL;
	return (const void *)(reader->mapping + place_offset(place));
}

static void
read_once(struct metrics_reader *reader, uint32_t number, struct metrics_sum *sum)
{
	const struct metrics_api *api = api_at(reader, number);
	bool end = false;

	memset(sum, 0, sizeof(*sum));
	read_classes(reader, api, sum);
	add_area(reader, &api->gone, sum);
	add_area(reader, &api->held, sum);
	for (uint32_t i = 0; !end; i++) {
		const struct metrics_area *area = place_of(reader, number, i, &end);

		if (area)
			add_area(reader, area, sum);
	}
}

static void
read_other_once(const struct metrics_reader *reader, uint64_t counters[4])
{
	const struct metrics_api *no_api = api_at(reader, METRICS_NO_API);

	memset(counters, 0, 4 * sizeof(*counters));
	add_other(&no_api->gone, counters);
	add_other(&no_api->held, counters);
	for (uint32_t api = 0; api < SCOREBOARD_APIS_MAX && reader->scoreboard->apis[api].n_slots > 0; api++) {
		bool end = false;

		for (uint32_t i = 0; !end; i++) {
			const struct metrics_area *area = place_of(reader, api, i, &end);

			if (area)
				add_other(area, counters);
		}
	}
}

/* Has nothing been moved since `before`, when nothing was being moved? What was read was loaded with acquire, so before this. */
static bool
is_whole(const struct metrics_api *api, uint32_t before)
{
	return !(before & 1) && atomic_load(&api->folds) == before;
}

int
metrics_read(struct metrics_reader *reader, uint32_t number, struct metrics_sum *ret_sum)
{
	const struct metrics_api *api;

	if (number >= METRICS_NO_API)
		return -ENOENT;
	api = api_at(reader, number);
	for (int i = 0; i < READ_TRIES; i++) {
		uint32_t before = atomic_load(&api->folds);

		if (!(before & 1))
			read_once(reader, number, ret_sum);
		if (is_whole(api, before))
			return 0;
		sched_yield();
	}
	return -EAGAIN;
}

int
metrics_read_other(const struct metrics_reader *reader, uint64_t ret_counters[4])
{
	const struct metrics_api *no_api = api_at(reader, METRICS_NO_API);

	for (int i = 0; i < READ_TRIES; i++) {
		uint32_t before = atomic_load(&no_api->folds);

		if (!(before & 1))
			read_other_once(reader, ret_counters);
		if (is_whole(no_api, before))
			return 0;
		sched_yield();
	}
	return -EAGAIN;
}
