/*
 * api - see api.h.
 */
#include "supervisor/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "supervisor/activator.h"
#include "supervisor/child.h"
#include "supervisor/reload.h"
#include "supervisor/replica.h"
#include "supervisor/supervisor.h"
#include "supervisor/template.h"

#define STUCK_DEATHS 3 /* in a row of one replica, after which nobody should wait for it any more */

int
api_new(struct supervisor *supervisor, struct config *config, const struct api_config *settings, struct api **ret_api,
    struct error *err)
{
	struct api *api;
	int number;

	number = board_add_api(&supervisor->board, settings->compute.max_replicas, err);
	if (number < 0)
		return number;
	api = xcalloc(1, sizeof(*api));
	*api = (struct api){.supervisor = supervisor,
	    .number = (uint32_t)number,
	    .name = xstrdup(settings->name),
	    .endpoint = xstrdup(settings->endpoint),
	    .wanted = settings->compute.init_replicas};
	TAILQ_INIT(&api->slots);
	TAILQ_INIT(&api->templates);
	api_set_config(api, config, settings);
	scale_add_api(api);
	*ret_api = api;
	return 0;
}

void
api_free(struct api *api)
{
	ASSERT(TAILQ_EMPTY(&api->slots) && TAILQ_EMPTY(&api->templates));
	scale_remove_api(api);
	board_remove_api(&api->supervisor->board, api->number);
	generation_unref(api->generation);
	generation_unref(api->candidate);
	config_unref(api->config);
	free(api->name);
	free(api->endpoint);
	free(api);
}

void
api_set_config(struct api *api, struct config *config, const struct api_config *settings)
{
	config_ref(config);
	config_unref(api->config);
	api->config = config;
	api->settings = settings;
	api->said_stuck = false;
	api->wanted = MAX(MIN(api->wanted, settings->compute.max_replicas), settings->compute.min_replicas);
}

/* ---- slots ---- */

static bool
stays(const struct slot *slot)
{
	return !slot->dismissed;
}

/* Is it what the api wants? Not of an older generation, nor one that asks to be replaced. */
static bool
is_current(const struct slot *slot, const struct generation *newest)
{
	return slot->generation == newest && !slot->recycle;
}

/* Replicas that are current, or those that are not, and are to stay; of these, those that are ready. */
struct tally {
	int n, ready;
};

static struct tally
count(const struct api *api, const struct generation *newest, bool current)
{
	struct tally tally = {0, 0};
	const struct slot *slot;

	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (stays(slot) && is_current(slot, newest) == current) {
			tally.n++;
			tally.ready += slot->state == SLOT_READY;
		}
	return tally;
}

static bool
has_dismissed(const struct api *api)
{
	const struct slot *slot;

	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (!stays(slot))
			return true;
	return false;
}

/* The lowest one that nobody has. */
static int
free_index(const struct api *api)
{
	const struct slot *slot;
	int index = 0;

again:
	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (slot->index == index) {
			index++;
			goto again;
		}
	return index;
}

/* Replicas that are to start, now or after their backoff. */
static unsigned
count_placeless(const struct api *api)
{
	const struct slot *slot;
	unsigned n = 0;

	TAILQ_FOREACH (slot, &api->slots, in_api)
		n += stays(slot) && slot->place < 0;
	return n;
}

/* One more replica of the generation. NULL: there is no room for it now. */
static struct slot *
add_slot(struct api *api, struct generation *generation)
{
	struct slot *slot;

	if (api->startable == 0 || !board_has_places(&api->supervisor->board, api->number, count_placeless(api) + 1))
		return NULL;
	api->startable--;
	slot = xcalloc(1, sizeof(*slot));
	replica_init(slot, api, generation, free_index(api));
	TAILQ_INSERT_TAIL(&api->slots, slot, in_api);
	return slot;
}

/* It is to end, and never comes back. */
static void
dismiss(struct slot *slot, const char *why)
{
	slot->dismissed = true;
	log_debug("%s: not wanted any more: %s", slot->name, why);
}

static void
free_slot(struct slot_list *list, struct slot *slot)
{
	TAILQ_REMOVE(list, slot, in_api);
	child_done(slot);
	generation_unref(slot->generation);
	free(slot);
}

/* Which of two goes first when there are too many: one that is not ready, one that has nothing to do, the younger one. */
static bool
goes_before(const struct slot *a, const struct slot *b)
{
	bool a_ready = a->state == SLOT_READY, b_ready = b->state == SLOT_READY;
	bool a_idle = replica_is_idle(a), b_idle = replica_is_idle(b);

	if (a_ready != b_ready)
		return !a_ready;
	if (a_idle != b_idle)
		return a_idle;
	return a->started_ms > b->started_ms;
}

