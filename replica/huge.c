/*
 * huge - see huge.h.
 */
#include "replica/huge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE_BYTES       ((uintptr_t)2 << 20)
#define PAGES_MAX        (HUGE_BYTES / 4096)
#define MAPS_MAX         (64 << 20)
#define RESIDENT_PERCENT 90 /* below, the huge page would take memory that was not used */

bool
huge_parse_mapping(const char *line, uintptr_t *ret_begin, uintptr_t *ret_end)
{
	char permissions[5];
	unsigned long inode;

	if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %lu", ret_begin, ret_end, permissions, &inode) != 4)
		return false;
	return strcmp(permissions, "rw-p") == 0 && inode == 0 && !strstr(line, "[stack");
}

static bool
is_resident(uintptr_t address, size_t page_bytes)
{
	unsigned char pages[PAGES_MAX];
	size_t n = HUGE_BYTES / page_bytes, n_resident = 0;

	if (mincore((void *)address, HUGE_BYTES, pages) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		n_resident += pages[i] & 1;
	return n_resident * 100 >= n * RESIDENT_PERCENT;
}

/* Of one mapping. */
static size_t
collapse(uintptr_t begin, uintptr_t end, size_t page_bytes, int64_t until_ns)
{
	uintptr_t at = (begin + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
	size_t n = 0;

	for (; at < end && end - at >= HUGE_BYTES && clock_ns() < until_ns; at += HUGE_BYTES) {
		if (!is_resident(at, page_bytes))
			continue;
		if (madvise((void *)at, HUGE_BYTES, MADV_COLLAPSE) == 0)
			n++;
		else if (errno == EINVAL)
			break; /* not this kernel, or not this mapping */
	}
	return n;
}

size_t
huge_collapse(int64_t until_ns)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), n = 0;
	uintptr_t begin, end;
	char *text, *rest, *line;

#ifdef __SANITIZE_ADDRESS__
	return 0; /* its shadow is a mapping of terabytes */
#endif
	if (page_bytes < 4096 || file_read_all("/proc/self/maps", MAPS_MAX, &text, NULL) < 0)
		return 0;
	rest = text;
	while ((line = strsep(&rest, "\n")))
		if (huge_parse_mapping(line, &begin, &end))
			n += collapse(begin, end, page_bytes, until_ns);
	free(text);
	return n;
}
