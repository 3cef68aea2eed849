/*
 * fuzz_fetch - any bytes as what cortexd-fetch reads from outside: S3's documents, header lines, the files of AWS, addresses, keys.
 *
 * The first byte chooses. Beside memory errors it looks for: a path that leaves its folder, a list with an object without a key, a
 * refusal without a message.
 */
#include <stdlib.h>
#include <string.h>

#include "fetch/address.h"
#include "fetch/aws_config.h"
#include "fetch/store.h"
#include "fetch/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_path(const char *path)
{
	for (const char *at = path; *at;) {
		size_t length = strcspn(at, "/");

		ASSERT(length > 0 && length <= ADDRESS_NAME_MAX);
		ASSERT(!(length == 1 && *at == '.') && !(length == 2 && !memcmp(at, "..", 2)));
		at += length;
		ASSERT(!*at || at[1]);
		at += *at == '/';
	}
}

static void
try_key(const char *key)
{
	char *path = NULL;

	if (store_path_of(key, "d/", 1, &path) == 0 && path)
		check_path(path);
	free(path);
}

static void
try_list(const char *text, size_t length)
{
	struct xml_list list;

	if (xml_parse_list(text, length, &list) < 0)
		return;
	for (size_t i = 0; i < list.n; i++) {
		ASSERT(list.objects[i].key);
		try_key(list.objects[i].key);
	}
	xml_list_done(&list);
}

static void
try_error(const char *text, size_t length)
{
	struct xml_error error;

	if (xml_parse_error(text, length, &error) < 0)
		return;
	ASSERT(error.code);
	xml_error_done(&error);
}

static void
try_head(char *text)
{
	struct reply_head head = {.status = 0};
	char *line;

	while ((line = strsep(&text, "\n")))
		ASSERT(web_header_cb(line, 1, strlen(line), &head) == strlen(line));
	reply_head_done(&head);
}

static void
try_address(const char *text)
{
	struct error err = {""};
	struct address address;

	if (address_parse(text, &address, &err) < 0) {
		ASSERT(*err.text);
		return;
	}
	ASSERT(address_is_name(address.name, strlen(address.name)));
	address_done(&address);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0)
		return 0;
	text = xstrndup((const char *)data + 1, size - 1);
	switch (data[0] % 6) {
	case 0:
		try_list((const char *)data + 1, size - 1);
		break;
	case 1:
		try_error((const char *)data + 1, size - 1);
		break;
	case 2:
		try_head(text);
		break;
	case 3:
		free(aws_config_find(text, size % 2, "default", size % 3 ? "region" : "s3.addressing_style"));
		break;
	case 4:
		try_address(text);
		break;
	case 5:
		try_key(text);
		break;
	}
	free(text);
	return 0;
}
