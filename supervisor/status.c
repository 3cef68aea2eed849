/*
 * status - see status.h.
 */
#include "supervisor/status.h"

#include <jansson.h>
#include <unistd.h>

#include "supervisor/supervisor.h"

#ifndef CORTEXD_VERSION
#define CORTEXD_VERSION "unknown"
#endif

char *
status_text(UNUSED const struct supervisor *supervisor)
{
	json_t *root = json_pack("{ss si so}", "version", CORTEXD_VERSION, "pid", (int)getpid(), "apis", json_array());
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

	json_decref(root);
	return text;
}
