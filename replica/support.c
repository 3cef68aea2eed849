/*
 * support - the text of support.py inside the program, so that an installed replica needs no files of its own.
 */
#include "replica/interpreter.h"

__asm__(".section .rodata\n"
	".global support_py\n"
	".type support_py, @object\n"
	"support_py:\n"
	".incbin \"replica/support.py\"\n"
	".byte 0\n"
	".size support_py, . - support_py\n"
	".previous\n");
