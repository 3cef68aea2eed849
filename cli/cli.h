/*
 * cli - the `cortex` command: what it is told on the command line, and its commands.
 *
 * A client of the admin interface (docs/monitoring.md), which it finds by the project: cortex.yaml in the working directory or above it has a
 * state directory, and in that is the socket. It holds no state.
 *
 * main.c dispatches and helps, daemon.c speaks to cortexd, text.c and table.c are the output, view.c what of the status is shown; each other
 * file is a command. Exit status: 0 it worked, 1 it did not, 2 the command line makes no sense.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "common/util.h"

#define EXIT_USAGE 2

struct cli {
	const struct command *command;
	const char *config;     /* -c; NULL: look for one */
	const char *socket;     /* --socket: a path, or host:port; NULL: that of the project */
	const char *token_file; /* --token-file; NULL: none */
	const char *output;     /* -o; NULL: text */
	const char *since;      /* --since */
	const char *lines;      /* -n */
	bool watch;             /* -w */
	bool verbose;           /* -v */
	bool follow;            /* -f of logs */
	bool force;             /* -f of delete */
	bool debug;             /* --debug */
	bool no_color;
	char **args; /* what is not an option, after the name of the command */
	int n_args;
};

struct command {
	const char *name;
	const char *summary; /* one line */
	const char *usage;   /* what follows the name */
	const char *options; /* the letters of those in main.c that it takes */
	const char *help;    /* what it does, and examples */
	int min_args, max_args;
	int (*run)(struct cli *cli); /* the exit status */
};

extern const struct command commands[];
extern const size_t n_commands;

/* NULL: there is none. */
const struct command *command_find(const char *name);

/* "cortex: ..." on standard error, cleaned (text.h). EXIT_FAILURE. */
int cli_fail(const char *format, ...) PRINTFLIKE(1);

int run_deploy(struct cli *cli);
int run_get(struct cli *cli);
int run_logs(struct cli *cli);
int run_predict(struct cli *cli);
int run_check(struct cli *cli);
int run_delete(struct cli *cli);
int run_version(struct cli *cli);
int run_completion(struct cli *cli);

#endif
