/*
 * recycle - see recycle.h.
 */
#include "replica/recycle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/fd.h"

void
recycle_init(struct recycle *recycle, const struct start_record *start, uint32_t random)
{
	uint64_t requests = (uint64_t)start->recycle_requests, percent = (uint64_t)start->recycle_jitter_percent;
	uint64_t most = requests / 100 * percent + requests % 100 * percent / 100; /* to take off */

	*recycle = (struct recycle){.max_mem_bytes = start->recycle_mem_bytes};
	if (requests > 0)
		recycle->max_requests = MAX(requests - random % (most + 1), 1);
}

bool
recycle_begin(struct recycle *recycle, int64_t resident_bytes)
{
	if (recycle->max_mem_bytes == 0 || resident_bytes <= recycle->max_mem_bytes)
		return true;
	recycle->max_mem_bytes = 0;
	return false;
}

bool
recycle_must_look(struct recycle *recycle, int64_t now_ns)
{
	if (recycle->max_mem_bytes == 0 || now_ns < recycle->next_look_ns)
		return false;
	recycle->next_look_ns = now_ns + RECYCLE_LOOK_NS;
	return true;
}

bool
recycle_is_due(
    const struct recycle *recycle, uint64_t predictions, int64_t resident_bytes, char ret_text[RECYCLE_TEXT_MAX])
{
	if (recycle->max_requests > 0 && predictions >= recycle->max_requests) {
		snprintf(ret_text, RECYCLE_TEXT_MAX, "%llu predictions made (recycle.max_requests)",
		    (unsigned long long)predictions);
		return true;
	}
	if (recycle->max_mem_bytes > 0 && resident_bytes > recycle->max_mem_bytes) {
		snprintf(ret_text, RECYCLE_TEXT_MAX, "%lld KiB of memory, more than %lld KiB (recycle.max_mem)",
		    (long long)resident_bytes / 1024, (long long)recycle->max_mem_bytes / 1024);
		return true;
	}
	return false;
}

int64_t
recycle_parse_resident(const char *statm)
{
	char *end;
	long long pages;

	strtoll(statm, &end, 10); /* the size of the address space */
	if (end == statm || *end != ' ')
		return -EINVAL;
	statm = end;
	errno = 0;
	pages = strtoll(statm, &end, 10);
	return end == statm || errno || pages < 0 || pages > INT64_MAX / (1 << 20) ? -EINVAL : pages;
}

/* Opened each time: a descriptor that is kept could be closed by the predictor, and be something else the next time. */
int64_t
recycle_read_resident(void)
{
	char text[128];
	int64_t pages;
	ssize_t n;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		n = -errno;
	fd_close(&fd);
	if (n < 0)
		return n;
	text[n] = '\0';
	pages = recycle_parse_resident(text);
	return pages < 0 ? pages : pages * sysconf(_SC_PAGESIZE);
}
