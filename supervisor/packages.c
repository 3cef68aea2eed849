/*
 * packages - see packages.h.
 */
#include "supervisor/packages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "supervisor/environment.h"

#define SMALL_FILE_MAX (64 * 1024)

/* The version in pyvenv.cfg: "3.11.2". */
static bool
read_version(const char *folder, char version[32])
{
	char *path = xasprintf("%s/pyvenv.cfg", folder), *text = NULL, *rest, *line;
	bool found = false;

	if (file_read_all(path, SMALL_FILE_MAX, &text, NULL) == 0) {
		rest = text;
		while (!found && (line = strsep(&rest, "\n")))
			found = sscanf(line, "version = %31[0-9.]", version) == 1;
	}
	free(text);
	free(path);
	return found;
}

static bool
is_ours(const char *version)
{
	size_t length = strlen(CORTEXD_PYTHON_VERSION);

	return !strncmp(version, CORTEXD_PYTHON_VERSION, length) && (version[length] == '.' || version[length] == '\0');
}

/* The folder is known, all else follows from it. NULL, or what is wrong, which the caller frees. */
static char *
look(struct packages *packages)
{
	char version[32], *marker = xasprintf("%s/" ENVIRONMENT_MARKER, packages->folder), *build = NULL, *wrong = NULL;

	packages->python = xasprintf("%s/bin/python", packages->folder);
	packages->site = xasprintf("%s/lib/python" CORTEXD_PYTHON_VERSION "/site-packages", packages->folder);
	if (!read_version(packages->folder, version))
		wrong = xstrdup("it is no environment of Python: no version in its pyvenv.cfg");
	else if (!is_ours(version))
		wrong = xasprintf("it was made by Python %s, and this cortexd has " CORTEXD_PYTHON_VERSION, version);
	else if (access(packages->python, X_OK) < 0)
		wrong = xasprintf("bin/python in it: %s", strerror(errno));
	else if (access(packages->site, R_OK | X_OK) < 0)
		wrong = xasprintf("lib/python" CORTEXD_PYTHON_VERSION "/site-packages in it: %s", strerror(errno));
	else if (strchr(packages->folder, '\n'))
		wrong = xstrdup("a path with a line break cannot be written where Python looks for it");
	else if (file_read_all(marker, SMALL_FILE_MAX, &build, NULL) < 0)
		wrong = xstrdup("it is not complete, or was not made by scripts/preinstall");
	else
		packages->identity = xasprintf("%s\n%s", packages->folder, build);
	free(marker);
	free(build);
	return wrong;
}

int
packages_find(const struct packages_config *config, const char *usual, struct packages *ret, struct error *err)
{
	const char *path = config->folder ? config->folder : usual;
	struct packages packages = {.folder = NULL};
	struct stat status;
	char *wrong;

	memset(ret, 0, sizeof(*ret));
	if (config->none || (!config->folder && lstat(path, &status) < 0 && (errno == ENOENT || errno == ENOTDIR)))
		return 0;
	packages.folder = realpath(path, NULL);
	wrong = packages.folder ? look(&packages) : xstrdup(strerror(errno));
	if (!wrong) {
		*ret = packages;
		return 0;
	}
	error_set(err, -EINVAL, "packages: \"%s\": %s; scripts/preinstall makes it, server.packages says where it is",
	    path, wrong);
	free(wrong);
	packages_done(&packages);
	return -EINVAL;
}

void
packages_done(struct packages *packages)
{
	free(packages->folder);
	free(packages->python);
	free(packages->site);
	free(packages->identity);
	memset(packages, 0, sizeof(*packages));
}
