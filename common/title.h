/*
 * title - what ps shows for this process.
 *
 * The supervisor execs a child with an argv[0] that is TITLE_MAX spaces wide, so the child can write its title there
 * without touching its environment. The name of the thread (/proc/self/comm) stays that of the program.
 */
#ifndef COMMON_TITLE_H
#define COMMON_TITLE_H

#include "common/util.h"

#define TITLE_MAX 160

/* Fill text with an argv[0] for a child: "title" and padding. */
void title_make_room(char text[TITLE_MAX + 1], const char *title);

/* In the child, first thing in main. Remembers where argv[0] is; does nothing for an argv[0] that was not padded. */
void title_init(char **argv);
void title_set(const char *format, ...) PRINTFLIKE(1);

#endif
