/*
 * start_record - all that a replica, or a template of replicas, must know to begin, as one JSON text in a sealed memfd.
 *
 * A memfd and not a message on the control socket, because metadata may be larger than a socket buffer and the
 * supervisor never blocks. The descriptors that a replica is started with are fixed; a template has the same, but for the channel:
 */
#ifndef COMMON_START_RECORD_H
#define COMMON_START_RECORD_H

#include "common/error.h"
#include "common/log.h"
#include "common/util.h"

enum {
	REPLICA_FD_CONTROL = 3,    /* record.h */
	REPLICA_FD_START = 4,      /* the start record; the replica closes it after reading */
	REPLICA_FD_SCOREBOARD = 5, /* scoreboard.h; closed once it is mapped */
	REPLICA_FD_CHANNEL = 6,    /* channel.h */
	REPLICA_FD_LISTENER = 7,   /* the first of n_listeners, in the order of server.listen */
};

#define START_RECORD_MAX (4 << 20) /* bytes of JSON */

/* How much of a predictor a template has done before it forks replicas. */
enum preload {
	PRELOAD_NONE,   /* there is no template */
	PRELOAD_MODULE, /* the file has run: imports */
	PRELOAD_INIT,   /* and init() */
};

/* What an api is made of. */
enum api_kind {
	API_PREDICTOR,  /* the user's predict() */
	API_ONNX,       /* a model, and functions of the user before and after it, if any */
	API_TENSORFLOW, /* the same */
};

/* What is kept of what an api has predicted. */
enum tracker_type {
	TRACKER_NONE,
	TRACKER_CLASSIFICATION, /* how often each class */
	TRACKER_REGRESSION,     /* least, greatest, mean */
};

struct env_var {
	char *name;
	char *value;
};

struct start_record {
	char *api;            /* name of the api */
	int replica;          /* index of the slot; of a template without meaning */
	enum preload preload; /* other than NONE: be a template */
	char *endpoint;       /* canonical: leading slash, none at the end */
	char *project_folder; /* absolute; working directory and importable */
	enum api_kind kind;
	char *
	    implementation; /* the user's file, relative to project_folder; NULL: none, which a predictor may not have */
	char *model_path;   /* absolute path of a file or folder, or NULL */
	char *signature_key; /* of a TensorFlow model, or NULL */
	char *python_path;   /* absolute folder, or NULL: none besides project_folder */
	char *metadata_json; /* JSON text of the metadata dict */
	char *python;        /* absolute path of the interpreter whose environment is used (a venv's bin/python) */
	enum tracker_type tracker;
	char *tracker_key;   /* of the response; NULL: the response itself */
	struct env_var *env; /* predictor.env */
	size_t n_env;
	int n_listeners;
	bool accepts; /* false: not before it is told (record ACCEPT) */
	int slot;     /* its slot of the scoreboard; a template has none */
	int64_t max_body_bytes;
	int64_t timeout_ms;         /* of a request, from its arrival to its answer */
	int64_t cpu_millicpu;       /* the cpu request: sizes the thread pools of numeric libraries */
	int64_t stop_timeout_ms;    /* a replica that lost its supervisor ends itself after this */
	int64_t recycle_requests;   /* after so many predictions it asks to be replaced; 0: never */
	int recycle_jitter_percent; /* and each process takes up to so much off that */
	int64_t recycle_mem_bytes;  /* or when its resident memory is above this; 0: never */
	enum log_format log_format;
	enum log_level log_level;
	enum log_access log_access;
	char log_secret[LOG_SECRET_MAX + 1]; /* log_set_framed, if standard output and error lead to the monitor */
};

/* The JSON text; the caller frees it. */
char *start_record_encode(const struct start_record *start);

/* Build *ret_start from JSON text (release with start_record_done). 0, or -EBADMSG and err; any bytes are safe. */
MUSTCHECK int start_record_decode(const char *json, size_t length, struct start_record *ret_start, struct error *err);
void start_record_done(struct start_record *start);

/* What messages call the code: its file, or that of the model when the user has written none. */
const char *start_record_subject(const struct start_record *start);

/* The name of the config's value, and back: false when there is no such value. */
const char *preload_name(enum preload preload);
bool preload_parse(const char *name, enum preload *ret_preload);
const char *api_kind_name(enum api_kind kind);
bool api_kind_parse(const char *name, enum api_kind *ret_kind);
const char *tracker_type_name(enum tracker_type type);
bool tracker_type_parse(const char *name, enum tracker_type *ret_type);

#endif
