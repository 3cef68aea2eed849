/*
 * logfile - see logfile.h.
 */
#include "monitor/logfile.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"

#define NOTICE_MAX 512

void
logfile_init(struct logfile *logfile, const char *path, unsigned n_files, uint64_t max_bytes)
{
	*logfile = (struct logfile){
	    .path = xstrdup(path), .n_files = MAX(n_files, 1), .max_bytes = MAX(max_bytes, 1), .fd = -1};
}

void
logfile_close(struct logfile *logfile)
{
	fd_close(&logfile->fd);
	free(take_ptr(&logfile->buffer));
}

void
logfile_done(struct logfile *logfile)
{
	fd_close(&logfile->fd);
	free(take_ptr(&logfile->path));
	free(take_ptr(&logfile->buffer));
}

char *
logfile_name(const char *path, unsigned back)
{
	return back == 0 ? xstrdup(path) : xasprintf("%s.%u", path, back);
}

char *
logfile_room(struct logfile *logfile, size_t length)
{
	if (!logfile->buffer)
		logfile->buffer = xcalloc(1, LOGFILE_BUFFER);
	if (length > LOGFILE_BUFFER - logfile->length)
		return NULL;
	return logfile->buffer + logfile->length;
}

static unsigned
count_lines(const char *bytes, size_t length)
{
	const char *end = bytes + length;
	unsigned n = 0;

	for (; bytes < end && (bytes = memchr(bytes, '\n', (size_t)(end - bytes))); bytes++)
		n++;
	return n;
}

static int
make_folder(const char *path)
{
	char *folder = xstrdup(path), *slash = strrchr(folder, '/');
	int r = -ENOENT;

	if (slash && slash > folder) {
		*slash = '\0';
		r = folder_make_all(folder);
	}
	free(folder);
	return r;
}

/* Lines may hold what clients have sent, so they are for the owner and the group. */
static int
open_path(struct logfile *logfile)
{
	const int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	struct stat st;
	int fd;

	fd = open(logfile->path, flags, 0640);
	if (fd < 0 && errno == ENOENT && make_folder(logfile->path) == 0)
		fd = open(logfile->path, flags, 0640);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	fd_close(&logfile->fd);
	logfile->fd = fd;
	logfile->device = st.st_dev;
	logfile->inode = st.st_ino;
	logfile->size = (uint64_t)st.st_size;
	logfile->torn = false;
	return 0;
}

/* Is PATH the file that we have open? */
static bool
is_there(const struct logfile *logfile)
{
	struct stat st;

	return stat(logfile->path, &st) == 0 && st.st_ino == logfile->inode && st.st_dev == logfile->device;
}

static int
look(struct logfile *logfile, int64_t now_ms)
{
	struct stat st;

	if (logfile->fd >= 0 && now_ms - logfile->checked_ms < LOGFILE_CHECK_MS)
		return 0;
	logfile->checked_ms = now_ms;
	if (logfile->fd < 0 || !is_there(logfile))
		return open_path(logfile);
	if (fstat(logfile->fd, &st) == 0) /* somebody else may append, too, or have cut it */
		logfile->size = (uint64_t)st.st_size;
	return 0;
}

/* Those of a time when more were allowed. */
static void
remove_surplus(const struct logfile *logfile)
{
	bool removed = true;

	for (unsigned back = logfile->n_files; removed && back <= LOGFILE_FILES_MAX; back++) {
		char *name = logfile_name(logfile->path, back);

		removed = unlink(name) == 0;
		free(name);
	}
}

/*
 * PATH becomes PATH.1, and so on. Whoever has the lock on the file that is PATH may rename; who finds it taken goes on with the file that
 * there is, until next time.
 */
static int
rotate(struct logfile *logfile)
{
	char *from, *to;
	int r = 0;

	if (flock(logfile->fd, LOCK_EX | LOCK_NB) < 0)
		return logfile->size > 2 * logfile->max_bytes ? -EWOULDBLOCK : 0;
	if (is_there(logfile)) {
		to = logfile_name(logfile->path, logfile->n_files - 1);
		if (logfile->n_files == 1 && unlink(to) < 0)
			r = -errno;
		for (unsigned back = logfile->n_files - 1; back > 0; back--) {
			from = logfile_name(logfile->path, back - 1);
			if (rename(from, to) < 0 && errno != ENOENT)
				r = -errno;
			free(to);
			to = from;
		}
		free(to);
		remove_surplus(logfile);
	}
	if (r == 0)
		return open_path(logfile); /* which closes the old one, and so unlocks it */
	flock(logfile->fd, LOCK_UN);
	return r;
}

