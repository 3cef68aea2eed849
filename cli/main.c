/*
 * cortex - deploys, shows and steers the apis of a cortexd. See cli.h.
 */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/text.h"

static int run_help(struct cli *cli);

const struct command commands[] = {
    {.name = "deploy",
	.summary = "apply cortex.yaml, follow the rollout",
	.usage = "[-c FILE]",
	.options = "c",
	.run = run_deploy,
	.help = "Checks the config, has the running cortexd read it, and shows how replicas are replaced,\n"
		"until all is done or has failed. What does not work changes nothing: the api goes on as it\n"
		"was, and the reason is printed.\n"
		"\n"
		"  cortex deploy                     the cortex.yaml of this folder, or of one above it\n"
		"  cortex deploy -c shop/cortex.yaml\n"
		"\n"
		"Exit status 0: everything is as the config says. 1: something is not.\n"},
    {.name = "get",
	.summary = "show the apis, or one of them",
	.usage = "[API] [-w] [-v] [-o json|name]",
	.options = "cwvo",
	.max_args = 1,
	.run = run_get,
	.help = "Without a name, a table of all apis; with one, also what its tracker has counted, its\n"
		"endpoint, and a line for curl.\n"
		"\n"
		"  -w, --watch            again every two seconds, until Ctrl-C or q\n"
		"  -v, --verbose          also the replicas, the last deaths, and why there are so many\n"
		"  -o, --output FORM      json: the status as JSON (docs/monitoring.md); name: only the names\n"
		"\n"
		"  cortex get\n"
		"  cortex get classifier -v\n"
		"  cortex get -o json | jq '.apis[] | {name, status}'\n"},
    {.name = "logs",
	.summary = "print what an api has logged",
	.usage = "API [-f] [--since DURATION] [-n LINES]",
	.options = "cfFsn",
	.min_args = 1,
	.max_args = 1,
	.run = run_logs,
	.help = "The lines of its replicas: their own, and what the code prints.\n"
		"\n"
		"  -f, --follow           go on with what comes, until Ctrl-C\n"
		"      --since DURATION   only what is younger: 30s, 10m, 2h, 1d\n"
		"  -n, --lines N          only the last so many\n"
		"\n"
		"  cortex logs classifier -f\n"
		"  cortex logs classifier --since 10m | grep -i error\n"},
    {.name = "predict",
	.summary = "send a sample to an api, print the answer",
	.usage = "API SAMPLE.json [--debug]",
	.options = "cd",
	.min_args = 2,
	.max_args = 2,
	.run = run_predict,
	.help = "The sample is a file with JSON, or - for standard input.\n"
		"\n"
		"      --debug            the api logs the sample, and what becomes of it\n"
		"\n"
		"  cortex predict classifier sample.json\n"
		"  echo '{\"x\": 1}' | cortex predict classifier -\n"
		"\n"
		"Exit status 1 when the answer is not 200; its text is on standard error.\n"},
    {.name = "check",
	.summary = "say what is wrong with cortex.yaml",
	.usage = "[-c FILE]",
	.options = "c",
	.run = run_check,
	.help = "Reads the config and prints every error with its line and column. Needs no cortexd.\n"
		"\n"
		"  cortex check -c shop/cortex.yaml\n"},
    {.name = "delete",
	.summary = "end an api",
	.usage = "API [-f]",
	.options = "cfE",
	.min_args = 1,
	.max_args = 1,
	.run = run_delete,
	.help = "Requests that wait are served, then its replicas end. cortex.yaml stays as it is: the next\n"
		"deploy, or start, brings the api back, unless it is taken out of the file.\n"
		"\n"
		"  -f, --force            do not ask\n"
		"\n"
		"  cortex delete classifier\n"},
    {.name = "version",
	.summary = "print the versions of cortex and of the running cortexd",
	.usage = "",
	.options = "c",
	.run = run_version,
	.help = "  cortex version\n"},
    {.name = "completion",
	.summary = "print a script that completes commands in a shell",
	.usage = "bash|zsh|fish",
	.options = "",
	.min_args = 1,
	.max_args = 1,
	.run = run_completion,
	.help = "An installed cortex has them in place already. For this session alone:\n"
		"\n"
		"  source <(cortex completion bash)\n"
		"  source <(cortex completion zsh)\n"
		"  cortex completion fish | source\n"},
    {.name = "help",
	.summary = "explain a command",
	.usage = "[COMMAND]",
	.options = "",
	.max_args = 1,
	.run = run_help,
	.help = "  cortex help get\n"},
};
const size_t n_commands = N_ELEMENTS(commands);

static const char common_options[] =
    "Options of every command that speaks to cortexd:\n"
    "  -c, --config FILE      the project; default: cortex.yaml in this folder, or in one above it\n"
    "      --socket ADDRESS   where cortexd listens: a path, or host:port; default: $CORTEX_SOCKET,\n"
    "                         or that of the project\n"
    "      --token-file FILE  with the token that host:port asks for\n"
    "      --no-color         no colours on a terminal; as with $NO_COLOR\n"
    "  -h, --help             this\n";

/* What is in it may come from anywhere. */
int
cli_fail(const char *format, ...)
{
	char *text = NULL, *clean;
	va_list ap;
	int length;

	va_start(ap, format);
	length = vasprintf(&text, format, ap);
	va_end(ap);
	ASSERT(length >= 0);
	clean = text_clean(text, (size_t)length, true);
	fflush(stdout);
	fprintf(stderr, "cortex: %s\n", clean);
	free(clean);
	free(text);
	return EXIT_FAILURE;
}

