package main

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// allSignals are those that can be asked for. SIGCHLD is the reaper's, SIGURG the
// runtime's own, many times a second.
func allSignals() []os.Signal {
	var all []os.Signal
	for sig := unix.Signal(1); sig <= 64; sig++ { // _NSIG of signal(7)
		if sig != unix.SIGURG && sig != unix.SIGCHLD {
			all = append(all, sig)
		}
	}
	return all
}

// dropAddress is that of a signal handler that does nothing. A Go function is none: it
// is called by other rules.
func dropAddress() uint64

// catchUncaught gives a handler to the signals that Go leaves at their default, as C
// libraries have them for threads; asking for them by signal.Notify changes nothing. A
// signal that init does not catch is dropped by the kernel, but not one that comes
// while the main thread blocks all, as Go has it do to make a thread or a child: that
// one ends all threads (Linux 6.18, sig_ignored and complete_signal), and the end of
// PID 1 is a kernel panic. Some thousand of signal 32 were enough. To ignore them
// instead would be handed on to every pod; a handler ends with exec.
func catchUncaught() {
	var action [4]uint64 // struct sigaction as the kernel has it: handler, flags, restorer, mask
	if !sigaction(unix.SIGHUP, nil, &action) {
		return
	}
	// All else stays as the runtime has it: on the signal stack, all blocked.
	action[0] = dropAddress()
	for _, sig := range []unix.Signal{32, 34} { // 33 the runtime catches
		sigaction(sig, &action, nil)
	}
}

// sigaction is rt_sigaction(2).
func sigaction(sig unix.Signal, set, old *[4]uint64) bool {
	const maskSize = 8 // of 64 signals
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), maskSize, 0, 0)
	return errno == 0
}
