package abslot_test

import (
	"bytes"
	"testing"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/abslottest"
)

// world is a machine between two steps: what its disk says, and what nobody on it
// can know.
type world struct {
	copies  [2]string
	working [2]bool     // whether slot A, slot B was found good since it was written
	running abslot.Slot // None when the power is off
	trial   bool
	healed  bool
	arms    int // updates so far
	cuts    int // power cuts during a write so far
}

func (w world) read() abslot.Copies {
	return abslot.Copies{[]byte(w.copies[0]), []byte(w.copies[1])}
}

func (w world) with(c abslot.Copies) world {
	w.copies = [2]string{string(c[0]), string(c[1])}
	return w
}

func (w world) works(s abslot.Slot) bool { return w.working[s-abslot.A] }

func (w world) set(s abslot.Slot, works bool) world {
	w.working[s-abslot.A] = works
	return w
}

func (w world) off() world {
	w.running, w.trial, w.healed = abslot.None, false, false
	return w
}

// writes is one step that writes: the worlds after each cut, and the one after none.
func (w world) writes(run func(*abslot.Copies, func(int, []byte) error) error) (next []world, done world) {
	left, end := cuts(w.read(), run)
	for _, c := range left {
		n := w.with(c).off()
		n.cuts++
		next = append(next, n)
	}
	return next, w.with(end)
}

// TestNoWalkLocksOut goes from a new disk through everything that updates, failed
// trials, crashes, and up to three cuts in a row can lead to, each cut at any
// write and torn in any way. GRUB never starts a slot that was not found good
// but as a trial, never a trial without a good slot to go back to, and a machine that
// crashes at each start ends in a slot that works.
func TestNoWalkLocksOut(t *testing.T) {
	const maxArms, maxCuts = 2, 3
	first := string(encode(t, abslot.First(a)))
	// A disk is made with the same image in both slots.
	start := world{copies: [2]string{first, first}, working: [2]bool{true, true}, running: none}
	seen, queue := map[world]bool{start: true}, []world{start}
	for len(queue) > 0 && !t.Failed() {
		w := queue[0]
		queue = queue[1:]
		for _, n := range steps(t, w) {
			if n.arms <= maxArms && n.cuts <= maxCuts && !seen[n] {
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
	t.Logf("%d machines", len(seen))
}

func steps(t *testing.T, w world) []world {
	t.Helper()
	if w.running == none {
		endsWell(t, w)
		return bootStep(t, w)
	}
	state, _, err := w.read().Choose()
	if err != nil {
		t.Errorf("both copies are lost in %+v", w)
		return nil
	}
	if !w.healed {
		next, done := w.writes(apply(state))
		done.healed = true
		return append(next, done, w.off())
	}
	out := []world{w.off()}
	change := func(w world, n abslot.State, err error) {
		if err != nil {
			t.Errorf("%+v: %v", w, err)
			return
		}
		next, done := w.writes(apply(n))
		out = append(append(out, next...), done)
	}
	switch state.Outcome(w.running, w.trial) {
	case abslot.Normal:
		// The other slot has another image from here on.
		n, err := state.Arm(w.running.Other(), abslot.MaxTries)
		armed := w.set(w.running.Other(), false)
		armed.arms++
		change(armed, n, err)
	case abslot.TrialRunning:
		n, err := state.Commit(w.running)
		change(w.set(w.running, true), n, err)
		n, err = state.Rollback()
		change(w, n, err)
	case abslot.TrialFailed:
		n, err := state.Rollback()
		change(w, n, err)
	case abslot.ByHand:
		t.Errorf("nobody was at the menu of %+v", w)
	}
	return out
}

func bootStep(t *testing.T, w world) []world {
	t.Helper()
	next, done := w.writes(boot)
	copies := w.read()
	slot, trial, err := abslottest.Boot(&copies, noCut(&copies))
	if err != nil || trial && !w.works(slot.Other()) || !trial && !w.works(slot) {
		t.Errorf("slot %v is started, trial %v, %v: %+v", slot, trial, err, w)
	}
	done.running, done.trial = slot, trial
	return append(next, done)
}

// endsWell lets every start crash before anything can be healed.
func endsWell(t *testing.T, w world) {
	t.Helper()
	copies := w.read()
	for range abslot.MaxTries {
		if _, trial, err := abslottest.Boot(&copies, noCut(&copies)); err != nil || !trial {
			break
		}
	}
	before := abslot.Copies{bytes.Clone(copies[0]), bytes.Clone(copies[1])}
	slot, trial, err := abslottest.Boot(&copies, noCut(&copies))
	if err != nil || trial || !w.works(slot) || !bytes.Equal(before[0], copies[0]) || !bytes.Equal(before[1], copies[1]) {
		t.Errorf("after all tries slot %v is started, trial %v, %v: %+v", slot, trial, err, w)
	}
}
