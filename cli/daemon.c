/*
 * daemon - see daemon.h.
 */
#include "cli/daemon.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/config.h"
#include "common/fd.h"

#define CONNECT_SECONDS 5L
#define ANSWER_SECONDS  30L
#define PREDICT_SECONDS 0L /* for as long as it takes: requests.timeout of the api ends it */
#define TOKEN_MAX       4096

/* ---- where it is ---- */

int
daemon_find_config(const struct cli *cli, char **ret_path, struct error *err)
{
	char folder[PATH_MAX], *slash;

	if (cli->config) {
		*ret_path = realpath(cli->config, NULL);
		if (!*ret_path)
			return error_set(err, -errno, "\"%s\": %s", cli->config, strerror(errno));
		return 0;
	}
	if (!getcwd(folder, sizeof(folder)))
		return error_set(err, -errno, "cannot tell the working directory: %s", strerror(errno));
	for (;;) {
		char *path = xasprintf("%s/cortex.yaml", folder);

		if (access(path, F_OK) == 0) {
			*ret_path = realpath(path, NULL);
			if (*ret_path) {
				free(path);
				return 0;
			}
		}
		free(path);
		slash = strrchr(folder, '/');
		if (!slash || !*folder)
			break;
		*slash = '\0';
	}
	return error_set(err, -ENOENT,
	    "there is no cortex.yaml here, nor in a folder above; go to the project, or say where it is: --config "
	    "FILE");
}

static int
read_token(const char *path, char **ret_token, struct error *err)
{
	char *text = NULL;
	int r = file_read_all(path, TOKEN_MAX, &text, NULL);

	if (r < 0)
		return error_set(err, r, "cannot read the token in \"%s\": %s", path, strerror(-r));
	text[strcspn(text, "\r\n")] = '\0';
	*ret_token = text;
	return 0;
}

/* An address on which it listens as one to connect to. */
static char *
reachable(const struct listen_config *listen)
{
	bool is_v6 = strchr(listen->host, ':');

	if (!*listen->host || !strcmp(listen->host, "0.0.0.0"))
		return xasprintf("127.0.0.1:%u", listen->port);
	if (!strcmp(listen->host, "::"))
		return xasprintf("[::1]:%u", listen->port);
	return xasprintf(is_v6 ? "[%s]:%u" : "%s:%u", listen->host, listen->port);
}

/* The path of a socket is short (sun_path, and curl's is no longer), that of a folder is not: go by way of its descriptor, which is the
 * caller's; or a negative errno. */
static int
shorten(const char *socket, char *room, size_t size)
{
	const char *name = strrchr(socket, '/');
	char *folder = name ? xasprintf("%.*s/", (int)(name - socket), socket) : xstrdup(".");
	int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC), r = fd < 0 ? -errno : fd;

	snprintf(room, size, "/proc/self/fd/%d/%s", fd, name ? name + 1 : socket);
	free(folder);
	return r;
}

static bool
is_listened_on(const char *socket_path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int folder = shorten(socket_path, address.sun_path, sizeof(address.sun_path)), fd;
	bool is;

	if (folder < 0)
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	is = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN; /* too many wait */
	fd_close(&fd);
	fd_close(&folder);
	return is;
}

/* The address that is meant by server.admin, with the token that cortexd has made. */
static int
find_by_server(struct daemon *daemon, const struct server_config *server, struct error *err)
{
	char *token;
	int r = 0;

	if (server->admin_none)
		return error_set(err, -ENOENT, "\"%s\" says that cortexd has no admin interface (server.admin: none)",
		    daemon->config);
	if (server->admin_unix || server->n_admin == 0)
		return 0;
	free(take_ptr(&daemon->socket));
	daemon->host = reachable(&server->admin[0]);
	if (daemon->token)
		return 0;
	token = server->admin_token ? xstrdup(server->admin_token) : xasprintf("%s/token", server->state_dir);
	if (access(token, F_OK) == 0)
		r = read_token(token, &daemon->token, err);
	free(token);
	return r;
}

static bool
serves_config(const struct daemon *daemon)
{
	json_t *status = NULL;
	char *served = NULL;
	bool same;

	if (daemon_status(daemon, &status, NULL) == 0)
		served = realpath(json_string_value(json_object_get(status, "config")), NULL);
	same = served && !strcmp(served, daemon->config);
	json_decref(status);
	free(served);
	return same;
}

