// Package slots keeps the system slots while a system runs: it says what this boot
// is, an ordinary one, a trial or one after a trial that failed; it arms, commits
// and gives up; and it keeps the reason of a trial that failed for the version that
// runs after it.
//
// It never decides whether a trial is good, never restarts the machine and never
// writes a slot: ksinit asks it, and shows and does what it says. The states and
// their order are abslot's, the disk is bootenv's. Tested with copies in memory
// whose writes can fail; test/small cuts the power of machines that run on it.
package slots

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/control"
)

// Disk has the state and the partitions of the slots: a bootenv.Disk.
type Disk interface {
	Heal(running abslot.Slot, trial bool) (state abslot.State, wrote bool, err error)
	Change(next func(abslot.State) (abslot.State, error)) (abslot.State, error)
	Slot(abslot.Slot) (path string, size int64)
}

// Options say how this boot began.
type Options struct {
	Disk    Disk
	Running abslot.Slot
	Trial   bool // by GRUB's argument: a try was counted for this boot
	// VerdictFile says why the last trial ended. It is written when one is given up.
	VerdictFile string
	// LastBoot is how the boot before this one ended, for the reason of a trial that
	// used up its tries; it may be empty.
	LastBoot string
}

// Slots are safe for use by several goroutines. What the disk has is read once: no
// other writes it while the system runs.
type Slots struct {
	running     abslot.Slot
	verdictFile string

	mu       sync.Mutex
	disk     Disk  // nil: problem says why
	problem  error // why there can be no update
	state    abslot.State
	onTrial  bool
	over     bool          // the trial was given up, and the machine is to restart
	deadline time.Duration // of the boot clock
	verdict  *control.Verdict
}

// Found is what Open saw.
type Found struct {
	Outcome abslot.Outcome
	State   abslot.State // mended, and before a trial that failed is given up
	Mended  bool         // a copy was damaged
	// Failed is the reason of a trial that ended without a verdict, else empty.
	Failed string
}

// ErrOver is returned for an order after the trial was given up.
var ErrOver = errors.New("the trial was given up, and the machine restarts")

// Without gives the slots of a machine that cannot be updated; every order is
// refused with the problem.
func Without(running abslot.Slot, problem error) *Slots {
	return &Slots{running: running, problem: problem}
}

// Open mends copies that a power cut tore, and gives up a trial that has used up its
// tries or was not started at all. The slots are usable with an error too: a state
// that cannot be written is a problem for orders, and the trial goes on.
func Open(o Options) (*Slots, Found, error) {
	s := &Slots{running: o.Running, verdictFile: o.VerdictFile, disk: o.Disk, verdict: readVerdict(o.VerdictFile)}
	var found Found
	s.state, found.Mended, s.problem = o.Disk.Heal(o.Running, o.Trial)
	var errs []error
	if s.problem != nil {
		// A trial whose block cannot be written can be given up only by its tries.
		errs = append(errs, fmt.Errorf("no updates: %w", s.problem))
	}
	found.Outcome = s.state.Outcome(o.Running, o.Trial)
	found.State = s.state
	s.onTrial = found.Outcome == abslot.TrialRunning
	if found.Outcome == abslot.TrialFailed && s.state.Armed() {
		found.Failed = "its kernel could not be loaded"
		if s.state.Tries == 0 {
			found.Failed = fmt.Sprintf("%d starts without a verdict: %s", abslot.MaxTries, cmp.Or(o.LastBoot, "of the last one nothing is known"))
		}
		errs = append(errs, s.GiveUp(found.Failed))
	}
	return s, found, errors.Join(errs...)
}

// GiveUp takes back what is armed, be it this boot's trial or the next one's. The
// reason is kept first: what ended without one is found out by nobody. The machine
// is the caller's to restart.
func (s *Slots) GiveUp(reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disk == nil {
		return s.problem
	}
	if !s.state.Armed() {
		return errors.New("no trial is armed")
	}
	next, err := s.state.Rollback()
	if err != nil {
		return err
	}
	v := &control.Verdict{Slot: s.state.Trial.String(), Reason: reason, Time: time.Now().UTC(), Generation: next.Generation}
	text, keepErr := json.Marshal(v)
	if keepErr == nil {
		keepErr = atomicfile.Write(s.verdictFile, append(text, '\n'), 0o600)
	}
	s.verdict = v
	return errors.Join(keepErr, s.change(abslot.State.Rollback))
}

// EndTrial is GiveUp for the trial that is on. It ends only once: false says that
// there is none, or that it was ended already. With an error it ends all the same,
// and GRUB gives it up after its tries.
func (s *Slots) EndTrial(reason string) (ends bool, err error) {
	s.mu.Lock()
	ends = s.onTrial && !s.over
	s.over = s.over || ends
	s.mu.Unlock()
	if !ends {
		return false, nil
	}
	return true, s.GiveUp(reason)
}

// Arm has the next boot try a slot.
func (s *Slots) Arm(slot abslot.Slot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order(func(x abslot.State) (abslot.State, error) { return x.Arm(slot, abslot.MaxTries) })
}

// Commit makes the running slot the good one.
func (s *Slots) Commit() error {
	s.mu.Lock()
	defer s.mu.Unlock() // at once with onTrial: else EndTrial restarts what was found good
	err := s.order(func(x abslot.State) (abslot.State, error) { return x.Commit(s.running) })
	s.onTrial = s.onTrial && err != nil
	return err
}

// order is change, unless no order is taken; the lock is held.
func (s *Slots) order(next func(abslot.State) (abslot.State, error)) error {
	switch {
	case s.problem != nil:
		return s.problem
	case s.over:
		return ErrOver
	}
	return s.change(next)
}

// change brings another state to the disk; the lock is held.
func (s *Slots) change(next func(abslot.State) (abslot.State, error)) error {
	state, err := s.disk.Change(next)
	if err == nil {
		s.state = state
	}
	return err
}

func readVerdict(path string) *control.Verdict {
	text, err := os.ReadFile(path)
	var v control.Verdict
	if err != nil || json.Unmarshal(text, &v) != nil {
		return nil // it only tells why
	}
	return &v
}

// Problem is why no order is taken, nil when they are.
func (s *Slots) Problem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

// Running is the slot that this boot was started from.
func (s *Slots) Running() abslot.Slot { return s.running }

// State is what the disk has.
func (s *Slots) State() abslot.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// OnTrial says whether this boot is a trial that is not decided.
func (s *Slots) OnTrial() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.onTrial
}

// SetDeadline notes when the trial ends without a verdict, on the boot clock; the
// caller ends it.
func (s *Slots) SetDeadline(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = d
}

// Report gives the slots as the control socket shows them.
func (s *Slots) Report() control.Slots {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := control.Slots{OnTrial: s.onTrial, Verdict: s.verdict}
	if s.running != abslot.None {
		out.Running = s.running.String()
	}
	if s.problem != nil {
		out.Problem = s.problem.Error()
		return out
	}
	out.Good, out.Tries, out.Generation = s.state.Good.String(), s.state.Tries, s.state.Generation
	if s.state.Armed() {
		out.Trial = s.state.Trial.String()
	}
	if s.onTrial {
		out.Deadline = s.deadline.Seconds()
	}
	out.Device, _ = s.disk.Slot(s.running)
	passive := s.running.Other()
	device, size := s.disk.Slot(passive)
	out.Passive = control.Passive{Slot: passive.String(), Device: device, Size: size}
	return out
}
