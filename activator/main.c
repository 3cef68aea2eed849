/*
 * cortexd-activator - holds connections and queues requests while replicas are busy. See activator.h.
 *
 * Started by cortexd only, with fixed descriptors (common/activator_start.h) and no arguments.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "activator/activator.h"
#include "common/log.h"
#include "common/record.h"
#include "common/title.h"

int
main(int argc, char **argv)
{
	static struct activator activator;
	struct error err = {""};

	title_init(argv);
	if (argc != 1 || fcntl(ACTIVATOR_FD_START, F_GETFD) < 0) {
		fprintf(stderr, "cortexd-activator is started by cortexd; see cortexd --help\n");
		return 2;
	}
	log_set_identity("activator", NULL, -1);
	signal(SIGPIPE, SIG_IGN);
	if (activator_init(&activator, &err) < 0) {
		log_error("%s", err.text);
		if (record_send(ACTIVATOR_FD_CONTROL, RECORD_FAILED, err.text) < 0)
			log_debug("the supervisor cannot be told");
		return 1;
	}
	title_set("cortexd: activator (ready)");
	if (record_send(ACTIVATOR_FD_CONTROL, RECORD_READY, NULL) < 0)
		return 1;
	activator_run(&activator);
	return 0;
}
