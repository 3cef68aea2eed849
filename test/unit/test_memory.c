/*
 * The memory of connections: entries and blocks come and go, are distinct, are bounded, and give their pages back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/memory.h"

#define N_ENTRIES 50
#define LARGEST   (3u << 20)

static struct http_memory memory;

static int
setup(UNUSED void **state)
{
	struct error err;

	return http_memory_init(&memory, N_ENTRIES, LARGEST, &err);
}

static int
teardown(UNUSED void **state)
{
	http_memory_done(&memory);
	return 0;
}

static void
test_entries_are_free_and_distinct_and_bounded(UNUSED void **state)
{
	struct http_kept *entries[N_ENTRIES];

	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N_ENTRIES; i++) {
			entries[i] = http_memory_get_entry(&memory);
			assert_non_null(entries[i]);
			assert_int_equal(http_kept_phase(entries[i]), HTTP_PHASE_FREE);
			assert_int_equal(entries[i]->received, 0);
			entries[i]->received = i + 1;
			http_kept_set_phase(entries[i], HTTP_PHASE_OPEN);
		}
		assert_null(http_memory_get_entry(&memory));
		assert_int_equal(http_memory_entries_used(&memory), N_ENTRIES);
		for (unsigned i = 0; i < N_ENTRIES; i++)
			assert_int_equal(entries[i]->received, i + 1);
		for (unsigned i = 0; i < N_ENTRIES; i++)
			http_memory_put_entry(&memory, entries[(i * 7) % N_ENTRIES]);
	}
}

static void
test_blocks_are_as_large_as_asked_and_distinct(UNUSED void **state)
{
	static const size_t sizes[] = {1, 16384, 16385, 100000, 1 << 20, LARGEST};
	char *blocks[N_ELEMENTS(sizes)][20];
	size_t rooms[N_ELEMENTS(sizes)];

	for (size_t i = 0; i < N_ELEMENTS(sizes); i++)
		for (int k = 0; k < 20; k++) {
			blocks[i][k] = http_memory_get(&memory, sizes[i], &rooms[i]);
			assert_non_null(blocks[i][k]);
			assert_true(rooms[i] >= sizes[i] && (rooms[i] & (rooms[i] - 1)) == 0);
			memset(blocks[i][k], (int)(i * 20) + k, rooms[i]);
		}
	for (size_t i = 0; i < N_ELEMENTS(sizes); i++)
		for (int k = 0; k < 20; k++) {
			assert_int_equal((unsigned char)blocks[i][k][0], i * 20 + (size_t)k);
			assert_int_equal((unsigned char)blocks[i][k][rooms[i] - 1], i * 20 + (size_t)k);
			http_memory_put(&memory, blocks[i][k], rooms[i]);
		}
	assert_null(http_memory_get(&memory, (size_t)LARGEST * 4, &rooms[0]));
}

/* Pages of the mapping that are there. */
static size_t
resident(const char *from, size_t size)
{
	size_t n = size / 4096, sum = 0;
	unsigned char *pages = malloc(n);

	assert_int_equal(mincore((void *)(uintptr_t)from, size, pages), 0);
	for (size_t i = 0; i < n; i++)
		sum += pages[i] & 1;
	free(pages);
	return sum;
}

static void
test_a_region_is_bounded_and_a_burst_does_not_stay(UNUSED void **state)
{
	struct http_block_class *class = &memory.classes[memory.n_classes - 1];
	size_t n = class->n_blocks, room;
	char **blocks = calloc(n, sizeof(*blocks));

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < n; i++) {
			blocks[i] = http_memory_get(&memory, LARGEST, &room);
			assert_non_null(blocks[i]);
			memset(blocks[i], 'x', 65536);
		}
		assert_null(http_memory_get(&memory, LARGEST, &room));
		for (size_t i = 0; i < n; i++)
			http_memory_put(&memory, blocks[i], room);
		assert_true(resident(class->region, n * room) <= 2 * (4u << 20) / 4096 + 16);
	}
	free(blocks);
}

static void
test_children_do_not_have_it_but_a_process_that_shares_does(UNUSED void **state)
{
	struct http_kept *entry = http_memory_get_entry(&memory);
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0) { /* before: it is shared */
		entry->received = 7;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(entry->received, 7);
	http_memory_keep_from_children(&memory);
	pid = fork();
	if (pid == 0)
		_exit(
		    msync((void *)((uintptr_t)entry & ~4095ul), 4096, MS_ASYNC) == 0 ? 1 : 0); /* ENOMEM: not mapped */
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_entries_are_free_and_distinct_and_bounded, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_blocks_are_as_large_as_asked_and_distinct, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_region_is_bounded_and_a_burst_does_not_stay, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_children_do_not_have_it_but_a_process_that_shares_does, setup, teardown),
	};

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
