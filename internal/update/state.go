package update

import (
	"slices"
	"strings"
	"time"
)

// Phase is how far an update is.
type Phase string

// The phases, in the order in which a good update goes through them. After Good,
// RolledBack and Failed nothing goes on by itself.
const (
	Idle        Phase = "idle"        // none yet, or the last one was cancelled
	Downloading Phase = "downloading" // to the passive slot
	Staged      Phase = "staged"      // written, read back, verified
	Armed       Phase = "armed"       // the next boot tries it
	Judging     Phase = "judging"     // this boot is the trial
	Good        Phase = "good"        // the slot is the default now
	RolledBack  Phase = "rolled-back" // the trial failed, the slot from before runs
	Failed      Phase = "failed"      // before anything was tried
)

// Phases are all of them.
func Phases() []Phase {
	return []Phase{Idle, Downloading, Staged, Armed, Judging, Good, RolledBack, Failed}
}

// Busy says whether an update is under way.
func (p Phase) Busy() bool {
	return p == Downloading || p == Staged || p == Armed || p == Judging
}

// Payload is what is, or was, being installed.
type Payload struct {
	Version string `json:"version"`
	Name    string `json:"name"` // of the target
	SHA256  string `json:"sha256"`
	Length  int64  `json:"length"` // bytes
	From    string `json:"from"`   // the source, as it was named
	// When it was released, and how long its roll-out takes.
	Released time.Time `json:"released,omitzero"`
	Rollout  string    `json:"rollout,omitempty"`
}

// Refusal is a version that failed its trial: it is not installed again unless
// somebody insists.
type Refusal struct {
	Version string    `json:"version"`
	Reason  string    `json:"reason"`
	Time    time.Time `json:"time"`
}

// Entry is one line of the history.
type Entry struct {
	Time    time.Time `json:"time"`
	Phase   Phase     `json:"phase"`
	Version string    `json:"version"`
	Message string    `json:"message,omitempty"`
}

// State is what is remembered over restarts of the agent and of the machine.
type State struct {
	Phase   Phase  `json:"phase"`
	Current string `json:"current,omitempty"` // version that ran when it began
	// Before is what Current was installed from; zero when it came with the disk.
	Before  Payload `json:"before,omitzero"`
	Payload Payload `json:"payload,omitzero"`
	Slot    string  `json:"slot,omitempty"` // that gets it: A or B
	// Boot is the boot (random/boot_id) in which it was armed.
	Boot string `json:"boot,omitempty"`
	// Generation is that of the environment block before it was armed.
	Generation uint64 `json:"generation,omitempty"`
	// Copy is the name of the database's copy from just before.
	Copy string `json:"copy,omitempty"`
	// Ordered: somebody asked for it, so it need not be asked whether to try it.
	// Forced: and insisted, so the gates that may be forced are open.
	Ordered bool `json:"ordered,omitempty"`
	Forced  bool `json:"forced,omitempty"`
	// Back: a person wants the version of before again, and waits for no gate.
	Back     bool      `json:"back,omitempty"`
	Window   string    `json:"window,omitempty"` // instead of the configured one
	Arms     int       `json:"arms,omitempty"`   // how often it was armed
	Message  string    `json:"message,omitempty"`
	Began    time.Time `json:"began,omitzero"`
	Changed  time.Time `json:"changed,omitzero"`
	Refused  []Refusal `json:"refused,omitempty"`
	History  []Entry   `json:"history,omitempty"`
	Attempts int       `json:"attempts"` // updates begun in all
	// Of all of them, also where the history has forgotten: ways back, and when
	// one passed last.
	RollBacks int       `json:"rollbacks"`
	Passed    time.Time `json:"passed,omitzero"`
	// Checked is when a version was looked for last.
	Checked time.Time `json:"checked,omitzero"`
}

// Bounds of the lists: a node is updated for years.
const (
	maxHistory = 100
	maxRefused = 20
)

// to goes to a phase and writes history.
func (s State) to(p Phase, message string, now time.Time) State {
	s.Phase, s.Message, s.Changed = p, message, now
	s.History = append(slices.Clone(s.History), Entry{now, p, s.Payload.Version, message})
	if over := len(s.History) - maxHistory; over > 0 {
		s.History = s.History[over:]
	}
	return s
}

// Begin starts an update of a node that runs current to payload, in slot. The
// order is the zero one when nobody asked.
func (s State) Begin(current, slot string, payload Payload, o Order, now time.Time) State {
	if s.Payload.Version == current {
		s.Before = s.Payload
	} else if s.Before.Version != current {
		s.Before = Payload{}
	}
	s.Current, s.Slot, s.Payload = current, slot, payload
	s.Ordered, s.Forced, s.Window, s.Back = o.By != "", o.Force, o.Window, o.Verb == RollBack
	s.Boot, s.Copy, s.Arms, s.Began = "", "", 0, now
	s.Attempts++
	return s.to(Downloading, strings.TrimPrefix(o.By+": "+payload.From, ": "), now)
}

// Order notes that somebody asked for what is staged.
func (s State) Order(o Order, now time.Time) State {
	s.Ordered, s.Forced, s.Window = true, s.Forced || o.Force, o.Window
	return s.to(Staged, o.By, now)
}

// Fail ends an update before anything was tried.
func (s State) Fail(reason string, now time.Time) State { return s.to(Failed, reason, now) }

// Cancel ends an update that somebody no longer wants, before anything was tried.
func (s State) Cancel(now time.Time) State { return s.to(Idle, "cancelled", now) }

// Stage notes that the slot holds the payload.
func (s State) Stage(now time.Time) State { return s.to(Staged, "", now) }

// Arm notes that the slot is about to be armed in this boot. It comes before the
// order to ksinit: a machine that loses its power between the two finds the
// environment block unarmed, and is armed again.
func (s State) Arm(boot, copy string, generation uint64, now time.Time) State {
	s.Boot, s.Copy, s.Generation = boot, copy, generation
	s.Arms++
	return s.to(Armed, "", now)
}

// Judge notes that the trial runs.
func (s State) Judge(now time.Time) State { return s.to(Judging, "", now) }

// Pass ends an update well. A version that was refused once and was insisted on
// is no longer.
func (s State) Pass(message string, now time.Time) State {
	s.Refused = slices.DeleteFunc(slices.Clone(s.Refused), func(r Refusal) bool { return r.Version == s.Payload.Version })
	s.Passed = now
	return s.to(Good, message, now)
}

// RollBack notes that the trial failed, and remembers the version.
func (s State) RollBack(reason string, now time.Time) State {
	if v := s.Payload.Version; v != "" {
		s.Refused = slices.DeleteFunc(slices.Clone(s.Refused), func(r Refusal) bool { return r.Version == v })
		s.Refused = append(s.Refused, Refusal{v, reason, now})
		if over := len(s.Refused) - maxRefused; over > 0 {
			s.Refused = s.Refused[over:]
		}
	}
	s.RollBacks++
	return s.to(RolledBack, reason, now)
}

// RefusedFor gives why a version is refused.
func (s State) RefusedFor(version string) (reason string, refused bool) {
	for _, r := range s.Refused {
		if r.Version == version {
			return r.Reason, true
		}
	}
	return "", false
}
