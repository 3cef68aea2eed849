/*
 * bind - see bind.h.
 */
#include "supervisor/bind.h"

#include "supervisor/supervisor.h"

int
bind_listeners(struct supervisor *supervisor, struct error *err)
{
	int r;

	r = inherited_match(&supervisor->inherited, &supervisor->config->server, err);
	if (r < 0)
		return r;
	return listeners_bind(supervisor->config, NULL, &supervisor->inherited, &supervisor->listeners, err);
}
