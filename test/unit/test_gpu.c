/*
 * GPUs: each device has one replica at a time, the lowest free ones go first, and they get the names that CUDA knows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "supervisor/gpu.h"

static char text[GPU_TEXT_MAX];

static const char *
name(const struct gpu_set *set, const char *inherited)
{
	gpu_name(set, inherited, text);
	return text;
}

static void
test_the_lowest_free_devices_are_taken(UNUSED void **state)
{
	struct gpu_set in_use = {.words = {0}}, a, b, c;

	assert_true(gpu_take(&in_use, 4, 2, &a));
	assert_string_equal(name(&a, NULL), "0,1");
	assert_true(gpu_take(&in_use, 4, 1, &b));
	assert_string_equal(name(&b, NULL), "2");
	gpu_give_back(&in_use, &a);
	assert_string_equal(name(&a, NULL), "");
	assert_true(gpu_take(&in_use, 4, 3, &c));
	assert_string_equal(name(&c, NULL), "0,1,3");
}

static void
test_what_is_not_there_is_not_taken(UNUSED void **state)
{
	struct gpu_set in_use = {.words = {0}}, a = {.words = {1}}, b;

	assert_false(gpu_take(&in_use, 2, 3, &a));
	assert_string_equal(name(&a, NULL), "0"); /* untouched */
	assert_true(gpu_take(&in_use, 2, 2, &a));
	assert_false(gpu_take(&in_use, 2, 1, &b));
	assert_true(gpu_take(&in_use, 2, 0, &b));
	assert_string_equal(name(&b, NULL), "");
	gpu_give_back(&in_use, &b);
	assert_false(gpu_take(&in_use, 2, 1, &b));
}

static void
test_every_device_of_the_largest_host_goes_to_one_replica(UNUSED void **state)
{
	struct gpu_set in_use = {.words = {0}}, taken[CONFIG_GPUS_MAX], none;
	char expected[16];

	for (int i = 0; i < CONFIG_GPUS_MAX; i++) {
		assert_true(gpu_take(&in_use, CONFIG_GPUS_MAX, 1, &taken[i]));
		snprintf(expected, sizeof(expected), "%d", i);
		assert_string_equal(name(&taken[i], NULL), expected);
	}
	assert_false(gpu_take(&in_use, CONFIG_GPUS_MAX, 1, &none));
	assert_false(gpu_take(&in_use, INT32_MAX, 1, &none));
	gpu_give_back(&in_use, &taken[200]);
	assert_true(gpu_take(&in_use, CONFIG_GPUS_MAX, 1, &none));
	assert_string_equal(name(&none, NULL), "200");
}

static void
test_devices_have_the_names_that_cortexd_was_given(UNUSED void **state)
{
	static const char inherited[] = "3, GPU-8932f937-d72c-4106-c12f-20bd9faed9f6 ,MIG-GPU-1/2/3";
	struct gpu_set set = {.words = {5}};

	assert_int_equal(gpu_count_named(inherited), 3);
	assert_string_equal(name(&set, inherited), "3,MIG-GPU-1/2/3");
	set.words[0] = 2;
	assert_string_equal(name(&set, inherited), "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6");
	set.words[0] = 15;
	assert_string_equal(name(&set, "0,1"), "0,1"); /* there are no names for the others */
}

static void
test_named_devices_are_counted_as_cuda_does(UNUSED void **state)
{
	static const struct {
		const char *text;
		int n;
	} examples[] = {{"", 0}, {" ", 0}, {"0", 1}, {"0,1,2", 3}, {"7,-1,3", 1}, {"-1", 0}, {"1,,2", 1}, {"1,2,", 2},
	    {",1", 0}, {"GPU-a", 1}};

	for (size_t i = 0; i < N_ELEMENTS(examples); i++)
		assert_int_equal(gpu_count_named(examples[i].text), examples[i].n);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_lowest_free_devices_are_taken),
	    cmocka_unit_test(test_what_is_not_there_is_not_taken),
	    cmocka_unit_test(test_every_device_of_the_largest_host_goes_to_one_replica),
	    cmocka_unit_test(test_devices_have_the_names_that_cortexd_was_given),
	    cmocka_unit_test(test_named_devices_are_counted_as_cuda_does),
	};

	return cmocka_run_group_tests_name("gpu", tests, NULL, NULL);
}
