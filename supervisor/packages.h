/*
 * packages - the base environment: packages that are there before any project asks for them.
 *
 * scripts/preinstall makes it: a virtual environment in a folder of its own for each build, and a symbolic link that leads to
 * the last one. A marker file, written last, says that it is complete and which build it is. cortexd only reads it. Projects
 * without requirements.txt take its interpreter, the others' own environments have its packages behind their own
 * (environment.h).
 *
 * What is found is the folder behind the link, so that a replica that is started again gets what its siblings have; a new
 * build takes effect with the next start or reload.
 */
#ifndef SUPERVISOR_PACKAGES_H
#define SUPERVISOR_PACKAGES_H

#include "common/config.h"
#include "common/error.h"

/* Where scripts/preinstall puts it, and where it is looked for when the config does not say. */
#ifndef CORTEXD_PACKAGES
#define CORTEXD_PACKAGES "/var/lib/cortexd/packages"
#endif

/* Of the interpreter that cortexd-replica is linked with: major and minor. */
#ifndef CORTEXD_PYTHON_VERSION
#define CORTEXD_PYTHON_VERSION "3.11"
#endif

struct packages {
	char *folder;   /* absolute, links resolved; NULL, and so are the others: there is no base environment */
	char *python;   /* its interpreter */
	char *site;     /* the folder that its packages are in */
	char *identity; /* another text for another build */
};

/* Find that of a config; usual is where it is looked for when the config does not say. One that is named, or that is in the
 * usual place, but cannot be used is an error. 0 and *ret (packages_done), or a negative errno and err. */
MUSTCHECK int packages_find(
    const struct packages_config *config, const char *usual, struct packages *ret, struct error *err);

void packages_done(struct packages *packages);

#endif
