package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kubesolo.io/os/internal/kubeapi"
	"kubesolo.io/os/internal/update"
)

// engine has the states of internal/update, and moves when a test says so.
type engine struct {
	mu     sync.Mutex
	s      update.Status
	orders []update.Order
	answer func(update.Order) error // instead of beginning
	clock  time.Time
}

func newEngine() *engine {
	return &engine{s: update.Status{Version: "0.1.0", State: update.State{Phase: update.Idle}}, clock: time.Date(2026, 11, 26, 18, 0, 0, 0, time.UTC)}
}

func (e *engine) Status() update.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.s
}

func (e *engine) Order(_ context.Context, o update.Order) error {
	e.mu.Lock()
	e.orders = append(e.orders, o)
	answer := e.answer
	e.mu.Unlock()
	if answer != nil {
		return answer(o)
	}
	e.begin(o.Version)
	return nil
}

func (e *engine) begin(version string) {
	e.to(func(s update.State, now time.Time) update.State {
		return s.Begin("0.1.0", "B", update.Payload{Version: version, From: "https://u"}, update.Order{}, now)
	})
}

func (e *engine) to(change func(s update.State, now time.Time) update.State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clock = e.clock.Add(time.Minute)
	e.s.State = change(e.s.State, e.clock)
}

// node is what stays over restarts of the agent.
type node struct {
	t      *testing.T
	api    *apiServer
	engine *engine
	told   string
}

func newNode(t *testing.T) *node {
	n := &node{t, startServer(t), newEngine(), filepath.Join(t.TempDir(), "told.json")}
	n.api.definition, n.api.established = fields{"metadata": fields{"labels": fields{managedBy: manager}}}, true
	return n
}

// start is the agent, started anew.
func (n *node) start() *Controller {
	return &Controller{API: n.api.client, Updater: n.engine, Node: "box", Told: n.told, Log: slog.New(slog.DiscardHandler)}
}

// expect does a round and looks at an object: its phase, progress and message,
// and the reason of its conditions.
func (n *node) expect(c *Controller, name, want string) {
	n.t.Helper()
	c.round(n.t.Context())
	o := n.api.object(name)
	reason := ""
	for _, c := range o.Status.Conditions {
		if c.ObservedGeneration != o.Metadata.Generation {
			n.t.Errorf("%s is of generation %d", c.Type, c.ObservedGeneration)
		}
		reason = c.Reason
	}
	got := strings.Join(strings.Fields(fmt.Sprint(o.Status.Phase, " ", o.Status.Progress, " ", reason, " ", o.Status.Message)), " ")
	if !strings.HasPrefix(got, want) || o.Status.ObservedGeneration != o.Metadata.Generation {
		n.t.Errorf("%s: %q, want %q", name, got, want)
	}
}

