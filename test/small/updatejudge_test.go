package small

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/update"
	"kubesolo.io/os/test/small/guest"
)

// updateAim is what a node is to come to.
type updateAim struct {
	oldSlot, newSlot       string
	oldVersion, newVersion string
	good                   bool // the new version is one
	panics                 bool // the new version does, once it has said what it is
}

// final is where the update ends.
func (a updateAim) final() (slot, version string, phase update.Phase) {
	if a.good {
		return a.newSlot, a.newVersion, update.Good
	}
	return a.oldSlot, a.oldVersion, update.RolledBack
}

// judge looks at all that a node said after a power cut, and says why it is lost,
// or no longer what it should be. before is the disk that it was booted from. Each
// boot has to come to its end, but for one of a version that panics and the last one
// where the power went again. A look may leave a download or a restart undone; any
// other machine has to be at its aim in the end.
func (a updateAim) judge(t told, before *diskBefore, look bool) error {
	if len(t.errors) > 0 {
		return fmt.Errorf("the node says: %s", strings.Join(t.errors, "; "))
	}
	over, err := before.over(a)
	if err != nil {
		return err
	}
	ahead := forecast{copies: before.copies, phases: before.phases}
	for i, b := range t.boots {
		last := i == len(t.boots)-1
		if err := a.judgeBoot(b, &ahead, t.cut && last, look); err != nil {
			return fmt.Errorf("boot %d: %w", i+1, err)
		}
		if b.ended != nil && !b.ended.Restart && !last {
			return fmt.Errorf("boot %d: it goes on after its end", i+1)
		}
		if b.ended != nil && over && !b.ended.Settled {
			return fmt.Errorf("boot %d: the update was over, and begins again: %+v", i+1, *b.ended)
		}
	}
	if t.cut {
		return nil
	}
	if len(t.boots) == 0 {
		return errors.New("no slot was started")
	}
	// A panic that is no failure is by design.
	reason, last := "guest-shutdown", t.boots[len(t.boots)-1].ended
	if last == nil || last.Restart {
		reason = "guest-reset"
	}
	if !look && reason != "guest-shutdown" {
		return errors.New("it does not come to its end")
	}
	if t.reason != reason {
		return fmt.Errorf("the machine ends with %q, want %q", t.reason, reason)
	}
	return nil
}

// judgeBoot compares a boot with what the disk before it leads to.
func (a updateAim) judgeBoot(b bootTold, ahead *forecast, cut, look bool) error {
	slot, trial := ahead.grub()
	want := slot.String()
	if trial {
		want += " on trial"
	}
	if b.loaded != "" && b.loaded != want {
		return fmt.Errorf("GRUB loads slot %s, want %s", b.loaded, want)
	}
	s := b.started
	switch {
	case s == nil && cut:
		return nil
	case s == nil:
		return errors.New("no slot was started")
	case s.Slot != slot.String() || s.Trial != trial:
		return fmt.Errorf("slot %s is started, on trial %v; want %s", s.Slot, s.Trial, want)
	}
	version := map[string]string{a.oldSlot: a.oldVersion, a.newSlot: a.newVersion}[s.Slot]
	if s.Version != version || s.Holds != version {
		return fmt.Errorf("slot %s runs version %q and has all of version %q, want %s", s.Slot, s.Version, s.Holds, version)
	}
	if s.Slot == a.newSlot && !s.Trial && !a.good {
		return fmt.Errorf("slot %s with the bad version is started as if it was good", s.Slot)
	}
	if a.panics && s.Slot == a.newSlot {
		// Its init exits with status 1.
		other := func(line string) bool { return !strings.Contains(line, "Attempted to kill init! exitcode=0x00000100") }
		asked := len(b.dying) > 0 && !slices.ContainsFunc(b.dying, other)
		if b.found != nil || b.ended != nil || !asked && !(cut && len(b.dying) == 0) {
			return fmt.Errorf("the version that panics does not: %+v, %+v, %q", b.found, b.ended, b.dying)
		}
		return nil
	}
	if len(b.dying) > 0 {
		return fmt.Errorf("the kernel says: %s", strings.Join(b.dying, "; "))
	}
	if b.found == nil && b.ended == nil && cut {
		return nil
	}
	if b.found == nil {
		return errors.New("it started, and did not come to look at the slot state and the data")
	}
	if err := ahead.found(*b.found, slot, trial); err != nil {
		return err
	}
	if b.ended == nil && cut {
		return nil
	}
	if b.ended == nil {
		return errors.New("it started, and does not come to its end")
	}
	if err := a.judgeEnd(*b.ended, s.Slot, version, look); err != nil {
		return err
	}
	return ahead.after(*b.ended)
}