/* A cortexd that runs has the settings that it began with, whatever is in the file by now: its socket counts for more, also the one in the
 * usual place. */
static int
find_by_config(struct daemon *daemon, struct error *err)
{
	const char *path = daemon->config;
	char *usual = xasprintf("%.*s/.cortex", (int)(strrchr(path, '/') - path), path);
	struct config_errors errors;
	struct config *config = NULL;
	int r = 0;

	if (config_load_to_prepare(path, &config, &errors) < 0)
		daemon->bad = xstrdup(errors.lines[0]);
	config_errors_done(&errors);
	daemon->state_dir = xstrdup(config ? config->server.state_dir : usual);
	daemon->socket = xasprintf("%s/control.sock", daemon->state_dir);
	if (config && strcmp(usual, daemon->state_dir) != 0 && !is_listened_on(daemon->socket)) {
		struct daemon other = *daemon;

		other.socket = xasprintf("%s/control.sock", usual);
		if (is_listened_on(other.socket) && serves_config(&other)) {
			free(daemon->socket);
			daemon->socket = other.socket;
		} else {
			free(other.socket);
		}
	}
	if (config && !is_listened_on(daemon->socket))
		r = find_by_server(daemon, &config->server, err);
	config_unref(config);
	free(usual);
	return r;
}

int
daemon_find(const struct cli *cli, struct daemon *daemon, struct error *err)
{
	const char *address = cli->socket;
	int r;

	memset(daemon, 0, sizeof(*daemon));
	if (cli->token_file) {
		r = read_token(cli->token_file, &daemon->token, err);
		if (r < 0)
			return r;
	}
	if (address && !strncmp(address, "http://", 7)) {
		address += 7;
		daemon->host = xasprintf(
		    "%.*s%s", (int)strcspn(address, "/"), address, strchr(address, ':') ? "" : ":80");
	} else if (address && !strncmp(address, "unix:", 5)) {
		daemon->socket = xstrdup(address + 5);
	} else if (address && !strchr(address, '/') && strchr(address, ':')) {
		daemon->host = xstrdup(address);
	} else if (address) {
		daemon->socket = xstrdup(address);
	} else {
		r = daemon_find_config(cli, &daemon->config, err);
		return r < 0 ? r : find_by_config(daemon, err);
	}
	return 0;
}

int
daemon_find_again(const struct cli *cli, struct daemon *daemon, struct error *err)
{
	struct daemon found;
	int r = daemon_find(cli, &found, err);

	if (r == 0) {
		struct daemon old = *daemon;

		*daemon = found;
		daemon->is_enough = old.is_enough;
		found = old;
	}
	daemon_done(&found);
	return r;
}

void
daemon_done(struct daemon *daemon)
{
	free(daemon->config);
	free(daemon->bad);
	free(daemon->state_dir);
	free(daemon->socket);
	free(daemon->host);
	free(daemon->token);
}

/* ---- asking ---- */

struct taking {
	struct daemon_answer answer;
	size_t room; /* for its body */
	CURL *curl;
	daemon_take_fn *take; /* NULL: into the answer */
	void *arg;
	int folder; /* of the socket, while it is asked */
	bool too_large, stopped;
};

static size_t
on_bytes(char *bytes, size_t size, size_t n, void *arg)
{
	struct taking *taking = arg;
	struct daemon_answer *answer = &taking->answer;
	size_t length = size * n;

	curl_easy_getinfo(taking->curl, CURLINFO_RESPONSE_CODE, &answer->status);
	if (taking->take && answer->status == 200) {
		taking->stopped = !taking->take(bytes, length, taking->arg);
		return taking->stopped ? 0 : length;
	}
	taking->too_large = answer->length + length > DAEMON_ANSWER_MAX;
	if (taking->too_large)
		return 0;
	if (answer->length + length >= taking->room) {
		taking->room = MAX(2 * taking->room, answer->length + length + 1);
		answer->body = xrealloc(answer->body, taking->room, 1);
	}
	memcpy(answer->body + answer->length, bytes, length);
	answer->length += length;
	answer->body[answer->length] = '\0';
	return length;
}

