/*
 * access - see access.h.
 */
#include "http/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "http/field.h"

#define TARGET_MAX 1024 /* bytes of the line that each of these may take */
#define FIELD_MAX  512

static const char hex[] = "0123456789abcdef";

/* splitmix64 over a counter: one of a kind in this process, and by its beginning everywhere. A forked process begins anew. */
void
http_access_make_id(char to[HTTP_REQUEST_ID_MADE])
{
	static uint64_t state;
	static pid_t owner;
	uint64_t z;

	if (owner == 0 || owner != getpid()) {
		if (getrandom(&state, sizeof(state), GRND_NONBLOCK) != (ssize_t)sizeof(state))
			state = (uint64_t)clock_ns() * 0x9e3779b97f4a7c15 + (uint64_t)getpid();
		owner = getpid();
	}
	z = state += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	z ^= z >> 31;
	for (int i = 0; i < HTTP_REQUEST_ID_MADE; i++, z >>= 4)
		to[i] = hex[z & 15];
}

/* ---- pieces of a line ---- */

struct writer {
	char *at;
	bool json;
};

static void
put(struct writer *writer, const char *text, size_t length)
{
	memcpy(writer->at, text, length);
	writer->at += length;
}

#define PUT(writer, literal) put(writer, literal, sizeof(literal) - 1)

/* What a client has sent, at most room bytes of it, so that it can neither end the line nor a quoted text in it. */
static void
put_escaped(struct writer *writer, const char *text, size_t length, size_t room)
{
	const char *end = writer->at + room;

	for (size_t i = 0; i < length && end - writer->at >= 6; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
			*writer->at++ = (char)c;
		} else if (writer->json && c < 0x7f) {
			writer->at += c < 0x20 ? sprintf(writer->at, "\\u%04x", c) : sprintf(writer->at, "\\%c", c);
		} else {
			if (writer->json)
				*writer->at++ = '\\';
			*writer->at++ = '\\';
			*writer->at++ = 'x';
			*writer->at++ = hex[c >> 4];
			*writer->at++ = hex[c & 15];
		}
	}
}

static void
put_unsigned(struct writer *writer, uint64_t number, unsigned min_digits)
{
	char digits[24];
	size_t n = 0;

	for (; number > 0 || n < min_digits; number /= 10)
		digits[sizeof(digits) - ++n] = (char)('0' + number % 10);
	put(writer, digits + sizeof(digits) - n, n);
}

static void
put_ms(struct writer *writer, int64_t ns)
{
	if (ns < 0) {
		put(writer, writer->json ? "null" : "-", writer->json ? 4 : 1);
		return;
	}
	put_unsigned(writer, (uint64_t)ns / 1000000, 1);
	PUT(writer, ".");
	put_unsigned(writer, (uint64_t)ns / 1000 % 1000, 3);
}

/* "30/Nov/2026:05:00:00 +0000", made once a second. */
static void
put_date(struct writer *writer)
{
	static __thread time_t second;
	static __thread char text[32];
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec != second) {
		gmtime_r(&now.tv_sec, &tm);
		strftime(text, sizeof(text), "%d/%b/%Y:%H:%M:%S +0000", &tm);
		second = now.tv_sec;
	}
	put(writer, text, 26);
}

/* ---- what is known about a request ---- */

/* Of the connection, looked up once. */
static const char *
client_of(struct http_conn *conn)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);

	if (conn->client[0])
		return conn->client;
	strcpy(conn->client, "-");
	if (getpeername(conn->fd, (struct sockaddr *)&address, &length) < 0)
		return conn->client;
	if (address.ss_family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)&address)->sin_addr, conn->client, sizeof(conn->client));
	else if (address.ss_family == AF_INET6)
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&address)->sin6_addr, conn->client, sizeof(conn->client));
	else if (address.ss_family == AF_UNIX)
		strcpy(conn->client, "unix");
	if (!strncmp(conn->client, "::ffff:", 7) && strchr(conn->client, '.')) /* IPv4 on an IPv6 socket */
		memmove(conn->client, conn->client + 7, strlen(conn->client + 7) + 1);
	return conn->client;
}

struct request {
	bool known; /* its head was read */
	const char *method;
	const char *target;
	size_t target_length;
	const char *protocol;
	const char *referer;
	size_t referer_length;
	const char *agent;
	size_t agent_length;
};

static void
read_request(struct http_conn *conn, struct request *ret_request)
{
	const struct http_parser *parser = http_conn_request(conn);
	const char *bytes;

	memset(ret_request, 0, sizeof(*ret_request));
	ret_request->known = parser->head_complete;
	if (!parser->head_complete)
		return;
	bytes = http_conn_bytes(conn);
	ret_request->method = llhttp_method_name(http_parser_method(parser));
	ret_request->target = bytes + parser->target.offset;
	ret_request->target_length = parser->target.length;
	ret_request->protocol = parser->llhttp.http_minor == 0 ? "HTTP/1.0" : "HTTP/1.1";
	http_field_find(parser, bytes, "referer", &ret_request->referer, &ret_request->referer_length);
	http_field_find(parser, bytes, "user-agent", &ret_request->agent, &ret_request->agent_length);
}

