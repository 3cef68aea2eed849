/*
 * environment - see environment.h.
 */
#include "supervisor/environment.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "supervisor/job.h"
#include "supervisor/packages.h"
#include "supervisor/sha256.h"

#define LINKS                 "environments"
#define BUILDS                "environment-builds"
#define PTH                   "zz-cortexd-packages.pth" /* last by name: behind what the environment adds itself */
#define REQUIREMENTS_MAX      (1 << 20)
#define REQUIREMENTS_DEPTH    8 /* of files that include files */
#define REQUIREMENTS_INCLUDES 64

enum step {
	STEP_VERSION, /* ask the interpreter who it is */
	STEP_VENV,
	STEP_PIP,
};

struct environment {
	struct event_base *base;
	struct environment_plan plan;
	char *may_not_build; /* of the plan, a copy */
	struct packages packages;
	enum step step;
	struct job job;
	char **envp;
	char *version;
	char *link;   /* <state_dir>/environments/<key> */
	char *python; /* the interpreter in it */
	char *folder; /* that is being built, and its interpreter; NULL when none is */
	char *built_python;
	bool stopped;
	int64_t started_ms;
};

/* The PATH of a line "-r PATH", "-rPATH", "--requirement=PATH", or the same for constraints; or NULL. Cuts the line. */
static char *
included_path(char *line)
{
	static const char *const options[] = {"--requirement", "--constraint", "-r", "-c"};
	char *path = NULL, *end;

	while (isspace((unsigned char)*line))
		line++;
	for (size_t i = 0; i < N_ELEMENTS(options) && !path; i++)
		if (!strncmp(line, options[i], strlen(options[i])))
			path = line + strlen(options[i]);
	if (!path)
		return NULL;
	while (isspace((unsigned char)*path) || *path == '=')
		path++;
	end = strstr(path, " #");
	end = end ? end : path + strlen(path);
	while (end > path && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return *path && !strstr(path, "://") ? path : NULL;
}

static int
hash_file(struct sha256 *hash, const char *path, int depth, int *includes)
{
	const char *slash = strrchr(path, '/');
	char *text, *rest, *line;
	size_t length;
	int r;

	r = file_read_all(path, REQUIREMENTS_MAX, &text, &length);
	if (r < 0)
		return r;
	sha256_add(hash, &length, sizeof(length));
	sha256_add(hash, text, length);
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		char *name = included_path(line), *whole;

		if (!name || depth == 0 || --*includes < 0)
			continue;
		whole = *name == '/' || !slash ? xstrdup(name) : xasprintf("%.*s/%s", (int)(slash - path), path, name);
		r = hash_file(hash, whole, depth - 1, includes);
		sha256_add(hash, &r, sizeof(r)); /* one that is missing is pip's to complain about */
		free(whole);
	}
	free(text);
	return 0;
}

int
environment_key(const char *interpreter, const char *version, const char *base, const char *requirements,
    char key[ENVIRONMENT_KEY_MAX + 1], struct error *err)
{
	int includes = REQUIREMENTS_INCLUDES;
	struct sha256 hash;
	int r;

	sha256_init(&hash);
	sha256_add(&hash, interpreter, strlen(interpreter) + 1);
	sha256_add(&hash, version, strlen(version) + 1);
	if (base)
		sha256_add(&hash, base, strlen(base) + 1);
	r = hash_file(&hash, requirements, REQUIREMENTS_DEPTH, &includes);
	if (r < 0)
		return error_set(err, r, "cannot read \"%s\": %s", requirements, strerror(-r));
	sha256_hex(&hash, key, ENVIRONMENT_KEY_MAX);
	return 0;
}

bool
environment_is_complete(const char *folder)
{
	char *marker = xasprintf("%s/" ENVIRONMENT_MARKER, folder);
	char *python = xasprintf("%s/bin/python", folder);
	bool complete = access(marker, F_OK) == 0 && access(python, X_OK) == 0;

	free(marker);
	free(python);
	return complete;
}

/* Create an empty file if there is none (flags), and have it, or a folder, written to disk. */
static int
sync_path(const char *path, int flags)
{
	int fd, r = 0;

	fd = open(path, flags | O_CLOEXEC, 0644);
	if (fd < 0 || fsync(fd) < 0)
		r = -errno;
	fd_close(&fd);
	return r;
}

int
environment_mark_complete(const char *folder, struct error *err)
{
	char *marker = xasprintf("%s/" ENVIRONMENT_MARKER, folder);
	int r;

	r = sync_path(marker, O_WRONLY | O_CREAT);
	if (r == 0)
		r = sync_path(folder, O_RDONLY | O_DIRECTORY);
	if (r < 0)
		error_set(err, r, "cannot write \"%s\": %s", marker, strerror(-r));
	free(marker);
	return r;
}

