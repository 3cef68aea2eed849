/*
 * view - see view.h.
 */
#include "cli/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/table.h"

/* ---- members ---- */

const char *
view_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

double
view_number(const json_t *object, const char *key)
{
	const json_t *number = json_object_get(object, key);

	return json_is_number(number) ? json_number_value(number) : -1;
}

const json_t *
view_member(const json_t *object, const char *key)
{
	return json_object_get(object, key);
}

/* A time of the status, in seconds since 1970; -1: it is none. */
static double
parse_time(const char *text)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	return rest ? (double)timegm(&tm) + (*rest == '.' ? atof(rest) : 0) : -1;
}

/* How long ago, by cortexd's own clock. */
static const char *
age(const json_t *status, const char *time_text, char room[16])
{
	double now = parse_time(view_text(status, "now")), then = parse_time(time_text);

	return now < 0 || then < 0 ? "-" : text_age(now - then, room);
}

json_t *
view_find_newest(const json_t *status, const char *name)
{
	json_t *api, *found = NULL;
	size_t i;

	json_array_foreach(json_object_get(status, "apis"), i, api) if (!strcmp(view_text(api, "name"), name) &&
	    (!found || view_number(api, "generation") >= view_number(found, "generation"))) found = api;
	return found;
}

void
view_from(json_t *status, const char *host)
{
	static const char *const any[] = {"*:", "0.0.0.0:", "[::]:"};
	json_t *listener;
	size_t i;

	json_array_foreach(json_object_get(status, "listeners"), i, listener)
	{
		const char *text = view_text(listener, "text");

		for (size_t j = 0; j < N_ELEMENTS(any); j++)
			if (!strncmp(text, any[j], strlen(any[j]))) {
				char *url = xasprintf(
				    "http://%.*s%s", (int)(strrchr(host, ':') - host), host, strrchr(text, ':'));

				json_object_set_new(listener, "url", json_string(url));
				free(url);
			}
	}
}

bool
view_endpoint(const json_t *status, const json_t *api, char **ret_url, char **ret_socket)
{
	const json_t *listener = json_array_get(json_object_get(status, "listeners"), 0);
	const char *text = view_text(listener, "text"), *url = view_text(listener, "url");
	bool is_unix = !strncmp(text, "unix:", 5);

	if (!listener)
		return false;
	*ret_socket = is_unix ? xstrdup(text + 5) : NULL;
	*ret_url = xasprintf("%s%s", is_unix || !*url ? "http://localhost" : url, view_text(api, "endpoint"));
	return true;
}

/* ---- the table ---- */

static enum color
status_color(const char *status)
{
	if (!strcmp(status, "live"))
		return COLOR_GOOD;
	if (!strncmp(status, "error", 5) || !strcmp(status, "compute unavailable"))
		return COLOR_BAD;
	return COLOR_WARN;
}

static void
add_count(struct table *table, const json_t *counts, const char *key, enum color color)
{
	double number = view_number(counts, key);
	char text[32];

	snprintf(text, sizeof(text), "%.0f", number);
	table_add(table, number < 0 ? "-" : text, number > 0 ? color : COLOR_NONE);
}

static void
add_api(struct table *table, const json_t *status, const json_t *api)
{
	const json_t *replicas = view_member(api, "replicas"), *metrics = view_member(api, "metrics");
	const json_t *requests = view_member(metrics, "requests");
	const json_t *total = view_member(view_member(metrics, "latency_ms"), "total");
	const char *word = view_text(api, "status");
	char room[24];

	table_add(table, *word ? word : "-", status_color(word));
	add_count(table, replicas, "up_to_date", COLOR_NONE);
	add_count(table, replicas, "requested", COLOR_NONE);
	add_count(table, replicas, "available", COLOR_NONE);
	add_count(table, replicas, "failed", COLOR_BAD);
	table_add(table, age(status, view_text(api, "updated"), room), COLOR_NONE);
	table_add(table, view_number(total, "count") > 0 ? text_ms(view_number(total, "mean"), room) : "-", COLOR_NONE);
	add_count(table, requests, "2xx", COLOR_NONE);
	add_count(table, requests, "4xx", COLOR_WARN);
	add_count(table, requests, "5xx", COLOR_BAD);
}

static const char *const columns[] = {"api", "status", "up-to-date", "requested", "available", "failed", "last update",
    "avg latency", "2XX", "4XX", "5XX"};
static const char *const short_columns[] = {
    "api", "status", "current", "wanted", "ready", "failed", "updated", "latency", "2XX", "4XX", "5XX"};