// judgeEnd looks at how a boot ends. Whichever slot runs, the database is its own.
func (a updateAim) judgeEnd(e guest.Ended, slot, version string, look bool) error {
	refused := slices.Contains(e.Refused, a.newVersion)
	switch final, database, phase := a.final(); {
	case e.Settled && (slot != final || e.Good != final || e.Trial != "none" || e.Phase != string(phase) || e.Database != database || refused == a.good):
		return fmt.Errorf("it ends in slot %s with %+v; want slot %s, good and with the database of %s, and %s", slot, e, final, database, phase)
	case e.Database != version:
		return fmt.Errorf("version %s leaves the database of %q", version, e.Database)
	case e.Settled:
		return nil
	case e.Good != a.oldSlot || refused:
		return fmt.Errorf("something is left to do, and the verdict is there: %+v", e)
	case e.Restart && slot == a.oldSlot && e.Trial == a.newSlot && e.Phase == string(update.Armed):
		return nil // to try it
	case e.Restart && slot == a.newSlot && e.Trial == "none" && !a.good:
		return nil // to go back: that is ksinit's, and asks no engine for its phase
	case e.Restart:
		return fmt.Errorf("slot %s restarts the machine with %+v", slot, e)
	case look && slot == a.oldSlot && slices.Contains([]update.Phase{update.Downloading, update.Staged, update.Armed}, update.Phase(e.Phase)):
		return nil
	}
	return fmt.Errorf("slot %s leaves things undone: %+v", slot, e)
}

func TestJudgeUpdate(t *testing.T) {
	good := updateAim{oldSlot: "A", newSlot: "B", oldVersion: "1", newVersion: "2", good: true}
	bad := updateAim{oldSlot: "B", newSlot: "A", oldVersion: "2", newVersion: "3"}
	panics := bad
	panics.panics = true
	idle := func(slot abslot.Slot, generation uint64) abslot.State {
		return abslot.State{Generation: generation, Good: slot, Trial: abslot.None}
	}
	armed := func(good abslot.Slot, tries int) abslot.State {
		return abslot.State{Generation: 2, Good: good, Trial: good.Other(), Tries: tries}
	}
	// What a boot says when all is well, from a state on.
	boot := func(s abslot.State, version string, ended *guest.Ended) bootTold {
		slot, trial, after := s.BootOnce()
		b := bootTold{loaded: slot.String(), started: &guest.Started{Slot: slot.String(), Trial: trial, Version: version, Holds: version},
			found: &guest.Found{State: after.String(), Outcome: after.Outcome(slot, trial).String(), Phase: "idle"}, ended: ended}
		if trial {
			b.loaded += " on trial"
		}
		return b
	}
	end := func(phase string, s abslot.State, database string, refused ...string) *guest.Ended {
		return &guest.Ended{Settled: true, Phase: phase, Good: s.Good.String(), Trial: s.Trial.String(), Tries: s.Tries, Generation: s.Generation, Database: database, Refused: refused}
	}
	left := func(e *guest.Ended, restart bool) *guest.Ended {
		e.Settled, e.Restart = false, restart
		return e
	}
	change := func(b bootTold, do func(*bootTold)) bootTold {
		do(&b)
		return b
	}
	dies := func(b bootTold, exit string) bootTold {
		b.found, b.ended, b.dying = nil, nil, []string{"Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000" + exit}
		return b
	}
	const off, reset = "guest-shutdown", "guest-reset"
	a1, b1 := idle(abslot.A, 1), idle(abslot.B, 1)
	downloading := boot(a1, "1", left(end("downloading", a1, "1"), false))
	toTry, toTryBad := boot(a1, "1", left(end("armed", armed(abslot.A, 3), "1"), true)), boot(b1, "2", left(end("armed", armed(abslot.B, 3), "2"), true))
	passes := boot(armed(abslot.A, 3), "2", end("good", idle(abslot.B, 3), "2"))
	givesUp := boot(armed(abslot.B, 3), "3", left(end("judging", idle(abslot.B, 3), "3"), true))
	isBack := boot(idle(abslot.B, 3), "2", end("rolled-back", idle(abslot.B, 3), "2", "3"))
	usedUp := boot(armed(abslot.B, 0), "2", end("rolled-back", idle(abslot.B, 3), "2", "3"))
	for _, test := range []struct {
		name   string
		aim    updateAim
		before abslot.State
		look   bool
		reason string
		want   string
		boots  []bootTold
	}{
		{"looked at", good, a1, true, off, "", []bootTold{downloading}},
		{"looked at, and left off", good, a1, false, off, "leaves things undone", []bootTold{downloading}},
		{"updated", good, a1, false, off, "", []bootTold{toTry, passes}},
		{"looked at while it is armed", good, a1, true, reset, "", []bootTold{toTry}},
		{"a trial looked at", good, armed(abslot.A, 2), true, off, "", []bootTold{boot(armed(abslot.A, 2), "2", end("good", idle(abslot.B, 3), "2"))}},
		{"goes on after its end", good, a1, true, off, "goes on after its end", []bootTold{downloading, downloading}},
		{"restarts for nothing", good, a1, true, reset, "restarts the machine", []bootTold{boot(a1, "1", left(end("staged", a1, "1"), true))}},
		{"a trial that restarts", good, armed(abslot.A, 3), true, reset, "restarts the machine", []bootTold{boot(armed(abslot.A, 3), "2", left(end("judging", armed(abslot.A, 2), "2"), true))}},
		{"started and nothing else", good, a1, true, reset, "did not come to look", []bootTold{change(downloading, func(b *bootTold) { b.found, b.ended = nil, nil })}},
		{"started and no end", good, a1, true, reset, "does not come to its end", []bootTold{change(downloading, func(b *bootTold) { b.ended = nil })}},
		{"a reset after its end", good, a1, true, reset, `ends with "guest-reset"`, []bootTold{downloading}},
		{"no reset to try it", good, a1, true, off, `ends with "guest-shutdown"`, []bootTold{toTry}},
		{"an oops", good, a1, true, off, "the kernel says: Oops", []bootTold{change(downloading, func(b *bootTold) { b.dying = []string{"Oops: 0000"} })}},
		{"not updated", good, a1, false, off, "it ends in slot A", []bootTold{boot(a1, "1", end("failed", a1, "1"))}},
		{"not updated, looked at", good, a1, true, off, "it ends in slot A", []bootTold{boot(a1, "1", end("idle", a1, "1"))}},
		{"refused", good, a1, false, off, "it ends in slot A", []bootTold{boot(a1, "1", end("rolled-back", a1, "1", "2"))}},
		{"no end", good, a1, false, reset, "does not come to its end", []bootTold{toTry}},
		{"nothing", good, a1, true, off, "no slot was started", nil},
		{"only GRUB", good, a1, true, reset, "no slot was started", []bootTold{{loaded: "A"}}},
		{"half a slot", good, a1, true, off, `has all of version ""`, []bootTold{change(downloading, func(b *bootTold) { b.started = &guest.Started{Slot: "A", Version: "1"} })}},
		{"of another slot", good, a1, true, off, "want 1", []bootTold{boot(a1, "2", nil)}},
		{"the other slot", good, a1, true, off, "GRUB loads slot B", []bootTold{boot(b1, "2", nil)}},
		{"the other slot, and says this one", good, a1, true, off, "slot B is started", []bootTold{change(boot(b1, "2", nil), func(b *bootTold) { b.loaded = "A" })}},
		{"mended for nothing", good, a1, true, off, "is found as", []bootTold{change(downloading, func(b *bootTold) { b.found = &guest.Found{State: a1.String(), Outcome: "normal", Mended: true} })}},
		{"both lost for nothing", good, a1, true, off, "is found as", []bootTold{change(downloading, func(b *bootTold) { b.found = &guest.Found{State: a1.String(), Outcome: "normal", BothLost: true} })}},
		{"a phase that was not noted", good, a1, true, off, "updates are good", []bootTold{change(downloading, func(b *bootTold) {
			b.found = &guest.Found{State: a1.String(), Outcome: "normal", Phase: "good"}
		})}},
		{"database of another", good, a1, true, off, `the database of "2"`, []bootTold{boot(a1, "1", left(end("downloading", a1, "2"), false))}},
		{"armed, and the old one again", good, a1, false, off, "GRUB loads slot A, want B on trial", []bootTold{toTry, downloading}},
		{"good, and the old one again", good, idle(abslot.B, 3), true, off, "GRUB loads slot A, want B", []bootTold{downloading}},
		{"good, and begun again", good, idle(abslot.B, 3), true, off, "the verdict is there", []bootTold{boot(idle(abslot.B, 3), "2", left(end("staged", idle(abslot.B, 3), "2"), false))}},
		{"over, and the wrong way", good, idle(abslot.A, 3), true, off, "want slot B", []bootTold{downloading}},
		{"rolled back", bad, b1, false, off, "", []bootTold{toTryBad, givesUp, isBack}},
		{"given up, looked at", bad, armed(abslot.B, 3), true, reset, "", []bootTold{givesUp}},
		{"rolled back, and looked at", bad, idle(abslot.B, 3), true, off, "", []bootTold{isBack}},
		{"rolled back, and begun again", bad, idle(abslot.B, 3), true, off, "begins again", []bootTold{boot(idle(abslot.B, 3), "2", left(end("staged", idle(abslot.B, 3), "2"), false))}},
		{"rolled back, and tried again", bad, idle(abslot.B, 3), false, off, "GRUB loads slot A on trial, want B", []bootTold{givesUp, isBack}},
		{"not remembered", bad, b1, false, off, "it ends in slot B", []bootTold{boot(b1, "2", end("rolled-back", b1, "2"))}},
		{"database of the bad one", bad, b1, false, off, "database", []bootTold{boot(b1, "2", end("rolled-back", b1, "3", "3"))}},
		{"panics", panics, armed(abslot.B, 2), false, off, "", []bootTold{dies(boot(armed(abslot.B, 2), "3", nil), "100"), dies(boot(armed(abslot.B, 1), "3", nil), "100"), usedUp}},
		{"panics, looked at", panics, armed(abslot.B, 2), true, reset, "", []bootTold{dies(boot(armed(abslot.B, 2), "3", nil), "100")}},
		{"panics another way", panics, armed(abslot.B, 2), true, reset, "the version that panics does not", []bootTold{dies(boot(armed(abslot.B, 2), "3", nil), "200")}},
		{"does not panic", panics, armed(abslot.B, 2), true, reset, "the version that panics does not", []bootTold{boot(armed(abslot.B, 2), "3", nil)}},
		{"the old one panics", panics, b1, true, reset, "the kernel says", []bootTold{dies(boot(b1, "2", nil), "100")}},
	} {
		before := diskOf(t, test.before, 1)
		before.phases = []string{"idle"}
		err := test.aim.judge(told{boots: test.boots, reason: test.reason}, before, test.look)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if err := good.judge(told{errors: []string{"no disk"}}, diskOf(t, a1, 1), true); err == nil {
		t.Error("an error is no failure")
	}
	started := change(downloading, func(b *bootTold) { b.found, b.ended = nil, nil })
	for _, boots := range [][]bootTold{nil, {{loaded: "A"}}, {started}, {toTry, {loaded: "B on trial"}}, {toTry}} {
		if err := good.judge(told{boots: boots, cut: true}, diskOf(t, a1, 1), false); err != nil {
			t.Errorf("killed after %+v: %v", boots, err)
		}
	}
	if err := good.judge(told{boots: []bootTold{started, passes}, cut: true}, diskOf(t, a1, 1), false); err == nil {
		t.Error("the boot before the one that was killed did not come to its end, and is no failure")
	}
}
