package supervise

import (
	"fmt"
	"math/bits"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/reap"
)

// Rights are what a service, and all that it starts, does without. The zero
// Rights take nothing away.
type Rights struct {
	// Without is a set of capabilities, bit 1<<CAP_X each, that are taken
	// out of the bounding set (capabilities(7)): a program executed by root
	// gets none that is not in there.
	Without uint64
	// NoNewPrivs: file modes and file capabilities give nothing
	// (PR_SET_NO_NEW_PRIVS). Not for a service that starts containers,
	// which would inherit it.
	NoNewPrivs bool
}

// Without makes a set of capabilities.
func Without(capabilities ...int) uint64 {
	var set uint64
	for _, c := range capabilities {
		set |= 1 << c
	}
	return set
}

func (r Rights) String() string {
	if r == (Rights{}) {
		return "all"
	}
	s := fmt.Sprintf("without %d capabilities", bits.OnesCount64(r.Without))
	if r.NoNewPrivs {
		s += ", no new ones"
	}
	return s
}

// start calls fork on a thread that has only the rights r, which its child
// inherits, and throws the thread away: the kernel has no way back. (Threads
// that Go makes meanwhile come from another one, see runtime.LockOSThread.)
func (r Rights) start(fork func() (*reap.Process, error)) (*reap.Process, error) {
	if r == (Rights{}) {
		return fork()
	}
	type result struct {
		process *reap.Process
		err     error
	}
	done := make(chan result, 1)
	var run func()
	run = func() {
		runtime.LockOSThread()
		// The first thread cannot end and stands for the process in
		// /proc: it is only held, so that another must be taken.
		if unix.Gettid() == os.Getpid() {
			defer runtime.UnlockOSThread()
			other := make(chan struct{})
			go func() { defer close(other); run() }()
			<-other
			return
		}
		if err := r.apply(); err != nil {
			done <- result{err: err}
			return
		}
		process, err := fork()
		done <- result{process, err}
		// Without unlock: the thread ends with this goroutine.
	}
	go run()
	got := <-done
	return got.process, got.err
}

// apply takes the rights from the calling thread. A capability that this kernel
// does not know cannot be had either.
func (r Rights) apply() error {
	for c := range 64 {
		if r.Without&(1<<c) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("capability %d is not taken away: %w", c, err)
		}
	}
	if r.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no_new_privs: %w", err)
		}
	}
	return nil
}