/* Is this build, KEY.NUMBER, what the link with its key leads to? */
static bool
is_linked(const char *links, const char *build)
{
	char *link = xasprintf("%s/%.*s", links, (int)strcspn(build, "."), build), target[PATH_MAX];
	ssize_t length = readlink(link, target, sizeof(target) - 1);
	bool linked;

	target[MAX(length, 0)] = '\0';
	linked = strrchr(target, '/') && !strcmp(strrchr(target, '/') + 1, build);
	free(link);
	return linked;
}

/* Remove what earlier builds left in the folder of builds: those with this key, and those that no link leads to any more.
 * Something may still be writing to one of these; it is for a later build then. */
static void
remove_leftovers(const char *builds, const char *links, const char *key)
{
	DIR *folder = opendir(builds);
	struct dirent *entry;

	while (folder && (entry = readdir(folder))) {
		char *path = xasprintf("%s/%s", builds, entry->d_name);
		bool ours = strncmp(entry->d_name, key, strlen(key)) == 0;

		if (entry->d_name[0] != '.' && (ours || !is_linked(links, entry->d_name)) && path_remove_all(path) < 0)
			log_debug("environment: cannot remove %s", path);
		free(path);
	}
	if (folder)
		closedir(folder);
}

/* Make an empty folder to build in, and the link to it. */
static int
make_folder(struct environment *environment, const char *key, struct error *err)
{
	const char *state_dir = environment->plan.state_dir;
	char *builds = xasprintf("%s/" BUILDS, state_dir), *links = xasprintf("%s/" LINKS, state_dir);
	char *target, *new_link;
	int r;

	remove_leftovers(builds, links, key);
	environment->folder = xasprintf("%s/%s.%08x", builds, key, arc4random());
	environment->built_python = xasprintf("%s/bin/python", environment->folder);
	target = xasprintf("../" BUILDS "/%s", strrchr(environment->folder, '/') + 1);
	new_link = xasprintf("%s.link", environment->folder);
	r = folder_make_all(links);
	if (r == 0)
		r = folder_make_all(environment->folder);
	if (r == 0 && (symlink(target, new_link) < 0 || rename(new_link, environment->link) < 0))
		r = -errno;
	if (r < 0)
		error_set(err, r, "cannot make \"%s\": %s", environment->folder, strerror(-r));
	free(builds);
	free(links);
	free(target);
	free(new_link);
	return r;
}

/* cortexd's own environment variables, without those that would lead Python or pip astray. */
static char **
make_environment_variables(void)
{
	static const char *const dropped[] = {
	    "PYTHON", "VIRTUAL_ENV=", "__PYVENV_LAUNCHER__=", "PIP_DISABLE_PIP_VERSION_CHECK=", "PIP_NO_INPUT="};
	size_t n = 0, n_kept = 0;
	char **envp;

	while (environ[n])
		n++;
	envp = xcalloc(n + 3, sizeof(*envp));
	for (size_t i = 0; i < n; i++) {
		bool keep = true;

		for (size_t d = 0; d < N_ELEMENTS(dropped); d++)
			keep = keep && strncmp(environ[i], dropped[d], strlen(dropped[d])) != 0;
		if (keep)
			envp[n_kept++] = xstrdup(environ[i]);
	}
	envp[n_kept++] = xstrdup("PIP_DISABLE_PIP_VERSION_CHECK=1");
	envp[n_kept++] = xstrdup("PIP_NO_INPUT=1");
	return envp;
}

struct environment *
environment_new(struct event_base *base, const struct environment_plan *plan)
{
	struct environment *environment = xcalloc(1, sizeof(*environment));

	environment->base = base;
	environment->plan = *plan;
	environment->packages = *plan->packages;
	memset(plan->packages, 0, sizeof(*plan->packages));
	environment->may_not_build = plan->may_not_build ? xstrdup(plan->may_not_build) : NULL;
	environment->version = xstrdup("");
	environment->envp = make_environment_variables();
	environment->started_ms = clock_ms();
	job_done(&environment->job);
	return environment;
}

static void
line_cb(void *arg, const char *line)
{
	struct environment *environment = arg;
	char *longer;

	if (environment->step != STEP_VERSION) {
		log_info("environment: %s", line);
		return;
	}
	longer = xasprintf("%s%s\n", environment->version, line);
	free(environment->version);
	environment->version = longer;
}

static job_over_cb over_cb;

static int
start_step(struct environment *environment, enum step step, struct error *err)
{
	const char *version[] = {
	    environment->plan.interpreter, "-I", "-S", "-c", "import sys; print(sys.version)", NULL};
	const char *venv[] = {environment->plan.interpreter, "-I", "-m", "venv", environment->folder, NULL};
	const char *pip[] = {environment->built_python, "-m", "pip", "install", "--progress-bar", "off", "-r",
	    environment->plan.requirements, NULL};
	const char *const *const argv[] = {
	    [STEP_VERSION] = version,
	    [STEP_VENV] = venv,
	    [STEP_PIP] = pip,
	};
	struct job_plan plan = {
	    .argv = argv[step],
	    .envp = environment->envp,
	    .folder = environment->plan.project_folder,
	    .line_cb = line_cb,
	    .over_cb = over_cb,
	    .arg = environment,
	};

	environment->step = step;
	return job_start(&environment->job, environment->base, &plan, err);
}

