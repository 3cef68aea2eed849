/*
 * huge - make the memory of this process cheap to fork.
 *
 * fork(2) copies an entry for each page that is there: 200 MiB in pages of 4 KiB are 51200 of them, some 10 ms, and a replica
 * is forked twice and then once more for its keeper. In pages of 2 MiB they are 100, and take no time. Such a page is split
 * again where a replica writes, so what is shared stays shared in pages of 4 KiB.
 *
 * The kernel copies what is to become a huge page (MADV_COLLAPSE), which costs about as much as having written it in the first
 * place. Nothing depends on it: a kernel that cannot (before 6.1), or finds no 2 MiB in one piece, leaves things as they are.
 */
#ifndef REPLICA_HUGE_H
#define REPLICA_HUGE_H

#include "common/util.h"

/* Collapse private memory that is there, until that time on CLOCK_MONOTONIC. The number of huge pages. */
size_t huge_collapse(int64_t until_ns);

/* Is it a line of /proc/self/maps about private memory without a file that can be written? Its addresses. */
bool huge_parse_mapping(const char *line, uintptr_t *ret_begin, uintptr_t *ret_end);

#endif
