/*
 * fuzz_proc - any text as /proc/PID/stat. What is accepted must be usable: a process can put what it likes into its name.
 */
#include <stdlib.h>
#include <string.h>

#include "supervisor/proc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xstrndup((const char *)data, size);
	struct proc_stat stat;

	if (proc_parse_stat(text, &stat)) {
		ASSERT(stat.parent >= 0 && stat.group >= 0);
		ASSERT(stat.start > 0 && stat.reaped_ns >= 0 && stat.rss_kib >= 0);
		ASSERT(memchr(stat.name, '\0', sizeof(stat.name)));
	}
	free(text);
	return 0;
}