void
view_apis(const json_t *status)
{
	struct table table;
	const json_t *api;
	size_t i;

	table_init(&table, N_ELEMENTS(columns), columns, short_columns);
	json_array_foreach(json_object_get(status, "apis"), i, api)
	{
		table_add(&table, view_text(api, "name"), COLOR_NONE);
		add_api(&table, status, api);
	}
	table_print(&table);
	table_done(&table);
}

static void
print_clean(const char *before, const char *text, enum color color)
{
	char *clean = text_clean(text, strlen(text), false);

	if (color == COLOR_NONE)
		printf("%s%s\n", before, clean);
	else
		printf("%s%s%s%s\n", before, text_color(color), clean, text_color(COLOR_NONE));
	free(clean);
}

void
view_messages(const json_t *status, bool with_reload)
{
	const json_t *reload = view_member(status, "reload"), *api;
	size_t i;

	json_array_foreach(json_object_get(status, "apis"), i, api) if (*view_text(api, "message"))
	{
		char *before = xasprintf("\n%s: ", view_text(api, "name"));

		print_clean(before, view_text(api, "message"), status_color(view_text(api, "status")));
		free(before);
	}
	if (with_reload && !strcmp(view_text(reload, "state"), "failed"))
		print_clean("\nthe last reload has failed: ", view_text(reload, "text"), COLOR_BAD);
}

/* ---- one api ---- */

static void
view_classes(const json_t *tracked)
{
	static const char *const names[] = {"class", "count"};
	struct table table;
	const char *class;
	json_t *count;

	table_init(&table, 2, names, NULL);
	json_object_foreach((json_t *)(uintptr_t)json_object_get(tracked, "classes"), class, count)
	{
		table_add(&table, class, COLOR_NONE);
		table_add_number(&table, json_number_value(count));
	}
	if (view_number(tracked, "other") > 0) {
		table_add(&table, "(others)", COLOR_DIM);
		table_add_number(&table, view_number(tracked, "other"));
	}
	if (json_object_size(json_object_get(tracked, "classes")) > 0)
		table_print(&table);
	else
		printf("no predictions have been tracked yet\n");
	table_done(&table);
}

static void
view_values(const json_t *tracked)
{
	static const char *const names[] = {"min", "max", "avg", "count"};
	struct table table;
	char text[32];

	if (!(view_number(tracked, "count") > 0)) {
		printf("no predictions have been tracked yet\n");
		return;
	}
	table_init(&table, 4, names, NULL);
	for (size_t i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "%.6g", json_number_value(json_object_get(tracked, names[i])));
		table_add(&table, text, COLOR_NONE);
	}
	table_add_number(&table, view_number(tracked, "count"));
	table_print(&table);
	table_done(&table);
}

static void
view_tracker(const json_t *api)
{
	const json_t *tracked = view_member(view_member(api, "metrics"), "tracker");

	if (!json_is_object(tracked))
		return;
	putchar('\n');
	if (json_is_object(json_object_get(tracked, "classes")))
		view_classes(tracked);
	else
		view_values(tracked);
	if (view_number(tracked, "untracked") > 0)
		printf(
		    "%.0f predictions could not be tracked; cortex logs says why\n", view_number(tracked, "untracked"));
}

static void
view_replicas(const json_t *status, const json_t *api)
{
	static const char *const names[] = {"replica", "state", "activity", "generation", "pid", "since", "cpu",
	    "memory", "predictions", "connections"};
	const json_t *slot;
	struct table table;
	char room[24];
	size_t i;

	table_init(&table, N_ELEMENTS(names), names, NULL);
	json_array_foreach(json_object_get(api, "slots"), i, slot)
	{
		const char *state = view_text(slot, "state");
		double cpu = view_number(slot, "cpu_seconds"), memory = view_number(slot, "memory_bytes");

		add_count(&table, slot, "replica", COLOR_NONE);
		table_add(&table, state, !strcmp(state, "ready") ? COLOR_GOOD : COLOR_WARN);
		table_add(&table, view_text(slot, "activity"), COLOR_NONE);
		add_count(&table, slot, "generation", COLOR_NONE);
		add_count(&table, slot, "pid", COLOR_NONE);
		table_add(&table, age(status, view_text(slot, "since"), room), COLOR_NONE);
		snprintf(room, sizeof(room), "%.1f s", cpu);
		table_add(&table, cpu < 0 ? "-" : room, COLOR_NONE);
		table_add(&table, memory <= 0 ? "-" : text_bytes(memory, room), COLOR_NONE);
		add_count(&table, slot, "predictions", COLOR_NONE);
		add_count(&table, slot, "connections", COLOR_NONE);
	}
	putchar('\n');
	table_print(&table);
	table_done(&table);
}

