/*
 * reload_command - `cortexd --reload`: the other side of <state_dir>/reload (reload.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "supervisor/reload.h"

#define RESULT_MAX 65536 /* bytes */

struct result {
	pid_t pid;  /* of the cortexd that wrote it */
	int number; /* 0: there is none */
	bool running, good;
	char text[1024];
};

/* The cortexd that holds the lock of the state directory; or 0. */
static pid_t
find_owner(const char *state_dir)
{
	char *path = xasprintf("%s/lock", state_dir), *text = NULL;
	int lock = open(path, O_RDWR | O_CLOEXEC);
	pid_t pid = 0;

	if (lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK &&
	    fd_read_all(lock, 64, &text, NULL) == 0)
		pid = (pid_t)MAX(atoi(text), 0);
	fd_close(&lock);
	free(text);
	free(path);
	return pid;
}

static struct result
read_result(const char *state_dir)
{
	char *path = xasprintf("%s/reload", state_dir), *json = NULL;
	const char *state, *text;
	struct result result = {.number = 0};
	size_t length;
	json_t *root = NULL;
	int number, writer = 0;

	if (file_read_all(path, RESULT_MAX, &json, &length) == 0)
		root = json_loadb(json, length, 0, NULL);
	if (root &&
	    json_unpack(root, "{s?i si ss ss}", "pid", &writer, "number", &number, "state", &state, "text", &text) ==
		0) {
		result.pid = writer;
		result.number = number;
		result.running = !strcmp(state, "running");
		result.good = !strcmp(state, "done");
		snprintf(result.text, sizeof(result.text), "%s", text);
	}
	json_decref(root);
	free(json);
	free(path);
	return result;
}

int
reload_command(const struct config *config)
{
	static const struct timespec moment = {0, 50000000};
	const char *state_dir = config->server.state_dir;
	pid_t pid = find_owner(state_dir), owner;
	struct result before = read_result(state_dir), result;

	if (pid == 0) {
		fprintf(stderr, "cortexd: none runs with the state directory %s; start it with: cortexd -c %s\n",
		    state_dir, config->path);
		return EXIT_FAILURE;
	}
	if (kill(pid, SIGHUP) < 0) {
		fprintf(stderr, "cortexd: cannot tell process %d: %s\n", (int)pid, strerror(errno));
		return EXIT_FAILURE;
	}
	for (;;) {
		result = read_result(state_dir);
		if (result.number > before.number && !result.running)
			break;
		owner = find_owner(state_dir);
		/* One that takes over writes that down before it is the owner; it goes on with what we have asked for. */
		if (owner != pid && owner != 0) {
			result = read_result(state_dir);
			if (result.pid == owner && strcmp(result.text, "started") != 0)
				pid = owner;
		}
		if (owner != pid) {
			fprintf(stderr, "cortexd: process %d has ended; its log says why\n", (int)pid);
			return EXIT_FAILURE;
		}
		nanosleep(&moment, NULL);
	}
	fprintf(result.good ? stdout : stderr, "reload: %s\n", result.text);
	return result.good && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
