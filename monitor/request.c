/*
 * request - who may ask for what. See monitor.h.
 */
#include <stdlib.h>
#include <string.h>

#include "http/field.h"
#include "http/target.h"
#include "monitor/asset.h"
#include "monitor/monitor.h"

#define PATH_MAX_LENGTH 256

void
answer_text(struct http_conn *conn, int status, const char *text, const char *fields)
{
	struct http_answer answer = http_answer_text(status, text);

	answer.fields = fields;
	http_conn_answer(conn, &answer);
}

static void
answer_json(struct http_conn *conn, int status, const char *json)
{
	const struct http_answer answer = http_answer_json(status, json);

	http_conn_answer(conn, &answer);
}

static void
answer_asset(struct http_conn *conn, const char *name)
{
	struct asset asset;

	if (!asset_find(name, &asset)) {
		answer_text(conn, 404, "not found\n", NULL);
		return;
	}
	http_conn_answer(conn,
	    &(struct http_answer){
		.status = 200, .content_type = asset.content_type, .body = asset.bytes, .body_length = asset.length});
}

static void
health(UNUSED struct monitor *monitor, struct http_conn *conn)
{
	answer_json(conn, 200, "{\"ok\": true}");
}

static void
page(UNUSED struct monitor *monitor, struct http_conn *conn)
{
	answer_asset(conn, "index.html");
}

static const struct {
	enum llhttp_method method;
	const char *path;
	void (*answer)(struct monitor *monitor, struct http_conn *conn);
} routes[] = {
    {HTTP_GET, "/", page},
    {HTTP_GET, "/healthz", health},
    {HTTP_GET, "/logs", logs_request},
};

static uint64_t
on_head(UNUSED struct http_conn *conn, UNUSED void *arg)
{
	return MONITOR_BODY_MAX;
}

static void
on_request(struct http_conn *conn, void *arg)
{
	static const char assets[] = "/assets/";
	const struct http_parser *request = http_conn_request(conn);
	struct monitor *monitor = ((struct door *)arg)->monitor;
	char path[PATH_MAX_LENGTH + 1];
	struct http_target target;
	enum llhttp_method method = http_parser_method(request);

	if (request->target.length > PATH_MAX_LENGTH ||
	    http_target_parse(http_conn_bytes(conn) + request->target.offset, request->target.length, path, &target) <
		0) {
		answer_text(conn, 400, "malformed request target\n", NULL);
		return;
	}
	for (size_t i = 0; i < N_ELEMENTS(routes); i++)
		if (!strcmp(path, routes[i].path) && method == routes[i].method) {
			routes[i].answer(monitor, conn);
			return;
		}
	if (!strncmp(path, assets, strlen(assets)) && method == HTTP_GET)
		answer_asset(conn, path + strlen(assets));
	else
		answer_text(conn, 404, "not found\n", NULL);
}

static void
on_gone(UNUSED struct http_conn *conn, UNUSED void *arg)
{
}

/* It may have left, or have shut down its side and wait for the answer. */
static void
on_peer_ended(struct http_conn *conn, UNUSED void *arg)
{
	http_conn_probe(conn);
}

const struct http_conns_callbacks request_callbacks = {
    .on_head = on_head,
    .on_request = on_request,
    .on_gone = on_gone,
    .on_peer_ended = on_peer_ended,
};
