/*
 * support - the text of support.py, and of what serves models, inside the program: an installed replica needs no files of its own,
 * and one that is started after another build was installed has its own ones still.
 */
#include "replica/interpreter.h"

#define TEXT(name, path)                               \
	__asm__(".section .rodata\n"                   \
		".global " name "\n"                   \
		".type " name ", @object\n" name ":\n" \
		".incbin \"" path "\"\n"               \
		".byte 0\n"                            \
		".size " name ", . - " name "\n"       \
		".previous\n")

TEXT("support_py", "replica/support.py");
TEXT("handler_model_py", "replica/handlers/model.py");
TEXT("handler_onnx_py", "replica/handlers/onnx.py");
TEXT("handler_tensorflow_py", "replica/handlers/tensorflow.py");
