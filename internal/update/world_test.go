package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/health"
)

// world is a machine around the engine: GRUB and ksinit as internal/abslot has
// them, and what is on the disk. Every order to it and every news of it is a place
// where the power can go.
type world struct {
	dir     string
	file    string // name of the state's file
	healthy bool   // what slot B will be
	broken  bool   // B does not even start its agent
	gate    string // why the gates are closed, "" when they are open
	noCopy  error  // of the database
	damaged error  // of the slot that does not run

	mu       sync.Mutex
	env      abslot.State
	verdict  *control.Verdict
	running  abslot.Slot
	onTrial  bool
	boots    int
	slotB    string // version in it
	restored string
	said     []string
	verified []string // what slots were held to
	refused  error    // of the last order

	point, cutAt int    // counts the places; the power goes at cutAt
	off          func() // ends this boot
}

// cut is a place where the power can go.
func (w *world) cut() bool {
	w.point++
	if w.point == w.cutAt {
		w.off()
		return true
	}
	return false
}

var errOff = errors.New("the power is off")

func (w *world) order(act func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut() {
		return errOff
	}
	err := act()
	if w.cut() {
		return errOff
	}
	return err
}

func (w *world) Slots(context.Context) (s control.Slots, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s = control.Slots{Running: w.running.String(), Good: w.env.Good.String(), Tries: w.env.Tries, Generation: w.env.Generation,
		OnTrial: w.onTrial, Verdict: w.verdict, Device: "device of " + w.running.String(),
		Passive: control.Passive{Slot: w.running.Other().String(), Device: "device of " + w.running.Other().String()}}
	if w.env.Armed() {
		s.Trial = w.env.Trial.String()
	}
	return s, nil
}

func (w *world) Arm(_ context.Context, slot string) error {
	return w.order(func() (err error) {
		w.env, err = w.env.Arm(abslot.ParseSlot(slot), abslot.MaxTries)
		return err
	})
}

func (w *world) Commit(context.Context) error {
	return w.order(func() (err error) {
		w.onTrial = false
		w.env, err = w.env.Commit(w.running)
		return err
	})
}

func (w *world) RollBack(_ context.Context, reason string) error {
	return w.order(func() error { w.giveUp(reason); return nil })
}

func (w *world) giveUp(reason string) {
	trial := w.env.Trial
	w.env, _ = w.env.Rollback()
	w.verdict = &control.Verdict{Slot: trial.String(), Reason: reason, Generation: w.env.Generation}
	if w.onTrial {
		w.off()
	}
}

func (w *world) Reboot(context.Context) error {
	return w.order(func() error { w.off(); return nil })
}

func (w *world) Copy(context.Context) (name string, err error) {
	if w.noCopy != nil {
		return "", w.noCopy
	}
	return "before", w.order(func() error { return nil })
}

func (w *world) Restore(_ context.Context, name string) error {
	return w.order(func() error { w.restored = name; return nil })
}

func (w *world) Emit(e event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, e.State)
	w.cut()
}

// verify is told which device and what it shall have.
func (w *world) verify(_ context.Context, device string, p Payload) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verified = append(w.verified, fmt.Sprintf("%s: %s %q", device, p.Version, p.SHA256))
	return w.damaged
}

func (w *world) find(_ context.Context, q Query) (Offer, error) {
	if _, refused := q.State.RefusedFor("0.2.0"); q.Current == "0.2.0" || refused && !q.Force && q.Exactly == nil {
		return Offer{}, fmt.Errorf("%w: there is nothing newer", ErrNothingNew)
	}
	return Offer{Payload: payload, Fetch: func(context.Context, control.Passive, func(done, total int64)) error {
		return w.order(func() error { w.slotB = "0.2.0"; return nil })
	}}, nil
}

// boot is what GRUB, ksinit and the agent do until the machine goes down, or for a
// day in which nothing happens. How the last order was taken is kept.
func (w *world) boot(t *testing.T, o ...Order) {
	w.start()
	if w.running == abslot.B && w.broken {
		return // the kernel panics, and the machine restarts
	}
	w.agent(t, o...)
}

// start is the boot as far as GRUB and ksinit go.
func (w *world) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.boots++
	w.running, w.onTrial, w.env = w.env.BootOnce()
	if w.env.Outcome(w.running, w.onTrial) == abslot.TrialFailed {
		w.giveUp("3 starts without a verdict")
	}
}