/* Append all of it. 0 or a negative errno; *ret_written: how much in any case. */
static int
append(struct logfile *logfile, const char *bytes, size_t length, size_t *ret_written)
{
	size_t written = 0;
	int r = 0;

	while (written < length) {
		ssize_t n = write(logfile->fd, bytes + written, length - written);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = n < 0 ? -errno : -EIO;
			break;
		}
		written += (size_t)n;
	}
	if (written > 0)
		logfile->torn = bytes[written - 1] != '\n';
	logfile->size += written;
	*ret_written = written;
	return r;
}

/* After a loss: say so first, on a line of its own. */
static int
append_notice(struct logfile *logfile, logfile_notice *notice, void *arg)
{
	char text[NOTICE_MAX + 1] = "\n";
	size_t length = 1, written;
	int r;

	if (logfile->n_lost > 0)
		length += notice(text + 1, NOTICE_MAX, logfile->n_lost, logfile->error, arg);
	if (logfile->torn)
		return append(logfile, text, length, &written);
	r = append(logfile, text + 1, length - 1, &written);
	return r;
}

/* How much of it the file has room for: whole lines. 0: not even one. */
static size_t
fitting(const struct logfile *logfile, const char *bytes, size_t length)
{
	uint64_t room = logfile->max_bytes - MIN(logfile->size, logfile->max_bytes);
	const char *last;

	if (length <= room)
		return length;
	last = room > 0 ? memrchr(bytes, '\n', room) : NULL;
	return last ? (size_t)(last - bytes) + 1 : 0;
}

/* Append it, to one file after the other. As append(). A line that is larger than a file gets one of its own. */
static int
append_lines(struct logfile *logfile, const char *bytes, size_t length, size_t *ret_written)
{
	int r = 0;

	*ret_written = 0;
	while (r == 0 && *ret_written < length) {
		const char *rest = bytes + *ret_written;
		size_t left = length - *ret_written, n = fitting(logfile, rest, left);

		if (n == 0 && logfile->size > 0) {
			r = rotate(logfile);
			if (r < 0)
				break;
			n = fitting(logfile, rest, left);
		}
		if (n == 0)
			n = (size_t)((const char *)memchr(rest, '\n', left) - rest) + 1;
		r = append(logfile, rest, n, &n);
		*ret_written += n;
	}
	return r;
}

enum logfile_event
logfile_flush(struct logfile *logfile, int64_t now_ms, logfile_notice *notice, void *arg, uint64_t *ret_lost)
{
	bool failed = logfile->error != 0;
	size_t written = 0;
	int r;

	if (logfile->length == 0)
		return LOGFILE_FINE;
	r = look(logfile, now_ms);
	if (r == 0 && failed && logfile->size >= logfile->max_bytes)
		r = rotate(logfile);
	if (r == 0 && (failed || logfile->torn))
		r = append_notice(logfile, notice, arg);
	if (r == 0)
		r = append_lines(logfile, logfile->buffer, logfile->length, &written);
	*ret_lost = logfile->n_lost;
	if (r < 0) {
		unsigned n = count_lines(logfile->buffer + written, logfile->length - written);

		if (written > 0) /* the notice was, too */
			logfile->n_lost = 0;
		logfile->n_lost += n;
		logfile->n_lost_ever += n;
		logfile->error = -r;
	} else {
		logfile->n_lost = 0;
		logfile->error = 0;
	}
	logfile->length = 0;
	if (r < 0)
		return failed ? LOGFILE_FINE : LOGFILE_FAILS;
	return failed ? LOGFILE_WORKS_AGAIN : LOGFILE_FINE;
}

/* "iris" of "iris.log" and "iris.log.3". False: it is no log file. */
static bool
find_stem(const char *name, char stem[NAME_MAX + 1])
{
	const char *dot = strstr(name, ".log");
	const char *rest = dot ? dot + 4 : NULL;

	if (!dot || dot == name || (*rest != '\0' && *rest != '.'))
		return false;
	if (*rest == '.' && (rest[1] == '\0' || strspn(rest + 1, "0123456789") != strlen(rest + 1)))
		return false;
	memcpy(stem, name, (size_t)(dot - name));
	stem[dot - name] = '\0';
	return true;
}

unsigned
logfile_collect(
    const char *folder, int64_t older_than_s, int64_t now_s, bool (*wanted)(const char *stem, void *arg), void *arg)
{
	DIR *entries = opendir(folder);
	char stem[NAME_MAX + 1];
	struct dirent *entry;
	unsigned n = 0;
	struct stat st;

	if (!entries)
		return 0;
	while ((entry = readdir(entries))) {
		int fd = dirfd(entries);

		if (find_stem(entry->d_name, stem) && !wanted(stem, arg) &&
		    fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    now_s - st.st_mtime > older_than_s && unlinkat(fd, entry->d_name, 0) == 0)
			n++;
	}
	closedir(entries);
	return n;
}
