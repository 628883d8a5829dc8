#include "textflag.h"

// A handler that does nothing; the kernel's stack frame returns by the restorer.
TEXT drop<>(SB), NOSPLIT|NOFRAME, $0-0
	RET

GLOBL ·dropAddress(SB), RODATA, $8
DATA ·dropAddress(SB)/8, $drop<>(SB)
