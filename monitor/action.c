/*
 * action - what the supervisor is asked to do. See monitor.h.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "monitor/monitor.h"

struct action {
	TAILQ_ENTRY(action) in_list;
	uint32_t number;
	struct http_conn *conn; /* that waits for it */
	int64_t since_ms;
};

static struct http_conn *
end(struct monitor *monitor, struct action *action)
{
	struct http_conn *conn = action->conn;

	TAILQ_REMOVE(&monitor->actions, action, in_list);
	free(action);
	return conn;
}

void
action_begin(struct monitor *monitor, struct http_conn *conn, enum record_kind kind, const char *text)
{
	uint32_t number = ++monitor->last_action;
	struct action *action;

	if (record_send_full(MONITOR_FD_CONTROL, kind, number, 0, text, -1) < 0) {
		answer_error(conn, 503, "the supervisor cannot be asked now");
		return;
	}
	action = xcalloc(1, sizeof(*action));
	*action = (struct action){.number = number, .conn = conn, .since_ms = clock_ms()};
	TAILQ_INSERT_TAIL(&monitor->actions, action, in_list);
	monitor_tick_soon(monitor);
}

void
action_done(struct monitor *monitor, const struct record *record)
{
	int status = (int)record->numbers[1];
	struct action *action;
	char json[64];

	monitor_look_again(monitor);
	TAILQ_FOREACH (action, &monitor->actions, in_list)
		if (action->number == record->numbers[0])
			break;
	if (!action)
		return; /* the client has left */
	if (status != 202) {
		answer_error(end(monitor, action), status, record->text);
		return;
	}
	snprintf(json, sizeof(json), *record->text ? "{\"number\": %u}" : "{\"ok\": true}",
	    (unsigned)strtoul(record->text, NULL, 10));
	answer_json(end(monitor, action), 202, json);
}

void
action_expire(struct monitor *monitor, int64_t now_ms)
{
	struct action *action;

	while ((action = TAILQ_FIRST(&monitor->actions)) && now_ms - action->since_ms >= VIEW_PATIENCE_MS)
		answer_error(end(monitor, action), 503, "the supervisor does not answer");
}

bool
action_forget(struct monitor *monitor, const struct http_conn *conn)
{
	struct action *action;

	TAILQ_FOREACH (action, &monitor->actions, in_list)
		if (action->conn == conn) {
			end(monitor, action);
			return true;
		}
	return false;
}
