/*
 * util - the few macros that every file uses, and the includes that nobody wants to repeat.
 */
#ifndef COMMON_UTIL_H
#define COMMON_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUSTCHECK     __attribute__((warn_unused_result))
#define PRINTFLIKE(f) __attribute__((format(printf, f, (f) + 1)))
#define UNUSED        __attribute__((unused))

#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))
#define N_ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

/* States what only a bug in cortexd can break. On in all builds; never for input, records or system calls. */
#define ASSERT(condition)                                              \
	do {                                                           \
		if (__builtin_expect(!(condition), 0))                 \
			assert_failed(#condition, __FILE__, __LINE__); \
	} while (0)
__attribute__((noreturn)) void assert_failed(const char *condition, const char *file, int line);

/* The pointer, leaving NULL behind: hands ownership on past a common cleanup. */
#define take_ptr(p)                             \
	({                                      \
		__typeof__(*(p)) taken_ = *(p); \
		*(p) = NULL;                    \
		taken_;                         \
	})

/*
 * Memory. Small allocations that cannot reasonably fail (configuration, tables) end the process with a message when they
 * do; whatever an outsider can make large uses malloc and handles its failure.
 */
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *text) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *text, size_t length) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *format, ...) PRINTFLIKE(1) __attribute__((malloc, returns_nonnull));

#endif
