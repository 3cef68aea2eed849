/*
 * handover - see handover.h.
 */
#include "supervisor/handover.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

char *
handover_encode(const struct handover *handover)
{
	json_t *root, *listeners = json_array(), *admin = json_array(), *apis = json_array();
	char *text;

	for (size_t i = 0; i < handover->n_listeners; i++)
		json_array_append_new(listeners,
		    json_pack("{ss sb}", "text", handover->listeners[i].text, "made_file",
			(int)handover->listeners[i].made_file));
	for (size_t i = 0; i < handover->n_apis; i++)
		json_array_append_new(apis,
		    json_pack("{ss si sb}", "name", handover->apis[i].name, "wanted", handover->apis[i].wanted,
			"awaits_model", (int)handover->apis[i].awaits_model));
	for (size_t i = 0; i < handover->n_admin; i++)
		json_array_append_new(admin, json_string(handover->admin[i]));
	root = json_pack("{si ss si so so so}", "pid", (int)handover->pid, "state_dir", handover->state_dir,
	    "reload_number", (int)handover->reload_number, "listeners", listeners, "admin", admin, "apis", apis);
	ASSERT(root); /* every string was checked to be UTF-8 when the config was read */
	text = json_dumps(root, JSON_COMPACT);
	ASSERT(text);
	json_decref(root);
	return text;
}

static int
decode_listeners(const json_t *list, struct handover *handover)
{
	size_t n = json_array_size(list);

	if (!json_is_array(list) || n > HANDOVER_LISTENERS_MAX)
		return -EBADMSG;
	handover->listeners = xcalloc(MAX(n, 1), sizeof(*handover->listeners));
	for (size_t i = 0; i < n; i++) {
		const char *text;
		int made_file;

		if (json_unpack(json_array_get(list, i), "{ss sb}", "text", &text, "made_file", &made_file) < 0)
			return -EBADMSG;
		handover->listeners[handover->n_listeners++] = (struct handover_listener){
		    .text = xstrdup(text), .made_file = made_file};
	}
	return 0;
}

/* One that knows no admin interface gives none. */
static int
decode_admin(const json_t *list, struct handover *handover)
{
	size_t n = json_array_size(list);

	if (!list)
		return 0;
	if (!json_is_array(list) || n > HANDOVER_LISTENERS_MAX)
		return -EBADMSG;
	handover->admin = xcalloc(MAX(n, 1), sizeof(*handover->admin));
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text)
			return -EBADMSG;
		handover->admin[handover->n_admin++] = xstrdup(text);
	}
	return 0;
}

static int
decode_apis(const json_t *list, struct handover *handover)
{
	size_t n = json_array_size(list);

	if (!json_is_array(list))
		return -EBADMSG;
	handover->apis = xcalloc(MAX(n, 1), sizeof(*handover->apis));
	for (size_t i = 0; i < n; i++) {
		const char *name;
		int wanted, awaits = 0;

		if (json_unpack(json_array_get(list, i), "{ss si s?b}", "name", &name, "wanted", &wanted,
			"awaits_model", &awaits) < 0 ||
		    wanted < 0)
			return -EBADMSG;
		handover->apis[handover->n_apis++] = (struct handover_api){
		    .name = xstrdup(name), .wanted = wanted, .awaits_model = awaits};
	}
	return 0;
}

int
handover_decode(const char *json, size_t length, struct handover *ret_handover, struct error *err)
{
	struct handover handover = {.pid = 0};
	json_t *root, *listeners, *apis;
	const char *state_dir;
	int pid, number, r = -EBADMSG;

	root = json_loadb(json, length, JSON_REJECT_DUPLICATES, NULL);
	if (root &&
	    json_unpack(root, "{si ss si so so}", "pid", &pid, "state_dir", &state_dir, "reload_number", &number,
		"listeners", &listeners, "apis", &apis) == 0 &&
	    pid > 0 && number >= 0 && *state_dir == '/') {
		handover.pid = pid;
		handover.reload_number = (unsigned)number;
		handover.state_dir = xstrdup(state_dir);
		r = decode_listeners(listeners, &handover);
		if (r == 0)
			r = decode_admin(json_object_get(root, "admin"), &handover);
		if (r == 0)
			r = decode_apis(apis, &handover);
	}
	if (r < 0)
		error_set(err, r, "what the old cortexd hands over makes no sense");
	else
		*ret_handover = handover;
	if (r < 0)
		handover_done(&handover);
	json_decref(root);
	return r;
}

void
handover_done(struct handover *handover)
{
	for (size_t i = 0; i < handover->n_listeners; i++)
		free(handover->listeners[i].text);
	for (size_t i = 0; i < handover->n_apis; i++)
		free(handover->apis[i].name);
	for (size_t i = 0; i < handover->n_admin; i++)
		free(handover->admin[i]);
	free(handover->admin);
	free(handover->listeners);
	free(handover->apis);
	free(handover->state_dir);
	*handover = (struct handover){.pid = 0};
}
