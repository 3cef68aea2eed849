/*
 * cortexd-monitor - the admin interface of a cortexd. See monitor.h.
 *
 * Started by cortexd only, with fixed descriptors (common/monitor_start.h) and no arguments.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "common/log.h"
#include "common/record.h"
#include "common/title.h"
#include "monitor/monitor.h"

int
main(int argc, char **argv)
{
	static struct monitor monitor;
	struct error err = {""};

	title_init(argv);
	if (argc != 1 || fcntl(MONITOR_FD_START, F_GETFD) < 0) {
		fprintf(stderr, "cortexd-monitor is started by cortexd; see cortexd --help\n");
		return 2;
	}
	log_set_identity("monitor", NULL, -1);
	signal(SIGPIPE, SIG_IGN);
	if (monitor_init(&monitor, &err) < 0) {
		log_error("%s", err.text);
		if (record_send(MONITOR_FD_CONTROL, RECORD_FAILED, err.text) < 0)
			log_debug("the supervisor cannot be told");
		return 1;
	}
	title_set("cortexd: monitor (ready)");
	if (record_send(MONITOR_FD_CONTROL, RECORD_READY, NULL) < 0)
		return 1;
	monitor_run(&monitor);
	return 0;
}
