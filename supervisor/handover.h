/*
 * handover - what the supervisor of one cortexd gives to the one that replaces it (upgrade.h), as descriptors and one JSON text.
 *
 * The two are different builds as a rule. HANDOVER_VARIABLE says in the environment that there is a handover, and of which format;
 * the text may get further keys within a format, those that are not known are skipped.
 */
#ifndef SUPERVISOR_HANDOVER_H
#define SUPERVISOR_HANDOVER_H

#include <sys/types.h>

#include "common/activator_start.h"
#include "common/error.h"
#include "common/util.h"

#define HANDOVER_VARIABLE "CORTEXD_UPGRADE"

/*
 * To be increased when anything changes that two builds say to each other: the descriptors and keys below, the three records between
 * supervisors (common/record.h), or the record MOVE between activators (common/channel_record.h).
 */
#define HANDOVER_FORMAT 1

#define HANDOVER_MAX           (4 << 20) /* bytes of JSON */
#define HANDOVER_LISTENERS_MAX ACTIVATOR_LISTENERS_MAX

/* The descriptors that the new supervisor is started with. */
enum {
	HANDOVER_FD_SOCKET = 3,   /* to the old supervisor: common/record.h */
	HANDOVER_FD_TEXT = 4,     /* the JSON text, in a sealed memfd */
	HANDOVER_FD_LOCK = 5,     /* the lock of the state directory, locked: it belongs to all that have it open */
	HANDOVER_FD_LISTENER = 6, /* the first listening socket, in the order of the text */
};

struct handover_listener {
	char *text;     /* of server.listen */
	bool made_file; /* it is a unix socket, and cortexd made its file */
};

struct handover_api {
	char *name;
	int wanted;        /* replicas, by the load */
	bool awaits_model; /* and has none, because its model cannot be had */
};

struct handover {
	pid_t pid;              /* of the old supervisor */
	char *state_dir;        /* absolute */
	unsigned reload_number; /* of its last reload (reload.h) */
	struct handover_listener *listeners;
	size_t n_listeners;
	char **admin; /* texts of server.admin, whose sockets follow those of the others */
	size_t n_admin;
	struct handover_api *apis;
	size_t n_apis;
};

/* The JSON text; the caller frees it. */
char *handover_encode(const struct handover *handover);

/* Build *ret_handover (release with handover_done). 0, or -EBADMSG and err; any bytes are safe. */
MUSTCHECK int handover_decode(const char *json, size_t length, struct handover *ret_handover, struct error *err);
void handover_done(struct handover *handover);

#endif
