package slots_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/abslottest"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/slots"
)

// machine is a disk, started again and again.
type machine struct {
	*testing.T
	disk    *abslottest.Disk
	verdict string
}

func newMachine(t *testing.T, s abslot.State) machine {
	t.Helper()
	disk, err := abslottest.NewDisk(s)
	if err != nil {
		t.Fatal(err)
	}
	return machine{t, disk, filepath.Join(t.TempDir(), "verdict.json")}
}

// armed is a machine that runs A and is to try B.
func armed(t *testing.T) machine {
	t.Helper()
	s, err := abslot.First(abslot.A).Arm(abslot.B, abslot.MaxTries)
	if err != nil {
		t.Fatal(err)
	}
	return newMachine(t, s)
}

func (m machine) boot(lastBoot string) (*slots.Slots, slots.Found, error) {
	slot, trial := m.disk.Boot()
	return slots.Open(slots.Options{Disk: m.disk, Running: slot, Trial: trial, VerdictFile: m.verdict, LastBoot: lastBoot})
}

func (m machine) mustBoot(want abslot.Slot, outcome abslot.Outcome) (*slots.Slots, slots.Found) {
	m.Helper()
	s, found, err := m.boot("")
	if err != nil || s.Running() != want || found.Outcome != outcome {
		m.Fatalf("%v (%v): %v, want %v (%v)", s.Running(), found.Outcome, err, want, outcome)
	}
	return s, found
}

