/*
 * scoreboard - see scoreboard.h.
 */
#include "common/scoreboard.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/metrics.h"

/* test/blackbox/cortexd.py reads it, too. */
_Static_assert(offsetof(struct scoreboard, apis) == 64 && sizeof(struct scoreboard_api) == 64, "layout");
_Static_assert(offsetof(struct scoreboard, slots) == 262272 && sizeof(struct scoreboard_slot) == 128, "layout");

const char *
replica_state_name(enum replica_state state)
{
	static const char *const names[] = {
	    [REPLICA_DEAD] = "dead",
	    [REPLICA_STARTING] = "starting",
	    [REPLICA_IDLE] = "idle",
	    [REPLICA_CLAIMED] = "claimed",
	    [REPLICA_BUSY] = "busy",
	    [REPLICA_LONG] = "long",
	    [REPLICA_DRAINING] = "draining",
	};

	return (size_t)state < N_ELEMENTS(names) ? names[state] : "?";
}

int
scoreboard_map(int fd, struct scoreboard **ret_scoreboard)
{
	void *mapping = mmap(NULL, sizeof(struct scoreboard), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (mapping == MAP_FAILED)
		return -errno;
	*ret_scoreboard = mapping;
	return 0;
}

int
scoreboard_new(struct scoreboard **ret_scoreboard, int *ret_fd)
{
	int fd = memfd_create("cortexd-scoreboard", MFD_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = ftruncate(fd, (off_t)metrics_end()) < 0 ? -errno : scoreboard_map(fd, ret_scoreboard);
	if (r < 0) {
		fd_close(&fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

void
scoreboard_unmap(struct scoreboard *scoreboard)
{
	if (scoreboard)
		munmap(scoreboard, sizeof(*scoreboard));
}
