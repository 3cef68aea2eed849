/*
 * target - see target.h.
 */
#include "http/target.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decode (RFC 3986 2.1). The length, or -EINVAL. */
static ssize_t
decode(const char *text, size_t length, char *room)
{
	size_t n = 0;

	for (size_t i = 0; i < length; i++) {
		int high, low;

		if (text[i] != '%') {
			room[n++] = text[i];
			continue;
		}
		if (length - i < 3 || (high = hex_digit(text[i + 1])) < 0 || (low = hex_digit(text[i + 2])) < 0)
			return -EINVAL;
		if (high == 0 && low == 0)
			return -EINVAL;
		room[n++] = (char)(high << 4 | low);
		i += 2;
	}
	return (ssize_t)n;
}

/* Whether the query holds name=value as one of its &-separated parts. */
static bool
query_has(const char *query, size_t length, const char *part)
{
	size_t wanted = strlen(part);

	while (length > 0) {
		const char *end = memchr(query, '&', length);
		size_t n = end ? (size_t)(end - query) : length;

		if (n == wanted && !strncasecmp(query, part, n))
			return true;
		if (!end)
			return false;
		length -= n + 1;
		query = end + 1;
	}
	return false;
}

int
http_target_parse(const char *target, size_t length, char *room, struct http_target *ret_target)
{
	const char *query, *fragment;
	ssize_t n;

	memset(ret_target, 0, sizeof(*ret_target));
	ret_target->path = room;
	room[0] = '\0';
	if (length == 1 && target[0] == '*') {
		ret_target->asterisk = true;
		return 0;
	}
	if (length > 7 && (!strncasecmp(target, "http://", 7) || (length > 8 && !strncasecmp(target, "https://", 8)))) {
		const char *authority = (const char *)memchr(target, ':', length) + 3, *end = target + length;
		const char *path = authority;

		while (path < end && *path != '/' && *path != '?' && *path != '#')
			path++;
		if (path == authority || memchr(authority, '@', (size_t)(path - authority)))
			return -EINVAL; /* no host, or a user (RFC 9110 4.2.1, 4.2.4) */
		length = (size_t)(end - path);
		target = path;
		if (path == end || *path != '/') { /* an empty path is "/" (4.2.3), where nothing is */
			room[0] = '/';
			room[1] = '\0';
			ret_target->path_length = 1;
			return 0;
		}
	}
	if (length == 0 || target[0] != '/')
		return -EINVAL;
	fragment = memchr(target, '#', length);
	if (fragment)
		length = (size_t)(fragment - target);
	query = memchr(target, '?', length);
	if (query) {
		size_t path_length = (size_t)(query - target);

		ret_target->debug = query_has(query + 1, length - path_length - 1, "debug=true");
		length = path_length;
	}
	n = decode(target, length, room);
	if (n < 0)
		return (int)n;
	if (n > 1 && room[n - 1] == '/')
		n--;
	room[n] = '\0';
	ret_target->path_length = (size_t)n;
	return 0;
}

static int
finish_value(const char *text, size_t length, char *room)
{
	ssize_t n = decode(text, length, room);

	if (n < 0)
		return (int)n;
	room[n] = '\0';
	return (int)n;
}

int
http_target_query(const char *target, size_t length, const char *name, char *room, size_t room_size)
{
	const char *fragment = memchr(target, '#', length), *part, *end;
	size_t name_length = strlen(name);

	end = fragment ? fragment : target + length;
	part = memchr(target, '?', (size_t)(end - target));
	while (part) {
		const char *begin = part + 1, *part_end;

		part = memchr(begin, '&', (size_t)(end - begin));
		part_end = part ? part : end;
		if ((size_t)(part_end - begin) < name_length || memcmp(begin, name, name_length) != 0)
			continue;
		begin += name_length;
		if (begin < part_end && *begin != '=')
			continue;
		begin += begin < part_end;
		if ((size_t)(part_end - begin) >= room_size)
			return -E2BIG;
		return finish_value(begin, (size_t)(part_end - begin), room);
	}
	return -ENOENT;
}
