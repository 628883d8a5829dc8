package small

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/abslottest"
	"kubesolo.io/os/test/small/guest"
)

// diskBefore is what a disk says before a machine is started from it.
type diskBefore struct {
	copies     abslot.Copies
	generation uint64 // of the slot state before the update
	// phases are those that the state of updates may be in, nil for any.
	phases []string
	// decided: the log has the verdict, and a flush after it.
	decided bool
	// bothTorn: the disk was in the middle of both copies.
	bothTorn bool
}

// readBefore reads the slot state of a disk.
func (s *updateScenario) readBefore(disk string) (*diskBefore, error) {
	b := &diskBefore{generation: s.generation}
	f, err := os.Open(disk)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for i, at := range s.places.env {
		b.copies[i] = make([]byte, abslot.Size)
		if _, err := f.ReadAt(b.copies[i], at.at); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// over says whether the slot state has the verdict on the update: from then on
// nothing may change it. It is an error when it is the wrong one, when the disk has
// lost it, and when both copies are lost without a reason.
func (b *diskBefore) over(a updateAim) (bool, error) {
	s, _, err := b.copies.Choose()
	if err != nil && (!b.bothTorn || b.decided) {
		return false, fmt.Errorf("the cut has cost both copies of the slot state: %w", err)
	}
	over := err == nil && !s.Armed() && s.Generation > b.generation
	final, _, _ := a.final()
	switch {
	case over && s.Good.String() != final:
		return false, fmt.Errorf("the update ended with %v, want slot %s", s, final)
	case b.decided && !over:
		return false, fmt.Errorf("the verdict was flushed, and the slot state is: %v", s)
	}
	return over, nil
}

// usedUp says whether all tries of a trial are used up, and nothing was decided.
func (b *diskBefore) usedUp() bool {
	s, _, err := b.copies.Choose()
	return err == nil && s.Armed() && s.Tries == 0
}

// forecast says what a machine will do, by the model of GRUB (abslottest) and
// by abslot: from the disk before it on, and from boot to boot.
type forecast struct {
	copies abslot.Copies
	phases []string // of the next boot that looks at it
}

// grub is what GRUB does.
func (f *forecast) grub() (slot abslot.Slot, trial bool) {
	slot, trial, _ = abslottest.Boot(&f.copies, func(i int, data []byte) error {
		f.copies[i] = bytes.Clone(data)
		return nil
	})
	return slot, trial
}

// found compares what a boot says that it found with what is there. A copy that is
// mended was torn by the power cut: later boots find none.
func (f *forecast) found(got guest.Found, slot abslot.Slot, trial bool) error {
	s, writes, err := f.copies.Heal(slot, trial)
	if err != nil {
		return err
	}
	_, _, lost := f.copies.Choose()
	want := guest.Found{State: s.String(), Outcome: s.Outcome(slot, trial).String(), Mended: len(writes) > 0, BothLost: lost != nil, Phase: got.Phase}
	if got != want {
		return fmt.Errorf("the slot state is found as %+v, want %+v", got, want)
	}
	if s.Outcome(slot, trial) == abslot.ByHand {
		return fmt.Errorf("slot %v is started, and the slot state is: %v", slot, s)
	}
	if f.phases != nil && !slices.Contains(f.phases, got.Phase) {
		return fmt.Errorf("updates are %s, and what was noted is %s", got.Phase, strings.Join(f.phases, " or "))
	}
	f.phases = nil
	return nil
}

// after is the state that a boot leaves.
func (f *forecast) after(e guest.Ended) error {
	s := abslot.State{Generation: e.Generation, Good: abslot.ParseSlot(e.Good), Trial: abslot.ParseSlot(e.Trial), Tries: e.Tries}
	for i := range f.copies {
		data, err := s.Encode()
		if err != nil {
			return err
		}
		f.copies[i] = data
	}
	return nil
}

// diskOf is a disk with a state, in an update that began at a generation.
func diskOf(t *testing.T, s abslot.State, generation uint64) *diskBefore {
	t.Helper()
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &diskBefore{copies: abslot.Copies{data, data}, generation: generation}
}

func TestDiskBefore(t *testing.T) {
	good := updateAim{oldSlot: "A", newSlot: "B", good: true}
	old := diskOf(t, abslot.First(abslot.A), 1)
	armed := diskOf(t, abslot.State{Generation: 2, Good: abslot.A, Trial: abslot.B}, 1)
	done := diskOf(t, abslot.State{Generation: 3, Good: abslot.B, Trial: abslot.None}, 1)
	with := func(b *diskBefore, copies abslot.Copies, decided, bothTorn bool) *diskBefore {
		changed := *b
		changed.copies, changed.decided, changed.bothTorn = copies, decided, bothTorn
		return &changed
	}
	none := make([]byte, abslot.Size)
	for _, test := range []struct {
		name   string
		before *diskBefore
		over   bool
		want   string
	}{
		{"before", old, false, ""},
		{"armed", armed, false, ""},
		{"done", done, true, ""},
		{"done, in one copy", with(done, abslot.Copies{done.copies[0], armed.copies[0]}, true, false), true, ""},
		{"done, and forgotten", with(old, armed.copies, true, false), false, "the verdict was flushed"},
		{"one lost", with(done, abslot.Copies{none, done.copies[0]}, true, false), true, ""},
		{"both lost", with(old, abslot.Copies{none, none}, false, false), false, "both copies"},
		{"both torn", with(old, abslot.Copies{none, none}, false, true), false, ""},
		{"both torn after the verdict", with(old, abslot.Copies{none, none}, true, true), false, "both copies"},
		{"the wrong way", diskOf(t, abslot.State{Generation: 3, Good: abslot.A, Trial: abslot.None}, 1), false, "want slot B"},
	} {
		over, err := test.before.over(good)
		if over != test.over || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v; want %v, %q", test.name, over, err, test.over, test.want)
		}
	}
	if old.usedUp() || !armed.usedUp() || done.usedUp() {
		t.Errorf("used up: %v, %v, %v", old.usedUp(), armed.usedUp(), done.usedUp())
	}
	if err := (&forecast{}).after(guest.Ended{Good: "none"}); err == nil || errors.Is(err, abslot.ErrInvalid) {
		t.Errorf("a state that cannot be: %v", err)
	}
}

// What a cut leaves of the copies decides what the first boot finds; the next ones find
// what the one before them left.
func TestForecast(t *testing.T) {
	old := diskOf(t, abslot.First(abslot.A), 1).copies[0]
	armed := diskOf(t, abslot.State{Generation: 2, Good: abslot.A, Trial: abslot.B, Tries: 3}, 1).copies[0]
	none := make([]byte, abslot.Size)
	torn := slices.Concat(armed[:abslot.SectorSize], old[abslot.SectorSize:])
	for _, test := range []struct {
		name   string
		copies abslot.Copies
		slot   abslot.Slot
		trial  bool
		found  guest.Found
	}{
		{"before", abslot.Copies{old, old}, abslot.A, false, guest.Found{State: "slot A (generation 1)", Outcome: "normal"}},
		{"one torn", abslot.Copies{old, torn}, abslot.A, false, guest.Found{State: "slot A (generation 1)", Outcome: "normal", Mended: true}},
		{"both lost", abslot.Copies{none, torn}, abslot.A, false, guest.Found{State: "slot A (generation 1)", Outcome: "normal", Mended: true, BothLost: true}},
		{"armed in one", abslot.Copies{old, armed}, abslot.B, true, guest.Found{State: "slot A, B on trial with 2 tries left (generation 2)", Outcome: "trial running"}},
	} {
		f := forecast{copies: test.copies, phases: []string{"armed"}}
		slot, trial := f.grub()
		test.found.Phase = "armed"
		if err := f.found(test.found, slot, trial); slot != test.slot || trial != test.trial || err != nil {
			t.Errorf("%s: slot %v, trial %v, %v", test.name, slot, trial, err)
		}
		if err := f.after(guest.Ended{Good: "A", Trial: "B", Tries: 3, Generation: 2}); err != nil {
			t.Error(err)
		}
		slot, trial = f.grub()
		after := guest.Found{State: "slot A, B on trial with 2 tries left (generation 2)", Outcome: "trial running", Phase: "judging"}
		if err := f.found(after, slot, trial); slot != abslot.B || !trial || err != nil {
			t.Errorf("%s, the next boot: slot %v, trial %v, %v", test.name, slot, trial, err)
		}
		after.Mended = true
		if err := f.found(after, slot, trial); err == nil {
			t.Errorf("%s, the next boot: it mends what nothing tore, and is right", test.name)
		}
	}
}