func TestGoodUpdate(t *testing.T) {
	n := newNode(t)
	n.api.definition, n.api.established = nil, false
	c := n.start()
	for i, want := range []time.Duration{pauseSoon, pauseSoon, pauseIdle} {
		if got := c.round(t.Context()); got != want {
			t.Errorf("round %d: a pause of %v, want %v", i, got, want)
		}
	}
	n.api.create("a", 2, fields{"version": "0.2.0", "channel": "edge", "source": "s", "window": "01:00-05:00", "force": true})
	n.api.create("b", 1, fields{"version": "0.3.0"})
	n.expect(c, "a", "downloading Downloading https://u")
	n.expect(c, "b", "pending Waiting waits for the end of the update to 0.2.0")
	want := update.Order{Verb: update.Apply, Version: "0.2.0", Channel: "edge", Source: "s", Window: "01:00-05:00", Force: true, By: "osupdate/a"}
	if !slices.Equal(n.engine.orders, []update.Order{want}) {
		t.Errorf("ordered %+v", n.engine.orders)
	}
	n.engine.s.Done, n.engine.s.Total = 63, 150
	n.expect(c, "a", "downloading 42 % Downloading")
	n.engine.to(update.State.Stage)
	n.expect(c, "a", "staged 100 % Staged")
	n.engine.to(func(s update.State, now time.Time) update.State { return s.Arm("boot", "copy", 1, now) })
	c = n.start()
	n.engine.s.Version, n.engine.s.Waiting = "0.2.0", "node: not ready"
	n.engine.to(update.State.Judge)
	n.expect(c, "a", "judging 100 % Judging node: not ready")
	n.engine.to(func(s update.State, now time.Time) update.State { return s.Pass("", now) })
	n.engine.s.Waiting = ""
	n.expect(c, "a", "good 100 % Installed")
	o := n.api.object("a")
	if o.Status.StartedAt == nil || o.Status.FinishedAt == nil || o.Status.FinishedAt.Sub(*o.Status.StartedAt) != 4*time.Minute {
		t.Errorf("from %v to %v", o.Status.StartedAt, o.Status.FinishedAt)
	}
	// Now it is b's turn, and a stays done.
	n.expect(c, "b", "downloading")
	n.expect(n.start(), "a", "good 100 % Installed")
	if len(n.engine.orders) != 2 || n.engine.orders[1].By != "osupdate/b" {
		t.Errorf("ordered %+v", n.engine.orders)
	}
	if got := n.api.reasons(); got != "Started Staged Armed OnTrial Succeeded Started" {
		t.Errorf("events: %s", got)
	}
}

// The way back brings the database of before the restart back, too: object and
// events are told the end all the same.
func TestRolledBackWithTheDatabase(t *testing.T) {
	n := newNode(t)
	n.api.create("a", 1, fields{"version": "0.2.0"})
	c := n.start()
	n.expect(c, "a", "downloading")
	n.engine.to(update.State.Stage)
	n.expect(c, "a", "staged")
	restore := n.api.copy()
	n.engine.to(func(s update.State, now time.Time) update.State { return s.Arm("boot", "copy", 1, now) })
	c = n.start()
	n.engine.to(update.State.Judge)
	n.expect(c, "a", "judging")
	restore()
	n.engine.to(func(s update.State, now time.Time) update.State { return s.RollBack("kernel panic", now) })
	c = n.start()
	n.expect(c, "a", "rolled-back 100 % RolledBack kernel panic")
	if got := n.api.reasons(); got != "Started Staged Armed OnTrial RolledBack" {
		t.Errorf("events: %s", got)
	}
	for range 3 {
		if pause := c.round(t.Context()); pause != pauseIdle {
			t.Errorf("a pause of %v", pause)
		}
	}
	for _, condition := range n.api.object("a").Status.Conditions {
		if condition.Type == "Succeeded" && (condition.Status != "False" || condition.Reason != "RolledBack") {
			t.Errorf("%+v", condition)
		}
	}
	// Not again for this generation, and again for the next.
	if len(n.engine.orders) != 1 {
		t.Errorf("ordered %+v", n.engine.orders)
	}
	n.api.change("a", fields{"version": "0.2.1"})
	n.expect(c, "a", "downloading")
	if len(n.engine.orders) != 2 || n.engine.orders[1].Version != "0.2.1" {
		t.Errorf("ordered %+v", n.engine.orders)
	}
}

// The power goes in the middle of the order: before it is taken, and after.
func TestPowerCutInTheOrder(t *testing.T) {
	for taken, want := range map[bool]int{false: 2, true: 1} {
		n := newNode(t)
		n.api.create("a", 1, fields{"version": "0.2.0"})
		ctx, cut := context.WithCancel(t.Context())
		n.engine.answer = func(o update.Order) error {
			if taken {
				n.engine.begin(o.Version)
			}
			cut()
			return context.Canceled
		}
		n.start().round(ctx)
		if o := n.api.object("a"); o.Status.Attempt != 1 || o.Status.Phase != pending {
			t.Errorf("noted as %+v", o.Status)
		}
		n.engine.answer = nil
		n.expect(n.start(), "a", "downloading")
		if len(n.engine.orders) != want || n.engine.s.State.Attempts != 1 {
			t.Errorf("taken %t: %d orders, %d updates", taken, len(n.engine.orders), n.engine.s.State.Attempts)
		}
	}
}