func TestArmTryCommit(t *testing.T) {
	m := newMachine(t, abslot.First(abslot.A))
	s, _ := m.mustBoot(abslot.A, abslot.Normal)
	if err := s.Arm(abslot.B); err != nil {
		t.Fatal(err)
	}
	if r := s.Report(); r.Trial != "B" || r.Tries != abslot.MaxTries || r.OnTrial || r.Passive != (control.Passive{Slot: "B", Device: "/dev/slot-B", Size: 1 << 20}) {
		t.Errorf("%+v", r)
	}
	s, _ = m.mustBoot(abslot.B, abslot.TrialRunning)
	s.SetDeadline(90e9)
	if r := s.Report(); !r.OnTrial || r.Deadline != 90 || r.Tries != abslot.MaxTries-1 {
		t.Errorf("%+v", r)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	if r := s.Report(); r.OnTrial || r.Good != "B" || r.Trial != "" || r.Deadline != 0 || r.Verdict != nil {
		t.Errorf("%+v", r)
	}
	if ends, err := s.EndTrial("too late"); ends || err != nil {
		t.Errorf("a committed trial ends: %v", err)
	}
	m.mustBoot(abslot.B, abslot.Normal)
}

func TestEndedTrial(t *testing.T) {
	m := armed(t)
	s, _ := m.mustBoot(abslot.B, abslot.TrialRunning)
	if ends, err := s.EndTrial("never healthy"); !ends || err != nil {
		t.Fatal(ends, err)
	}
	if ends, err := s.EndTrial("and once more"); ends || err != nil {
		t.Error("it ended twice:", err)
	}
	for name, order := range map[string]func() error{"commit": s.Commit, "arm": func() error { return s.Arm(abslot.A) }} {
		if err := order(); !errors.Is(err, slots.ErrOver) {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
	// The version that runs then says why.
	s, _ = m.mustBoot(abslot.A, abslot.Normal)
	if v := s.Report().Verdict; v == nil || v.Slot != "B" || v.Reason != "never healthy" || v.Generation != s.State().Generation {
		t.Errorf("%+v", v)
	}
}

func TestUsedUpTries(t *testing.T) {
	m := armed(t)
	for range abslot.MaxTries {
		m.mustBoot(abslot.B, abslot.TrialRunning) // and nobody judges it
	}
	s, found, err := m.boot("the last ended by a panic")
	const want = "3 starts without a verdict: the last ended by a panic"
	if err != nil || s.Running() != abslot.A || found.Failed != want || s.State().Armed() {
		t.Errorf("%+v, %v: %v", found, s.State(), err)
	}
	if v := s.Report().Verdict; v == nil || v.Reason != want {
		t.Errorf("%+v", v)
	}
	m.mustBoot(abslot.A, abslot.Normal)
}

// GRUB counts a try before it loads, and starts the good slot when it cannot.
func TestUnloadable(t *testing.T) {
	m := armed(t)
	m.disk.Boot()
	s, found, err := slots.Open(slots.Options{Disk: m.disk, Running: abslot.A, VerdictFile: m.verdict, LastBoot: "x"})
	if err != nil || found.Failed != "its kernel could not be loaded" || s.State().Armed() {
		t.Errorf("%+v: %v", found, err)
	}
}

func TestTakenBack(t *testing.T) {
	m := newMachine(t, abslot.First(abslot.A))
	s, _ := m.mustBoot(abslot.A, abslot.Normal)
	if err := s.GiveUp("x"); err == nil {
		t.Error("nothing is armed, and was taken back")
	}
	if err := errors.Join(s.Arm(abslot.B), s.GiveUp("cancelled")); err != nil {
		t.Fatal(err)
	}
	m.mustBoot(abslot.A, abslot.Normal)
}

func TestMended(t *testing.T) {
	m := newMachine(t, abslot.First(abslot.A))
	m.disk.Damage(0)
	if _, found := m.mustBoot(abslot.A, abslot.Normal); !found.Mended {
		t.Error("not told")
	}
	if _, found := m.mustBoot(abslot.A, abslot.Normal); found.Mended {
		t.Error("not mended")
	}
}

// A block that takes no writes is a problem for orders; the trial goes on, and can
// be ended: GRUB counts its tries.
func TestDiskTakesNoWrites(t *testing.T) {
	m := armed(t)
	slot, trial := m.disk.Boot()
	m.disk.Damage(1)
	m.disk.Fail = errors.New("input/output error")
	s, found, err := slots.Open(slots.Options{Disk: m.disk, Running: slot, Trial: trial, VerdictFile: m.verdict})
	if err == nil || !strings.Contains(err.Error(), "no updates: input/output error") || !s.OnTrial() || found.Mended {
		t.Errorf("%+v: %v", found, err)
	}
	if err := s.Commit(); !errors.Is(err, m.disk.Fail) || !s.OnTrial() {
		t.Errorf("commit: %v", err)
	}
	if r := s.Report(); r.Problem == "" || r.Running != "B" {
		t.Errorf("%+v", r)
	}
	if ends, err := s.EndTrial("never healthy"); !ends || !errors.Is(err, m.disk.Fail) {
		t.Error(ends, err)
	}
	if _, err := os.Stat(m.verdict); err != nil {
		t.Error("the reason is lost:", err)
	}
}

// The reason is kept before the state changes; when it cannot be, the trial ends
// all the same.
func TestReasonCannotBeKept(t *testing.T) {
	m := armed(t)
	m.verdict = filepath.Join(m.verdict, "no", "directory")
	s, _ := m.mustBoot(abslot.B, abslot.TrialRunning)
	if ends, err := s.EndTrial("never healthy"); !ends || err == nil {
		t.Error(ends, err)
	}
	m.mustBoot(abslot.A, abslot.Normal)
}

func TestWithout(t *testing.T) {
	problem := errors.New("no disk")
	s := slots.Without(abslot.None, problem)
	for name, order := range map[string]func() error{
		"arm": func() error { return s.Arm(abslot.B) }, "commit": s.Commit, "give up": func() error { return s.GiveUp("x") },
	} {
		if err := order(); !errors.Is(err, problem) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r := s.Report(); r != (control.Slots{Problem: "no disk"}) {
		t.Errorf("%+v", r)
	}
	if ends, _ := s.EndTrial("x"); ends {
		t.Error("a trial without slots")
	}
}
