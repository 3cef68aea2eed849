/*
 * config_reader - how the files config_*.c read a document tree by tables. Nobody else includes this.
 *
 * The schema is data: a struct config_map lists the keys of one kind of map, and every key names the function that
 * reads its value. A test walks the tables to see that every key is documented.
 *
 * The reader knows where it is ("api "iris"", "compute.cpu", line and column of the key), so that whoever finds an
 * error only says what was found and what is allowed. Readers report and go on: a run finds all errors of a file.
 * Values are left alone when they are wrong; zero or NULL in a struct config means absent until the defaults are set.
 */
#ifndef COMMON_CONFIG_READER_H
#define COMMON_CONFIG_READER_H

#include "common/config.h"
#include "common/document.h"
#include "common/scoreboard.h"

#define CONFIG_APIS_MAX      SCOREBOARD_APIS_MAX
#define CONFIG_RESOURCES_MAX (CONFIG_APIS_MAX + 2) /* and a deployment and a server */
#define CONFIG_REPLICAS_MAX  10000                 /* of init and min: they are started at once */
#define CONFIG_NAME_MAX      63                    /* of a DNS label */
#define CONFIG_ENDPOINT_MAX  255
#define CONFIG_ADDRESS_MAX   2048          /* characters, of a model */
#define CONFIG_KEY_MAX       1024          /* of a signature */
#define CONFIG_LISTEN_MAX    64            /* what a start record allows */
#define CONFIG_METADATA_MAX  (1536 * 1024) /* JSON of all apis; quoted once more it fits in START_RECORD_MAX */
#define CONFIG_ENV_MAX       (128 * 1024)  /* names and values of an api; Linux takes no longer string in execve */
#define CONFIG_BODY_MAX      (1ll << 30)

struct config_problem {
	struct mark mark;
	size_t order; /* of being found; settles equal marks */
	char *text;
};

struct config_reader {
	struct config *config; /* being filled */
	struct config_problem *problems;
	size_t n_problems;
	size_t n_more;
	char subject[160];    /* api "iris" */
	char path[256];       /* compute.cpu */
	struct mark mark;     /* what an error is reported at: mostly the key whose value is read */
	size_t metadata_room; /* what is left of CONFIG_METADATA_MAX */
	bool models_may_lack; /* config_load_to_prepare */
};

/* --- errors (config_errors.c) ------------------------------------------------------------------------------------- */

/* Add "subject: path: text" at reader->mark, or at another mark. */
void config_error(struct config_reader *reader, const char *format, ...) PRINTFLIKE(2);
void config_error_at(struct config_reader *reader, struct mark mark, const char *format, ...) PRINTFLIKE(3);

/* What a message may show of the file: quoted, on one line, not too long. */
struct config_shown {
	char text[128];
};
struct config_shown config_show(const char *text, size_t length); /* "abc" */
struct config_shown config_found(const struct node *node);        /* the string "abc", the number 5, a list, ... */

/* Step into a key or, with key NULL, the index of a list; the mark becomes that of the step. */
struct config_place {
	size_t path_length;
	struct mark mark;
};
struct config_place config_enter(struct config_reader *reader, const struct node *key, size_t index, struct mark mark);
void config_leave(struct config_reader *reader, struct config_place place);

/* Move the problems into *ret_errors as lines, in the order of the file; nothing is left in the reader. */
void config_problems_take(struct config_reader *reader, const char *file, struct config_errors *ret_errors);
void config_errors_set(struct config_errors *ret_errors, const char *file, const char *text);

/* --- maps and values (config_reader.c) ---------------------------------------------------------------------------- */

struct config_key;
struct config_map;

/* Read value into *field, whose type the function knows; field is NULL when nobody keeps it. False: an error was
 * reported. value is neither NODE_NULL nor NODE_BAD. */
typedef bool config_read_fn(
    struct config_reader *reader, const struct config_key *key, const struct node *value, void *field);

enum {
	CONFIG_REQUIRED = 1,
	CONFIG_NOT_YET = 2, /* valid values are refused as well */
};

#define CONFIG_NO_FIELD SIZE_MAX