// What a person changes between the look and the note is the order that counts.
func TestConflict(t *testing.T) {
	n := newNode(t)
	n.api.create("a", 1, fields{"version": "0.2.0"})
	changed := false
	n.api.before = func(_, path string) (int, bool) {
		if strings.HasSuffix(path, "/status") && !changed {
			changed = true
			n.api.change("a", fields{"version": "0.3.0"})
		}
		return 0, false
	}
	c := n.start()
	if pause := c.round(t.Context()); pause != pauseBusy || len(n.engine.orders) != 0 {
		t.Errorf("a pause of %v, orders %+v", pause, n.engine.orders)
	}
	n.expect(c, "a", "downloading")
	if len(n.engine.orders) != 1 || n.engine.orders[0].Version != "0.3.0" {
		t.Errorf("ordered %+v", n.engine.orders)
	}
}

func TestOrdersThatAreNotTaken(t *testing.T) {
	n := newNode(t)
	n.api.create("a", 1, fields{"version": "0.2.0"})
	c := n.start()
	n.engine.answer = func(update.Order) error { return errors.New("no route to host") }
	n.expect(c, "a", "pending NotTaken no route to host; tried again at ")
	d := c.delays["uid-of-a"]
	d.until = d.until.Add(time.Hour) // however slow this machine is
	c.delays["uid-of-a"] = d
	n.expect(c, "a", "pending NotTaken no route to host; tried again at ")
	if len(n.engine.orders) != 1 {
		t.Errorf("%d orders at once", len(n.engine.orders))
	}
	c.delays["uid-of-a"] = delay{generation: 1, pause: minDelay} // its time has come
	n.engine.answer = func(update.Order) error {
		return fmt.Errorf("policy: %w", &update.Rejected{Reason: "0.2.0 is for arm64"})
	}
	n.expect(c, "a", "failed Rejected policy: 0.2.0 is for arm64")
	n.expect(c, "a", "failed Rejected policy: 0.2.0 is for arm64")
	n.expect(n.start(), "a", "failed Rejected policy: 0.2.0 is for arm64")
	if len(n.engine.orders) != 2 {
		t.Errorf("%d orders", len(n.engine.orders))
	}
	n.api.create("b", 1, fields{"channel": "edge"})
	n.engine.answer = func(update.Order) error { return fmt.Errorf("%w: 0.1.0 is the newest", update.ErrNothingNew) }
	n.expect(c, "b", "good AlreadyRunning 0.1.0 runs already")
	n.expect(n.start(), "b", "good AlreadyRunning 0.1.0 runs already")
	if len(n.engine.orders) != 3 {
		t.Errorf("%d orders", len(n.engine.orders))
	}
}

func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		var at []time.Duration
		start := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		c := Controller{Updater: e, Log: slog.New(slog.DiscardHandler), API: func() (*kubeapi.Client, error) {
			at = append(at, time.Since(start))
			if len(at) == 4 {
				stop()
			}
			return nil, errors.New("not yet")
		}}
		c.Run(ctx)
		if want := []time.Duration{0, pauseBusy, 2 * pauseBusy, 3 * pauseBusy}; !slices.Equal(at, want) {
			t.Errorf("looked at %v, want %v", at, want)
		}
	})
	n := newNode(t)
	c := n.start()
	if pause := c.round(t.Context()); pause != pauseIdle {
		t.Errorf("nothing goes on: %v", pause)
	}
	n.engine.begin("0.2.0")
	if pause := c.round(t.Context()); pause != pauseBusy {
		t.Errorf("an update goes on: %v", pause)
	}
	// Somebody deletes the definition: it is made anew.
	n.api.definition, n.api.established = nil, false
	c.round(t.Context())
	if c.round(t.Context()); n.api.definition == nil {
		t.Error("the definition is not there again")
	}
}
