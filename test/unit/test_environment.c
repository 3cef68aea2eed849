/*
 * Environments: what the key depends on, and when a folder counts as complete.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "supervisor/environment.h"

static char folder[] = "/tmp/test_environment.XXXXXX";

static void
write_file(const char *name, const char *text, mode_t mode)
{
	char *path = xasprintf("%s/%s", folder, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
	free(path);
}

/* The key of folder/requirements.txt; the caller frees it. */
static char *
key_on(const char *base, const char *interpreter, const char *version)
{
	char key[ENVIRONMENT_KEY_MAX + 1];
	char *path = xasprintf("%s/requirements.txt", folder);
	struct error err;

	assert_int_equal(environment_key(interpreter, version, base, path, key, &err), 0);
	assert_int_equal(strlen(key), ENVIRONMENT_KEY_MAX);
	free(path);
	return xstrdup(key);
}

static char *
key_of(const char *interpreter, const char *version)
{
	return key_on(NULL, interpreter, version);
}

static void
assert_key_changes(char **key, bool changes, const char *interpreter, const char *version)
{
	char *now = key_of(interpreter, version);

	if (changes)
		assert_string_not_equal(now, *key);
	else
		assert_string_equal(now, *key);
	free(*key);
	*key = now;
}

static void
test_the_key_follows_content_and_interpreter(UNUSED void **state)
{
	char *key;

	write_file("requirements.txt", "numpy\n", 0644);
	key = key_of("/usr/bin/python3.11", "3.11.2");
	assert_key_changes(&key, false, "/usr/bin/python3.11", "3.11.2");
	assert_key_changes(&key, true, "/usr/bin/python3.11", "3.11.3");
	assert_key_changes(&key, true, "/opt/python3.11", "3.11.3");
	assert_key_changes(&key, true, "/opt/python3.113", ".11.3");
	write_file("requirements.txt", "numpy==2.0\n", 0644);
	assert_key_changes(&key, true, "/opt/python3.113", ".11.3");
	write_file("requirements.txt", "numpy\n", 0644);
	assert_key_changes(&key, true, "/opt/python3.113", ".11.3");
	free(key);
}

static void
test_the_key_follows_the_base_environment(UNUSED void **state)
{
	static const char *const bases[] = {NULL, "", "/base/1\nbuild", "/base/2\nbuild", "/base/2\nother"};
	char *keys[N_ELEMENTS(bases)];

	write_file("requirements.txt", "numpy\n", 0644);
	for (size_t i = 0; i < N_ELEMENTS(bases); i++) {
		keys[i] = key_on(bases[i], "python", "3");
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(keys[i], keys[j]);
	}
	for (size_t i = 0; i < N_ELEMENTS(bases); i++)
		free(keys[i]);
}

static void
test_the_key_follows_included_files(UNUSED void **state)
{
	static const char *const lines[] = {
	    "-r more.txt", "-rmore.txt", "--requirement=more.txt", "  -c more.txt  # why", "--constraint more.txt\r"};
	char *key;

	for (size_t i = 0; i < N_ELEMENTS(lines); i++) {
		write_file("requirements.txt", lines[i], 0644);
		write_file("more.txt", "scipy\n", 0644);
		key = key_of("python", "3");
		write_file("more.txt", "scipy==1.9\n", 0644);
		assert_key_changes(&key, true, "python", "3");
		free(key);
	}
	write_file("requirements.txt", "# -r more.txt\n-r https://example.org/more.txt\nmore.txt\n", 0644);
	key = key_of("python", "3");
	write_file("more.txt", "joblib\n", 0644);
	assert_key_changes(&key, false, "python", "3");
	free(key);
}

static void
test_files_that_include_each_other_or_nothing(UNUSED void **state)
{
	char *key;

	write_file("requirements.txt", "-r more.txt\n-r more.txt\n-r absent.txt\n-r\n", 0644);
	write_file("more.txt", "-r requirements.txt\n-r more.txt\n-r more.txt\n", 0644);
	key = key_of("python", "3");
	assert_key_changes(&key, false, "python", "3");
	write_file("absent.txt", "numpy\n", 0644);
	assert_key_changes(&key, true, "python", "3");
	free(key);
}

static void
test_an_unreadable_file_is_an_error(UNUSED void **state)
{
	char key[ENVIRONMENT_KEY_MAX + 1];
	struct error err;

	assert_int_equal(environment_key("python", "3", NULL, "/no/such/requirements.txt", key, &err), -ENOENT);
	assert_string_equal(err.text, "cannot read \"/no/such/requirements.txt\": No such file or directory");
}

static void
test_only_a_marked_environment_is_complete(UNUSED void **state)
{
	char *built = xasprintf("%s/key.1", folder), *bin = xasprintf("%s/bin", built);
	char *link = xasprintf("%s/key", folder), *python = xasprintf("%s/python", bin);
	struct error err;

	assert_false(environment_is_complete(link));
	assert_int_equal(folder_make_all(bin), 0);
	assert_int_equal(symlink("key.1", link), 0);
	write_file("key.1/bin/python", "#!/bin/sh\n", 0755);
	assert_false(environment_is_complete(link));
	assert_int_equal(environment_mark_complete(built, &err), 0);
	assert_true(environment_is_complete(link));
	assert_true(environment_is_complete(built));
	unlink(python);
	assert_false(environment_is_complete(link));
	assert_int_equal(path_remove_all(built), 0);
	assert_false(environment_is_complete(link));
	assert_int_equal(environment_mark_complete(built, &err), -ENOENT);
	free(built);
	free(bin);
	free(link);
	free(python);
}

static int
make_folder(UNUSED void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

static int
remove_folder(UNUSED void **state)
{
	return path_remove_all(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_key_follows_content_and_interpreter),
	    cmocka_unit_test(test_the_key_follows_the_base_environment),
	    cmocka_unit_test(test_the_key_follows_included_files),
	    cmocka_unit_test(test_files_that_include_each_other_or_nothing),
	    cmocka_unit_test(test_an_unreadable_file_is_an_error),
	    cmocka_unit_test(test_only_a_marked_environment_is_complete),
	};

	return cmocka_run_group_tests_name("environment", tests, make_folder, remove_folder);
}
