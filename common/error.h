/*
 * error - a message that a person will read, made where the cause is known and printed once by whoever gives up.
 */
#ifndef COMMON_ERROR_H
#define COMMON_ERROR_H

#include "common/util.h"

#define ERROR_TEXT_MAX 1024

struct error {
	char text[ERROR_TEXT_MAX]; /* one line, no newline at the end; cut when longer */
};

/* Set the text. Returns number, so that `return error_set(err, -errno, ...)` fits on one line. err may be NULL. */
int error_set(struct error *err, int number, const char *format, ...) PRINTFLIKE(3);

/* Put "<prefix>: " before the text that is there. */
void error_prefix(struct error *err, const char *format, ...) PRINTFLIKE(2);

#endif
