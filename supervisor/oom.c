/*
 * oom - see oom.h.
 */
#include "supervisor/oom.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/fd.h"

/* The bounds that Kubernetes keeps for containers that are neither without any request nor limited to it. */
#define SCORE_MIN 3
#define SCORE_MAX 999

int
oom_score_adj(int64_t request_bytes, int64_t machine_bytes, int own)
{
	int64_t score = SCORE_MAX;

	if (machine_bytes > 0 && request_bytes >= machine_bytes)
		score = SCORE_MIN;
	else if (machine_bytes > 0) /* in doubles, because bytes times 1000 may not fit */
		score = 1000 - (int64_t)(1000.0 * (double)request_bytes / (double)machine_bytes);
	score = MAX(SCORE_MIN, MIN(score, SCORE_MAX));
	return MAX((int)score, own);
}

int64_t
oom_machine_bytes(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (int64_t)pages * size : 0;
}

int
oom_own_score_adj(void)
{
	char *text;
	int score;

	if (file_read_all("/proc/self/oom_score_adj", 32, &text, NULL) < 0)
		return 0;
	score = atoi(text);
	free(text);
	return score;
}
