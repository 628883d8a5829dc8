package update

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/event"
)

// Node is ksinit, as an update needs it.
type Node interface {
	Slots(ctx context.Context) (control.Slots, error)
	Arm(ctx context.Context, slot string) error
	Commit(ctx context.Context) error
	// RollBack gives a trial up, and restarts the machine when it is running.
	RollBack(ctx context.Context, reason string) error
	Reboot(ctx context.Context) error
}

// Database copies the node's database and brings a copy back.
type Database interface {
	Copy(ctx context.Context) (name string, err error)
	Restore(ctx context.Context, name string) error
}

// Offer is something that could be installed, and the way to its bytes.
type Offer struct {
	Payload Payload
	Notes   string
	// Later is why not now, "" for now. Gates that are closed are tried again.
	Later string
	// Fetch writes the payload to a slot and reads it back. It goes on where an
	// earlier one stopped, tries again what may pass, and tells how far it is.
	Fetch func(ctx context.Context, slot control.Passive, progress func(done, total int64)) error
}

// Query says what is looked for. The zero value is the newest of the configured
// channel.
type Query struct {
	Order
	Current string
	State   State // its refusals
	// Exactly is the payload of an update that was begun, nil for none.
	Exactly *Payload
}

// nothing says whether a look found that there is nothing to install, now or ever.
func nothing(err error) bool {
	var rejected *Rejected
	return errors.Is(err, ErrNothingNew) || errors.As(err, &rejected)
}

// Options of an Engine. All have to be given, but Verify.
type Options struct {
	File    string // of the state
	Version string // that runs
	Boot    string // names this boot
	Node    Node
	Data    Database
	// Find looks for an offer; its error is ErrNothingNew, a *Rejected, or what
	// may pass. Gates says why a staged update has to wait, "" when
	// it may begin. Both read the configuration anew.
	Find  func(ctx context.Context, q Query) (Offer, error)
	Gates func(ctx context.Context, s State) (waiting string)
	// Verify reads a slot's device, and gives an error unless it holds the payload;
	// of one without a hash, unless it is whole as far as it says itself. It may be
	// nil, and the slot is then what it was when it was staged.
	Verify func(ctx context.Context, device string, p Payload) error
	// Evidence looks at a trial.
	Evidence func(ctx context.Context) Evidence
	// Settings are read anew before each use.
	Settings func() Settings
	// Medium gets a token when something was plugged in.
	Medium <-chan struct{}
	Sink   event.Sink
	Log    *slog.Logger
}

// Settings are what the configuration says of the engine's own business.
type Settings struct {
	Every    time.Duration // between checks; 0: never by itself
	Download bool          // what a check finds is downloaded
	Apply    bool          // and tried
	Healthy  time.Duration // how long a trial has to be
}

// Engine carries updates out. Its methods may be called from several goroutines.
type Engine struct {
	o      Options
	orders chan ask

	mu        sync.Mutex
	state     State
	slots     control.Slots
	waiting   string
	done      int64
	total     int64
	available *Available
	cancel    context.CancelCauseFunc // of what is under way and may be cancelled; nil: nothing
}

type ask struct {
	Order
	answer chan error
}

// New makes an engine that has not begun.
func New(o Options) *Engine {
	return &Engine{o: o, orders: make(chan ask), state: State{Phase: Idle}}
}

// patience is how long an order waits for the engine to hear it.
const patience = 10 * time.Second

// pause is between tries of what the engine cannot do without.
const pause = 2 * time.Second

// Run works until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	state, err := Load(e.o.File)
	if err != nil {
		e.o.Log.Warn("updates", "err", err)
	}
	e.set(state, false) // what was known before is no news
	for ctx.Err() == nil && !e.lookAtSlots(ctx) {
		wait(ctx, pause)
	}
	if ctx.Err() != nil {
		return
	}
	before := state
	state, action := Resume(state, e.Status().Slots, e.o.Boot, e.o.Version, time.Now())
	if changed := state.Phase != before.Phase || !state.Changed.Equal(before.Changed); changed && action == Reboot {
		// Restarts that are not counted could go on without end.
		if err := e.keep(state); err != nil {
			e.set(state.Fail("not armed again: "+err.Error(), time.Now()), true)
			action = Disarm
		}
	} else {
		e.set(state, changed)
	}
	for ctx.Err() == nil {
		switch action {
		case Rest:
			action = e.rest(ctx)
		case Download:
			action = e.download(ctx)
		case Try:
			action = e.try(ctx)
		case Reboot:
			action = e.reboot(ctx)
		case Disarm:
			action = e.disarm(ctx)
		case Verdict:
			action = e.judge(ctx)
		case Restore:
			action = e.restore(ctx)
		}
	}
}