static CURL *
new_request(const char *url, const char *socket, struct taking *taking)
{
	CURL *curl = curl_easy_init();
	char path[PATH_MAX];

	ASSERT(curl);
	taking->curl = curl;
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, taking);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "cortex/" CORTEXD_VERSION);
	taking->folder = -1;
	if (socket) {
		taking->folder = shorten(socket, path, sizeof(path));
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, taking->folder < 0 ? socket : path);
	}
	return curl;
}

/* Frees all of it. */
static CURLcode
run(CURL *curl, struct curl_slist *fields, long seconds, struct taking *taking)
{
	CURLcode code;

	fields = curl_slist_append(fields, "Expect:");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, seconds);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &taking->answer.status);
	curl_slist_free_all(fields);
	curl_easy_cleanup(curl);
	fd_close(&taking->folder);
	return code;
}

static void
set_body(CURL *curl, const char *body, size_t length)
{
	curl_easy_setopt(curl, CURLOPT_POST, 1L);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body ? body : "");
	curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
}

/* Does a cortexd that runs have the state directory? To try its lock would be in the way of one that starts. */
static bool
is_owned(const char *state_dir)
{
	static const char name[] = " (cortexd) ";
	char *path = xasprintf("%s/lock", state_dir), *pid = NULL, *stat = NULL;
	const char *found = NULL;
	bool is;

	if (file_read_all(path, 64, &pid, NULL) == 0) {
		free(path);
		path = xasprintf("/proc/%d/stat", atoi(pid));
		if (file_read_all(path, 4096, &stat, NULL) == 0)
			found = strstr(stat, name);
	}
	is = found && found[strlen(name)] != 'Z';
	free(path);
	free(pid);
	free(stat);
	return is;
}

/* Nobody is there. */
static int
explain(const struct daemon *daemon, const struct taking *taking, CURLcode code, struct error *err)
{
	const char *where = daemon->socket ? daemon->socket : daemon->host;

	if (taking->too_large)
		return error_set(err, -E2BIG, "the answer of cortexd is too large");
	if (code == CURLE_ABORTED_BY_CALLBACK)
		return error_set(err, -ECANCELED, "that was enough");
	if (code == CURLE_OPERATION_TIMEDOUT)
		return error_set(err, -ETIMEDOUT, "cortexd does not answer (%s)", where);
	if (code != CURLE_COULDNT_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST)
		return error_set(err, -EIO, "cannot speak to cortexd (%s): %s", where, curl_easy_strerror(code));
	if (daemon->socket && access(daemon->socket, W_OK) < 0 && errno == EACCES)
		return error_set(err, -EACCES, "may not speak to cortexd: %s: %s; use its user, or sudo",
		    daemon->socket, strerror(EACCES));
	if (daemon->bad)
		return error_set(err, -ECONNREFUSED, "cannot tell where cortexd is, if it runs: %s", daemon->bad);
	if (daemon->state_dir && is_owned(daemon->state_dir))
		return error_set(err, -ECONNREFUSED,
		    "cortexd runs, but not, or not yet, with the admin interface of \"%s\"; to apply that: cortexd "
		    "--reload -c %s",
		    daemon->config, daemon->config);
	if (daemon->config)
		return error_set(err, -ECONNREFUSED, "no cortexd serves \"%s\"; start it with: cortexd -c %s",
		    daemon->config, daemon->config);
	return error_set(err, -ECONNREFUSED, "no cortexd listens on %s; start it with: cortexd -c cortex.yaml", where);
}

static int
progress_cb(void *arg, UNUSED curl_off_t all, UNUSED curl_off_t now, UNUSED curl_off_t up_all, UNUSED curl_off_t up_now)
{
	const struct daemon *daemon = arg;

	return daemon->is_enough();
}

static int
perform(const struct daemon *daemon, const char *method, const char *path, const char *body, size_t length,
    long seconds, struct taking *taking, struct error *err)
{
	char *url = xasprintf("http://%s%s", daemon->host ? daemon->host : "localhost", path);
	CURL *curl = new_request(url, daemon->socket, taking);
	struct curl_slist *fields = curl_slist_append(NULL, "X-Cortexd: 1");
	CURLcode code;

	fields = curl_slist_append(
	    fields, "Host: localhost"); /* a name is refused, for the sake of browsers (monitor/guard.c) */
	if (daemon->token) {
		char *field = xasprintf("Authorization: Bearer %s", daemon->token);

		fields = curl_slist_append(fields, field);
		free(field);
	}
	if (body)
		fields = curl_slist_append(fields, "Content-Type: application/json");
	if (!strcmp(method, "POST"))
		set_body(curl, body, length);
	free(url);
	if (daemon->is_enough) {
		curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
		curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, progress_cb);
		curl_easy_setopt(curl, CURLOPT_XFERINFODATA, daemon);
	}
	code = run(curl, fields, seconds, taking);
	return code == CURLE_OK || taking->stopped ? 0 : explain(daemon, taking, code, err);
}

