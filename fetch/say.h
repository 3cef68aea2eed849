/*
 * say - what cortexd-fetch has to say: lines on its standard output, which cortexd puts into its log.
 */
#ifndef FETCH_SAY_H
#define FETCH_SAY_H

#include "common/util.h"

/* One line, whatever stands in it. Those that begin with "warning: " or "error: " are that. */
void say(const char *format, ...) PRINTFLIKE(1);

#endif