/* Deaths are of replicas, or of the template that they are forked from. */
static void
view_list(const json_t *status, const json_t *list, const char *title, const char *key, bool with_replica)
{
	const json_t *item;
	char room[16], whose[40] = "";
	size_t i;

	if (json_array_size(list) > 0)
		printf("\n%s%s%s\n", text_color(COLOR_BOLD), title, text_color(COLOR_NONE));
	json_array_foreach(list, i, item)
	{
		char *before;

		if (with_replica && json_is_null(json_object_get(item, "replica")))
			snprintf(whose, sizeof(whose), "template: ");
		else if (with_replica)
			snprintf(whose, sizeof(whose), "replica %.0f: ", view_number(item, "replica"));
		before = xasprintf("  %4s ago   %s", age(status, view_text(item, "at"), room), whose);
		print_clean(before, view_text(item, key), COLOR_NONE);
		free(before);
	}
}

static void
view_latency(const json_t *api)
{
	static const char *const names[] = {"latency", "mean", "p50", "p90", "p99", "p999"};
	static const char *const kinds[] = {"queue", "prediction", "total"};
	const json_t *latency = view_member(view_member(api, "metrics"), "latency_ms");
	struct table table;
	char room[24];

	table_init(&table, N_ELEMENTS(names), names, NULL);
	for (size_t i = 0; i < N_ELEMENTS(kinds); i++) {
		const json_t *kind = view_member(latency, kinds[i]);

		table_add(&table, kinds[i], COLOR_NONE);
		for (size_t j = 1; j < N_ELEMENTS(names); j++)
			table_add(&table,
			    view_number(kind, "count") > 0 ? text_ms(view_number(kind, names[j]), room) : "-",
			    COLOR_NONE);
	}
	putchar('\n');
	table_print(&table);
	table_done(&table);
}

static void
view_where(const json_t *status, const json_t *api)
{
	char *url, *socket;

	if (!view_endpoint(status, api, &url, &socket))
		return;
	print_clean("\nendpoint: ", url, COLOR_NONE);
	printf("curl: curl %s%s%s-X POST -H 'Content-Type: application/json' -d @sample.json ",
	    socket ? "--unix-socket '" : "", socket ? socket : "", socket ? "' " : "");
	print_clean("", url, COLOR_NONE);
	free(url);
	free(socket);
}

void
view_api(const json_t *status, const json_t *api, bool verbose)
{
	struct table table;

	table_init(&table, N_ELEMENTS(columns) - 1, columns + 1, short_columns + 1);
	add_api(&table, status, api);
	table_print(&table);
	table_done(&table);
	if (*view_text(api, "message"))
		print_clean("\n", view_text(api, "message"), status_color(view_text(api, "status")));
	view_tracker(api);
	view_where(status, api);
	if (!verbose)
		return;
	view_replicas(status, api);
	view_latency(api);
	if (*view_text(api, "decision"))
		print_clean("\nscaling: ", view_text(api, "decision"), COLOR_NONE);
	view_list(status, json_object_get(api, "decisions"), "changes of the number of replicas", "reason", false);
	view_list(status, json_object_get(api, "deaths"), "last deaths", "text", true);
}

/* ---- a rollout ---- */

bool
view_progress(const json_t *api, char text[160])
{
	const json_t *replicas = view_member(api, "replicas"), *states = view_member(replicas, "by_state");
	double requested = view_number(replicas, "requested"), up_to_date = view_number(replicas, "up_to_date");
	double loading = MAX(view_number(states, "loading"), 0) + MAX(view_number(states, "spawned"), 0);
	double draining = MAX(view_number(states, "draining"), 0) + MAX(view_number(states, "exiting"), 0);
	int n = snprintf(
	    text, 160, "%s, %.0f of %.0f replicas up to date", view_text(api, "status"), up_to_date, requested);

	if (loading > 0 && n < 160)
		n += snprintf(text + n, (size_t)(160 - n), ", %.0f starting", loading);
	if (draining > 0 && n < 160)
		snprintf(text + n, (size_t)(160 - n), ", %.0f ending", draining);
	return up_to_date >= requested && draining <= 0;
}