int
environment_start(struct environment *environment, struct error *err)
{
	int r = start_step(environment, STEP_VERSION, err);

	if (r < 0)
		error_prefix(err, "environment: cannot start %s", environment->plan.interpreter);
	return r;
}

/* Have Python look into the base environment, if there is one, for what the new one does not have. */
static int
add_base(const struct environment *environment, struct error *err)
{
	char *path, *line;
	int fd, r;

	if (!environment->packages.folder)
		return 0;
	log_info("environment: on top of the packages in %s", environment->packages.folder);
	path = xasprintf("%s/lib/python" CORTEXD_PYTHON_VERSION "/site-packages/" PTH, environment->folder);
	line = xasprintf("%s\n", environment->packages.site);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	r = fd < 0 ? -errno : fd_write_all(fd, line, strlen(line));
	if (r < 0)
		error_set(err, r, "cannot write \"%s\": %s", path, strerror(-r));
	fd_close(&fd);
	free(path);
	free(line);
	return r;
}

/* The version is known: use what is there, or begin to build it. 1 when it is there, 0, or a negative errno and err. */
static int
find_or_build(struct environment *environment, struct error *err)
{
	const struct environment_plan *plan = &environment->plan;
	char key[ENVIRONMENT_KEY_MAX + 1];
	int r;

	r = environment_key(
	    plan->interpreter, environment->version, environment->packages.identity, plan->requirements, key, err);
	if (r < 0)
		return r;
	environment->link = xasprintf("%s/" LINKS "/%s", plan->state_dir, key);
	environment->python = xasprintf("%s/bin/python", environment->link);
	if (environment_is_complete(environment->link)) {
		log_info("environment: using %s", environment->link);
		return 1;
	}
	if (environment->may_not_build)
		return error_set(err, -EBUSY, "not built yet, and %s", environment->may_not_build);
	log_info("environment: building %s from %s", environment->link, plan->requirements);
	r = make_folder(environment, key, err);
	if (r < 0)
		return r;
	return start_step(environment, STEP_VENV, err);
}

static void
over_cb(void *arg, const struct error *failure)
{
	static const char *const names[] = {
	    [STEP_VERSION] = "asking the interpreter for its version",
	    [STEP_VENV] = "python -m venv",
	    [STEP_PIP] = "pip install",
	};
	struct environment *environment = arg;
	struct error err;
	int r = 0;

	if (environment->stopped) {
		environment->plan.cb(environment->plan.arg, NULL);
		return;
	}
	if (failure) {
		log_error("environment: %s failed: %s%s", names[environment->step], failure->text,
		    environment->job.n_lines > 0 ? "; its last lines:" : "");
		job_log_kept_lines(&environment->job, "environment: | ");
		environment->plan.cb(environment->plan.arg, NULL);
		return;
	}
	switch (environment->step) {
	case STEP_VERSION:
		r = find_or_build(environment, &err);
		break;
	case STEP_VENV:
		r = add_base(environment, &err);
		if (r == 0)
			r = start_step(environment, STEP_PIP, &err);
		break;
	case STEP_PIP:
		r = environment_mark_complete(environment->folder, &err);
		if (r == 0) {
			log_info("environment: built in %.1f s", (double)(clock_ms() - environment->started_ms) / 1000);
			r = 1;
		}
		break;
	}
	if (r < 0)
		log_error("environment: %s", err.text);
	if (r != 0)
		environment->plan.cb(environment->plan.arg, r > 0 ? environment->python : NULL);
}

bool
environment_owns(const struct environment *environment, pid_t pid)
{
	return environment && environment->job.pid == pid;
}

void
environment_reaped(struct environment *environment, int wait_status)
{
	job_reaped(&environment->job, wait_status);
}

bool
environment_is_busy(const struct environment *environment)
{
	return environment && environment->job.pid != 0;
}

void
environment_stop(struct environment *environment, int signal_number)
{
	if (!environment_is_busy(environment))
		return;
	environment->stopped = true;
	job_signal(&environment->job, signal_number);
}

void
environment_free(struct environment *environment)
{
	if (!environment)
		return;
	job_done(&environment->job);
	for (char **variable = environment->envp; *variable; variable++)
		free(*variable);
	free(environment->envp);
	free(environment->version);
	free(environment->may_not_build);
	packages_done(&environment->packages);
	free(environment->link);
	free(environment->folder);
	free(environment->python);
	free(environment->built_python);
	free(environment);
}
