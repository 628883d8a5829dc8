package update

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/control"
)

var payload = Payload{Version: "0.2.0", Name: "kubesolo-os-0.2.0-amd64.slot", SHA256: "ab", Length: 9, From: "http://updates"}

func TestResume(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	begun := State{Phase: Idle}.Begin("0.1.0", "B", payload, Order{}, now)
	staged := begun.Stage(now)
	armed := staged.Arm("boot1", "copy1", 5, now)
	judging := armed.Judge(now)
	a := control.Slots{Running: "A", Good: "A"}
	waits := control.Slots{Running: "A", Good: "A", Trial: "B", Tries: 3}
	trial := control.Slots{Running: "B", Good: "A", Trial: "B", Tries: 2, OnTrial: true}
	failed := control.Slots{Running: "A", Good: "A", Verdict: &control.Verdict{Slot: "B", Reason: "kernel panic", Generation: 7}}
	for _, tc := range []struct {
		name   string
		state  State
		slots  control.Slots
		boot   string
		phase  Phase
		action Action
		text   string
	}{
		{"never updated", State{Phase: Idle}, a, "boot1", Idle, Rest, ""},
		{"no slots", State{Phase: Idle}, control.Slots{Problem: "an ISO"}, "boot1", Idle, Rest, ""},
		{"download was interrupted", begun, a, "boot2", Downloading, Download, ""},
		{"staged", staged, a, "boot2", Staged, Try, ""},
		{"armed, the agent was restarted", armed, waits, "boot1", Armed, Reboot, ""},
		{"armed, the power went before the restart", armed, waits, "boot2", Armed, Reboot, ""},
		{"armed, and GRUB does not start it", armed.Arm("", "", 5, now).Arm("", "", 5, now), waits, "boot4", Failed, Disarm, "GRUB did not start it, 3 times"},
		{"the power went before it was armed", armed, a, "boot2", Staged, Try, "the power went"},
		{"the agent ended before it was armed", armed, a, "boot1", Staged, Try, "was not armed"},
		{"the trial begins", armed, trial, "boot2", Judging, Verdict, ""},
		{"the trial goes on after a power cut", judging, trial, "boot3", Judging, Verdict, ""},
		{"the trial failed", judging, failed, "boot3", RolledBack, Restore, "kernel panic"},
		{"the trial failed before its agent ran", armed, failed, "boot5", RolledBack, Restore, "kernel panic"},
		{"committed, not written down", judging, control.Slots{Running: "B", Good: "B"}, "boot2", Good, Rest, ""},
		{"committed, and then A by hand", judging, control.Slots{Running: "A", Good: "B"}, "boot4", Good, Rest, ""},
		{"by hand, before its trial", armed, control.Slots{Running: "B", Good: "A", Trial: "B", Tries: 3}, "boot2", Armed, Rest, ""},
		{"the reason was lost", judging, a, "boot3", RolledBack, Restore, "without a reason"},
		{"an old verdict of the other slot", armed, control.Slots{Running: "A", Good: "A", Verdict: &control.Verdict{Slot: "A", Generation: 7}}, "boot2", Staged, Try, ""},
		{"the verdict of an earlier update", armed, control.Slots{Running: "A", Good: "A", Verdict: &control.Verdict{Slot: "B", Generation: 5}}, "boot2", Staged, Try, ""},
		{"a trial that nobody remembers", State{Phase: Idle}, trial, "boot2", Judging, Verdict, ""},
		{"a trial, and the note of an old update", staged.Fail("x", now), trial, "boot2", Judging, Verdict, ""},
		{"done", judging.Pass("", now), control.Slots{Running: "B", Good: "B"}, "boot9", Good, Rest, ""},
		{"rolled back, the database is not back yet", judging.RollBack("x", now), failed, "boot9", RolledBack, Restore, ""},
		{"rolled back", staged.RollBack("x", now), failed, "boot9", RolledBack, Rest, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, action := Resume(tc.state, tc.slots, tc.boot, "0.2.0", now)
			if s.Phase != tc.phase || action != tc.action || !strings.Contains(s.Message, tc.text) {
				t.Errorf("%s %q, then %s; want %s %q, then %s", s.Phase, s.Message, action, tc.phase, tc.text, tc.action)
			}
		})
	}
	s := armed
	for range maxArms - 1 {
		s, _ = Resume(s, a, "later", "", now)
		s = s.Arm("boot1", "", 5, now)
	}
	if s, action := Resume(s, a, "later", "", now); s.Phase != Failed || action != Rest {
		t.Errorf("armed without end: %s, then %s", s.Phase, action)
	}
}

func TestRefusals(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := State{Phase: Idle}
	for range 2 * maxRefused {
		s = s.Begin("0.1.0", "B", payload, Order{}, now).RollBack("panic", now)
	}
	if reason, refused := s.RefusedFor("0.2.0"); !refused || reason != "panic" || len(s.Refused) != 1 || s.Attempts != 2*maxRefused || s.RollBacks != 2*maxRefused {
		t.Errorf("%+v", s)
	}
	if len(s.History) > maxHistory {
		t.Errorf("%d lines of history", len(s.History))
	}
	if s = s.Pass("", now); len(s.Refused) != 0 || !s.Passed.Equal(now) || s.RollBacks != 2*maxRefused {
		t.Errorf("after it passed: %+v", s)
	}
	// Nothing is known of a trial without a note but what runs.
	if s = (State{}).Begin("", "B", Payload{}, Order{}, now).RollBack("x", now); len(s.Refused) != 0 {
		t.Errorf("refuses %+v", s.Refused)
	}
}

func TestStateIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	if s, err := Load(file); err != nil || s.Phase != Idle {
		t.Fatalf("%+v %v", s, err)
	}
	want := State{Phase: Idle}.Begin("0.1.0", "B", payload, Order{By: "ksctl", Force: true}, time.Now().UTC())
	if err := Save(file, want); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(file); err != nil || got.Payload != want.Payload || got.Phase != Downloading || !got.Began.Equal(want.Began) || !got.Forced || !got.Ordered {
		t.Errorf("%+v %v", got, err)
	}
	for _, text := range []string{"", "{", `{"phase":"dancing"}`, strings.Repeat(" ", maxState+1)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Load(file); err == nil || s.Phase != Idle || !strings.Contains(err.Error(), "begun anew") {
			t.Errorf("%.20q: %+v %v", text, s.Phase, err)
		}
	}
}
