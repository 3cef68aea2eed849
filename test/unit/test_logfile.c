/*
 * Log files: bounded in size and number, whoever else deletes, renames or rotates them, and whatever the disk says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "monitor/logfile.h"

static char folder[64], path[128];

static int
make_folder(UNUSED void **state)
{
	strcpy(folder, "/tmp/cortexd-logfile-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/logs/iris.log", folder);
	return 0;
}

static int
remove_folder(UNUSED void **state)
{
	return path_remove_all(folder);
}

static size_t
notice(char *to, size_t size, uint64_t n_lost, int error, UNUSED void *arg)
{
	return (size_t)snprintf(to, size, "lost %llu: %s\n", (unsigned long long)n_lost, strerror(error));
}

static enum logfile_event
add(struct logfile *logfile, const char *line, int64_t now_ms)
{
	size_t length = strlen(line);
	char *room = logfile_room(logfile, length);
	uint64_t n_lost;

	assert_non_null(room);
	memcpy(room, line, length);
	logfile_added(logfile, length);
	return logfile_flush(logfile, now_ms, notice, NULL, &n_lost);
}

static void
assert_file(unsigned back, const char *expected)
{
	char *name = logfile_name(path, back), *text = NULL;
	int r = file_read_all(name, 1 << 20, &text, NULL);

	free(name);
	if (!expected) {
		assert_int_equal(r, -ENOENT);
		return;
	}
	assert_int_equal(r, 0);
	assert_string_equal(text, expected);
	free(text);
}

static void
test_full_files_are_renamed_and_the_last_one_is_gone(UNUSED void **state)
{
	struct logfile logfile;

	logfile_init(&logfile, path, 3, 8);
	for (int i = 1; i <= 9; i++) {
		char line[] = "0..\n";

		line[0] = (char)('0' + i);
		assert_int_equal(add(&logfile, line, 0), LOGFILE_FINE);
	}
	assert_file(0, "9..\n");
	assert_file(1, "7..\n8..\n");
	assert_file(2, "5..\n6..\n");
	assert_file(3, NULL);
	logfile_done(&logfile);
}

static void
test_one_file_begins_anew(UNUSED void **state)
{
	struct logfile logfile;

	logfile_init(&logfile, path, 1, 8);
	for (int i = 1; i <= 5; i++)
		add(&logfile, i < 5 ? "x..\n" : "y..\n", 0);
	assert_file(0, "y..\n");
	assert_file(1, NULL);
	logfile_done(&logfile);
}

static void
test_fewer_files_than_before(UNUSED void **state)
{
	struct logfile logfile;

	logfile_init(&logfile, path, 5, 4);
	for (int i = 0; i < 6; i++)
		add(&logfile, "x..\n", 0);
	logfile_done(&logfile);
	assert_file(4, "x..\n");
	logfile_init(&logfile, path, 2, 4);
	add(&logfile, "y..\n", 0);
	logfile_done(&logfile);
	assert_file(0, "y..\n");
	assert_file(1, "x..\n");
	for (unsigned i = 2; i < 5; i++)
		assert_file(i, NULL);
}

static void
test_a_file_that_was_deleted_or_renamed_comes_again(UNUSED void **state)
{
	struct logfile logfile;
	char away[200];

	logfile_init(&logfile, path, 3, 1000);
	add(&logfile, "one\n", 0);
	assert_int_equal(unlink(path), 0);
	add(&logfile, "gone\n", 10); /* not looked at again yet */
	add(&logfile, "two\n", LOGFILE_CHECK_MS);
	assert_file(0, "two\n");
	snprintf(away, sizeof(away), "%s/away", folder);
	assert_int_equal(rename(path, away), 0);
	add(&logfile, "three\n", 2 * LOGFILE_CHECK_MS);
	assert_file(0, "three\n");
	assert_int_equal(path_remove_all(folder), 0);
	add(&logfile, "four\n", 3 * LOGFILE_CHECK_MS);
	assert_file(0, "four\n");
	logfile_done(&logfile);
}