/* What an answer other than 200 says, in one line. -ENOENT: what is asked for is not there. */
static int
refused(const struct daemon *daemon, const struct daemon_answer *answer, struct error *err)
{
	const char *body = answer->body ? answer->body : "";
	int length = (int)strcspn(body, "\r\n");

	if (answer->status == 401)
		return error_set(err, -EACCES, "cortexd wants %s token; --token-file FILE names a file with it (%s)",
		    daemon->token ? "another" : "a", "in the state directory of cortexd, as a rule: .cortex/token");
	if (answer->status == 404)
		return error_set(err, -ENOENT, "%.*s", length, body);
	return error_set(err, -EIO, "cortexd answers %ld: %.*s", answer->status, length, body);
}

int
daemon_request(const struct daemon *daemon, const char *method, const char *path, const char *body, size_t length,
    struct daemon_answer *ret_answer, struct error *err)
{
	struct taking taking = {.take = NULL};
	int r = perform(daemon, method, path, body, length, body ? PREDICT_SECONDS : ANSWER_SECONDS, &taking, err);

	if (r < 0) {
		free(taking.answer.body);
		return r;
	}
	if (!taking.answer.body)
		taking.answer.body = xstrdup("");
	if (taking.answer.status == 401) {
		r = refused(daemon, &taking.answer, err);
		daemon_answer_done(&taking.answer);
		return r;
	}
	*ret_answer = taking.answer;
	return 0;
}

void
daemon_answer_done(struct daemon_answer *answer)
{
	free(take_ptr(&answer->body));
}

int
daemon_stream(const struct daemon *daemon, const char *path, daemon_take_fn *take, void *arg, struct error *err)
{
	struct taking taking = {.take = take, .arg = arg};
	int r = perform(daemon, "GET", path, NULL, 0, 0, &taking, err);

	if (taking.answer.status == 200)
		r = r < 0 ? -EPIPE : 0;
	else if (r == 0)
		r = refused(daemon, &taking.answer, err);
	free(taking.answer.body);
	return r;
}

int
daemon_status(const struct daemon *daemon, json_t **ret_status, struct error *err)
{
	struct daemon_answer answer;
	json_t *status = NULL;
	int r = daemon_request(daemon, "GET", "/status", NULL, 0, &answer, err);

	if (r < 0)
		return r;
	if (answer.status != 200) {
		r = refused(daemon, &answer, err);
	} else {
		status = json_loadb(answer.body, answer.length, 0, NULL);
		if (!json_is_array(json_object_get(status, "apis")))
			r = error_set(err, -EBADMSG, "what cortexd answers is no status; is that really a cortexd?");
	}
	if (r == 0)
		*ret_status = json_incref(status);
	json_decref(status);
	daemon_answer_done(&answer);
	return r;
}

int
daemon_post(const char *url, const char *socket, const char *body, size_t length, struct daemon_answer *ret_answer,
    struct error *err)
{
	struct taking taking = {.take = NULL};
	CURL *curl = new_request(url, socket, &taking);
	struct curl_slist *fields = curl_slist_append(NULL, "Content-Type: application/json");
	CURLcode code;

	set_body(curl, body, length);
	code = run(curl, fields, PREDICT_SECONDS, &taking);
	if (code != CURLE_OK) {
		free(taking.answer.body);
		return error_set(err, -EIO, "%s: %s", url,
		    taking.too_large ? "the answer is larger than 64 MiB" : curl_easy_strerror(code));
	}
	if (!taking.answer.body)
		taking.answer.body = xstrdup("");
	*ret_answer = taking.answer;
	return 0;
}

char *
daemon_path(const char *path, const char *value)
{
	char *encoded = curl_easy_escape(NULL, value, 0), *whole;

	ASSERT(encoded);
	whole = xasprintf("%s%s", path, encoded);
	curl_free(encoded);
	return whole;
}
