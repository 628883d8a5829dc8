package abslot_test

import (
	"strings"
	"testing"

	"kubesolo.io/os/internal/abslot"
)

const (
	none = abslot.None
	a    = abslot.A
	b    = abslot.B
)

// states are all states of some generations.
func states() []abslot.State {
	var out []abslot.State
	for _, generation := range []uint64{0, 1, 7, 99, 100, 4294967295, 4294967296, abslot.MaxGeneration - 1, abslot.MaxGeneration} {
		for _, good := range []abslot.Slot{a, b} {
			out = append(out, abslot.State{Generation: generation, Good: good, Trial: none})
			for tries := range abslot.MaxTries + 1 {
				out = append(out, abslot.State{Generation: generation, Good: good, Trial: good.Other(), Tries: tries})
			}
		}
	}
	return out
}

// transitions are all that the node can ask for; those that are refused are left out.
func transitions(s abslot.State) map[string]abslot.State {
	out := map[string]abslot.State{}
	add := func(name string, next abslot.State, err error) {
		if err == nil {
			out[name] = next
		}
	}
	for _, slot := range []abslot.Slot{a, b} {
		for tries := 1; tries <= abslot.MaxTries; tries++ {
			next, err := s.Arm(slot, tries)
			add("arm "+slot.String(), next, err)
		}
		next, err := s.Commit(slot)
		add("commit "+slot.String(), next, err)
	}
	next, err := s.Rollback()
	add("rollback", next, err)
	return out
}

func TestTransitions(t *testing.T) {
	for _, s := range states() {
		for name, n := range transitions(s) {
			if _, err := n.Encode(); err != nil {
				t.Errorf("%v, %s: %v", s, name, err)
			}
			if n == s {
				continue
			}
			if n.Generation != s.Generation+1 {
				t.Errorf("%v, %s: %v", s, name, n)
			}
			if slot, ok := strings.CutPrefix(name, "commit "); ok {
				if n.Good.String() != slot || n.Armed() {
					t.Errorf("%v, %s: %v", s, name, n)
				}
			} else if n.Good != s.Good || n.Armed() != (name != "rollback") {
				t.Errorf("%v, %s: %v", s, name, n)
			}
		}
		if s.Generation == abslot.MaxGeneration {
			continue
		}
		if n := transitions(s); s.Armed() && len(n) != 3 || !s.Armed() && len(n) != 4 {
			t.Errorf("%v: %d transitions", s, len(n))
		}
		// What is so already costs no write.
		idle, err := s.Rollback()
		again, err2 := idle.Commit(idle.Good)
		if err != nil || err2 != nil || again != idle || idle.Armed() {
			t.Errorf("%v: rolled back %v, committed again %v; %v, %v", s, idle, again, err, err2)
		}
	}
}

func TestRefused(t *testing.T) {
	idle, last := abslot.First(a), abslot.State{Generation: abslot.MaxGeneration, Good: a, Trial: none}
	armed, err := idle.Arm(b, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from  abslot.State
		trial abslot.Slot
		tries int
		want  string
	}{
		{idle, a, 3, "slot A is the good one"}, {idle, none, 3, "want B"}, {idle, b, 0, "want 1 to 3"}, {idle, b, 4, "want 1 to 3"},
		{armed, b, 3, "slot B is on trial already"}, {armed, a, 3, "roll it back first"}, {last, b, 3, "cannot be"},
	} {
		if n, err := c.from.Arm(c.trial, c.tries); err == nil || n != c.from || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, arm %v with %d: %v, %v", c.from, c.trial, c.tries, n, err)
		}
	}
	if n, err := armed.Commit(none); err == nil || n != armed {
		t.Errorf("commit of no slot: %v, %v", n, err)
	}
	if _, err := (abslot.State{}).Rollback(); err == nil {
		t.Error("the zero state was taken for one")
	}
}

// However often a trial is started and fails, the good slot comes after MaxTries at most.
func TestBootOnce(t *testing.T) {
	for _, s := range states() {
		now := s
		for range s.Tries {
			boot, trial, after := now.BootOnce()
			if boot != s.Trial || !trial || after.Tries != now.Tries-1 {
				t.Errorf("%v: boots %v, %v, leaves %v", now, boot, trial, after)
			}
			if got := after.Outcome(boot, trial); got != abslot.TrialRunning {
				t.Errorf("%v: %v", after, got)
			}
			now = after
		}
		for range 3 {
			boot, trial, after := now.BootOnce()
			if boot != s.Good || trial || after != now {
				t.Errorf("%v: boots %v, %v, leaves %v", now, boot, trial, after)
			}
			now = after
		}
	}
}

func TestOutcome(t *testing.T) {
	armed := func(tries int) abslot.State {
		return abslot.State{Generation: 7, Good: a, Trial: b, Tries: tries}
	}
	idle := abslot.First(a)
	for _, c := range []struct {
		state   abslot.State
		running abslot.Slot
		trial   bool
		want    abslot.Outcome
	}{
		{idle, a, false, abslot.Normal},
		{idle, a, true, abslot.Normal}, // committed, and asked again in the same boot
		{idle, b, false, abslot.ByHand},
		{idle, b, true, abslot.TrialFailed}, // rolled back, not restarted yet
		{idle, none, false, abslot.ByHand},
		{armed(3), a, false, abslot.TrialUntried},
		{armed(2), a, false, abslot.TrialFailed}, // its kernel could not be loaded
		{armed(0), a, false, abslot.TrialFailed},
		{armed(2), b, true, abslot.TrialRunning},
		{armed(0), b, true, abslot.TrialRunning}, // the last try
		{armed(0), b, false, abslot.ByHand},
		{armed(1), none, true, abslot.ByHand},
	} {
		if got := c.state.Outcome(c.running, c.trial); got != c.want {
			t.Errorf("%v, %v runs, %v: %v, want %v", c.state, c.running, c.trial, got, c.want)
		}
	}
}

func TestStrings(t *testing.T) {
	for want, s := range map[string]abslot.State{
		"slot A (generation 1)":                                     abslot.First(a),
		"slot B, A on trial with 1 try left (generation 12)":        {Generation: 12, Good: b, Trial: a, Tries: 1},
		"slot A, B on trial with 0 tries left (generation 7)":       {Generation: 7, Good: a, Trial: b},
		"slot none, none on trial with 0 tries left (generation 0)": {},
	} {
		if got := s.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if abslot.ParseSlot("A") != a || abslot.ParseSlot("B") != b || abslot.ParseSlot("N") != none || abslot.ParseSlot("") != none || abslot.ParseSlot("AB") != none {
		t.Error("ParseSlot")
	}
	for o := abslot.Normal; o <= abslot.ByHand; o++ {
		if o.String() == "" {
			t.Errorf("outcome %d has no name", o)
		}
	}
}
