/*
 * template - see template.h.
 */
#include "supervisor/template.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/record.h"
#include "supervisor/child.h"
#include "supervisor/replica.h"
#include "supervisor/supervisor.h"

static void
refuse(struct generation *generation, const char *why)
{
	generation->unfit = true;
	log_warning("api \"%s\": preload: %s has no effect: %s; each replica loads the predictor itself",
	    generation->api->name, preload_name(generation->api->preload), why);
}

bool
template_is_wanted(struct generation *generation)
{
	if (generation->api->preload == PRELOAD_NONE || generation->unfit)
		return false;
	if (generation->api->compute.gpu > 0)
		refuse(
		    generation, "each replica has gpus of its own, which must be chosen before anything is imported");
	return !generation->unfit;
}

static int
spawn_template(struct slot *slot, int control, struct error *err)
{
	slot->n_asked = 0;
	return replica_exec(slot, slot->generation->api->preload, control, -1, err);
}

static void
on_ready(UNUSED struct slot *slot)
{
}

static bool
on_record(struct slot *slot, const struct record *record)
{
	if (record->kind == RECORD_UNFIT && slot->state == SLOT_LOADING) {
		refuse(slot->generation, record->text);
		slot->evidence.told = true; /* its exit follows, and is not a death */
		return true;
	}
	if (record->kind != RECORD_FORKED || slot->n_asked == 0)
		return false;
	slot->n_asked--;
	child_set_patience(slot, slot->n_asked > 0 ? TEMPLATE_FORK_TIMEOUT_MS : 0);
	supervisor_compare_soon(slot->supervisor);
	return true;
}

static bool
was_useful(UNUSED const struct slot *slot)
{
	return true;
}

static void
on_death(struct slot *slot, enum death_kind death, const char *text)
{
	api_note_death(supervisor_find_api(slot->supervisor, slot->api), slot, death, text);
}

/* Who was killed because a fork did not come to its end, would be killed again. */
static void
on_gone(struct slot *slot)
{
	const struct death_evidence *evidence = &slot->evidence;

	if (slot->n_asked > 0 && evidence->signal_sent == SIGKILL && !evidence->told && !evidence->spoke_nonsense)
		refuse(slot->generation, "a process that was forked did not begin its work");
	slot->n_asked = 0;
}

static const struct child_kind kind = {
    .spawn = spawn_template,
    .on_ready = on_ready,
    .on_record = on_record,
    .was_useful = was_useful,
    .on_death = on_death,
    .on_gone = on_gone,
    .overdue = "does not fork the replicas that it was asked for",
};

void
template_init(struct slot *slot, struct api *api, struct generation *generation)
{
	char name[SLOT_NAME_MAX];

	snprintf(name, sizeof(name), "template %.63s", api->name);
	child_init(slot, api->supervisor, &kind, name);
	slot->generation = generation_ref(generation);
	slot->api = api->number;
	slot->index = -1;
}

bool
template_is_free(const struct slot *template)
{
	return template->state == SLOT_READY && template->n_asked < TEMPLATE_ASKED_MAX;
}

int
template_fork(
    struct slot *template, struct slot *replica, int control, int start, int output, int channel, struct error *err)
{
	int r;

	r = record_send_numbers(replica->control, RECORD_START, 0, 0, start);
	if (r == 0 && output >= 0)
		r = record_send_numbers(replica->control, RECORD_OUTPUT, 0, 0, output);
	if (r == 0)
		r = record_send_numbers(replica->control, RECORD_CHANNEL, 0, 0, channel);
	if (r == 0)
		r = record_send_numbers(template->control, RECORD_FORK, 0, 0, control);
	if (r < 0)
		return error_set(err, r, "its template cannot be asked for it: %s", strerror(-r));
	replica->unborn = true;
	template->n_asked++;
	child_set_patience(template, TEMPLATE_FORK_TIMEOUT_MS);
	return 0;
}