/* The one that goes first, of those that are current, or not; or NULL. */
static struct slot *
pick(struct api *api, const struct generation *newest, bool current)
{
	struct slot *slot, *best = NULL;

	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (stays(slot) && is_current(slot, newest) == current && (!best || goes_before(slot, best)))
			best = slot;
	return best;
}

void
api_remove_slots(struct api *api)
{
	while (!TAILQ_EMPTY(&api->slots))
		free_slot(&api->slots, TAILQ_FIRST(&api->slots));
	while (!TAILQ_EMPTY(&api->templates))
		free_slot(&api->templates, TAILQ_FIRST(&api->templates));
}

/* ---- templates ---- */

static struct slot *
find_template(const struct api *api, const struct generation *generation)
{
	struct slot *slot;

	TAILQ_FOREACH (slot, &api->templates, in_api)
		if (stays(slot) && slot->generation == generation)
			return slot;
	return NULL;
}

static bool
has_replicas(const struct api *api, const struct generation *generation)
{
	const struct slot *slot;

	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (stays(slot) && slot->generation == generation)
			return true;
	return false;
}

static void
add_template(struct api *api, struct generation *generation)
{
	struct slot *template = xcalloc(1, sizeof(*template));

	template_init(template, api, generation);
	template->trial = generation == api->candidate;
	TAILQ_INSERT_TAIL(&api->templates, template, in_api);
}

/* Those that replicas need, and no others. */
static void
choose_templates(struct api *api)
{
	struct slot *slot;

	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (stays(slot) && !find_template(api, slot->generation) && template_is_wanted(slot->generation))
			add_template(api, slot->generation);
	TAILQ_FOREACH (slot, &api->templates, in_api)
		if (stays(slot) && (slot->generation->unfit || !has_replicas(api, slot->generation)))
			dismiss(slot, "no replica needs it");
}

static void
start_template(UNUSED struct api *api, struct slot *slot)
{
	child_start(slot);
}

/* Start one, unless it has to wait for its template. */
static void
start_replica(struct api *api, struct slot *slot)
{
	slot->template = find_template(api, slot->generation);
	if (!slot->template || template_is_free(slot->template))
		child_start(slot);
	slot->template = NULL;
}

bool
api_waits_for_failing(const struct api *api, const struct slot *slot)
{
	const struct slot *template = slot->state == SLOT_EMPTY ? find_template(api, slot->generation) : NULL;

	return template && template->deaths > 0 && template->state != SLOT_READY;
}

/* ---- steps ---- */

static void
drop_candidate(struct api *api, const char *why)
{
	struct slot *slot;

	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (api->candidate && slot->generation == api->candidate && stays(slot))
			dismiss(slot, why);
	generation_unref(take_ptr(&api->candidate));
}

void
api_begin(struct api *api, struct generation *generation)
{
	ASSERT(!api->generation && !api->candidate);
	api->generation = generation;
	api->verified_ms = clock_ms();
	api->awaits_model = false;
}

void
api_set_candidate(struct api *api, struct generation *candidate)
{
	drop_candidate(api, "there is a newer config");
	api->history.rejected[0] = '\0';
	if (!candidate)
		return;
	api->candidate = generation_ref(candidate);
	api->candidate_ms = clock_ms();
	if (api->doubted_ms == 0)
		api->doubted_ms = api->candidate_ms;
}

bool
api_verify(struct api *api)
{
	const struct slot *slot;

	/* Those that are not there to take the place of a dead one were started at once after the project was looked at. */
	if (api->doubted_ms != 0)
		TAILQ_FOREACH (slot, &api->slots, in_api)
			if (stays(slot) && slot->generation == api->generation &&
			    slot->started_ms >= (slot->deaths > 0 ? api->verified_ms : api->doubted_ms))
				return false;
	api->verified_ms = clock_ms();
	api->doubted_ms = 0;
	return true;
}

/* There is no room for one more: one of the old makes room, unless one is about to. */
static void
make_room(struct api *api, const struct generation *newest)
{
	struct slot *old = pick(api, newest, false);

	if (!old || has_dismissed(api) || board_will_have_place(&api->supervisor->board, api->number))
		return;
	log_info("api \"%s\": no room for one more replica; %s makes room", api->name, old->name);
	dismiss(old, "it makes room");
}

void
api_retire(struct api *api)
{
	api->routed = false;
	api->retired = true;
}

