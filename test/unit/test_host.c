/*
 * The capacity of a host, read from folders that look like one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/fd.h"
#include "supervisor/host.h"

#define GI (1ll << 30)

static char root[] = "/tmp/test-host-XXXXXX";

static void
write_file(const char *path, const char *text)
{
	char *whole = xasprintf("%s%s", root, path), *slash = strrchr(whole, '/');
	FILE *file;

	*slash = '\0';
	assert_int_equal(folder_make_all(whole), 0);
	*slash = '/';
	file = fopen(whole, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	free(whole);
}

static int
set_up(UNUSED void **state)
{
	strcpy(root + strlen(root) - 6, "XXXXXX");
	if (!mkdtemp(root))
		return -1;
	write_file("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1234567 kB\n");
	return 0;
}

static int
tear_down(UNUSED void **state)
{
	return path_remove_all(root);
}

static void
assert_capacity(int n_cpus, const char *visible, int64_t cpu_millicpu, int64_t mem_bytes, int gpus)
{
	struct capacity got;

	host_read(root, n_cpus, visible, &got);
	assert_int_equal(got.cpu_millicpu, cpu_millicpu);
	assert_int_equal(got.mem_bytes, mem_bytes);
	assert_int_equal(got.gpus, gpus);
}

static void
mount_v2(void)
{
	write_file("/proc/self/mountinfo",
	    "25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
	    "35 25 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
	write_file("/proc/self/cgroup", "0::/system.slice/cortexd.service\n");
}

static void
mount_v1(void)
{
	write_file("/proc/self/mountinfo",
	    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
	    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
	    "33 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
	    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
	    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
	write_file("/proc/self/cgroup", "4:memory:/a/b\n3:cpuset:/c\n2:cpu,cpuacct:/d\n1:name=systemd:/\n0::/\n");
}

static void
test_without_limits_the_machine_counts(UNUSED void **state)
{
	assert_capacity(2, NULL, 2000, 16 * GI, 0);
	mount_v2();
	assert_capacity(64, NULL, 64000, 16 * GI, 0);
	mount_v1();
	assert_capacity(1, NULL, 1000, 16 * GI, 0);
}

static void
test_version_2_limits_count(UNUSED void **state)
{
	mount_v2();
	write_file("/sys/fs/cgroup/system.slice/cortexd.service/cpu.max", "150000 100000\n");
	write_file("/sys/fs/cgroup/system.slice/cortexd.service/memory.max", "1073741824\n");
	assert_capacity(4, NULL, 1500, GI, 0);
	assert_capacity(1, NULL, 1000, GI, 0); /* a quota gives no CPUs */
	write_file("/sys/fs/cgroup/system.slice/cortexd.service/cpu.max", "max 100000\n");
	write_file("/sys/fs/cgroup/system.slice/cortexd.service/memory.max", "max\n");
	assert_capacity(4, NULL, 4000, 16 * GI, 0);
}

static void
test_the_smallest_limit_above_us_counts(UNUSED void **state)
{
	mount_v2();
	write_file("/sys/fs/cgroup/system.slice/cortexd.service/cpu.max", "300000 100000\n");
	write_file("/sys/fs/cgroup/system.slice/cortexd.service/memory.max", "max\n");
	write_file("/sys/fs/cgroup/system.slice/cpu.max", "50000 200000\n");
	write_file("/sys/fs/cgroup/system.slice/memory.max", "2147483648\n");
	assert_capacity(4, NULL, 250, 2 * GI, 0);
	write_file("/sys/fs/cgroup/memory.max", "1073741824\n"); /* as in a container, whose root is not the host's */
	assert_capacity(4, NULL, 250, GI, 0);
}

