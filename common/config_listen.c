/*
 * config_listen - server.listen, where cortexd takes requests, and server.admin, where it is asked about itself.
 *
 * host:port, [v6]:port or unix:/path; one or a list. Addresses are numeric: a name may mean several addresses or, when
 * the resolver is down, none, and cortexd must start at boot. Two names are understood, because everybody writes them:
 * localhost is 127.0.0.1, and * is every address of the machine.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "common/config_reader.h"

#define LISTEN_ALLOWED "host:port, [v6]:port or unix:/path"
#define ADMIN_ALLOWED  "unix, host:port, [v6]:port, a list of them, or none"

static void
listen_done(struct listen_config *listen)
{
	free(listen->text);
	free(listen->host);
	free(listen->path);
}

static bool
parse_port(const char *text, uint16_t *ret_port)
{
	size_t length = strlen(text);
	unsigned long port;

	if (length == 0 || length > 5 || strspn(text, "0123456789") != length)
		return false;
	port = strtoul(text, NULL, 10);
	*ret_port = (uint16_t)port;
	return port <= UINT16_MAX;
}

static bool
parse_unix(struct config_reader *reader, const struct node *value, struct listen_config *listen)
{
	const char *path = value->text + strlen("unix:");
	struct config_shown shown = config_show(value->text, value->length);

	if (!*path || path[strlen(path) - 1] == '/') {
		config_error(reader, "%s names no file; use unix:/path/to/socket", shown.text);
		return false;
	}
	if (*path == '@') {
		config_error(reader, "%s: abstract sockets are not supported; use unix:/path/to/socket", shown.text);
		return false;
	}
	listen->kind = LISTEN_UNIX;
	listen->path = config_join_path(reader->config->folder, path);
	listen->text = xasprintf("unix:%s", listen->path);
	if (strlen(listen->path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		config_error(reader, "%s: the absolute path is %zu bytes long; at most %zu are possible", shown.text,
		    strlen(listen->path), sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
		return false;
	}
	return true;
}

/* Put the canonical form of host, which is length bytes long, in listen. */
static bool
parse_host(const char *host, size_t length, struct listen_config *listen)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr v6;
	struct in_addr v4;
	bool bracketed = length > 2 && host[0] == '[' && host[length - 1] == ']';

	if (length == 0 || length >= sizeof(text))
		return false;
	memcpy(text, host + bracketed, length - 2 * bracketed);
	text[length - 2 * bracketed] = '\0';
	if (bracketed) {
		if (inet_pton(AF_INET6, text, &v6) != 1)
			return false;
		inet_ntop(AF_INET6, &v6, text, sizeof(text));
	} else if (strcmp(text, "*") == 0) {
		text[0] = '\0';
	} else if (strcmp(text, "localhost") == 0) {
		strcpy(text, "127.0.0.1");
	} else if (inet_pton(AF_INET, text, &v4) != 1) {
		return false;
	}
	listen->host = xstrdup(text);
	return true;
}

static bool
parse_tcp(struct config_reader *reader, const struct node *value, const char *allowed, struct listen_config *listen)
{
	const char *colon = strrchr(value->text, ':');
	struct config_shown shown = config_show(value->text, value->length);

	if (!colon)
		return config_wrong_type(reader, value, allowed);
	if (!parse_port(colon + 1, &listen->port)) {
		config_error(
		    reader, "%s: the port must be a number from 1 to 65535, or 0 for any free one", shown.text);
		return false;
	}
	if (!parse_host(value->text, (size_t)(colon - value->text), listen)) {
		config_error(reader,
		    "%s: the host must be a numeric address: 127.0.0.1, [::1], localhost or * for every one",
		    shown.text);
		return false;
	}
	listen->kind = LISTEN_TCP;
	if (strchr(listen->host, ':'))
		listen->text = xasprintf("[%s]:%u", listen->host, listen->port);
	else
		listen->text = xasprintf("%s:%u", *listen->host ? listen->host : "*", listen->port);
	return true;
}

/* Does address a, of every address of the machine or of a family, comprise b? */
static bool
host_comprises(const char *a, const char *b)
{
	bool b_is_v6 = strchr(b, ':') != NULL;

	return !*a || strcmp(a, b) == 0 || (strcmp(a, "::") == 0 && b_is_v6) ||
	    (strcmp(a, "0.0.0.0") == 0 && *b && !b_is_v6);
}

/* Would binding both fail? */
static bool
check_overlap(struct config_reader *reader, const struct listen_config *a, const struct listen_config *b)
{
	if (strcmp(a->text, b->text) == 0) {
		config_error(reader, "%s is given twice", a->text);
		return false;
	}
	if (a->kind == LISTEN_TCP && b->kind == LISTEN_TCP && a->port == b->port && a->port != 0 &&
	    (host_comprises(a->host, b->host) || host_comprises(b->host, a->host))) {
		config_error(reader, "%s overlaps with %s", b->text, a->text);
		return false;
	}
	return true;
}

