/*
 * config - see config.h: the file, its list of resources, and the rules between them.
 */
#include "common/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/config_reader.h"
#include "common/fd.h"
#include "common/utf8.h"

#define KINDS_ALLOWED "deployment, api, server"

static bool
read_deployment_name(struct config_reader *reader, const struct config_key *key, const struct node *value, void *field)
{
	const char *text = config_text(reader, value, key->allowed);

	if (!text)
		return false;
	if (!config_is_dns_label(text, false))
		return config_wrong_type(reader, value, key->allowed);
	if (field)
		*(char **)field = xstrdup(text);
	return true;
}

static const struct config_key deployment_keys[] = {
    {.name = "kind", .read = config_read_nothing, .offset = CONFIG_NO_FIELD, .allowed = ""},
    {.name = "name",
	.read = read_deployment_name,
	.offset = offsetof(struct config, deployment),
	.allowed = "1 to 63 lower-case letters, digits and dashes, no dash at the ends",
	.flags = CONFIG_REQUIRED},
};
const struct config_map config_deployment_map = {.keys = deployment_keys, .n_keys = N_ELEMENTS(deployment_keys)};

/* --- resources ---------------------------------------------------------------------------------------------------- */

/* The resources that were seen, for the rules between them. */
struct seen {
	const struct node *deployment;
	const struct node *server;
	const struct node **apis; /* as config->apis */
};

/* Of one kind there is one; report a second. */
static bool
is_first(struct config_reader *reader, const struct node *item, const struct node **first)
{
	if (!*first) {
		*first = item;
		return true;
	}
	config_error(
	    reader, "duplicate; a file has one, and the first is at %d:%d", (*first)->mark.line, (*first)->mark.column);
	return false;
}

static void
read_api(struct config_reader *reader, const struct node *item, struct seen *seen)
{
	struct config *config = reader->config;
	const struct pair *name = document_find(item, "name");

	if (name && name->value->text && name->value->kind != NODE_BAD && name->value->kind != NODE_NULL)
		snprintf(reader->subject, sizeof(reader->subject), "api %s",
		    config_show(name->value->text, MIN(name->value->length, CONFIG_NAME_MAX)).text);
	else
		strcpy(reader->subject, "api");
	config->apis = xrealloc(config->apis, config->n_apis + 1, sizeof(*config->apis));
	seen->apis = xrealloc(seen->apis, config->n_apis + 1, sizeof(*seen->apis));
	config_init_api(&config->apis[config->n_apis]);
	seen->apis[config->n_apis++] = item;
	config_read_keys(reader, &config_api_map, item, &config->apis[config->n_apis - 1]);
}

/* What merges its keys from elsewhere may well lack a kind: report the merge key instead. */
static bool
is_merged(struct config_reader *reader, const struct node *item)
{
	const struct pair *merge = document_find(item, "<<");
	struct config_place place;
	bool is_good;

	if (!merge || !merge->key->plain)
		return false;
	place = config_enter(reader, merge->key, 0, merge->key->mark);
	is_good = config_check_key(reader, merge);
	config_leave(reader, place);
	return !is_good;
}

static void
read_resource(struct config_reader *reader, const struct node *item, struct seen *seen)
{
	const struct pair *kind;
	struct node key = {.kind = NODE_STRING, .text = (char *)"kind", .length = strlen("kind")};
	struct config_place place;
	const char *text;

	if (item->kind == NODE_BAD || item->kind != NODE_MAPPING) {
		if (config_check_value(reader, item, "a map with a kind"))
			config_wrong_type(reader, item, "a map with a kind");
		return;
	}
	kind = document_find(item, "kind");
	if (!kind && is_merged(reader, item))
		return;
	place = config_enter(reader, &key, 0, kind ? kind->key->mark : item->mark);
	if (kind)
		text = config_text(reader, kind->value, "one of " KINDS_ALLOWED);
	else
		config_error(reader, "missing; must be one of " KINDS_ALLOWED), text = NULL;
	if (text && strcmp(text, "api") != 0 && strcmp(text, "deployment") != 0 && strcmp(text, "server") != 0) {
		config_error(
		    reader, "unknown kind %s; allowed: " KINDS_ALLOWED, config_show(text, kind->value->length).text);
		text = NULL;
	}
	config_leave(reader, place);
	if (!text)
		return;
	snprintf(reader->subject, sizeof(reader->subject), "%s", text);
	if (strcmp(text, "api") == 0)
		read_api(reader, item, seen);
	else if (strcmp(text, "deployment") == 0)
		config_read_keys(reader, &config_deployment_map, item,
		    is_first(reader, item, &seen->deployment) ? reader->config : NULL);
	else
		config_read_keys(reader, &config_server_map, item,
		    is_first(reader, item, &seen->server) ? &reader->config->server : NULL);
}

