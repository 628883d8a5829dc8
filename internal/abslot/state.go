// Package abslot is the memory of the two system slots: which one is good, which
// one is on trial, and how often it may still be tried. It owns the state, its
// form in the two environment blocks of GRUB, the choice between the two copies,
// the transitions, and the order of the writes that bring a new state to disk.
//
// It never reads or writes a device: bootenv does, and GRUB (the script is in
// internal/image/grub). It is pure. Tests cut after every write with every mixture
// of old, new and damaged sectors, walk through all states that cuts in a row can
// lead to, and let GRUB's own grub-editenv read and write the block; test/small
// compares with the real GRUB.
package abslot

import "fmt"

// Slot is one of the two system slots, or None.
type Slot byte

// The values are the letters in the block.
const (
	None Slot = 'N'
	A    Slot = 'A'
	B    Slot = 'B'
)

// ParseSlot reads "A" or "B", the values of kubesolo.slot=; anything else is None.
func ParseSlot(s string) Slot {
	if s == "A" || s == "B" {
		return Slot(s[0])
	}
	return None
}

// String is "A", "B" or "none".
func (s Slot) String() string {
	if s.valid() {
		return string(rune(s))
	}
	return "none"
}

// Other is the slot that s is not; None for None.
func (s Slot) Other() Slot {
	switch s {
	case A:
		return B
	case B:
		return A
	}
	return None
}

func (s Slot) valid() bool { return s == A || s == B }

// MaxTries is how often a slot on trial is started at most.
const MaxTries = 3

// MaxGeneration is the last generation that the block has digits for: one update
// a second would take 300 years.
const MaxGeneration = 9_999_999_999

// State is what the block says. The zero value is no state.
type State struct {
	// Generation grows by one with every transition; GRUB does not change it.
	Generation uint64
	// Good is the slot to start, and to go back to.
	Good Slot
	// Trial is the slot to try, None when no update is armed.
	Trial Slot
	// Tries is how many more times GRUB starts Trial, 0 to MaxTries. With 0 left
	// and no Commit the trial has failed.
	Tries int
}

// First is the state of a disk as it is made, and of one whose copies were both lost.
func First(good Slot) State { return State{Generation: 1, Good: good, Trial: None} }

// Armed tells whether there is a trial, also one with no tries left.
func (s State) Armed() bool { return s.Trial != None }

// String is for messages: "slot A, B on trial with 2 tries left (generation 7)".
func (s State) String() string {
	switch {
	case !s.Armed():
		return fmt.Sprintf("slot %v (generation %d)", s.Good, s.Generation)
	case s.Tries == 1:
		return fmt.Sprintf("slot %v, %v on trial with 1 try left (generation %d)", s.Good, s.Trial, s.Generation)
	}
	return fmt.Sprintf("slot %v, %v on trial with %d tries left (generation %d)", s.Good, s.Trial, s.Tries, s.Generation)
}

// validate is nil for what the block can hold.
func (s State) validate() error {
	armed := s.Good.valid() && s.Trial == s.Good.Other() && s.Tries >= 0 && s.Tries <= MaxTries
	idle := s.Good.valid() && s.Trial == None && s.Tries == 0
	if s.Generation > MaxGeneration || !armed && !idle {
		return fmt.Errorf("slot state {%d %v %v %d} cannot be", s.Generation, s.Good, s.Trial, s.Tries)
	}
	return nil
}

// next is the state after s with other slots. When nothing changes it is s itself,
// and nothing needs to be written.
func (s State) next(good, trial Slot, tries int) (State, error) {
	if err := s.validate(); err != nil {
		return s, err
	}
	n := State{Generation: s.Generation, Good: good, Trial: trial, Tries: tries}
	if n == s {
		return s, nil
	}
	n.Generation++
	if err := n.validate(); err != nil {
		return s, err
	}
	return n, nil
}

// Arm makes the next boots try a slot. It is refused for the good slot, and while
// another trial is armed, also one that has failed: roll that back first. On an
// error the state is s.
func (s State) Arm(trial Slot, tries int) (State, error) {
	switch {
	case s.Armed():
		return s, fmt.Errorf("slot %v is on trial already: commit it or roll it back first", s.Trial)
	case trial == s.Good:
		return s, fmt.Errorf("slot %v is the good one: only the other one can be tried", trial)
	case !trial.valid():
		return s, fmt.Errorf("no slot to try: want %v", s.Good.Other())
	case tries < 1 || tries > MaxTries:
		return s, fmt.Errorf("%d tries: want 1 to %d", tries, MaxTries)
	}
	return s.next(s.Good, trial, tries)
}

// Commit makes the running slot the good one and ends the trial. On an error the
// state is s.
func (s State) Commit(running Slot) (State, error) {
	if !running.valid() {
		return s, fmt.Errorf("no slot to commit: the system was not started from slot A or B")
	}
	return s.next(running, None, 0)
}

// Rollback ends the trial; the good slot stays. On an error the state is s.
func (s State) Rollback() (State, error) { return s.next(s.Good, None, 0) }

// BootOnce is what GRUB does with a state when both copies can be written: the
// slot that it starts, whether as a trial (kubesolo.trial), and the state that it
// leaves behind.
func (s State) BootOnce() (boot Slot, trial bool, after State) {
	if !s.Armed() || s.Tries == 0 {
		return s.Good, false, s
	}
	after = s
	after.Tries--
	return s.Trial, true, after
}

// Outcome is what a boot finds.
type Outcome int

const (
	// Normal: the good slot runs and no update is armed.
	Normal Outcome = iota
	// TrialRunning: the slot on trial was started by GRUB, to be judged.
	TrialRunning
	// TrialUntried: an update is armed with all of its MaxTries left, and the good
	// slot runs. The power failed while it was armed, GRUB could not count
	// down, or a person chose the good slot. Starting again tries it.
	TrialUntried
	// TrialFailed: the good slot runs after a trial, whose tries are used up or
	// whose kernel could not be loaded. Also a trial that was rolled back and
	// still runs: it waits for the restart.
	TrialFailed
	// ByHand: a slot runs that is neither the good one nor on trial as far as GRUB
	// said: a person chose it in the menu, or the good one could not be loaded.
	ByHand
)

// String is a few words for messages.
func (o Outcome) String() string {
	switch o {
	case Normal:
		return "normal"
	case TrialRunning:
		return "trial running"
	case TrialUntried:
		return "trial not started yet"
	case TrialFailed:
		return "trial failed"
	}
	return "started by hand"
}

// Outcome compares the state with the slot that runs (kubesolo.slot=) and with
// whether GRUB started it as a trial (kubesolo.trial).
func (s State) Outcome(running Slot, trial bool) Outcome {
	switch {
	case running == s.Good && !s.Armed():
		return Normal
	case running == s.Good && s.Tries == MaxTries:
		return TrialUntried
	case running == s.Good:
		return TrialFailed
	case !trial || !running.valid():
		return ByHand
	case s.Armed():
		return TrialRunning
	}
	return TrialFailed
}