/* Does b, which is still to come, take the name or the endpoint of a? */
static bool
replaces(const struct api *b, const struct api *a)
{
	return b != a && !b->retired && !b->routed && (!strcmp(a->name, b->name) || !strcmp(a->endpoint, b->endpoint));
}

bool
api_has_successor(const struct api *api)
{
	const struct supervisor *supervisor = api->supervisor;

	for (size_t i = 0; i < supervisor->n_apis; i++)
		if (replaces(supervisor->apis[i], api))
			return true;
	return false;
}

/* Requests find it from now on. Those whose endpoint or name it takes end, the latter unless their endpoint waits for another. */
static void
begin_to_route(struct api *api)
{
	struct supervisor *supervisor = api->supervisor;

	api->routed = true;
	for (size_t i = 0; i < supervisor->n_apis; i++) {
		struct api *other = supervisor->apis[i];

		if (other == api || !other->routed)
			continue;
		if (!strcmp(other->endpoint, api->endpoint) ||
		    (!strcmp(other->name, api->name) && !api_has_successor(other)))
			api_retire(other);
	}
	activator_tell_apis(supervisor);
	supervisor_compare_soon(supervisor);
}

static void
accept_candidate(struct api *api)
{
	generation_unref(api->generation);
	api->generation = take_ptr(&api->candidate);
	api->verified_ms = api->candidate_ms;
	api->doubted_ms = 0;
	api->awaits_model = false;
	api->history.serves_since_ms = clock_ms();
	activator_tell_apis(api->supervisor); /* which keeps to the limits of the generation */
}

static void
reject_candidate(struct api *api, const char *why)
{
	bool waits = api->awaits_model && api->candidate->failure;

	reload_note_failure(api->supervisor, api, why);
	snprintf(api->history.rejected, sizeof(api->history.rejected), "%s", why);
	drop_candidate(api, "its generation does not start");
	if (!api->generation && !waits)
		api->retired = true;
}

/* One replica has to show that the candidate works. */
static void
try_candidate(struct api *api)
{
	struct slot *slot = pick(api, api->candidate, true), *template = find_template(api, api->candidate);

	if (api->candidate->failure) {
		reject_candidate(api, api->candidate->failure);
	} else if (template && template->deaths > 0) {
		reject_candidate(api, template->last_death);
	} else if (!slot) {
		slot = add_slot(api, api->candidate);
		if (slot)
			slot->trial = true;
		else
			make_room(api, api->candidate);
	} else if (slot->state == SLOT_READY) {
		slot->trial = false;
		if (template)
			template->trial = false;
		accept_candidate(api);
	} else if (slot->deaths > 0) {
		reject_candidate(api, slot->last_death);
	}
}

static int
amount(struct amount amount, int of, bool up)
{
	return amount.is_percent ? (int)(((int64_t)of * amount.value + (up ? 99 : 0)) / 100) : amount.value;
}

/* Old replicas go on because one of the new keeps dying: a reload need not wait for that any longer. */
static void
look_whether_stuck(struct api *api)
{
	const struct slot *slot;

	if (api->said_stuck || !api->supervisor->reload.rolling || !pick(api, api->generation, false))
		return;
	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (stays(slot) && slot->generation == api->generation && slot->state != SLOT_READY &&
		    slot->backoff.deaths_in_a_row >= STUCK_DEATHS) {
			api->said_stuck = true;
			reload_note_failure(api->supervisor, api, slot->last_death);
			return;
		}
}

/* As many of the generation as are wanted, and none of an older one. */
static void
roll(struct api *api)
{
	const struct update_strategy_config *strategy = &api->settings->update_strategy;
	struct generation *newest = api->generation;
	struct tally current = count(api, newest, true), old = count(api, newest, false);
	int target = MIN(api->wanted, api->allowed), surge = amount(strategy->max_surge, target, true);
	int unavailable = amount(strategy->max_unavailable, target, false), least;
	struct slot *slot;

	if (surge == 0 && unavailable == 0)
		unavailable = 1; /* or nothing would ever happen, as the Deployment controller has it */

	for (; current.n > target; current.n--)
		dismiss(pick(api, newest, true), "there are too many");
	while (current.n < target && current.n + old.n < target + (old.n > 0 ? surge : 0)) {
		if (!add_slot(api, newest)) {
			make_room(api, newest);
			break;
		}
		current.n++;
	}
	current = count(api, newest, true);
	old = count(api, newest, false);
	least = MAX(target - unavailable, 1);
	while ((slot = pick(api, newest, false))) {
		if (slot->state == SLOT_READY && current.ready + old.ready <= least)
			break;
		old.ready -= slot->state == SLOT_READY;
		dismiss(slot, "another one takes its place");
	}
	look_whether_stuck(api);
}