/* ---- lines ---- */

static void
put_quoted(struct writer *writer, const char *text, size_t length)
{
	PUT(writer, " \"");
	if (length > 0)
		put_escaped(writer, text, length, FIELD_MAX);
	else
		PUT(writer, "-");
	PUT(writer, "\"");
}

static void
put_combined(struct writer *writer, const char *client, const struct request *request, int status, size_t n_bytes)
{
	put(writer, client, strlen(client));
	PUT(writer, " - - [");
	put_date(writer);
	PUT(writer, "] \"");
	if (request->known) {
		put(writer, request->method, strlen(request->method));
		PUT(writer, " ");
		put_escaped(writer, request->target, request->target_length, TARGET_MAX);
		PUT(writer, " ");
		put(writer, request->protocol, 8);
	} else {
		PUT(writer, "-");
	}
	PUT(writer, "\" ");
	put_unsigned(writer, (uint64_t)status, 3);
	PUT(writer, " ");
	put_unsigned(writer, n_bytes, 1);
	put_quoted(writer, request->referer, request->referer_length);
	put_quoted(writer, request->agent, request->agent_length);
	PUT(writer, " ");
}

static void
put_member(struct writer *writer, const char *name, const char *text, size_t length, size_t room)
{
	PUT(writer, ",\"");
	put(writer, name, strlen(name));
	PUT(writer, "\":\"");
	put_escaped(writer, text, length, room);
	PUT(writer, "\"");
}

static void
put_json(struct writer *writer, const char *client, const struct request *request, int status, size_t n_bytes)
{
	PUT(writer, "{\"time\":\"");
	log_put_time(writer->at);
	writer->at += LOG_TIME_LENGTH;
	PUT(writer, "\"");
	put_member(writer, "client", client, strlen(client), FIELD_MAX);
	if (request->known) {
		put_member(writer, "method", request->method, strlen(request->method), FIELD_MAX);
		put_member(writer, "target", request->target, request->target_length, TARGET_MAX);
		put_member(writer, "protocol", request->protocol, 8, FIELD_MAX);
	}
	PUT(writer, ",\"status\":");
	put_unsigned(writer, (uint64_t)status, 3);
	PUT(writer, ",\"bytes\":");
	put_unsigned(writer, n_bytes, 1);
	if (request->referer_length > 0)
		put_member(writer, "referer", request->referer, request->referer_length, FIELD_MAX);
	if (request->agent_length > 0)
		put_member(writer, "user_agent", request->agent, request->agent_length, FIELD_MAX);
}

static void
put_times(struct writer *writer, const struct http_times *times)
{
	if (writer->json)
		PUT(writer, ",\"queue_ms\":");
	put_ms(writer, times->queue_ns);
	if (writer->json)
		PUT(writer, ",\"predict_ms\":");
	else
		PUT(writer, " ");
	put_ms(writer, times->predict_ns);
	if (writer->json)
		PUT(writer, ",\"total_ms\":");
	else
		PUT(writer, " ");
	put_ms(writer, times->total_ns);
}

static void
put_api(struct writer *writer, const char *api, int replica)
{
	if (!writer->json) {
		PUT(writer, " ");
		put(writer, api ? api : "-", api ? strlen(api) : 1);
		return;
	}
	if (api)
		put_member(writer, "api", api, strlen(api), FIELD_MAX);
	if (replica >= 0) {
		PUT(writer, ",\"replica\":");
		put_unsigned(writer, (uint64_t)replica, 1);
	}
	PUT(writer, "}");
}

void
http_access_log(struct http_conn *conn, const struct http_answer *answer, const char *api, int replica,
    const struct http_times *times)
{
	const struct http_conns *conns = conn->conns;
	bool has_body = http_parser_method(http_conn_request(conn)) != HTTP_HEAD && answer->status != 204;
	size_t n_bytes = has_body ? answer->body_length : 0;
	struct http_times all = *times;
	struct request request;
	char line[LOG_ACCESS_MAX];
	struct writer writer = {.at = line, .json = log_get_access() == LOG_ACCESS_JSON};

	if (all.total_ns < 0 && conn->kept->arrival_ns != 0)
		all.total_ns = clock_ns() - conn->kept->arrival_ns;
	read_request(conn, &request);
	if (writer.json) {
		put_json(&writer, client_of(conn), &request, answer->status, n_bytes);
		put_member(&writer, "request_id", conns->request_id, conns->request_id_length, FIELD_MAX);
	} else {
		put_combined(&writer, client_of(conn), &request, answer->status, n_bytes);
		put(&writer, conns->request_id, conns->request_id_length);
		PUT(&writer, " ");
	}
	put_times(&writer, &all);
	put_api(&writer, api, replica);
	ASSERT(writer.at <= line + sizeof(line));
	log_access_line(line, (size_t)(writer.at - line));
}
