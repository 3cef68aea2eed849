/*
 * apis - which apis there are, and where requests go: as the activator was started with, and as each reload has it.
 *
 * An api keeps its number on the scoreboard, its queue and its replicas as long as the supervisor lists it. One that is listed
 * but not routed is still to come, or on its way out: requests that were accepted before go on waiting for its replicas as long
 * as it has any; those that have a new place by now, as when another api has taken the endpoint over, wait there, at the place
 * in the line that is theirs by arrival.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "activator/activator.h"
#include "common/fd.h"
#include "common/log.h"
#include "http/fixed.h"

static struct http_route
route_of(const struct activator *activator, const struct http_conn *conn)
{
	const struct http_span target = http_conn_request(conn)->target;

	return http_route_find(&activator->routes, http_conn_bytes(conn) + target.offset, target.length);
}

/* The api takes what is in *config, which is left without it. */
static void
set_config(struct api *api, struct activator_api *config)
{
	free(api->config.name);
	free(api->config.endpoint);
	api->config = *config;
	config->name = config->endpoint = NULL;
	api->listed = true;
}

/* Without memory for its own, it is counted with what is for no api. */
static void
map_metrics(struct activator *activator, struct api *api, uint32_t number)
{
	int r = metrics_map_api(activator->scoreboard_fd, number, &api->metrics);

	if (r == 0)
		return;
	log_warning("api number %u: cannot map its metrics: %s", number, strerror(-r));
	api->metrics = activator->no_api;
}

static struct api *
get_api(struct activator *activator, uint32_t number)
{
	if (number >= activator->n_apis) {
		activator->apis = xrealloc(activator->apis, number + 1, sizeof(struct api *));
		while (activator->n_apis <= number)
			activator->apis[activator->n_apis++] = NULL;
	}
	if (!activator->apis[number]) {
		activator->apis[number] = xcalloc(1, sizeof(struct api));
		queue_init(activator->apis[number], activator, number);
		map_metrics(activator, activator->apis[number], number);
	}
	return activator->apis[number];
}

/* A number that the supervisor gave back: the replicas are gone, and what waited for them has been routed again. */
static void
drop_api(struct activator *activator, uint32_t number)
{
	struct api *api = activator->apis[number];

	if (!TAILQ_EMPTY(&api->peers) || !TAILQ_EMPTY(&api->queue)) {
		log_error("api \"%s\" is not listed any more, but in use", api->config.name);
		return;
	}
	queue_done(api);
	if (api->metrics != activator->no_api)
		metrics_unmap_api(api->metrics);
	free(api->config.name);
	free(api->config.endpoint);
	free(api);
	activator->apis[number] = NULL;
}

/* Where do those requests belong that have a place already, or will have one when their body is there? */
static void
route_again(struct activator *activator)
{
	struct http_conn *conn;

	TAILQ_FOREACH (conn, &activator->conns.in_state[HTTP_CONN_BODY], in_state)
		conn->route = route_of(activator, conn);
	for (uint32_t i = 0; i < activator->n_apis; i++)
		if (activator->apis[i])
			apis_route_queue(activator->apis[i]);
}

void
apis_route_queue(struct api *api)
{
	struct activator *activator = api->activator;
	struct http_conn_list all = TAILQ_HEAD_INITIALIZER(all);
	struct http_conn *conn;

	queue_take_all(api, &all);
	while ((conn = TAILQ_FIRST(&all))) {
		struct http_route route = route_of(activator, conn);

		TAILQ_REMOVE(&all, conn, in_pending);
		if (route.kind == HTTP_ROUTE_API) {
			conn->route = route;
			queue_put(activator->apis[route.api], conn);
		} else if (!TAILQ_EMPTY(&api->peers)) {
			queue_put(api, conn);
		} else {
			conn->route = route;
			ASSERT(http_fixed_answer(conn, false)); /* it is not there any more */
		}
	}
	for (uint32_t i = 0; i < activator->n_apis; i++)
		if (activator->apis[i])
			queue_dispatch(activator->apis[i]);
}

void
apis_apply(struct activator *activator, struct activator_start *start)
{
	for (uint32_t i = 0; i < activator->n_apis; i++)
		if (activator->apis[i])
			activator->apis[i]->listed = false;
	http_routes_done(&activator->routes);
	for (size_t i = 0; i < start->n_apis; i++)
		set_config(get_api(activator, start->apis[i].number), &start->apis[i]);
	for (uint32_t i = 0; i < activator->n_apis; i++) {
		struct api *api = activator->apis[i];

		if (api && api->listed && api->config.routed)
			http_routes_add(&activator->routes, api->config.endpoint, i, api->config.describes);
		else if (api)
			api->config.routed = false;
	}
	route_again(activator);
	for (uint32_t i = 0; i < activator->n_apis; i++)
		if (activator->apis[i] && !activator->apis[i]->listed)
			drop_api(activator, i);
}

void
apis_receive(struct activator *activator, int fd)
{
	struct activator_start start;
	struct error err;
	char *json = NULL;
	size_t length;
	int r;

	r = fd_read_all(fd, ACTIVATOR_START_MAX, &json, &length);
	if (r < 0)
		error_set(&err, r, "cannot read it: %s", strerror(-r));
	else
		r = activator_start_decode(json, length, &start, &err);
	close(fd);
	free(json);
	if (r < 0) {
		log_error("the apis after a reload: %s", err.text);
		return;
	}
	log_set_format(start.log_format);
	log_set_level(start.log_level);
	log_set_access(start.log_access);
	activator->conns.access_log = start.log_access != LOG_ACCESS_NONE;
	apis_apply(activator, &start);
	activator_start_done(&start);
}
