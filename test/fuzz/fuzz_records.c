/*
 * What one process believes of another's bytes: control records and the start record. Whatever decodes must encode to
 * something that decodes to the same.
 */
#include <stdlib.h>
#include <string.h>

#include "common/record.h"
#include "common/start_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
try_record(const uint8_t *data, size_t size)
{
	uint8_t wire[RECORD_MAX];
	struct record record, again;

	if (record_decode(data, size, &record) < 0)
		return;
	ASSERT(record_encode(record.kind, record.text, wire) == size);
	ASSERT(!memcmp(wire, data, size));
	ASSERT(record_decode(wire, size, &again) == 0 && !strcmp(record.text, again.text));
}

static void
try_start_record(const uint8_t *data, size_t size)
{
	struct start_record start, again;
	struct error err = {""};
	char *json, *json_again;

	if (start_record_decode((const char *)data, size, &start, &err) < 0) {
		ASSERT(err.text[0] != '\0');
		return;
	}
	json = start_record_encode(&start);
	ASSERT(start_record_decode(json, strlen(json), &again, &err) == 0);
	json_again = start_record_encode(&again);
	ASSERT(!strcmp(json, json_again));
	free(json);
	free(json_again);
	start_record_done(&start);
	start_record_done(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		try_record(data + 1, size - 1);
	else
		try_start_record(data + 1, size - 1);
	return 0;
}