static void
read_resources(struct config_reader *reader, const struct document *document, struct seen *seen)
{
	const struct node *root = document->root;

	if (!root) {
		config_error(reader, "the file is empty; must contain a list of maps");
		return;
	}
	reader->mark = root->mark;
	if (root->kind != NODE_SEQUENCE) {
		if (root->kind == NODE_BAD)
			config_error(reader, "%s", root->text);
		else
			config_error(reader, "found %s; must contain a list of maps", config_found(root).text);
		return;
	}
	if (root->n > CONFIG_RESOURCES_MAX) {
		config_error(reader, "found a list of %zu resources; at most %d", root->n, CONFIG_RESOURCES_MAX);
		return;
	}
	for (size_t i = 0; i < root->n; i++) {
		strcpy(reader->subject, "resource");
		reader->mark = root->items[i]->mark;
		read_resource(reader, root->items[i], seen);
	}
	reader->subject[0] = '\0';
	reader->mark = root->mark;
	if (reader->config->n_apis > CONFIG_APIS_MAX)
		config_error(reader, "found %zu apis; at most %d", reader->config->n_apis, CONFIG_APIS_MAX);
	if (reader->config->n_apis == 0 && reader->n_problems == 0)
		config_error(reader, "found no api; add a map with kind: api");
}

/* --- rules between resources -------------------------------------------------------------------------------------- */

/* The name of the folder, which is UTF-8, made into what a deployment's name may be. NULL when nothing is left of it. */
static char *
name_after_folder(const char *folder)
{
	const char *at = strrchr(folder, '/') + 1;
	char *name = xstrdup(at), *end = name;
	uint32_t c;

	for (size_t n; (n = utf8_decode(at, strlen(at), &c)) > 0 && end - name < CONFIG_NAME_MAX; at += n) {
		char letter = c < 0x80 && isalnum((int)c) ? (char)tolower((int)c) : '-';

		if (letter != '-' || end > name)
			*end++ = letter;
	}
	while (end > name && end[-1] == '-')
		end--;
	*end = '\0';
	if (end > name)
		return name;
	free(name);
	return NULL;
}

/* What an api calls its own. */
struct claim {
	const char *text;
	size_t api;
};

static int
compare_claims(const void *a, const void *b)
{
	const struct claim *left = a, *right = b;
	int order = strcmp(left->text, right->text);

	return order ? order : (left->api > right->api) - (left->api < right->api);
}

/* Of each api that claims something: the first one that claims the same, mostly itself. Sorts the claims, because there
 * may be thousands. */
static void
find_first(struct claim *claims, size_t n, size_t *ret_first)
{
	qsort(claims, n, sizeof(*claims), compare_claims);
	for (size_t i = 0; i < n; i++) {
		bool is_first_one = i == 0 || strcmp(claims[i - 1].text, claims[i].text) != 0;

		ret_first[claims[i].api] = is_first_one ? claims[i].api : ret_first[claims[i - 1].api];
	}
}

static void
report_duplicate(struct config_reader *reader, const struct seen *seen, size_t i, size_t first, bool is_name)
{
	const struct api_config *api = &reader->config->apis[i];
	const struct pair *pair = document_find(seen->apis[i], is_name ? "name" : "endpoint");
	struct mark mark = pair ? pair->key->mark : seen->apis[i]->mark, other = seen->apis[first]->mark;

	if (is_name)
		config_error_at(reader, mark, "api \"%s\": name: duplicate; the api at %d:%d has it", api->name,
		    other.line, other.column);
	else
		config_error_at(reader, mark, "api \"%s\": endpoint: duplicate; the api at %d:%d has \"%s\"",
		    api->name ? api->name : "", other.line, other.column, api->endpoint);
}

