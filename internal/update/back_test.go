package update

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kubesolo.io/os/internal/abslot"
)

// stuck is a name of which the file can be read, and not written anew: that of the
// file beside it, which takes its place, would be too long.
var stuck = strings.Repeat("s", 250)

func (w *world) state(t *testing.T) State {
	t.Helper()
	s, err := Load(filepath.Join(w.dir, w.file))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A person who goes back waits for no window, no label and no turn, and neither for
// room for a copy of the database: nothing is downloaded, and the version that runs
// may be what fills the disk.
func TestBackWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.live(t)
		if w.running != abslot.B {
			t.Fatalf("%v, %s", w.env, strings.Join(w.said, " "))
		}
		w.gate, w.noCopy, w.said, w.verified = "window: it opens at Sat 01:00", errors.New("no room"), nil, nil
		began := time.Now()
		w.boot(t, Order{Verb: RollBack, By: "ksctl"})
		if took := time.Since(began); w.refused != nil || took > time.Minute {
			t.Fatalf("the restart came after %v: %v", took, w.refused)
		}
		w.live(t)
		s := w.state(t)
		if _, refused := s.RefusedFor("0.2.0"); w.running != abslot.A || w.env.Good != abslot.A || s.Phase != Good || !refused || s.Cause() != ByHand {
			t.Errorf("%v, %+v", w.env, s)
		}
		// Each step is news, and not only the last of those that are taken at once.
		if said := strings.Join(w.said, " "); said != "rolled-back downloading staged armed judging good" {
			t.Error(said)
		}
		// What came with the disk has no hash; what was installed keeps its.
		if got := strings.Join(w.verified, ", "); got != `device of A: 0.1.0 "", device of A: 0.1.0 ""` {
			t.Error(got)
		}
		w.verified = nil
		w.boot(t, Order{Verb: RollBack, By: "ksctl"})
		w.live(t)
		if got := strings.Join(w.verified, ", "); w.running != abslot.B || got != `device of B: 0.2.0 "ab", device of B: 0.2.0 "ab"` {
			t.Errorf("%v, %s", w.env, got)
		}
	})
}

// What cannot be gone back to is said to whoever asked, and nothing changes.
func TestBackRefused(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *world){
		"damaged": func(_ *testing.T, w *world) { w.damaged = errors.New("half a slot") },
		"not written down": func(t *testing.T, w *world) {
			if err := os.Rename(filepath.Join(w.dir, w.file), filepath.Join(w.dir, stuck)); err != nil {
				t.Fatal(err)
			}
			w.file = stuck
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.live(t)
				spoil(t, w)
				before := w.state(t)
				w.boot(t, Order{Verb: RollBack, By: "ksctl"})
				w.live(t)
				s := w.state(t)
				if w.refused == nil || w.running != abslot.B || s.Phase != Good || s.RollBacks != 0 || s.Attempts != before.Attempts {
					t.Errorf("%v: %v, %+v", w.refused, w.env, s)
				}
			})
		})
	}
}

// A slot may go bad between the day on which it was staged and its window.
func TestDamagedIsNotTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.damaged = errors.New("other bytes")
		w.boot(t, Order{Verb: Apply, By: "ksctl"})
		s := w.state(t)
		if w.running != abslot.A || slices.Contains(w.said, "armed") || s.Phase != Failed || !strings.Contains(s.Message, "other bytes") || len(s.Refused) != 0 {
			t.Errorf("%v, %s, %+v", w.env, strings.Join(w.said, " "), s)
		}
		if len(w.verified) == 0 || w.verified[0] != `device of B: 0.2.0 "ab"` {
			t.Error(w.verified)
		}
	})
}