/* Add it to a list, if it goes together with what is there. Owns listen. */
static bool
add_to(struct config_reader *reader, struct listen_config **list, size_t *n, struct listen_config *listen, bool valid)
{
	for (size_t i = 0; valid && i < *n; i++)
		valid = check_overlap(reader, &(*list)[i], listen);
	if (!valid) {
		listen_done(listen);
		return false;
	}
	*list = xrealloc(*list, *n + 1, sizeof(**list));
	(*list)[(*n)++] = *listen;
	return true;
}

static bool
add_listen(struct config_reader *reader, const struct node *value, struct server_config *server)
{
	struct listen_config listen = {.text = NULL};
	bool valid;

	if (!config_text(reader, value, LISTEN_ALLOWED))
		return false;
	if (strncmp(value->text, "unix:", strlen("unix:")) == 0)
		valid = parse_unix(reader, value, &listen);
	else
		valid = parse_tcp(reader, value, LISTEN_ALLOWED, &listen);
	return add_to(reader, &server->listen, &server->n_listen, &listen, valid);
}

static bool
add_admin(struct config_reader *reader, const struct node *value, struct server_config *server)
{
	struct listen_config listen = {.text = NULL};

	if (!config_text(reader, value, ADMIN_ALLOWED))
		return false;
	if (!strcmp(value->text, "unix")) {
		if (server->admin_unix)
			config_error(reader, "unix is given twice");
		else
			server->admin_unix = true;
		return true;
	}
	return add_to(
	    reader, &server->admin, &server->n_admin, &listen, parse_tcp(reader, value, ADMIN_ALLOWED, &listen));
}

bool
config_read_listen(
    struct config_reader *reader, UNUSED const struct config_key *key, const struct node *value, void *field)
{
	struct server_config scratch = {.listen = NULL}, *server = field ? field : &scratch;
	bool valid = true;

	if (value->kind != NODE_SEQUENCE) {
		valid = add_listen(reader, value, server);
	} else if (value->n == 0 || value->n > CONFIG_LISTEN_MAX) {
		config_error(reader, "found a list of %zu; must be " LISTEN_ALLOWED ", or a list of 1 to %d of them",
		    value->n, CONFIG_LISTEN_MAX);
		valid = false;
	} else {
		for (size_t i = 0; i < value->n; i++) {
			struct config_place place = config_enter(reader, NULL, i, value->items[i]->mark);

			valid &= add_listen(reader, value->items[i], server);
			config_leave(reader, place);
		}
	}
	config_listen_done(&scratch);
	return valid;
}

bool
config_read_admin(
    struct config_reader *reader, UNUSED const struct config_key *key, const struct node *value, void *field)
{
	struct server_config scratch = {.listen = NULL}, *server = field ? field : &scratch;
	bool valid = true;

	if (value->kind == NODE_STRING && !strcmp(value->text, "none")) {
		server->admin_none = true;
	} else if (value->kind != NODE_SEQUENCE) {
		valid = add_admin(reader, value, server);
	} else if (value->n == 0 || value->n > CONFIG_LISTEN_MAX) {
		config_error(reader, "found a list of %zu; must be " ADMIN_ALLOWED ", or a list of 1 to %d of them",
		    value->n, CONFIG_LISTEN_MAX);
		valid = false;
	} else {
		for (size_t i = 0; i < value->n; i++) {
			struct config_place place = config_enter(reader, NULL, i, value->items[i]->mark);

			valid &= add_admin(reader, value->items[i], server);
			config_leave(reader, place);
		}
	}
	config_listen_done(&scratch);
	return valid;
}

bool
config_check_listen(struct config_reader *reader, const struct server_config *server)
{
	bool valid = true;

	for (size_t i = 0; i < server->n_admin; i++)
		for (size_t l = 0; l < server->n_listen; l++)
			valid &= check_overlap(reader, &server->listen[l], &server->admin[i]);
	return valid;
}

void
config_default_listen(struct server_config *server)
{
	server->admin_unix = server->admin_unix || (server->n_admin == 0 && !server->admin_none);
	if (server->n_listen > 0)
		return;
	server->listen = xcalloc(1, sizeof(*server->listen));
	server->n_listen = 1;
	server->listen[0] = (struct listen_config){
	    .kind = LISTEN_TCP, .text = xstrdup("127.0.0.1:8888"), .host = xstrdup("127.0.0.1"), .port = 8888};
}

void
config_listen_done(struct server_config *server)
{
	for (size_t i = 0; i < server->n_listen; i++)
		listen_done(&server->listen[i]);
	free(server->listen);
	server->listen = NULL;
	server->n_listen = 0;
	for (size_t i = 0; i < server->n_admin; i++)
		listen_done(&server->admin[i]);
	free(server->admin);
	server->admin = NULL;
	server->n_admin = 0;
}