const struct command *
command_find(const char *name)
{
	for (size_t i = 0; i < n_commands; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void
print_help(const struct command *command)
{
	if (command) {
		printf("usage: cortex %s%s%s\n\n%s.\n\n%s", command->name, *command->usage ? " " : "", command->usage,
		    command->summary, command->help);
		if (strchr(command->options, 'c'))
			printf("\n%s", common_options);
		return;
	}
	printf("usage: cortex COMMAND [options]\n\n"
	       "cortex deploys, shows and steers the apis of a cortexd, which serves them;\n"
	       "cortexd -c cortex.yaml starts it.\n\n");
	for (size_t i = 0; i < n_commands; i++)
		printf("  %-11s %s\n", commands[i].name, commands[i].summary);
	printf("\n%s\ncortex help COMMAND, or cortex COMMAND --help, explain one of them.\n", common_options);
}

static int
run_help(struct cli *cli)
{
	const struct command *command = cli->n_args > 0 ? command_find(cli->args[0]) : NULL;

	if (cli->n_args > 0 && !command) {
		cli_fail("there is no command \"%s\"; cortex help lists them", cli->args[0]);
		return EXIT_USAGE;
	}
	print_help(command);
	return EXIT_SUCCESS;
}

static int
usage_error(const struct command *command)
{
	if (command)
		fprintf(stderr, "usage: cortex %s%s%s; cortex %s --help explains it\n", command->name,
		    *command->usage ? " " : "", command->usage, command->name);
	else
		fprintf(stderr, "usage: cortex COMMAND [options]; cortex --help lists the commands\n");
	return EXIT_USAGE;
}

/* The first two have a letter for command->options: -f is one of them or the other. */
enum {
	OPTION_FORCE = 'E',
	OPTION_FOLLOW = 'F',
	OPTION_SOCKET = 256,
	OPTION_TOKEN_FILE,
	OPTION_NO_COLOR
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"watch", no_argument, NULL, 'w'},
    {"verbose", no_argument, NULL, 'v'},
    {"output", required_argument, NULL, 'o'},
    {"follow", no_argument, NULL, OPTION_FOLLOW},
    {"force", no_argument, NULL, OPTION_FORCE},
    {"since", required_argument, NULL, 's'},
    {"lines", required_argument, NULL, 'n'},
    {"debug", no_argument, NULL, 'd'},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"token-file", required_argument, NULL, OPTION_TOKEN_FILE},
    {"no-color", no_argument, NULL, OPTION_NO_COLOR},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static void
take_option(struct cli *cli, int option)
{
	switch (option) {
	case 'c':
		cli->config = optarg;
		break;
	case 'w':
		cli->watch = true;
		break;
	case 'v':
		cli->verbose = true;
		break;
	case 'o':
		cli->output = optarg;
		break;
	case 'f':
	case OPTION_FOLLOW:
	case OPTION_FORCE:
		cli->follow = cli->force = true;
		break;
	case 's':
		cli->since = optarg;
		break;
	case 'n':
		cli->lines = optarg;
		break;
	case 'd':
		cli->debug = true;
		break;
	case OPTION_SOCKET:
		cli->socket = optarg;
		break;
	case OPTION_TOKEN_FILE:
		cli->token_file = optarg;
		break;
	default:
		cli->no_color = true;
		break;
	}
}

/* The first word that is no option is the command; options stand where they like. -1: go on, else the exit status. */
static int
parse(struct cli *cli, int argc, char **argv)
{
	bool help = false, given[128] = {false};
	int option;

	while ((option = getopt_long(argc, argv, "c:wvo:fn:h", long_options, NULL)) != -1) {
		if (option == '?')
			return usage_error(NULL);
		if (option == 'V') {
			printf("cortex %s\n", CORTEXD_VERSION);
			return EXIT_SUCCESS;
		}
		if (option < 128)
			given[option] = true;
		help = help || option == 'h';
		if (option != 'h')
			take_option(cli, option);
	}
	if (optind < argc)
		cli->command = command_find(argv[optind]);
	if (optind < argc && !cli->command) {
		cli_fail("there is no command \"%s\"; cortex --help lists them", argv[optind]);
		return EXIT_USAGE;
	}
	if (help || !cli->command) {
		if (!help)
			return usage_error(NULL);
		print_help(cli->command);
		return EXIT_SUCCESS;
	}
	cli->args = argv + optind + 1;
	cli->n_args = argc - optind - 1;
	for (int i = 0; i < 128; i++)
		if (given[i] && i != 'h' && !strchr(cli->command->options, i)) {
			cli_fail("%s has no option for that", cli->command->name);
			return usage_error(cli->command);
		}
	if (cli->n_args < cli->command->min_args || cli->n_args > cli->command->max_args)
		return usage_error(cli->command);
	return -1;
}

int
main(int argc, char **argv)
{
	struct cli cli = {.command = NULL};
	int status;

	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_DFL); /* `cortex get | head` ends quietly */
	status = parse(&cli, argc, argv);
	if (status < 0) {
		const char *socket = getenv("CORTEX_SOCKET");

		if (!cli.socket && !cli.config && socket && *socket)
			cli.socket = socket;
		text_init(cli.no_color);
		status = cli.command->run(&cli);
	}
	errno = 0;
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == EXIT_SUCCESS)
		status = cli_fail("cannot write all of it%s%s", errno ? ": " : "", errno ? strerror(errno) : "");
	return status;
}