func (w *world) log() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// agent is the agent's part of a boot.
func (w *world) agent(t *testing.T, o ...Order) {
	ctx, cancel := context.WithCancel(t.Context())
	w.off = cancel
	version := "0.1.0"
	if w.running == abslot.B {
		version = w.slotB
	}
	if w.onTrial {
		deadline := time.AfterFunc(10*time.Minute, func() { // ksinit's deadline, which ends with its boot
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.onTrial && ctx.Err() == nil {
				w.giveUp("not found good within 10m0s")
			}
		})
		defer deadline.Stop()
	}
	e := New(Options{
		File: filepath.Join(w.dir, w.file), Version: version, Boot: fmt.Sprint(w.boots), Node: w, Data: w, Find: w.find,
		Gates: func(context.Context, State) string { return w.gate }, Verify: w.verify,
		Evidence: func(context.Context) Evidence {
			r := health.Report{{Name: health.API, State: health.OK}, {Name: health.Node, State: health.OK}, {Name: health.CoreDNS, State: health.OK}}
			if !w.healthy {
				r = nil
			}
			return Evidence{Now: time.Now(), Health: r, Engine: 1}
		},
		Settings: func() Settings { return Settings{Every: 6 * time.Hour, Apply: true, Healthy: 30 * time.Second} },
		Sink:     w, Log: w.log(),
	})
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	for _, order := range o {
		w.refused = e.Order(ctx, order)
	}
	select {
	case <-done:
	case <-time.After(24 * time.Hour):
		cancel()
		<-done
	}
}

// live boots until a day passes without a restart.
func (w *world) live(t *testing.T) {
	for range 20 {
		began := time.Now()
		if w.boot(t); time.Since(began) >= 24*time.Hour {
			return
		}
	}
	t.Fatalf("restarts without end: %s", strings.Join(w.said, " "))
}

func newWorld(t *testing.T) *world {
	return &world{dir: t.TempDir(), file: "state.json", env: abslot.First(abslot.A), slotB: "0.1.0", healthy: true}
}

// Wherever the power goes, a good version is installed in the end and a bad one is
// not, and is not tried again.
func TestCutEverywhere(t *testing.T) {
	for _, tc := range []struct {
		name            string
		healthy, broken bool
	}{{"good", true, false}, {"never healthy", false, false}, {"panics", false, true}} {
		t.Run(tc.name, func(t *testing.T) {
			for cutAt, points := 0, 1; cutAt <= points; cutAt++ {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.healthy, w.broken, w.cutAt = tc.healthy, tc.broken, cutAt
					w.live(t)
					if cutAt == 0 {
						points = w.point
					}
					want := abslot.A
					if tc.healthy {
						want = abslot.B
					}
					s, err := Load(filepath.Join(w.dir, "state.json"))
					_, refused := s.RefusedFor("0.2.0")
					if err != nil || w.running != want || w.env.Good != want || w.env.Armed() || refused == tc.healthy {
						t.Errorf("cut at %d: slot %v runs, %v, refused %t, %v; %s", cutAt, w.running, w.env, refused, err, strings.Join(w.said, " "))
					}
					if !tc.healthy && !tc.broken && w.restored != "before" {
						t.Errorf("cut at %d: the database of before is not back", cutAt)
					}
				})
			}
		})
	}
}

// A person may insist on a bad version, and go back from a good one.
func TestOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.healthy = false
		w.live(t)
		w.healthy = true
		w.boot(t, Order{Verb: Apply, Force: true, By: "ksctl"})
		if w.refused != nil {
			t.Error(w.refused)
		}
		w.live(t)
		if w.running != abslot.B || w.env.Good != abslot.B {
			t.Fatalf("forced: %v, %s", w.env, strings.Join(w.said, " "))
		}
		w.boot(t, Order{Verb: RollBack, By: "ksctl"})
		w.live(t)
		if s, _ := Load(filepath.Join(w.dir, "state.json")); w.running != abslot.A || w.env.Good != abslot.A || s.Phase != Good {
			t.Fatalf("back: %v, %s", w.env, strings.Join(w.said, " "))
		}
	})
}

// What a person cancels did not fail, and nothing of it is tried.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.gate = "the maintenance window opens later"
		w.boot(t, Order{Verb: Apply, By: "ksctl"}, Order{Verb: Cancel, By: "ksctl"})
		if w.refused != nil {
			t.Fatal(w.refused)
		}
		s, err := Load(filepath.Join(w.dir, "state.json"))
		i := slices.IndexFunc(s.History, func(e Entry) bool { return e.Phase == Idle })
		if err != nil || i < 0 || s.History[i].Message != "cancelled" || s.History[i].Version != "0.2.0" {
			t.Errorf("%v, %v", s.History, err)
		}
		if slices.ContainsFunc(s.History, func(e Entry) bool { return e.Phase == Failed || e.Phase == Armed }) || w.env.Good != abslot.A || w.env.Armed() {
			t.Errorf("%v, %v", s.History, w.env)
		}
	})
}
