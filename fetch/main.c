/*
 * cortexd-fetch - bring a model from S3 or a web server into the cache, and end.
 *
 * Started by cortexd before the replicas of a generation. The address stands in the environment and not among the arguments, which
 * everybody on the machine may read: a URL may hold a signature. Exit status 0: the address's link in the cache leads to the model;
 * 1: not, and the last line of the output says why; 2: wrong arguments.
 */
#include <curl/curl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/cache.h"
#include "fetch/fetch.h"
#include "fetch/say.h"

#define ATTEMPTS_DEFAULT 5
#define STALL_S_DEFAULT  15

static const char help[] =
    "usage: CORTEXD_MODEL=ADDRESS cortexd-fetch --cache FOLDER [OPTION...]\n"
    "       cortexd-fetch --cache FOLDER --collect [--keep PATH]... [--address HASH]...\n"
    "\n"
    "Bring the model of an address (s3://bucket/key, https://host/path) into a cache. cortexd runs this; by hand it "
    "shows\n"
    "what cortexd would see. AWS credentials are found as the AWS command line finds them.\n"
    "\n"
    "  --cache FOLDER       the cache: <server.state_dir>/models\n"
    "  --copy WHEN          use the copy of an earlier time when the store does not answer (unreachable), whatever it "
    "answers\n"
    "                       (always), or never (the default)\n"
    "  --attempts N         of each request, before it has failed; 5\n"
    "  --stall SECONDS      of less than a kilobyte a second, after which an attempt has failed; 15\n"
    "  --collect            remove what is not needed: all but the models of --keep, and the latest of --address\n";

static int
usage(const char *what)
{
	fprintf(stderr, "cortexd-fetch: %s; see cortexd-fetch --help\n", what);
	return 2;
}

static bool
parse_number(const char *text, long max, long *ret_number)
{
	char *end;

	*ret_number = strtol(text, &end, 10);
	return *text && !*end && *ret_number >= 1 && *ret_number <= max;
}

static bool
parse_copy(const char *text, enum fetch_copy *ret_copy)
{
	static const char *const names[] = {"never", "unreachable", "always"};

	for (size_t i = 0; i < N_ELEMENTS(names); i++)
		if (!strcmp(text, names[i])) {
			*ret_copy = (enum fetch_copy)i;
			return true;
		}
	return false;
}

struct list {
	char **items;
	size_t n;
};

static void
append(struct list *list, char *item)
{
	list->items = xrealloc(list->items, list->n + 1, sizeof(*list->items));
	list->items[list->n++] = item;
}

static int
collect(const char *folder, const struct list *paths, const struct list *ids, struct error *err)
{
	struct cache cache;
	int r;

	r = cache_open(&cache, folder, true, err);
	if (r == 0)
		r = cache_collect(&cache, paths->items, paths->n, ids->items, ids->n, err);
	if (r > 0)
		say("removed %d old model%s", r, r == 1 ? "" : "s");
	cache_done(&cache);
	return MIN(r, 0);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"cache", required_argument, NULL, 'c'},
	    {"copy", required_argument, NULL, 'o'},
	    {"attempts", required_argument, NULL, 'n'},
	    {"stall", required_argument, NULL, 's'},
	    {"collect", no_argument, NULL, 'g'},
	    {"keep", required_argument, NULL, 'k'},
	    {"address", required_argument, NULL, 'a'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	struct fetch_plan plan = {.web = {.attempts = ATTEMPTS_DEFAULT, .stall_s = STALL_S_DEFAULT}};
	struct list paths = {NULL, 0}, ids = {NULL, 0};
	bool collects = false;
	struct error err;
	long number;
	int option, r;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			plan.cache = optarg;
			break;
		case 'o':
			if (!parse_copy(optarg, &plan.copy))
				return usage("--copy is never, unreachable or always");
			break;
		case 'n':
			if (!parse_number(optarg, 100, &number))
				return usage("--attempts is a number from 1 to 100");
			plan.web.attempts = (unsigned)number;
			break;
		case 's':
			if (!parse_number(optarg, 3600, &plan.web.stall_s))
				return usage("--stall is a number of seconds from 1 to 3600");
			break;
		case 'g':
			collects = true;
			break;
		case 'k':
			append(&paths, optarg);
			break;
		case 'a':
			append(&ids, optarg);
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		default:
			return 2;
		}
	}
	plan.address = getenv("CORTEXD_MODEL");
	plan.web.ca_file = getenv("AWS_CA_BUNDLE");
	if (optind < argc || !plan.cache || (!collects && !plan.address))
		return usage("it needs --cache, and an address in CORTEXD_MODEL, and nothing else");
	signal(SIGPIPE, SIG_IGN);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return usage("libcurl does not start");
	r = collects ? collect(plan.cache, &paths, &ids, &err) : fetch_run(&plan, &err);
	if (r < 0)
		say("error: %s", err.text);
	curl_global_cleanup();
	free(paths.items);
	free(ids.items);
	return fflush(stdout) == 0 && r == 0 ? 0 : 1;
}
