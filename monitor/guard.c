/*
 * guard - who may ask. See monitor.h.
 *
 * The unix socket is guarded by its file mode. Over TCP every request needs the token, but for the page itself and /healthz, which tell
 * nothing. Browsers need more, because they send requests for pages of other sites, and may reach the unix socket as well, by a tunnel:
 * the Host must be an address or localhost, since a name of another site may be made to mean us (DNS rebinding); a POST must come from
 * a page of ours or from no page, and must be one that a plain form cannot make.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/field.h"
#include "monitor/monitor.h"

/* Without the port; an address in brackets without these. */
static bool
host_name(const char *host, size_t length, char *room, size_t size)
{
	const char *end = host + length, *port;

	if (length > 0 && *host == '[') {
		port = memchr(host, ']', length);
		if (!port)
			return false;
		host++;
		end = port;
	} else {
		port = memchr(host, ':', length);
		end = port ? port : end;
	}
	if ((size_t)(end - host) >= size)
		return false;
	memcpy(room, host, (size_t)(end - host));
	room[end - host] = '\0';
	return true;
}

static bool
host_is_ours(struct http_conn *conn)
{
	char name[INET6_ADDRSTRLEN + 1];
	struct in6_addr address;
	const char *host;
	size_t length;

	if (http_field_find(http_conn_request(conn), http_conn_bytes(conn), "host", &host, &length) != 1 ||
	    !host_name(host, length, name, sizeof(name)))
		return false;
	return !strcasecmp(name, "localhost") || inet_pton(AF_INET, name, &address) == 1 ||
	    inet_pton(AF_INET6, name, &address) == 1;
}

/* How long it takes tells nothing but the lengths. */
static bool
equal(const char *a, size_t length, const char *secret)
{
	size_t secret_length = strlen(secret);
	unsigned char differs = length != secret_length;

	for (size_t i = 0; i < length; i++)
		differs |= (unsigned char)(a[i] ^ secret[secret_length > 0 ? i % secret_length : 0]);
	return !differs && secret_length > 0;
}

static bool
has_token(struct http_conn *conn)
{
	static const char scheme[] = "Bearer ";
	size_t length, skipped = strlen(scheme);
	const char *value;

	if (http_field_find(http_conn_request(conn), http_conn_bytes(conn), "authorization", &value, &length) != 1 ||
	    length <= skipped || strncasecmp(value, scheme, skipped) != 0)
		return false;
	return equal(value + skipped, length - skipped, door_of(conn)->monitor->start.token);
}

/* "http://HOST" of the page that asks, or no page. */
static bool
origin_is_ours(struct http_conn *conn)
{
	const struct http_parser *request = http_conn_request(conn);
	const char *origin, *host, *slashes;
	size_t length, host_length;
	unsigned n = http_field_find(request, http_conn_bytes(conn), "origin", &origin, &length);

	if (n == 0)
		return true;
	slashes = memmem(origin, length, "://", 3);
	if (n > 1 || !slashes || http_field_find(request, http_conn_bytes(conn), "host", &host, &host_length) != 1)
		return false;
	length -= (size_t)(slashes + 3 - origin);
	return length == host_length && !strncasecmp(slashes + 3, host, length);
}

/* One that a form of another page cannot send. */
static bool
is_deliberate(struct http_conn *conn)
{
	static const char json[] = "application/json";
	const struct http_parser *request = http_conn_request(conn);
	const char *type = http_conn_bytes(conn) + request->content_type.offset, *value;
	size_t length;

	if (request->body_length == 0 &&
	    http_field_find(request, http_conn_bytes(conn), "x-cortexd", &value, &length) == 1)
		return length == 1 && *value == '1';
	return request->content_type.length >= strlen(json) && !strncasecmp(type, json, strlen(json)) &&
	    (request->content_type.length == strlen(json) || strchr("; \t", type[strlen(json)]));
}

/* What tells nothing about this cortexd: the page has to ask for the token. */
static bool
is_public(struct http_conn *conn)
{
	static const char assets[] = "/assets/";
	const struct http_parser *request = http_conn_request(conn);
	const char *target = http_conn_bytes(conn) + request->target.offset;
	size_t length = request->target.length;

	if (http_parser_method(request) != HTTP_GET && http_parser_method(request) != HTTP_HEAD)
		return false;
	return (length == 1 && *target == '/') || (length == 8 && !memcmp(target, "/healthz", 8)) ||
	    (length > strlen(assets) && !memcmp(target, assets, strlen(assets)));
}

bool
guard_trusts(struct http_conn *conn)
{
	return !door_of(conn)->is_tcp || has_token(conn);
}

bool
guard_admits(struct http_conn *conn)
{
	enum llhttp_method method = http_parser_method(http_conn_request(conn));

	if (!host_is_ours(conn)) {
		answer_text(conn, 403, "the Host of a request must be an address or localhost\n", NULL);
		return false;
	}
	if (!is_public(conn) && !guard_trusts(conn)) {
		answer_text(conn, 401, "this needs the token: Authorization: Bearer TOKEN\n",
		    "WWW-Authenticate: Bearer realm=\"cortexd\"\r\n");
		return false;
	}
	if (method == HTTP_GET || method == HTTP_HEAD)
		return true;
	if (!origin_is_ours(conn)) {
		answer_text(conn, 403, "a page of another origin may not do this\n", NULL);
		return false;
	}
	if (!is_deliberate(conn)) {
		answer_text(conn, 403,
		    "a POST needs the content type application/json, or no body and the field X-Cortexd: 1\n", NULL);
		return false;
	}
	return true;
}
