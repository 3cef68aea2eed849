/*
 * interpreter - what the files that speak to CPython share. The functions for the rest of the replica are in predictor.h.
 *
 * Only interpreter.c, predictor.c, json_decode.c and json_encode.c include Python.h. Everything here needs the GIL.
 */
#ifndef REPLICA_INTERPRETER_H
#define REPLICA_INTERPRETER_H

#include "common/util.h"

typedef struct _object PyObject;

/* The texts of support.py and of handlers/, NUL-terminated (support.c). */
extern const char support_py[];
extern const char handler_model_py[];
extern const char handler_onnx_py[];
extern const char handler_tensorflow_py[];

/* A function of support.py: new reference, or NULL with an exception pending. */
MUSTCHECK PyObject *support_function(const char *name);

/* Takes the pending exception, with its traceback attached: new reference. There must be one. */
MUSTCHECK PyObject *exception_take(void);

/*
 * The C code of the json module recurses on the C stack and trusts sys.getrecursionlimit(), which a predictor may have
 * raised beyond what the stack holds; a client could then end the replica with a deep document. So the limit is capped
 * while documents are converted. Returns what recursion_uncap must be given.
 */
MUSTCHECK int recursion_cap(void);
void recursion_uncap(int limit);

#endif