static void
test_version_1_limits_count(UNUSED void **state)
{
	mount_v1();
	write_file("/sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_quota_us", "-1\n");
	write_file("/sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_period_us", "50000\n");
	write_file("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
	assert_capacity(4, NULL, 4000, 16 * GI, 0);
	write_file("/sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_quota_us", "25000\n");
	write_file("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824\n");
	write_file("/sys/fs/cgroup/memory/d/memory.limit_in_bytes", "4096\n"); /* not ours */
	assert_capacity(4, NULL, 500, GI, 0);
}

/* Without a namespace of its own a container sees the host's path, but only its own part of the hierarchy is mounted. */
static void
test_a_container_sees_its_own_part(UNUSED void **state)
{
	write_file(
	    "/proc/self/mountinfo", "35 25 0:30 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n");
	write_file("/proc/self/cgroup", "0::/docker/abc/worker\n");
	write_file("/sys/fs/cgroup/worker/memory.max", "max\n");
	write_file("/sys/fs/cgroup/memory.max", "1073741824\n");
	write_file("/sys/fs/cgroup/docker/abc/worker/memory.max", "4096\n");
	assert_capacity(4, NULL, 4000, GI, 0);
	write_file("/proc/self/cgroup", "0::/docker/abcdef\n"); /* not below it */
	assert_capacity(4, NULL, 4000, GI, 0);
	write_file("/proc/self/cgroup", "0::/../other\n");
	write_file("/sys/fs/other/memory.max", "4096\n");
	write_file("/proc/self/mountinfo", "35 25 0:30 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
	assert_capacity(4, NULL, 4000, GI, 0);
}

static void
test_nonsense_is_no_limit(UNUSED void **state)
{
	static const char *const cpu[] = {"", "x", "100000", "0 100000", "100000 0", "-5 100000", "100000 -5",
	    "99999999999999999999 100000", "9223372036854775807 1"};
	static const char *const mounts[] = {"", "\n\n", "x", "1 2 3 4 5 - cgroup2", "1 2 3 / /x - cgroup2 y rw\n - ",
	    "1 2 3 / /sys/fs/cgroup rw - ext4 x rw"};
	static const char *const cgroups[] = {"", "\n", "x", ":", "::", "0:", "0::", "0:x:/", "0:\n:/"};

	mount_v2();
	for (size_t i = 0; i < N_ELEMENTS(cpu); i++) {
		write_file("/sys/fs/cgroup/cpu.max", cpu[i]);
		assert_capacity(4, NULL, 4000, 16 * GI, 0);
	}
	write_file("/sys/fs/cgroup/cpu.max", "100000 100000");
	assert_capacity(4, NULL, 1000, 16 * GI, 0);
	for (size_t i = 0; i < N_ELEMENTS(mounts); i++) {
		write_file("/proc/self/mountinfo", mounts[i]);
		assert_capacity(4, NULL, 4000, 16 * GI, 0);
	}
	mount_v2();
	for (size_t i = 0; i < N_ELEMENTS(cgroups); i++) {
		write_file("/proc/self/cgroup", cgroups[i]);
		assert_capacity(4, NULL, 4000, 16 * GI, 0);
	}
	write_file("/proc/meminfo", "MemTotal: lots\n");
	assert_capacity(4, NULL, 4000, HOST_MEM_UNKNOWN, 0);
}

static void
test_gpus_are_counted_by_their_devices(UNUSED void **state)
{
	static const char *const others[] = {
	    "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia", "/dev/nvidia1x", "/dev/nvidia-caps/nvidia-cap1"};

	for (size_t i = 0; i < N_ELEMENTS(others); i++)
		write_file(others[i], "");
	assert_capacity(4, NULL, 4000, 16 * GI, 0);
	assert_capacity(4, "0,1", 4000, 16 * GI, 0);
	write_file("/dev/nvidia0", "");
	write_file("/dev/nvidia3", "");
	write_file("/dev/nvidia12", "");
	assert_capacity(4, NULL, 4000, 16 * GI, 3);
	assert_capacity(4, "2,0", 4000, 16 * GI, 2);
	assert_capacity(4, "", 4000, 16 * GI, 0);
}

static void
test_the_real_host_has_something_and_the_config_counts_instead(UNUSED void **state)
{
	struct capacity_config config = {.gpu = -1};
	struct capacity found, got;

	unsetenv("CUDA_VISIBLE_DEVICES");
	host_capacity(&config, &found);
	assert_true(found.cpu_millicpu > 0);
	assert_true(found.mem_bytes > 1 << 20 && found.mem_bytes < HOST_MEM_UNKNOWN);
	config.cpu_millicpu = 12345;
	host_capacity(&config, &got);
	assert_int_equal(got.cpu_millicpu, 12345);
	assert_int_equal(got.mem_bytes, found.mem_bytes);
	config = (struct capacity_config){.mem_bytes = 1, .gpu = 7};
	host_capacity(&config, &got);
	assert_int_equal(got.cpu_millicpu, found.cpu_millicpu);
	assert_int_equal(got.mem_bytes, 1);
	assert_int_equal(got.gpus, 7);
	config.gpu = 0;
	host_capacity(&config, &got);
	assert_int_equal(got.gpus, 0);
	setenv("CUDA_VISIBLE_DEVICES", "4,5", 1);
	config.gpu = 7;
	host_capacity(&config, &got);
	assert_int_equal(got.gpus, 2);
	unsetenv("CUDA_VISIBLE_DEVICES");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(test_without_limits_the_machine_counts),
	    TEST(test_version_2_limits_count),
	    TEST(test_the_smallest_limit_above_us_counts),
	    TEST(test_version_1_limits_count),
	    TEST(test_a_container_sees_its_own_part),
	    TEST(test_nonsense_is_no_limit),
	    TEST(test_gpus_are_counted_by_their_devices),
	    TEST(test_the_real_host_has_something_and_the_config_counts_instead),
	};

	return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
