#include "textflag.h"

// A handler that does nothing; the kernel's stack frame returns by the restorer.
TEXT drop<>(SB), NOSPLIT|NOFRAME, $0-0
	RET

// func dropAddress() uint64
TEXT ·dropAddress(SB), NOSPLIT, $0-8
	MOVQ $drop<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET
