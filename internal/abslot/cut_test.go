package abslot_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/abslottest"
)

var errPower = errors.New("power cut")

// torn gives what a write that the power cut may leave: each sector has the old
// content, the new one, or damage of one of two kinds.
func torn(old, new []byte) [][]byte {
	noise := bytes.Repeat([]byte{0xA5, '#', '\n', '='}, abslot.SectorSize/4)
	var out [][]byte
	sector := func(b []byte, i int) []byte { return b[i*abslot.SectorSize:][:abslot.SectorSize] }
	choices := func(i int) [][]byte {
		return [][]byte{sector(old, i), sector(new, i), noise, make([]byte, abslot.SectorSize)}
	}
	for _, first := range choices(0) {
		for _, second := range choices(1) {
			out = append(out, append(bytes.Clone(first), second...))
		}
	}
	return out
}

// cuts runs what writes on its own copies, once for each write n that the power
// cuts and each way in which it can be torn, and once to the end. It gives the
// copies that are left.
func cuts(from abslot.Copies, run func(*abslot.Copies, func(int, []byte) error) error) (cut []abslot.Copies, done abslot.Copies) {
	for n := 0; ; n++ {
		copies, count, hit := from, 0, -1
		var old, new []byte
		err := run(&copies, func(i int, data []byte) error {
			if count == n {
				hit, old, new = i, copies[i], data
				return errPower
			}
			count++
			copies[i] = bytes.Clone(data)
			return nil
		})
		if hit < 0 {
			if err != nil {
				panic(err)
			}
			return cut, copies
		}
		for _, b := range torn(old, new) {
			left := copies
			left[hit] = b
			cut = append(cut, left)
		}
	}
}

// apply is the writer of the node: in order, and no further after an error.
func apply(next abslot.State) func(*abslot.Copies, func(int, []byte) error) error {
	return func(copies *abslot.Copies, write func(int, []byte) error) error {
		writes, err := copies.Writes(next)
		if err != nil {
			return err
		}
		for _, w := range writes {
			if err := write(w.Copy, w.Data); err != nil {
				return err
			}
		}
		return nil
	}
}

func boot(copies *abslot.Copies, write func(int, []byte) error) error {
	_, _, err := abslottest.Boot(copies, write)
	return err
}

// noCut is a disk that works.
func noCut(copies *abslot.Copies) func(int, []byte) error {
	return func(i int, data []byte) error {
		copies[i] = bytes.Clone(data)
		return nil
	}
}

// TestCutAtEveryWrite: from two good copies, what is chosen after a cut in any
// write is the old state or the new one, GRUB starts a slot of one of them, and
// healing makes both copies the chosen state.
func TestCutAtEveryWrite(t *testing.T) {
	total := 0
	for _, s := range states() {
		// Digits are digits; the last generation has no next one.
		if s.Generation != 99 && s.Generation != abslot.MaxGeneration {
			continue
		}
		both := abslot.Copies{encode(t, s), encode(t, s)}
		next := transitions(s)
		runs := map[string]func(*abslot.Copies, func(int, []byte) error) error{"boot": boot}
		for name, n := range next {
			runs[name] = apply(n)
		}
		_, _, next["boot"] = s.BootOnce()
		for name, run := range runs {
			left, done := cuts(both, run)
			if want := encode(t, next[name]); !bytes.Equal(done[0], want) || !bytes.Equal(done[1], want) {
				t.Errorf("%v, %s: not %v in both copies", s, name, next[name])
			}
			total += len(left)
			for _, copies := range left {
				checkLeft(t, fmt.Sprintf("%v, %s", s, name), copies, s, next[name])
			}
		}
	}
	t.Logf("%d cuts", total)
}

func checkLeft(t *testing.T, what string, copies abslot.Copies, old, new abslot.State) {
	t.Helper()
	got, _, err := copies.Choose()
	if err != nil || got != old && got != new {
		t.Errorf("%s: %v, %v", what, got, err)
		return
	}
	healed, writes, err := copies.Heal(old.Good, false)
	if err != nil || healed != got || len(writes) > 2 {
		t.Errorf("%s: heals to %v with %d writes, %v", what, healed, len(writes), err)
	}
	// A cut while it heals, and one more boot.
	more, done := cuts(copies, apply(healed))
	for _, c := range append(more, done) {
		if again, _, err := c.Choose(); err != nil || again != got {
			t.Errorf("%s: a cut while healing leaves %v, %v", what, again, err)
		}
	}
	if !bytes.Equal(done[0], done[1]) {
		t.Errorf("%s: healed copies differ", what)
	}
	slot, trial, err := abslottest.Boot(&copies, noCut(&copies))
	if want, isTrial, _ := got.BootOnce(); err != nil || (slot != want || trial != isTrial) && (slot != got.Good || trial) {
		t.Errorf("%s: boots %v, %v; %v", what, slot, trial, err)
	}
}

// Without a valid copy GRUB starts slot A, and the slot that runs is the good one
// from then on; a trial never is.
func TestBothCopiesLost(t *testing.T) {
	lost := abslot.Copies{make([]byte, abslot.Size), nil}
	if slot, trial, err := abslottest.Boot(&lost, noCut(&lost)); slot != a || trial || err != nil {
		t.Errorf("boots %v, %v, %v", slot, trial, err)
	}
	for _, c := range []struct {
		running abslot.Slot
		trial   bool
		want    abslot.State
	}{{a, false, abslot.First(a)}, {b, false, abslot.First(b)}, {b, true, abslot.State{Generation: 1, Good: a, Trial: b}}} {
		s, writes, err := lost.Heal(c.running, c.trial)
		if err != nil || s != c.want || len(writes) != 2 || !bytes.Equal(writes[0].Data, encode(t, s)) {
			t.Errorf("%v, %v: %v, %v", c.running, c.trial, s, err)
		}
	}
	if _, _, err := lost.Heal(none, false); !errors.Is(err, abslot.ErrInvalid) {
		t.Errorf("no slot: %v", err)
	}
}

// By BIOS GRUB cannot flush: a disk with a cache may have torn both copies when the
// power goes while a try is counted. The good slot is then in both sectors of each.
func TestCountTornInBothCopies(t *testing.T) {
	for _, good := range []abslot.Slot{a, b} {
		for tries := 1; tries <= abslot.MaxTries; tries++ {
			before := abslot.State{Generation: 4, Good: good, Trial: good.Other(), Tries: tries}
			after := before
			after.Tries--
			old, new := encode(t, before), encode(t, after)
			left := append(bytes.Clone(new[:abslot.SectorSize]), old[abslot.SectorSize:]...)
			other := append(bytes.Clone(old[:abslot.SectorSize]), new[abslot.SectorSize:]...)
			for _, copies := range []abslot.Copies{{left, left}, {left, other}, {nil, left}, {other, nil}} {
				slot, trial, err := abslottest.Boot(&copies, noCut(&copies))
				if slot != good || trial || err != nil {
					t.Errorf("%v, torn to %.90q: boots %v, %v, %v", before, copies, slot, trial, err)
				}
				if s, writes, err := copies.Heal(slot, trial); s != abslot.First(good) || len(writes) != 2 || err != nil {
					t.Errorf("%v: healed to %v by %v, %v", before, s, writes, err)
				}
			}
		}
	}
}

func TestChoice(t *testing.T) {
	old, armed := abslot.First(a), abslot.State{Generation: 2, Good: a, Trial: b, Tries: 3}
	fewer := armed
	fewer.Tries = 2
	bad := make([]byte, abslot.Size)
	for _, c := range []struct {
		copies abslot.Copies
		want   abslot.State
		in     int
		writes []int
	}{
		{abslot.Copies{encode(t, armed), encode(t, armed)}, armed, 0, nil},
		{abslot.Copies{encode(t, old), encode(t, armed)}, armed, 1, []int{0}},
		{abslot.Copies{encode(t, armed), encode(t, fewer)}, fewer, 1, []int{0}},
		{abslot.Copies{encode(t, fewer), encode(t, armed)}, fewer, 0, []int{1}},
		{abslot.Copies{encode(t, old), bad}, old, 0, []int{1}},
		{abslot.Copies{nil, encode(t, armed)}, armed, 1, []int{0}},
	} {
		s, in, err := c.copies.Choose()
		healed, writes, healErr := c.copies.Heal(a, false)
		var at []int
		for _, w := range writes {
			at = append(at, w.Copy)
		}
		if err != nil || healErr != nil || s != c.want || in != c.in || healed != s || fmt.Sprint(at) != fmt.Sprint(c.writes) {
			t.Errorf("%v in %d, want %v in %d; heals %v with writes %v; %v, %v", s, in, c.want, c.in, healed, at, err, healErr)
		}
	}
	// A new state goes over the copy that does not count first.
	copies := abslot.Copies{encode(t, old), encode(t, armed)}
	next, err := armed.Rollback()
	if err != nil {
		t.Fatal(err)
	}
	if writes, err := copies.Writes(next); err != nil || len(writes) != 2 || writes[0].Copy != 0 || writes[1].Copy != 1 {
		t.Errorf("%v, %v", writes, err)
	}
}
