/*
 * What one process believes of another's bytes: control records, channel records, and the two start records. Whatever
 * decodes must be what it says, and encode to something that decodes to the same.
 */
#include <stdlib.h>
#include <string.h>

#include "common/activator_start.h"
#include "common/channel_record.h"
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
	ASSERT(record_encode(record.kind, record.numbers, record.text, wire) == size);
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

static void
try_activator_start(const uint8_t *data, size_t size)
{
	struct activator_start start, again;
	struct error err = {""};
	char *json, *json_again;

	if (activator_start_decode((const char *)data, size, &start, &err) < 0) {
		ASSERT(err.text[0] != '\0');
		return;
	}
	json = activator_start_encode(&start);
	ASSERT(activator_start_decode(json, strlen(json), &again, &err) == 0);
	json_again = activator_start_encode(&again);
	ASSERT(!strcmp(json, json_again));
	free(json);
	free(json_again);
	activator_start_done(&start);
	activator_start_done(&again);
}

/* Whatever is believed must add up: the bytes of the connections are those that are there. */
static void
try_channel_record(const uint8_t *data, size_t size, unsigned n_fds)
{
	static struct channel_record record;
	uint64_t sum = 0;

	if (channel_record_decode(data, size, n_fds, &record) < 0)
		return;
	ASSERT(record.n_conns <= CHANNEL_CONNS_MAX && n_fds == record.n_conns + record.outside);
	for (unsigned i = 0; i < record.n_conns; i++) {
		ASSERT(record.conns[i].n_request <= record.conns[i].received);
		sum += record.conns[i].n_request + record.conns[i].n_answer;
	}
	ASSERT(sum == record.n_bytes);
	if (!record.outside)
		ASSERT(record.bytes + record.n_bytes == data + size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0] & 3) {
	case 0:
		try_start_record(data + 1, size - 1);
		break;
	case 1:
		try_record(data + 1, size - 1);
		break;
	case 2:
		try_activator_start(data + 1, size - 1);
		break;
	default:
		try_channel_record(data + 1, size - 1, data[0] >> 2);
	}
	return 0;
}
