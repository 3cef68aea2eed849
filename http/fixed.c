/*
 * fixed - see fixed.h.
 */
#include "http/fixed.h"

static const char index_message[] = "{\"message\": \"" HTTP_FIXED_HINT "\"}";
static const char preflight_fields[] = "Allow: GET, HEAD, OPTIONS, POST\r\n"
				       "Access-Control-Allow-Methods: GET, HEAD, OPTIONS, POST\r\n"
				       "Access-Control-Max-Age: 86400\r\n";

static void
answer_preflight(struct http_conn *conn)
{
	http_conn_answer(conn, &(struct http_answer){.status = 204, .fields = preflight_fields});
}

static void
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

/* A path with one thing to say. */
static void
answer_probe(struct http_conn *conn, bool ok)
{
	switch (http_parser_method(http_conn_request(conn))) {
	case HTTP_GET:
	case HTTP_HEAD:
		answer_json(conn, ok ? 200 : 503, ok ? "{\"ok\": true}" : "{\"ok\": false}");
		break;
	case HTTP_OPTIONS:
		answer_preflight(conn);
		break;
	default:
		answer_text(conn, 405, "method not allowed\n", "Allow: GET, HEAD, OPTIONS\r\n");
	}
}

static bool
answer_api(struct http_conn *conn)
{
	switch (http_parser_method(http_conn_request(conn))) {
	case HTTP_POST:
		return false;
	case HTTP_GET:
	case HTTP_HEAD:
		if (conn->route.describes)
			return false;
		answer_json(conn, 200, index_message);
		break;
	case HTTP_OPTIONS:
		answer_preflight(conn);
		break;
	default:
		answer_text(conn, 405, "method not allowed\n", "Allow: GET, HEAD, OPTIONS, POST\r\n");
	}
	return true;
}

bool
http_fixed_answer(struct http_conn *conn, bool ready)
{
	switch (conn->route.kind) {
	case HTTP_ROUTE_API:
		return answer_api(conn);
	case HTTP_ROUTE_HEALTH:
		answer_probe(conn, true);
		break;
	case HTTP_ROUTE_READY:
		answer_probe(conn, ready);
		break;
	case HTTP_ROUTE_SERVER:
		if (http_parser_method(http_conn_request(conn)) == HTTP_OPTIONS)
			answer_preflight(conn);
		else
			answer_text(conn, 404, "not found\n", NULL);
		break;
	case HTTP_ROUTE_MALFORMED:
		answer_text(conn, 400, "malformed request target\n", NULL);
		break;
	case HTTP_ROUTE_NONE:
		answer_text(conn, 404, "not found\n", NULL);
		break;
	}
	return true;
}
