/*
 * view - the status of cortexd (docs/monitoring.md, JSON) as text.
 *
 * Pure but for standard output: nothing is asked. What the status lacks is shown as "-".
 */
#ifndef CLI_VIEW_H
#define CLI_VIEW_H

#include <jansson.h>

#include "common/util.h"

/* All apis, a line each. */
void view_apis(const json_t *status);

/* One of them: the same line, what its tracker has counted, where to send requests. verbose: replicas, deaths, decisions too. */
void view_api(const json_t *status, const json_t *api, bool verbose);

/* What a person must know that is no part of a table: an api's message, a reload that has failed (with_reload). */
void view_messages(const json_t *status, bool with_reload);

/* The api with this name, the newest of them; NULL: there is none. Borrowed. */
json_t *view_find_newest(const json_t *status, const char *name);

/* Listeners on any address get URLs with this host:port's host, by which that machine is reached. */
void view_from(json_t *status, const char *host);

/* Its URL, and the path of the unix socket that it is reached by, or NULL. False: nothing listens. The caller frees both. */
bool view_endpoint(const json_t *status, const json_t *api, char **ret_url, char **ret_socket);

/* "wanted 3, ready 1": how far a rollout of an api is; true: as far as it goes. */
bool view_progress(const json_t *api, char text[160]);

/* Members, with what stands in for those that are missing or of another type. */
const char *view_text(const json_t *object, const char *key);     /* "" */
double view_number(const json_t *object, const char *key);        /* -1 */
const json_t *view_member(const json_t *object, const char *key); /* NULL; that has members itself */

#endif