static void
check_unique(struct config_reader *reader, const struct seen *seen)
{
	const struct config *config = reader->config;
	struct claim *claims = xcalloc(config->n_apis, sizeof(*claims));
	size_t *names = xcalloc(config->n_apis, sizeof(*names)),
	       *endpoints = xcalloc(config->n_apis, sizeof(*endpoints));
	size_t n = 0;

	for (size_t i = 0; i < config->n_apis; i++) {
		if (config->apis[i].name)
			claims[n++] = (struct claim){.text = config->apis[i].name, .api = i};
	}
	find_first(claims, n, names);
	n = 0;
	for (size_t i = 0; i < config->n_apis; i++) {
		if (config->apis[i].endpoint)
			claims[n++] = (struct claim){.text = config->apis[i].endpoint, .api = i};
	}
	find_first(claims, n, endpoints);
	for (size_t i = 0; i < config->n_apis; i++) {
		if (config->apis[i].name && names[i] != i)
			report_duplicate(reader, seen, i, names[i], true);
		else if (config->apis[i].endpoint && endpoints[i] != i)
			report_duplicate(reader, seen, i, endpoints[i], false);
	}
	free(claims);
	free(names);
	free(endpoints);
}

/* Every replica that may ever run has a place on the scoreboard. Reported at the api with which it is too much. */
static void
check_replicas(struct config_reader *reader, const struct seen *seen)
{
	const struct config *config = reader->config;
	const struct node *at = NULL;
	int64_t sum = 0;

	for (size_t i = 0; i < config->n_apis; i++) {
		sum += (int64_t)config->apis[i].compute.max_replicas + SCOREBOARD_SPARE;
		if (sum > SCOREBOARD_SLOTS_MAX && !at) {
			const struct pair *compute = document_find(seen->apis[i], "compute"), *max = NULL;

			at = seen->apis[i];
			if (compute && compute->value->kind == NODE_MAPPING)
				max = document_find(compute->value, "max_replicas");
			reader->mark = max ? max->key->mark : at->mark;
		}
	}
	if (at)
		config_error(reader,
		    "too many replicas: compute.max_replicas of all apis, plus %d for each api, is %lld together; must "
		    "be at most %d",
		    SCOREBOARD_SPARE, (long long)sum, SCOREBOARD_SLOTS_MAX);
}

/* requirements.txt beside cortex.yaml, if there is one. */
static void
find_requirements(struct config_reader *reader)
{
	struct config *config = reader->config;
	char *path = config_join_path(config->folder, "requirements.txt");
	struct stat status;

	if (lstat(path, &status) == 0) {
		if (stat(path, &status) < 0 || (S_ISREG(status.st_mode) && access(path, R_OK) < 0))
			config_error(reader, "requirements.txt cannot be read: %s", strerror(errno));
		else if (!S_ISREG(status.st_mode))
			config_error(reader, "requirements.txt is not a file");
		else
			config->requirements = take_ptr(&path);
	}
	free(path);
}

