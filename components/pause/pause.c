/*
 * pause holds the namespaces of a pod. It sleeps until SIGTERM or SIGINT, and
 * reaps orphans, since it is PID 1 of a pod that shares one PID namespace.
 *
 * It has no C library: one page of code and one of stack is what each pod of a
 * small node pays for it. (A Go program that does the same takes about 1 MB.)
 *
 * All signals are blocked and fetched with rt_sigtimedwait(2) instead of being
 * handled: the kernel never discards a blocked signal, not even for PID 1,
 * whose unhandled signals it otherwise drops (kernel/signal.c, sig_ignored).
 */

#if defined(__x86_64__)

enum { SYS_rt_sigprocmask = 14, SYS_exit = 60, SYS_wait4 = 61, SYS_rt_sigtimedwait = 128 };

static long call4(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

#elif defined(__aarch64__)

enum { SYS_exit = 93, SYS_rt_sigprocmask = 135, SYS_rt_sigtimedwait = 137, SYS_wait4 = 260 };

static long call4(long nr, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

#else
#error "pause: no system calls known for this architecture"
#endif

enum { SIGINT = 2, SIGTERM = 15, SIG_BLOCK = 0, WNOHANG = 1, SIGSET_SIZE = 8 };

void _start(void)
{
	unsigned long all = ~0UL;
	long sig;

	call4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, 0, SIGSET_SIZE);
	do {
		/* Also before the first wait: a child may have died before exec. */
		while (call4(SYS_wait4, -1, 0, WNOHANG, 0) > 0)
			;
		sig = call4(SYS_rt_sigtimedwait, (long)&all, 0, 0, SIGSET_SIZE);
	} while (sig != SIGINT && sig != SIGTERM);
	for (;;)
		call4(SYS_exit, 0, 0, 0, 0);
}
