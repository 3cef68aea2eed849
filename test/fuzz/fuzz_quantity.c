/*
 * fuzz_quantity - any text as a quantity.
 *
 * The two units must agree: both refuse the same texts as nonsense, and where both have a value, bytes is a thousandth
 * of milli, rounded away from zero.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/quantity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xstrndup((const char *)data, size);
	int64_t milli, bytes;
	int milli_r = quantity_parse_milli(text, &milli), bytes_r = quantity_parse_bytes(text, &bytes);

	ASSERT((milli_r == -EINVAL) == (bytes_r == -EINVAL));
	if (milli_r == 0) {
		ASSERT(bytes_r == 0);
		ASSERT(bytes == milli / 1000 + (milli % 1000 > 0) - (milli % 1000 < 0));
	}
	free(text);
	return 0;
}
