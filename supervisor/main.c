/*
 * main - the command line of cortexd.
 *
 * Reads the options and the config, and hands over to the supervisor. Exit codes: 0 done, 1 it did not work, 2 the
 * command line makes no sense.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"
#include "common/log.h"
#include "supervisor/supervisor.h"

#ifndef CORTEXD_VERSION
#define CORTEXD_VERSION "unknown"
#endif

#define EXIT_USAGE         2
#define STOP_TIMEOUT_MAX_S 86400

enum {
	OPTION_VERSION = 256,
	OPTION_STOP_TIMEOUT,
	OPTION_ENVIRONMENT,
	OPTION_RELOAD,
};

static const char help[] =
    "Usage: cortexd [OPTION]...\n"
    "Serve the Python models of a cortex.yaml over HTTP.\n"
    "\n"
    "  -c, --config FILE           the configuration [cortex.yaml]\n"
    "  -t, --test                  check the configuration and exit: 0 it is good, 1 it is not\n"
    "      --reload                tell the cortexd that serves this configuration to read it again,\n"
    "                              wait until that is done and exit: 0 it is, 1 something stays as it was\n"
    "      --environment           build the project's Python environment from requirements.txt\n"
    "                              if that is needed, print the path of its interpreter and exit\n"
    "      --stop-timeout SECONDS  how long replicas may finish requests when stopped [30]\n"
    "  -h, --help                  show this and exit\n"
    "      --version               show the version and exit\n"
    "\n"
    "Signals:\n"
    "  SIGTERM, SIGINT             stop: finish the requests that run, then exit; again, a second later\n"
    "                              or more: do not wait\n"
    "\n"
    "  SIGHUP                      read the configuration and the code again; an error changes nothing,\n"
    "                              and no request is lost\n"
    "\n"
    "  SIGUSR2                     let the program that lies in the place of this one by now replace it,\n"
    "                              with all clients; if that does not start, nothing changes\n"
    "\n"
    "Examples:\n"
    "  cortexd                                  serve ./cortex.yaml\n"
    "  cortexd -c configs/iris/cortex.yaml      serve another project\n"
    "  cortexd -t -c configs/iris/cortex.yaml   say what is wrong with it, if anything\n"
    "  cortexd --reload                         apply what was edited\n"
    "  \"$(cortexd --environment)\" train.py      run a script with the packages of the project\n";

struct command_line {
	const char *config;
	bool test;
	bool reload;
	struct supervisor_options supervisor;
};

static __attribute__((noreturn)) void
usage_error(const char *what, const char *subject)
{
	if (what)
		fprintf(stderr, "cortexd: %s '%s'\n", what, subject);
	fprintf(stderr, "Try 'cortexd --help'.\n");
	exit(EXIT_USAGE);
}

static int64_t
parse_stop_timeout(const char *text)
{
	char *end;
	long seconds;

	errno = 0;
	seconds = strtol(text, &end, 10);
	if (end == text || *end != '\0' || errno || seconds < 0 || seconds > STOP_TIMEOUT_MAX_S)
		usage_error("--stop-timeout takes a whole number of seconds, 0 to 86400, not", text);
	return seconds * 1000;
}

static struct command_line
parse_command_line(int argc, char **argv)
{
	static const struct option options[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"test", no_argument, NULL, 't'},
	    {"reload", no_argument, NULL, OPTION_RELOAD},
	    {"environment", no_argument, NULL, OPTION_ENVIRONMENT},
	    {"stop-timeout", required_argument, NULL, OPTION_STOP_TIMEOUT},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, OPTION_VERSION},
	    {NULL, 0, NULL, 0},
	};
	struct command_line line = {
	    .config = "cortex.yaml",
	    .supervisor = {.mode = SUPERVISOR_SERVE, .stop_timeout_ms = 30 * 1000},
	};
	static char name[] = "cortexd";
	int option;

	line.supervisor.argv = xcalloc((size_t)argc + 1, sizeof(char *));
	memcpy(line.supervisor.argv, argv, (size_t)argc * sizeof(char *));
	argv[0] = name; /* what getopt's messages begin with */
	while ((option = getopt_long(argc, argv, "c:th", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			line.config = optarg;
			break;
		case 't':
			line.test = true;
			break;
		case OPTION_RELOAD:
			line.reload = true;
			break;
		case OPTION_ENVIRONMENT:
			line.supervisor.mode = SUPERVISOR_ENVIRONMENT;
			break;
		case OPTION_STOP_TIMEOUT:
			line.supervisor.stop_timeout_ms = parse_stop_timeout(optarg);
			break;
		case 'h':
			fputs(help, stdout);
			exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
		case OPTION_VERSION:
			puts("cortexd " CORTEXD_VERSION);
			exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
		default:
			usage_error(NULL, NULL);
		}
	}
	if (optind < argc)
		usage_error("unexpected argument", argv[optind]);
	return line;
}

/* Descriptors 0 to 2 must be taken, or a socket would become standard error. */
static void
fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/*
 * As the first process of a container: the kernel drops signals that have no handler there. Until the loop has its
 * handlers they wait, so that a container that is stopped while it starts is not killed for it. Everywhere else they end
 * the process, which is better yet.
 */
static void
keep_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* to_prepare: the environment in which a model is to be made. */
static struct config *
load_config(const char *path, bool to_prepare)
{
	struct config *config = NULL;
	struct config_errors errors;

	if ((to_prepare ? config_load_to_prepare : config_load)(path, &config, &errors) < 0) {
		for (size_t i = 0; i < errors.n_lines; i++)
			fprintf(stderr, "%s\n", errors.lines[i]);
		if (errors.n_more > 0)
			fprintf(stderr, "%s: %zu more errors\n", path, errors.n_more);
	}
	config_errors_done(&errors);
	return config;
}

int
main(int argc, char **argv)
{
	struct command_line line;
	struct config *config;
	int exit_code;

	fill_standard_descriptors();
	line = parse_command_line(argc, argv);
	if (getpid() == 1 && !line.test)
		keep_signals();
	log_set_identity("supervisor", NULL, -1);
	config = load_config(line.config, line.supervisor.mode == SUPERVISOR_ENVIRONMENT && !line.test);
	if (!config) {
		free(line.supervisor.argv);
		return EXIT_FAILURE;
	}
	if (line.test) {
		printf("%s: good\n", line.config);
		exit_code = fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
	} else if (line.reload) {
		exit_code = reload_command(config);
	} else {
		log_set_format(config->server.log_format);
		log_set_level(config->server.log_level);
		exit_code = supervisor_run(config, &line.supervisor);
	}
	config_unref(config);
	free(line.supervisor.argv);
	return exit_code;
}
