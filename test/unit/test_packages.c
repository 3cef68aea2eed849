/*
 * The base environment: what is taken for one, and what is said of a folder that is none.
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
#include "supervisor/packages.h"

static char folder[] = "/tmp/test_packages.XXXXXX";
static char *base; /* a link to a complete one, made anew for each test */
static const struct packages_config nothing_said = {.folder = NULL};

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

static void
make_folder(const char *name)
{
	char *path = xasprintf("%s/%s", folder, name);

	assert_int_equal(folder_make_all(path), 0);
	free(path);
}

static void
remove_path(const char *name)
{
	char *path = xasprintf("%s/%s", folder, name);

	assert_int_equal(path_remove_all(path), 0);
	free(path);
}

static int
make_base(UNUSED void **state)
{
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	make_folder("build.1/bin");
	make_folder("build.1/lib/python" CORTEXD_PYTHON_VERSION "/site-packages");
	write_file("build.1/bin/python", "#!/bin/sh\n", 0755);
	write_file("build.1/pyvenv.cfg", "home = /usr/bin\nversion = " CORTEXD_PYTHON_VERSION ".2\n", 0644);
	write_file("build.1/cortexd-complete", "first\n", 0644);
	base = xasprintf("%s/base", folder);
	return symlink("build.1", base);
}

static int
remove_base(UNUSED void **state)
{
	free(take_ptr(&base));
	return path_remove_all(folder);
}

static void
assert_finds(const struct packages_config *config, const char *usual, const char *name)
{
	struct packages packages;
	struct error err;
	char *path = xasprintf("%s/%s", folder, name), *python = xasprintf("%s/bin/python", path);
	char *site = xasprintf("%s/lib/python" CORTEXD_PYTHON_VERSION "/site-packages", path);

	assert_int_equal(packages_find(config, usual, &packages, &err), 0);
	assert_string_equal(packages.folder, path);
	assert_string_equal(packages.python, python);
	assert_string_equal(packages.site, site);
	packages_done(&packages);
	free(path);
	free(python);
	free(site);
}

static void
assert_refused(const struct packages_config *config, const char *usual, const char *why)
{
	struct packages packages;
	struct error err;

	assert_true(packages_find(config, usual, &packages, &err) < 0);
	assert_null(packages.folder);
	if (!strstr(err.text, why) || !strstr(err.text, "packages: \"") || !strstr(err.text, "scripts/preinstall"))
		fail_msg("%s", err.text);
}

static void
test_the_folder_behind_the_link_is_found(UNUSED void **state)
{
	const struct packages_config named = {.folder = base};

	assert_finds(&named, "/no/such/folder", "build.1");
	assert_finds(&nothing_said, base, "build.1");
}

static void
test_none_is_none_whatever_is_in_the_usual_place(UNUSED void **state)
{
	const struct packages_config none = {.none = true};
	struct packages packages;
	struct error err;

	assert_int_equal(packages_find(&none, base, &packages, &err), 0);
	assert_null(packages.folder);
	assert_int_equal(packages_find(&nothing_said, "/no/such/folder", &packages, &err), 0);
	assert_null(packages.folder);
	packages_done(&packages);
}

static void
test_one_that_is_named_must_be_there(UNUSED void **state)
{
	struct packages_config named = {.folder = (char *)"/no/such/folder"};

	assert_refused(&named, base, "\"/no/such/folder\": No such file or directory");
	remove_path("build.1"); /* the link remains */
	assert_refused(&nothing_said, base, "No such file or directory");
}

static void
test_what_is_not_complete_is_refused_with_the_reason(UNUSED void **state)
{
	remove_path("build.1/cortexd-complete");
	assert_refused(&nothing_said, base, "it is not complete");
	remove_path("build.1/lib");
	assert_refused(&nothing_said, base, "site-packages in it: No such file or directory");
	remove_path("build.1/bin/python");
	assert_refused(&nothing_said, base, "bin/python in it: No such file or directory");
	write_file("build.1/pyvenv.cfg", "home = /usr/bin\nversion = 3.1.1\n", 0644);
	assert_refused(
	    &nothing_said, base, "it was made by Python 3.1.1, and this cortexd has " CORTEXD_PYTHON_VERSION);
	write_file("build.1/pyvenv.cfg", "version = " CORTEXD_PYTHON_VERSION "7.1\n", 0644);
	assert_refused(&nothing_said, base, "it was made by Python " CORTEXD_PYTHON_VERSION "7.1, and");
	write_file("build.1/pyvenv.cfg", "home = /usr/bin\n", 0644);
	assert_refused(&nothing_said, base, "it is no environment of Python");
	remove_path("build.1/pyvenv.cfg");
	assert_refused(&nothing_said, base, "it is no environment of Python");
}

static char *
identity(void)
{
	struct packages packages;
	struct error err;
	char *text;

	assert_int_equal(packages_find(&nothing_said, base, &packages, &err), 0);
	text = xstrdup(packages.identity);
	packages_done(&packages);
	return text;
}

static void
test_another_build_has_another_identity(UNUSED void **state)
{
	char *first = identity(), *again = identity(), *second, *third;
	char *target = xasprintf("%s/build.1", folder), *moved = xasprintf("%s/build.2", folder);

	assert_string_equal(first, again);
	write_file("build.1/cortexd-complete", "second\n", 0644);
	second = identity();
	assert_string_not_equal(first, second);
	assert_int_equal(rename(target, moved), 0);
	assert_int_equal(unlink(base), 0);
	assert_int_equal(symlink("build.2", base), 0);
	third = identity();
	assert_string_not_equal(second, third);
	free(first);
	free(again);
	free(second);
	free(third);
	free(target);
	free(moved);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_the_folder_behind_the_link_is_found, make_base, remove_base),
	    cmocka_unit_test_setup_teardown(test_none_is_none_whatever_is_in_the_usual_place, make_base, remove_base),
	    cmocka_unit_test_setup_teardown(test_one_that_is_named_must_be_there, make_base, remove_base),
	    cmocka_unit_test_setup_teardown(
		test_what_is_not_complete_is_refused_with_the_reason, make_base, remove_base),
	    cmocka_unit_test_setup_teardown(test_another_build_has_another_identity, make_base, remove_base),
	};

	return cmocka_run_group_tests_name("packages", tests, NULL, NULL);
}