// A trial that nobody would remember is not begun: its version would come again
// after each way back.
func TestUnwrittenIsNotTried(t *testing.T) {
	now := time.Unix(900_000_000, 0)
	staged := State{Phase: Idle}.Begin("0.1.0", "B", payload, Order{}, now).Stage(now)
	for _, tc := range []struct {
		name  string
		state State
		armed bool
	}{
		{"staged", staged, false},
		// GRUB may be one that cannot count: the restarts would have no end.
		{"armed, and the power went", staged.Arm("another boot", "", 0, now), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.healthy, w.running = false, abslot.A
				if err := Save(filepath.Join(w.dir, w.file), tc.state); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(filepath.Join(w.dir, w.file), filepath.Join(w.dir, stuck)); err != nil {
					t.Fatal(err)
				}
				w.file = stuck
				if tc.armed {
					env, err := w.env.Arm(abslot.B, abslot.MaxTries)
					if err != nil {
						t.Fatal(err)
					}
					w.env = env // and A was started all the same
				}
				before := w.env
				w.agent(t)
				if w.env.Armed() || w.env.Trial == abslot.B || w.running != abslot.A || tc.armed == (w.env == before) {
					t.Errorf("%v after %v, %s", w.env, before, strings.Join(w.said, " "))
				}
			})
		})
	}
}

// When a version was looked for outlives a restart, and is no step of an update.
func TestCheckIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.slotB = "0.2.0"
		w.env.Good = abslot.B // nothing is newer
		w.boot(t, Order{Verb: Check, By: "ksctl"})
		s := w.state(t)
		if age := time.Since(s.Checked); w.refused != nil || age < 0 || age > 12*time.Hour || s.Phase != Idle || len(s.History) != 0 || len(w.said) != 0 {
			t.Errorf("%v, %v ago, %+v", w.refused, age, s)
		}
		e := New(Options{File: filepath.Join(w.dir, w.file), Node: w, Settings: func() Settings { return Settings{} }, Log: w.log()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); e.Run(ctx) }()
		synctest.Wait()
		if got := e.Status().State.Checked; !got.Equal(s.Checked) {
			t.Errorf("after a restart %v, want %v", got, s.Checked)
		}
		cancel()
		<-done
	})
}

func TestCause(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for reason, want := range map[string]Cause{
		"3 starts without a verdict: the last ended by kernel panic after 10s: Kernel panic - not syncing: x":      ByPanic,
		"3 starts without a verdict: the last ended by watchdog reset after 1m0s":                                  ByWatchdog,
		"3 starts without a verdict: the last ended by power cut or reset":                                         ByTries,
		"3 starts without a verdict: none of them reached the data partition":                                      ByTries,
		"its kernel could not be loaded":                                                                           ByLoading,
		"service kubesolo is in a crash loop: 3 starts without a verdict: the last ended by kernel panic, it says": ByCrashLoop,
		"not found good within 10m0s":                                                                              ByDeadline,
		"asked by ksctl":                                                                                           ByHand,
		"left by ksctl":                                                                                            ByHand,
		"the trial ended without a reason that could be kept":                                                      ByOther,
		"not found good within 10m0s; database of before restored":                                                 ByDeadline,
	} {
		s := State{Phase: Idle}.Begin("0.1.0", "B", payload, Order{}, now).RollBack(reason, now)
		// It is that of the last one, whatever came since.
		if s = s.Begin("0.1.0", "B", payload, Order{}, now); s.Cause() != want || !slices.Contains(Causes(), s.Cause()) {
			t.Errorf("%q: %q, want %q", reason, s.Cause(), want)
		}
	}
	if c := (State{Phase: Idle}).Cause(); c != "" {
		t.Errorf("never taken back: %q", c)
	}
	// These are ksinit's words, in which it says why.
	var said strings.Builder
	for _, name := range []string{"internal/slots/slots.go", "cmd/ksinit/slots.go", "cmd/ksinit/node.go", "cmd/ksinit/lastboot.go"} {
		text, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(text)
	}
	for _, words := range []string{`"%d starts without a verdict: %s"`, `"its kernel could not be loaded"`, `" is in a crash loop: "`, `"not found good within %v"`, `"the last ended by "`} {
		if !strings.Contains(said.String(), words) {
			t.Errorf("ksinit does not say %s any more", words)
		}
	}
}
