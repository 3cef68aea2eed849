/*
 * fd - see fd.h.
 */
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void
fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

static int
set_flag(int fd, int get, int set, int flag, bool on)
{
	int flags = fcntl(fd, get);

	if (flags < 0)
		return -errno;
	if (fcntl(fd, set, on ? flags | flag : flags & ~flag) < 0)
		return -errno;
	return 0;
}

int
fd_set_nonblocking(int fd, bool nonblocking)
{
	return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, nonblocking);
}

int
fd_set_cloexec(int fd, bool cloexec)
{
	return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, cloexec);
}

int
fd_read_all(int fd, size_t limit, char **ret_text, size_t *ret_length)
{
	size_t length = 0, room = 4096;
	char *text = malloc(room + 1);
	int r = 0;

	if (!text)
		return -ENOMEM;
	for (;;) {
		ssize_t n;

		if (length == room) {
			char *larger;

			room *= 2;
			larger = realloc(text, room + 1);
			if (!larger) {
				r = -ENOMEM;
				goto out;
			}
			text = larger;
		}
		n = read(fd, text + length, room - length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			r = -errno;
			goto out;
		}
		if (n == 0)
			break;
		length += (size_t)n;
		if (length > limit) {
			r = -EFBIG;
			goto out;
		}
	}
	text[length] = '\0';
	*ret_text = take_ptr(&text);
	if (ret_length)
		*ret_length = length;
out:
	free(text);
	return r;
}

int
file_read_all(const char *path, size_t limit, char **ret_text, size_t *ret_length)
{
	int fd, r;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fd_read_all(fd, limit, ret_text, ret_length);
	fd_close(&fd);
	return r;
}

int
fd_write_all(int fd, const void *data, size_t length)
{
	const char *at = data;

	while (length > 0) {
		ssize_t n = write(fd, at, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		length -= (size_t)n;
	}
	return 0;
}

int
folder_make_all(const char *path)
{
	char *copy = xstrdup(path);
	int r = 0;

	for (char *at = copy + 1; r == 0; at++) {
		char saved = *at;

		if (saved != '/' && saved != '\0')
			continue;
		*at = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			r = -errno;
		*at = saved;
		if (saved == '\0')
			break;
	}
	free(copy);
	return r;
}

static int
remove_one(const char *path, UNUSED const struct stat *st, UNUSED int kind, UNUSED struct FTW *ftw)
{
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

int
path_remove_all(const char *path)
{
	if (nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

int
memfd_sealed(const char *name, const void *data, size_t length)
{
	int fd, r;

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, data, length);
	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		r = -errno;
	if (r < 0)
		fd_close(&fd);
	return r < 0 ? r : fd;
}
