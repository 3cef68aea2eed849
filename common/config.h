/*
 * config - cortex.yaml as an immutable value.
 *
 * config_load reads the file with libyaml, checks everything, and gives either a complete struct config or the list of
 * all errors of the file in one go, each "FILE:LINE:COLUMN: subject: what was found; what is allowed". A config never
 * changes after that; it is reference-counted so that whoever still works with an old one may keep it.
 *
 * The schema is Cortex v0.11's (deployment, api) plus the `server` resource and the keys cortexd adds to an api.
 * What the schema knows but this cortexd does not do yet is an error that says "not supported yet"; nothing is ignored.
 */
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include <sys/types.h>

#include "common/error.h"
#include "common/log.h"
#include "common/start_record.h"
#include "common/util.h"

#define CONFIG_FILE_MAX   (1 << 20) /* bytes of cortex.yaml */
#define CONFIG_ERRORS_MAX 100       /* more are counted, not kept */
#define CONFIG_GPUS_MAX   256       /* of a host */

enum listen_kind {
	LISTEN_TCP,
	LISTEN_UNIX,
};

struct listen_config {
	enum listen_kind kind;
	char *text; /* canonical, for messages: 127.0.0.1:8888, [::1]:8888, unix:/absolute/path */
	char *host; /* TCP: numeric address without brackets; "" is every address, v6 and v4 */
	uint16_t port;
	char *path; /* UNIX: absolute */
};

/* What replicas may ask for in all; what is not given is what the host has. */
struct capacity_config {
	int64_t cpu_millicpu; /* 0: not given */
	int64_t mem_bytes;    /* 0: not given */
	int gpu;              /* -1: not given; at most CONFIG_GPUS_MAX */
};

/* The base environment, whose packages every project has. */
struct packages_config {
	char *folder; /* absolute; NULL: the usual place, if there is something */
	bool none;    /* not even that */
};

struct server_config {
	struct listen_config *listen; /* at least one; default 127.0.0.1:8888 */
	size_t n_listen;
	struct listen_config *admin; /* TCP addresses of the admin interface */
	size_t n_admin;
	bool admin_unix;   /* and its unix socket, in state_dir; the default */
	bool admin_none;   /* there is none at all */
	char *admin_token; /* absolute path of the file with its token; NULL: <state_dir>/token */
	char *state_dir;   /* absolute; default <folder>/.cortex */
	char *user;        /* to become once the sockets are bound; NULL: none */
	enum log_format log_format;
	enum log_level log_level;
	enum log_access log_access;
	int log_files; /* of each log; 0: none are written */
	int64_t log_file_bytes;
	struct capacity_config capacity;
	struct packages_config packages;
};

/* What an api is made of, whatever its kind. */
struct predictor_config {
	char *path;  /* the user's file, relative to the project folder, checked to be a file inside it; NULL: none */
	char *model; /* s3://, https:// or http:// as written, or the absolute path of what is there; NULL: none */
	char *signature_key; /* of a TensorFlow model, or NULL */
	char *python_path;   /* absolute folder, or NULL */
	char *
	    metadata_json; /* JSON text of a map; "{}" when absent. Numbers as written: NaN, Infinity, integers of any size */
	struct env_var *env;
	size_t n_env;
};

struct compute_config {
	int min_replicas;
	int max_replicas;
	int init_replicas;
	int target_cpu_utilization; /* percent of the cpu request */
	int64_t cpu_millicpu;
	int64_t mem_bytes; /* 0: not given */
	int gpu;           /* devices that a replica has to itself */
};

/* How the number of replicas follows the load, between min_replicas and max_replicas. */
struct autoscaling_config {
	int64_t target_in_flight_milli;     /* thousandths of a request, running or waiting, per replica; 0: none */
	int64_t window_ms;                  /* over which CPU use is averaged; default 60 s */
	int64_t downscale_stabilization_ms; /* default 5 min */
	int64_t upscale_stabilization_ms;   /* default 0 */
	int tolerance_percent;              /* a deviation up to this changes nothing; default 10 */
};

/* A number of replicas, or a percentage of those that are wanted. */
struct amount {
	int value; /* 0 or more; a percentage is at most 100 */
	bool is_percent;
};

/* How replicas are replaced by those of a new config. Never 0 and 0, but a percentage may come to 0 of few replicas. */
struct update_strategy_config {
	struct amount max_surge;       /* so many more than wanted; default 25 % */
	struct amount max_unavailable; /* so many fewer; default 25 % */
};

/* When a replica is replaced although nothing is wrong with it. */
struct recycle_config {
	int64_t max_requests;  /* predictions; 0: no limit */
	int jitter_percent;    /* each process takes up to so much off max_requests; default 10 */
	int64_t max_mem_bytes; /* resident memory; 0: no limit */
};

/* What of the answers is counted for status and metrics. */
struct tracker_config {
	char *key; /* of the response; NULL: the response itself */
	enum tracker_type type;
};

struct api_config {
	char *name;
	char *endpoint; /* canonical: leading slash, none at the end */
	enum api_kind kind;
	struct predictor_config predictor; /* of any kind */
	struct compute_config compute;
	struct autoscaling_config autoscaling;
	struct update_strategy_config update_strategy;
	struct recycle_config recycle;
	enum preload preload;
	struct tracker_config tracker;
	int64_t max_body_bytes; /* requests.max_body_size */
	int64_t timeout_ms;     /* requests.timeout: from the arrival of a request to its answer */
	int max_queue_length;   /* requests.max_queue_length */
};

struct config {
	unsigned references;
	char *path;   /* as given, for messages */
	char *folder; /* absolute, links resolved: the project folder */
	char *deployment;
	struct server_config server;
	struct api_config *apis; /* at least one */
	size_t n_apis;
	char *requirements; /* absolute path of requirements.txt, or NULL when there is none */
};

/* All errors of one file, in the order of the file. */
struct config_errors {
	char **lines;
	size_t n_lines;
	size_t n_more; /* beyond CONFIG_ERRORS_MAX */
};

/* 0 and *ret_config (one reference), or a negative errno and at least one line in *ret_errors (release with
 * config_errors_done; it is initialised in either case). Never exits, never logs. */
MUSTCHECK int config_load(const char *path, struct config **ret_config, struct config_errors *ret_errors);

/* The same for a project that is being made: a model on this machine need not be there yet. */
MUSTCHECK int config_load_to_prepare(const char *path, struct config **ret_config, struct config_errors *ret_errors);

/* As config_load, from text already read; path is used for messages and to find the project folder. For tests and fuzzing. */
MUSTCHECK int config_parse(
    const char *path, const char *text, size_t length, struct config **ret_config, struct config_errors *ret_errors);

/* Is it to be fetched from somewhere, and not a path? */
bool config_model_is_remote(const char *model);

struct config *config_ref(struct config *config);
void config_unref(struct config *config); /* NULL is fine */
void config_errors_done(struct config_errors *errors);

#endif