static void
test_two_processes_rotate_the_same_files(UNUSED void **state)
{
	struct logfile one, two;

	logfile_init(&one, path, 9, 8);
	logfile_init(&two, path, 9, 8);
	for (int i = 0; i < 6; i++) {
		add(&one, "1..\n", i * LOGFILE_CHECK_MS);
		add(&two, "2..\n", i * LOGFILE_CHECK_MS);
	}
	for (unsigned i = 0; i < 6; i++)
		assert_file(i, "1..\n2..\n");
	assert_file(6, NULL);
	/* The other one is about to rotate, and has stopped there: this one goes on for a while, and no further. */
	assert_int_equal(flock(two.fd, LOCK_EX), 0);
	assert_int_equal(add(&one, "3..\n", 20 * LOGFILE_CHECK_MS), LOGFILE_FINE);
	assert_int_equal(add(&one, "4..\n", 20 * LOGFILE_CHECK_MS), LOGFILE_FINE);
	assert_int_equal(add(&one, "5..\n", 20 * LOGFILE_CHECK_MS), LOGFILE_FINE);
	assert_int_equal(add(&one, "6..\n", 20 * LOGFILE_CHECK_MS), LOGFILE_FAILS);
	logfile_done(&two);
	assert_int_equal(add(&one, "7..\n", 20 * LOGFILE_CHECK_MS), LOGFILE_WORKS_AGAIN);
	assert_file(0, "7..\n");
	assert_file(1, "lost 1: Resource temporarily unavailable\n");
	logfile_done(&one);
}

static void
test_what_a_full_disk_does_not_take_is_counted(UNUSED void **state)
{
	struct rlimit limit, small;
	struct logfile logfile;
	uint64_t n_lost = 0;

	logfile_init(&logfile, path, 3, 1000);
	add(&logfile, "one\n", 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &limit);
	small = limit;
	small.rlim_cur = 6;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(add(&logfile, "two\n", 0), LOGFILE_FAILS);
	assert_int_equal(logfile.error, EFBIG);
	assert_int_equal(add(&logfile, "three\nfour\n", 0), LOGFILE_FINE);
	assert_int_equal(logfile.n_lost_ever, 3);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	memcpy(logfile_room(&logfile, 5), "five\n", 5);
	logfile_added(&logfile, 5);
	assert_int_equal(logfile_flush(&logfile, 0, notice, NULL, &n_lost), LOGFILE_WORKS_AGAIN);
	assert_int_equal(n_lost, 3);
	assert_file(0, "one\ntw\nlost 3: File too large\nfive\n");
	logfile_done(&logfile);
}

static void
test_what_is_no_file_is_not_written_to(UNUSED void **state)
{
	struct logfile logfile;
	char logs[100];

	snprintf(logs, sizeof(logs), "%s/logs", folder);
	assert_int_equal(folder_make_all(logs), 0);
	assert_int_equal(symlink("/tmp/cortexd-nothing", path), 0);
	logfile_init(&logfile, path, 3, 1000);
	assert_int_equal(add(&logfile, "one\n", 0), LOGFILE_FAILS);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(add(&logfile, "two\n", 0), LOGFILE_FINE);
	assert_int_equal(logfile.n_lost_ever, 2);
	logfile_done(&logfile);
}

static bool
is_iris(const char *stem, UNUSED void *arg)
{
	return !strcmp(stem, "iris");
}

static void
test_old_files_of_apis_that_are_gone_are_removed(UNUSED void **state)
{
	static const char *const names[] = {
	    "iris.log", "iris.log.1", "gone.log", "gone.log.12", "notes", "a.log.txt", "b.log."};
	const int64_t now = 1000000000;
	char name[200];

	for (size_t i = 0; i < N_ELEMENTS(names); i++) {
		struct timespec times[2] = {{.tv_sec = now - 100}, {.tv_sec = now - 100}};
		int fd;

		snprintf(name, sizeof(name), "%s/%s", folder, names[i]);
		fd = open(name, O_CREAT | O_WRONLY, 0600);
		assert_true(fd >= 0);
		assert_int_equal(futimens(fd, times), 0);
		close(fd);
	}
	assert_int_equal(logfile_collect(folder, 100, now, is_iris, NULL), 0);
	assert_int_equal(logfile_collect(folder, 99, now, is_iris, NULL), 2);
	for (size_t i = 0; i < N_ELEMENTS(names); i++) {
		snprintf(name, sizeof(name), "%s/%s", folder, names[i]);
		assert_int_equal(access(name, F_OK), strstr(name, "gone") ? -1 : 0);
	}
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
	const struct CMUnitTest tests[] = {
	    TEST(test_full_files_are_renamed_and_the_last_one_is_gone),
	    TEST(test_one_file_begins_anew),
	    TEST(test_fewer_files_than_before),
	    TEST(test_a_file_that_was_deleted_or_renamed_comes_again),
	    TEST(test_two_processes_rotate_the_same_files),
	    TEST(test_what_a_full_disk_does_not_take_is_counted),
	    TEST(test_what_is_no_file_is_not_written_to),
	    TEST(test_old_files_of_apis_that_are_gone_are_removed),
	};

	return cmocka_run_group_tests_name("logfile", tests, NULL, NULL);
}