/* Defaults and rules that need all resources. */
static void
finish(struct config_reader *reader, const struct seen *seen)
{
	struct config *config = reader->config;

	reader->mark = (struct mark){1, 1};
	reader->subject[0] = '\0';
	if (!seen->deployment)
		config->deployment = name_after_folder(config->folder);
	if (!seen->deployment && !config->deployment)
		config_error(reader,
		    "deployment: missing, and the folder's name does not make one; add a map with "
		    "kind: deployment and a name");
	for (size_t i = 0; i < config->n_apis && config->deployment; i++) {
		if (config->apis[i].name)
			config_default_api(&config->apis[i], config->deployment);
	}
	check_unique(reader, seen);
	check_replicas(reader, seen);
	reader->mark = (struct mark){1, 1};
	find_requirements(reader);
	config_default_listen(&config->server);
	if (!config->server.state_dir)
		config->server.state_dir = config_join_path(config->folder, ".cortex");
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

/* The folder of path, with links resolved. */
static MUSTCHECK int
find_folder(const char *path, char **ret_folder)
{
	const char *slash = strrchr(path, '/');
	char *name = slash ? xstrndup(path, (size_t)MAX(slash - path, 1)) : xstrdup("."), *folder;
	int r = 0;

	folder = realpath(name, NULL);
	if (!folder)
		r = -errno;
	else if (!utf8_is_valid(folder, strlen(folder)))
		r = -EILSEQ;
	else
		*ret_folder = take_ptr(&folder);
	free(folder);
	free(name);
	return r;
}

static void
read_text(struct config_reader *reader, const char *text, size_t length)
{
	struct document *document = NULL;
	struct seen seen = {.apis = NULL};
	struct error err;
	struct mark mark;

	if (document_parse(text, length, &document, &mark, &err) < 0) {
		config_error_at(reader, mark, "%s", err.text);
		return;
	}
	read_resources(reader, document, &seen);
	finish(reader, &seen);
	free(seen.apis);
	document_free(document);
}

static int
parse(const char *path, const char *text, size_t length, bool models_may_lack, struct config **ret_config,
    struct config_errors *ret_errors)
{
	struct config *config = xcalloc(1, sizeof(*config));
	struct config_reader reader = {
	    .config = config, .mark = {1, 1}, .metadata_room = CONFIG_METADATA_MAX, .models_may_lack = models_may_lack};
	int r;

	memset(ret_errors, 0, sizeof(*ret_errors));
	config->references = 1;
	config->path = xstrdup(path);
	config_init_server(&config->server);
	if (length > CONFIG_FILE_MAX) {
		config_errors_set(ret_errors, path, "larger than 1 MiB");
		r = -EFBIG;
		goto out;
	}
	r = find_folder(path, &config->folder);
	if (r < 0) {
		config_errors_set(
		    ret_errors, path, r == -EILSEQ ? "the path of its folder is not valid UTF-8" : strerror(-r));
		goto out;
	}
	read_text(&reader, text, length);
	if (reader.n_problems > 0) {
		config_problems_take(&reader, path, ret_errors);
		r = -EINVAL;
		goto out;
	}
	ASSERT(config->n_apis > 0 && config->apis[0].endpoint);
	*ret_config = take_ptr(&config);
out:
	config_unref(config);
	return r;
}

int
config_parse(
    const char *path, const char *text, size_t length, struct config **ret_config, struct config_errors *ret_errors)
{
	return parse(path, text, length, false, ret_config, ret_errors);
}

static MUSTCHECK int
read_file(const char *path, char **ret_text, size_t *ret_length)
{
	struct stat status;
	int fd, r = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0)
		r = -errno;
	else if (S_ISDIR(status.st_mode))
		r = -EISDIR;
	else if (!S_ISREG(status.st_mode))
		r = -ENOTSUP;
	else
		r = fd_read_all(fd, CONFIG_FILE_MAX, ret_text, ret_length);
	fd_close(&fd);
	return r;
}

static int
load(const char *path, bool models_may_lack, struct config **ret_config, struct config_errors *ret_errors)
{
	char *text = NULL;
	size_t length;
	int r;

	memset(ret_errors, 0, sizeof(*ret_errors));
	r = read_file(path, &text, &length);
	if (r == -EISDIR)
		config_errors_set(ret_errors, path, "is a folder; name the file, for example cortex.yaml in it");
	else if (r == -EFBIG)
		config_errors_set(ret_errors, path, "larger than 1 MiB");
	else if (r == -ENOTSUP)
		config_errors_set(ret_errors, path, "is not a regular file");
	else if (r < 0)
		config_errors_set(ret_errors, path, strerror(-r));
	else
		r = parse(path, text, length, models_may_lack, ret_config, ret_errors);
	free(text);
	return r;
}

int
config_load(const char *path, struct config **ret_config, struct config_errors *ret_errors)
{
	return load(path, false, ret_config, ret_errors);
}

int
config_load_to_prepare(const char *path, struct config **ret_config, struct config_errors *ret_errors)
{
	return load(path, true, ret_config, ret_errors);
}

struct config *
config_ref(struct config *config)
{
	config->references++;
	return config;
}

void
config_unref(struct config *config)
{
	if (!config || --config->references > 0)
		return;
	for (size_t i = 0; i < config->n_apis; i++)
		config_api_done(&config->apis[i]);
	free(config->apis);
	config_listen_done(&config->server);
	free(config->server.admin_token);
	free(config->server.state_dir);
	free(config->server.user);
	free(config->server.packages.folder);
	free(config->path);
	free(config->folder);
	free(config->deployment);
	free(config->requirements);
	free(config);
}