/* It works. But one that replaces another is to have as many replicas as are wanted before that one goes, if they come. */
static bool
may_be_routed(const struct api *api)
{
	const struct supervisor *supervisor = api->supervisor;
	const struct slot *slot;
	bool replaces_one = false;

	for (size_t i = 0; i < supervisor->n_apis; i++)
		replaces_one = replaces_one || (supervisor->apis[i]->routed && replaces(api, supervisor->apis[i]));
	if (!replaces_one || api_count_ready(api) >= MIN(api->wanted, api->allowed))
		return true;
	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (stays(slot) && slot->state != SLOT_READY && slot->deaths > 0)
			return true;
	return false;
}

/* Those that wait for it are served first, if anybody can. */
static void
retire(struct api *api)
{
	struct slot *slot;

	if (api_count_ready(api) > 0 && board_waits(&api->supervisor->board, api->number)) {
		supervisor_compare_later(api->supervisor);
		return;
	}
	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (stays(slot))
			dismiss(slot, "its api is gone");
}

/* Fill and empty the slots of a list as was decided. */
static void
carry_out(struct api *api, struct slot_list *list, void (*start)(struct api *api, struct slot *slot))
{
	struct slot *slot, *next;

	for (slot = TAILQ_FIRST(list); slot; slot = next) {
		next = TAILQ_NEXT(slot, in_api);
		if (!stays(slot))
			child_unwanted(slot);
		else if (slot->state == SLOT_EMPTY)
			start(api, slot);
		if (!stays(slot) && slot->state == SLOT_EMPTY) {
			free_slot(list, slot);
			supervisor_compare_soon(api->supervisor); /* there is room for others now */
		}
	}
}

void
api_compare(struct api *api, bool serving)
{
	struct slot *slot;

	if (!serving) {
		TAILQ_FOREACH (slot, &api->slots, in_api)
			slot->dismissed = true;
	} else if (api->retired) {
		retire(api);
	} else {
		if (api->candidate)
			try_candidate(api);
		if (api->generation && !api->retired && !api->candidate)
			roll(api);
		if (api->generation && !api->retired && !api->routed && may_be_routed(api))
			begin_to_route(api);
	}
	choose_templates(api);
	carry_out(api, &api->templates, start_template);
	carry_out(api, &api->slots, start_replica);
}

/* ---- history ---- */

void
api_note_death(struct api *api, const struct slot *slot, enum death_kind kind, const char *text)
{
	struct api_history *history = &api->history;
	struct api_death *death = &history->deaths[history->n_noted++ % API_DEATHS_MAX];

	history->n_deaths[kind]++;
	death->at_ms = clock_ms();
	death->replica = slot->index;
	death->kind = kind;
	snprintf(death->text, sizeof(death->text), "%s", text);
}

/* ---- questions ---- */

int
api_count_ready(const struct api *api)
{
	const struct slot *slot;
	int n = 0;

	TAILQ_FOREACH (slot, &api->slots, in_api)
		n += stays(slot) && slot->state == SLOT_READY;
	return n;
}

bool
api_is_settled(const struct api *api)
{
	struct tally all = count(api, api->generation, true);

	return !api->candidate && !api->retired && all.n == MIN(api->wanted, api->allowed) && all.ready == all.n &&
	    !has_dismissed(api) && count(api, api->generation, false).n == 0;
}

bool
api_has_rolled(const struct api *api)
{
	const struct slot *slot;

	if (api->retired)
		return false;
	if (api->candidate)
		return *api->lacks && TAILQ_EMPTY(&api->slots); /* it is new, and will start when there is room */
	if (api->said_stuck || (!api->generation && api->awaits_model))
		return true;
	TAILQ_FOREACH (slot, &api->slots, in_api)
		if (!stays(slot) || slot->generation != api->generation ||
		    (slot->state != SLOT_READY && slot->deaths == 0 && !slot->recycle &&
			!api_waits_for_failing(api, slot)))
			return false;
	TAILQ_FOREACH (slot, &api->templates, in_api)
		if (!stays(slot))
			return false;
	return count(api, api->generation, true).n == MIN(api->wanted, api->allowed);
}

bool
api_is_gone(const struct api *api)
{
	return api->retired && TAILQ_EMPTY(&api->slots) && TAILQ_EMPTY(&api->templates) &&
	    board_is_unused(&api->supervisor->board, api->number);
}