func (e *Engine) lookAtSlots(ctx context.Context) bool {
	slots, err := e.o.Node.Slots(ctx)
	if err != nil {
		e.setWaiting(err.Error())
		return false
	}
	e.mu.Lock()
	e.slots, e.waiting = slots, ""
	e.mu.Unlock()
	return true
}

// Status implements the asking of ksctl and others.
func (e *Engine) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Status{Version: e.o.Version, State: e.state, Slots: e.slots, Waiting: e.waiting, Done: e.done, Total: e.total}
	if e.available != nil {
		a := *e.available
		s.Available = &a
	}
	return s
}

// Order takes an order, or says why not. It returns when the work has begun, and
// of a check when it is over.
func (e *Engine) Order(ctx context.Context, o Order) error {
	if o.Verb == Cancel || o.Verb == RollBack {
		if done, err := e.interrupt(ctx, o); done {
			return err
		}
	}
	a := ask{o, make(chan error, 1)}
	select {
	case e.orders <- a:
	case <-time.After(patience):
		s := e.Status()
		return fmt.Errorf("an update to %s is %s: see `ksctl update status`, or cancel it", s.State.Payload.Version, s.State.Phase)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-a.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// interrupt does what need not wait for the engine.
func (e *Engine) interrupt(ctx context.Context, o Order) (done bool, err error) {
	if o.Verb == Cancel {
		return true, e.cancelNow(ctx)
	}
	e.mu.Lock()
	onTrial := e.slots.OnTrial && e.state.Phase == Judging
	e.mu.Unlock()
	if onTrial {
		return true, e.o.Node.RollBack(ctx, byHandOnTrial+o.By)
	}
	return false, nil
}

// cancelNow ends what can be cancelled. What was just downloaded, and what is just about
// to be armed, cannot for a moment.
func (e *Engine) cancelNow(ctx context.Context) error {
	const moment, moments = 50 * time.Millisecond, 40
	for tries := 0; ; tries++ {
		e.mu.Lock()
		phase, can := e.state.Phase, e.cancel != nil
		if can {
			e.cancel(errCancelled) // under the lock, so that release comes after it
		}
		e.mu.Unlock()
		switch {
		case can:
			return nil
		case phase != Downloading && phase != Staged, tries == moments, ctx.Err() != nil:
			return fmt.Errorf("nothing to cancel: the update is %s", phase)
		}
		wait(ctx, moment)
	}
}

// set takes a state, writes it down and tells of it. One that cannot be written
// down is taken all the same.
func (e *Engine) set(s State, news bool) {
	steps := e.take(s)
	if !news {
		return
	}
	if err := Save(e.o.File, s); err != nil {
		e.o.Log.Warn("updates", "err", err)
	}
	e.tell(steps)
}

// keep is set for a state that the machine must not go on without: it is taken
// only when it is written down. A trial that was forgotten would begin again after
// each way back.
func (e *Engine) keep(s State) error {
	if err := Save(e.o.File, s); err != nil {
		return err
	}
	e.tell(e.take(s))
	return nil
}

// take makes s the state, and gives what its history has more: some states are
// several steps from the one before, as a way back is.
func (e *Engine) take(s State) (steps []Entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.state.History
	e.state, e.waiting, e.done, e.total = s, "", 0, 0
	if len(old) == 0 {
		return s.History
	}
	// By what it was, since a full history loses as much as it gains.
	for i := len(s.History) - 2; i >= 0; i-- {
		if s.History[i] == old[len(old)-1] {
			return s.History[i+1:]
		}
	}
	return s.History[max(0, len(s.History)-1):]
}

func (e *Engine) tell(steps []Entry) {
	for _, step := range steps {
		e.o.Sink.Emit(event.Event{Time: event.Now(), Type: event.Update, Name: step.Version, State: string(step.Phase), Message: step.Message})
	}
}

// verify reads a slot that is about to be tried. It may have been written weeks
// ago, and flash forgets.
func (e *Engine) verify(ctx context.Context, slot string, p Payload) error {
	if e.o.Verify == nil {
		return nil
	}
	slots := e.Status().Slots
	device := slots.Passive.Device
	if slot == slots.Running {
		device = slots.Device // it was started by hand meanwhile
	}
	return e.o.Verify(ctx, device, p)
}

func (e *Engine) setWaiting(why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = why
}

func (e *Engine) now() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// errCancelled is why a context of cancellable ended, when an order ended it.
var errCancelled = errors.New("cancelled")

// cancellable gives a context that an order can end, until release. Whether one did is
// known for good only then: context.Cause is errCancelled.
func (e *Engine) cancellable(ctx context.Context) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	e.mu.Lock()
	e.cancel = cancel
	e.mu.Unlock()
	return ctx, func() {
		e.mu.Lock()
		e.cancel = nil
		e.mu.Unlock()
		cancel(nil)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
