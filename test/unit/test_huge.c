/*
 * Huge pages: which mappings are meant; collapsing leaves every byte as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/mman.h>

#include "common/clock.h"
#include "replica/huge.h"

#define BYTES ((size_t)16 << 20)

static void
test_only_private_memory_that_can_be_written(UNUSED void **state)
{
	static const char *const others[] = {
	    "",
	    "7f00-7f10 rw-p",
	    "7f0000000000-7f0000200000 r--p 00000000 00:00 0",
	    "7f0000000000-7f0000200000 rw-s 00000000 00:01 1057 /dev/zero (deleted)",
	    "7f0000000000-7f0000200000 rw-p 00000000 fe:00 8129 /usr/lib/libc.so.6",
	    "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]",
	};
	uintptr_t begin, end;

	assert_true(huge_parse_mapping("7f0000001000-7f0000200000 rw-p 00000000 00:00 0 ", &begin, &end));
	assert_int_equal(begin, 0x7f0000001000);
	assert_int_equal(end, 0x7f0000200000);
	assert_true(huge_parse_mapping("55aa00000000-55aa00200000 rw-p 00000000 00:00 0       [heap]", &begin, &end));
	for (size_t i = 0; i < N_ELEMENTS(others); i++)
		assert_false(huge_parse_mapping(others[i], &begin, &end));
}

static void
test_nothing_is_changed(UNUSED void **state)
{
	uint32_t *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	for (size_t i = 0; i < BYTES / sizeof(*memory); i++)
		memory[i] = (uint32_t)i;
	(void)huge_collapse(clock_ns() + 1000000000); /* how many, is the kernel's business */
	for (size_t i = 0; i < BYTES / sizeof(*memory); i++)
		if (memory[i] != (uint32_t)i)
			fail_msg("%zu", i);
	assert_int_equal(huge_collapse(clock_ns()), 0); /* there is no time */
	munmap(memory, BYTES);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_only_private_memory_that_can_be_written),
	    cmocka_unit_test(test_nothing_is_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
