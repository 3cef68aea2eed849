/*
 * bind - see bind.h.
 */
#include "supervisor/bind.h"

#include <unistd.h>

#include "common/log.h"
#include "supervisor/supervisor.h"
#include "supervisor/user.h"

/* Those that are handed over first. */
static int
bind_admin(struct supervisor *supervisor, struct error *err)
{
	struct admin *admin = &supervisor->admin;
	struct listeners *old = NULL;
	int r;

	r = takeover_detach_admin(&supervisor->takeover, supervisor->config, &admin->open, &old, err);
	if (r == 0)
		r = admin_bind(admin, supervisor->config, &admin->tcp, err);
	listeners_unref(old);
	return r;
}

static int
bind_listeners(struct supervisor *supervisor, const struct user *user, struct error *err)
{
	struct listeners *old = NULL;
	int r;

	r = takeover_detach_listeners(
	    &supervisor->takeover, supervisor->config, &supervisor->open_listeners, &old, err);
	if (r == 0)
		r = inherited_match(&supervisor->inherited, &supervisor->config->server, err);
	if (r == 0)
		r = listeners_bind(supervisor->config, &supervisor->open_listeners, &supervisor->inherited,
		    &supervisor->listeners, err);
	listeners_unref(old);
	if (r == 0)
		r = bind_admin(supervisor, err);
	for (size_t i = 0; r == 0 && i < supervisor->listeners->n; i++) {
		const struct listener *listener = &supervisor->listeners->all[i]->listener;

		if (listener->made_file)
			r = user_give_socket(user, listener->config->path, err);
	}
	return r;
}

int
bind_and_become(struct supervisor *supervisor, struct error *err)
{
	const struct server_config *server = &supervisor->config->server;
	bool serve = supervisor->options.mode == SUPERVISOR_SERVE;
	struct user user;
	int r;

	r = user_find(&user, server->user, err);
	if (r == 0)
		r = user_make_folder(&user, server->state_dir, err);
	if (r == 0 && serve)
		r = bind_listeners(supervisor, &user, err);
	if (r == 0)
		r = user_become(&user, err);
	if (r == 0)
		r = user_check_folder(&user, supervisor->config->folder, false, err);
	if (r == 0)
		r = user_check_folder(&user, server->state_dir, true, err);
	if (r == 0 && serve)
		r = admin_use(supervisor, supervisor->config, &supervisor->admin.tcp, err);
	r = MIN(r, 0);
	if (r == 0 && serve && geteuid() == 0 && !server->user)
		log_warning(
		    "predictors run as root and may do whatever root may; set server.user to the user that they "
		    "should run as (to root, if that is meant)");
	user_done(&user);
	return r;
}
