/*
 * daemon - speaks to the admin interface of a cortexd.
 *
 * Found by what the command line says, or by the project. Answers are bounded; a cortexd that does not answer within some seconds is an error.
 */
#ifndef CLI_DAEMON_H
#define CLI_DAEMON_H

#include <jansson.h>

#include "cli/cli.h"
#include "common/error.h"

#define DAEMON_ANSWER_MAX (64u << 20) /* bytes */

struct daemon {
	char *config; /* absolute path of cortex.yaml; NULL: unknown, there was a --socket, maybe of another machine */
	char *bad;    /* the first of the errors in that; NULL: there is none */
	char *state_dir; /* that it has; NULL: unknown */
	char *socket;    /* of the unix socket; NULL: it is host */
	char *host;      /* host:port */
	char *token;     /* NULL: none */

	/* Asked while an answer is waited for, once a second and after a signal; true: no more of it, the error is -ECANCELED. NULL: it is
	 * waited for. */
	bool (*is_enough)(void);
};

struct daemon_answer {
	long status;
	char *body; /* with a NUL behind it */
	size_t length;
};

/* The cortex.yaml that is meant: -c, or the one in the working directory or above. 0 and its path (the caller frees it), or a negative errno and
 * err. */
MUSTCHECK int daemon_find_config(const struct cli *cli, char **ret_path, struct error *err);

/* 0, or a negative errno and err. Release with daemon_done in either case. That it is found does not mean that it is there. */
MUSTCHECK int daemon_find(const struct cli *cli, struct daemon *daemon, struct error *err);

/* When it is not there any more: a reload may have moved it. After an error daemon is as it was. */
MUSTCHECK int daemon_find_again(const struct cli *cli, struct daemon *daemon, struct error *err);
void daemon_done(struct daemon *daemon);

/* method: GET or POST, with body if it is not NULL: a sample (JSON), whose answer is waited for as long as it takes. 0 and an answer of any
 * status (release with daemon_answer_done), or a negative errno and err: there is nobody, and how to start it. */
MUSTCHECK int daemon_request(const struct daemon *daemon, const char *method, const char *path, const char *body,
    size_t length, struct daemon_answer *ret_answer, struct error *err);
void daemon_answer_done(struct daemon_answer *answer);

/* GET that goes on: take is called with what comes, in pieces; it ends with the other side, or when take gives false. -ENOENT: cortexd has no such
 * thing, and err is what it says; -EPIPE: it has begun, and was cut off. */
typedef bool daemon_take_fn(const char *bytes, size_t length, void *arg);
MUSTCHECK int daemon_stream(
    const struct daemon *daemon, const char *path, daemon_take_fn *take, void *arg, struct error *err);

/* The status. 0 and *ret_status (json_decref), or a negative errno and err. */
MUSTCHECK int daemon_status(const struct daemon *daemon, json_t **ret_status, struct error *err);

/* A POST anywhere else, not to the admin interface: url, or a unix socket with a path. */
MUSTCHECK int daemon_post(const char *url, const char *socket, const char *body, size_t length,
    struct daemon_answer *ret_answer, struct error *err);

/* "/logs?api=..." with the value percent-encoded. The caller frees it. */
char *daemon_path(const char *path, const char *value);

#endif
