/*
 * sink - see sink.h.
 */
#include "monitor/sink.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NOTICE_MAX 256
#define FILE_CHUNK (64 << 10)

/* Two buffers: lines are added to one while the thread writes the other. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t filled;  /* something was added, or it is to end */
	pthread_cond_t emptied; /* all is written */
	int fd;
	size_t chunk; /* bytes of one write at most */
	sink_notice *notice;
	char *adding;
	size_t n_adding;
	char *writing;
	bool busy;       /* the thread writes */
	uint64_t n_lost; /* not told yet */
	uint64_t n_lost_untaken;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER, .emptied = PTHREAD_COND_INITIALIZER};

static uint64_t
count_lines(const char *bytes, size_t length)
{
	const char *end = bytes + length;
	uint64_t n = 0;

	for (; bytes < end && (bytes = memchr(bytes, '\n', (size_t)(end - bytes))); bytes++)
		n++;
	return n;
}

/* So much of it as may leave at once: lines, or a part of one that is longer. */
static size_t
whole_lines(const char *bytes, size_t length)
{
	const char *last;

	if (length <= sink.chunk)
		return length;
	last = memrchr(bytes, '\n', sink.chunk);
	return last ? (size_t)(last - bytes) + 1 : sink.chunk;
}

/* False: there is nobody to read it any more, or never was. */
static bool
write_all(const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t n = write(sink.fd, bytes, whole_lines(bytes, length));
		struct pollfd room = {.fd = sink.fd, .events = POLLOUT};

		if (n < 0 && errno == EAGAIN)
			poll(&room, 1, 1000); /* somebody has made it non-blocking */
		else if (n < 0 && errno != EINTR)
			return false;
		if (n <= 0)
			continue;
		bytes += n;
		length -= (size_t)n;
	}
	return true;
}

static void *
run(UNUSED void *arg)
{
	char notice[NOTICE_MAX];
	uint64_t n_failed = 0;

	pthread_mutex_lock(&sink.lock);
	for (;;) {
		size_t length, n_notice = 0;
		char *full;

		sink.busy = false;
		pthread_cond_signal(&sink.emptied);
		while (sink.n_adding == 0)
			pthread_cond_wait(&sink.filled, &sink.lock);
		sink.busy = true;
		full = sink.adding;
		length = sink.n_adding;
		sink.adding = sink.writing;
		sink.writing = full;
		sink.n_adding = 0;
		if (sink.n_lost > 0)
			n_notice = sink.notice(notice, sizeof(notice), sink.n_lost);
		sink.n_lost = 0;
		pthread_mutex_unlock(&sink.lock);
		if (n_failed > 0) {
			char before[NOTICE_MAX];

			if (write_all(before, sink.notice(before, sizeof(before), n_failed)))
				n_failed = 0;
		}
		/* What found no room came after what is in this buffer. */
		if (n_failed > 0 || !write_all(full, length) || !write_all(notice, n_notice)) {
			uint64_t n = count_lines(full, length);

			n_failed += n;
			pthread_mutex_lock(&sink.lock);
			sink.n_lost_untaken += n;
		} else {
			pthread_mutex_lock(&sink.lock);
		}
	}
	return NULL;
}

int
sink_init(int fd, sink_notice *notice)
{
	sigset_t all, before;
	pthread_t thread;
	struct stat st;
	int r;

	sink.fd = fd;
	sink.notice = notice;
	sink.chunk = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? FILE_CHUNK : PIPE_BUF;
	sink.adding = malloc(SINK_BUFFER);
	sink.writing = malloc(SINK_BUFFER);
	if (!sink.adding || !sink.writing)
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&thread, NULL, run, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		pthread_detach(thread);
	return r;
}

void
sink_put(const char *lines, size_t length)
{
	pthread_mutex_lock(&sink.lock);
	if (sink.n_lost == 0 && length <= SINK_BUFFER - sink.n_adding) {
		memcpy(sink.adding + sink.n_adding, lines, length);
		sink.n_adding += length;
		if (!sink.busy)
			pthread_cond_signal(&sink.filled);
	} else {
		uint64_t n = count_lines(lines, length);

		sink.n_lost += n;
		sink.n_lost_untaken += n;
	}
	pthread_mutex_unlock(&sink.lock);
}

uint64_t
sink_take_lost(void)
{
	uint64_t n;

	pthread_mutex_lock(&sink.lock);
	n = sink.n_lost_untaken;
	sink.n_lost_untaken = 0;
	pthread_mutex_unlock(&sink.lock);
	return n;
}

void
sink_done(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += SINK_LEAVE_MS / 1000;
	pthread_mutex_lock(&sink.lock);
	while (sink.busy || sink.n_adding > 0)
		if (pthread_cond_timedwait(&sink.emptied, &sink.lock, &until) != 0)
			break;
	pthread_mutex_unlock(&sink.lock);
}