struct config_key {
	const char *name;
	config_read_fn *read;
	size_t offset;                /* of the field in the map's target */
	unsigned flags;               /* CONFIG_REQUIRED, CONFIG_NOT_YET */
	const char *allowed;          /* in words, behind "must be" */
	int64_t min, max;             /* integers */
	const struct config_map *map; /* of a map with keys of its own */
};

struct config_map {
	const struct config_key *keys;
	size_t n_keys;
	/* Rules between several keys, after all of them were read; may be NULL. */
	void (*check)(struct config_reader *reader, const struct node *map, void *target);
};

extern const struct config_map config_deployment_map; /* target struct config */
extern const struct config_map config_server_map;     /* target struct server_config */
extern const struct config_map config_api_map;        /* target struct api_config */

/* Read a map by its table. False when node is no map. */
bool config_read_keys(
    struct config_reader *reader, const struct config_map *map, const struct node *node, void *target);

/* Is the key one that any map may have: a string, not a merge key, given once? Reports if not. The reader is in it. */
bool config_check_key(struct config_reader *reader, const struct pair *pair);

/* Report what makes any value unusable: NODE_BAD; NODE_NULL where something must be. */
bool config_check_value(struct config_reader *reader, const struct node *value, const char *allowed);

/* "found X; must be Y". Always false, so that a reader may return it. */
bool config_wrong_type(struct config_reader *reader, const struct node *value, const char *allowed);

/* The text of any scalar as it was written (a key that says string takes 5 or true as text), or NULL and an error. */
const char *config_text(struct config_reader *reader, const struct node *value, const char *allowed);

config_read_fn config_read_nothing;  /* accepts anything: `kind` */
config_read_fn config_read_map;      /* by key->map; field is its target */
config_read_fn config_read_string;   /* char *: not empty, at most key->max bytes (0: any number) */
config_read_fn config_read_int;      /* int: key->min to key->max */
config_read_fn config_read_choice;   /* key->allowed lists the words; no field */
config_read_fn config_read_cpu;      /* int64_t: millicores, more than 0 */
config_read_fn config_read_bytes;    /* int64_t: key->min to key->max */
config_read_fn config_read_duration; /* int64_t: milliseconds, key->min to key->max (0: no limit) */
config_read_fn config_read_percent;  /* int: key->min to key->max */

/* Which key that node does not have yet did somebody mean who wrote word in it? NULL when none is near.
 * (config_suggest.c) */
const char *config_suggest(const char *word, const struct config_map *map, const struct node *node);

/* --- special values ----------------------------------------------------------------------------------------------- */

enum config_path_kind {
	CONFIG_FILE,
	CONFIG_FOLDER,
	CONFIG_FILE_OR_FOLDER,
};

/* Find a file or folder of the project, given relative to it or absolute. Its path relative to the project folder and
 * its absolute path with links resolved (either may be NULL; the caller frees). False: an error was reported.
 * (config_path.c) */
bool config_find_path(struct config_reader *reader, const struct node *value, enum config_path_kind kind,
    char **ret_relative, char **ret_absolute);

/* Find a file or folder that may lie anywhere: its absolute path with links resolved. False: an error was
 * reported; but see models_may_lack.
 * (config_path.c) */
bool config_find_model(
    struct config_reader *reader, const struct node *value, enum config_path_kind kind, char **ret_absolute);

/* <folder>/<text>, or text when it is absolute, without empty and "." parts and, as far as that is possible, "..". */
char *config_join_path(const char *folder, const char *text);

config_read_fn config_read_listen;   /* struct server_config (config_listen.c) */
config_read_fn config_read_admin;    /* struct server_config (config_listen.c) */
config_read_fn config_read_metadata; /* char *: JSON text (config_metadata.c) */

/* Set what a resource leaves open; release what it holds. */
void config_init_server(struct server_config *server); /* before its keys are read */
void config_default_listen(struct server_config *server);

/* Do server.listen and server.admin go together? Reports if not. */
bool config_check_listen(struct config_reader *reader, const struct server_config *server);
void config_listen_done(struct server_config *server);
void config_init_api(struct api_config *api); /* before its keys are read */
void config_default_api(struct api_config *api, const char *deployment);
void config_api_done(struct api_config *api);

/* What a name may look like: lower-case letters, digits, dashes, none at the ends. */
bool config_is_dns_label(const char *text, bool letter_first);

#endif
