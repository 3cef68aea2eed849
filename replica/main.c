/*
 * cortexd-replica - one process that holds one copy of a predictor and runs its predictions one at a time.
 *
 * Started by cortexd only, with fixed descriptors (common/start_record.h) and no arguments. Order of the start: read the
 * start record, make the event loop, start Python, load the predictor (init() may take minutes), then take requests.
 * A replica that cannot start says why in a FAILED record and in the log, and exits 1.
 *
 * Or a template, which has loaded the predictor and forks replicas (template.h). These begin with a start record of their own, and
 * the loop is made after the predictor was loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/record.h"
#include "common/start_record.h"
#include "common/title.h"
#include "replica/predictor.h"
#include "replica/server.h"
#include "replica/signals.h"
#include "replica/template.h"

/* Of the memory that a request took and gave back, what is kept for the next one; and allocations that are not kept. */
#define HEAP_KEPT_BYTES  (32 << 20)
#define HEAP_LARGE_BYTES (4 << 20)

/* Without this the C library gives a body of 100 KiB back to the kernel after each request: brk, mmap, and a fault a page. */
static void
keep_heap(void)
{
	mallopt(M_TRIM_THRESHOLD, HEAP_KEPT_BYTES);
	mallopt(M_MMAP_THRESHOLD, HEAP_LARGE_BYTES);
}

/* Nothing that the predictor executes may inherit what belongs to us. */
static int
keep_descriptors_private(const struct start_record *start, struct error *err)
{
	int r = fd_set_cloexec(REPLICA_FD_CONTROL, true);

	if (r == 0)
		r = fd_set_cloexec(REPLICA_FD_CHANNEL, true);
	for (int i = 0; r == 0 && i < start->n_listeners; i++)
		r = fd_set_cloexec(REPLICA_FD_LISTENER + i, true);
	return r < 0 ? error_set(err, r, "fcntl: %s", strerror(-r)) : 0;
}

/* What comes before anything else: who am I? */
static int
begin(struct start_record *start, struct error *err)
{
	int fd = REPLICA_FD_START, r;

	r = template_read_start(fd, start, err);
	if (r < 0)
		return r;
	fd_close(&fd);
	log_set_format(start->log_format);
	log_set_level(start->log_level);
	log_set_access(start->log_access);
	log_set_framed(start->log_secret);
	if (start->preload == PRELOAD_NONE) {
		log_set_identity("replica", start->api, start->replica);
		title_set("cortexd: replica %s/%d (loading)", start->api, start->replica);
	} else {
		log_set_identity("template", start->api, -1);
		title_set("cortexd: template %s (loading)", start->api);
	}
	r = keep_descriptors_private(start, err);
	if (r < 0)
		return r;
	if (chdir(start->project_folder) < 0)
		return error_set(err, -errno, "cannot enter \"%s\": %s", start->project_folder, strerror(errno));
	return 0;
}

/* The rest of the way to a predictor that can predict; how far it has come already is `done`. */
static int
load(const struct start_record *start, enum preload done, struct predictor **predictor, struct error *err)
{
	struct signals signals;
	int r = 0;

	if (done == PRELOAD_INIT)
		return 0;
	if (done == PRELOAD_NONE)
		r = interpreter_start(start, err);
	if (r < 0)
		return r;
	signals_save(&signals);
	r = done == PRELOAD_NONE ? predictor_load(start, predictor, err) : predictor_init(*predictor, start, err);
	if (r == 0)
		signals_restore(&signals);
	return r;
}

/* Everything up to a loaded predictor; the GIL is held afterwards. */
static int
start_all(struct start_record *start, struct server **ret_server, struct predictor **ret_predictor, struct error *err)
{
	enum preload done = PRELOAD_NONE;
	int r;

	r = begin(start, err);
	if (r == 0 && start->preload != PRELOAD_NONE)
		r = template_run(start, ret_predictor, &done, err); /* this is a replica now */
	if (r == 0)
		r = server_new(start, ret_server, err);
	return r < 0 ? r : load(start, done, ret_predictor, err);
}

int
main(int argc, char **argv)
{
	struct predictor *predictor = NULL;
	struct server *server = NULL;
	struct start_record start;
	struct error err = {""};
	int status;

	title_init(argv);
	if (argc != 1 || fcntl(REPLICA_FD_START, F_GETFD) < 0) {
		fprintf(stderr, "cortexd-replica is started by cortexd; see cortexd --help\n");
		return 2;
	}
	log_set_identity("replica", NULL, -1);
	keep_heap();
	signal(SIGPIPE, SIG_IGN); /* as under python; our own sends ask for EPIPE */
	if (start_all(&start, &server, &predictor, &err) < 0) {
		log_error("%s", err.text);
		if (record_send(REPLICA_FD_CONTROL, RECORD_FAILED, err.text) < 0)
			log_debug("the supervisor cannot be told");
		_exit(1);
	}
	status = server_run(server, predictor);
	interpreter_stop();
	log_info("stopped");
	_exit(status);
}
