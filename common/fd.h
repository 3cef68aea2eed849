/*
 * fd - descriptors and small files. A descriptor has one owner; who gives one up sets it to -1.
 */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include <sys/types.h>

#include "common/util.h"

/* Close and set to -1; nothing when it is -1 already. Keeps errno. */
void fd_close(int *fd);

/* 0 or a negative errno. */
MUSTCHECK int fd_set_nonblocking(int fd, bool nonblocking);
MUSTCHECK int fd_set_cloexec(int fd, bool cloexec);

/* Read the whole of a file, at most limit bytes (-EFBIG beyond). 0 and *ret_text (NUL behind it, caller frees) and
 * *ret_length (may be NULL), or a negative errno; outputs untouched on failure. */
MUSTCHECK int file_read_all(const char *path, size_t limit, char **ret_text, size_t *ret_length);
MUSTCHECK int fd_read_all(int fd, size_t limit, char **ret_text, size_t *ret_length);

/* Write all of it to a blocking descriptor. 0 or a negative errno. */
MUSTCHECK int fd_write_all(int fd, const void *data, size_t length);

/* mkdir -p with mode 0755. 0 or a negative errno. */
MUSTCHECK int folder_make_all(const char *path);

/* Remove a file or a folder with all that is in it, never following a link. 0 (also when it is not there) or a negative errno. */
MUSTCHECK int path_remove_all(const char *path);

/* A memfd, sealed against change, that holds data; position at the start, close-on-exec. The descriptor or a negative errno. */
MUSTCHECK int memfd_sealed(const char *name, const void *data, size_t length);

#endif
