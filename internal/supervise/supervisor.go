package supervise

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"kubesolo.io/os/internal/event"
)

// Supervisor runs a list of services.
type Supervisor struct {
	mu     sync.Mutex // guards actors and closing of their stop channels
	actors []*actor
	asked  map[*actor]bool
}

// Start checks the services and begins with all of them: each starts as soon
// as those it needs are ready.
func Start(runner Runner, sink event.Sink, services ...Service) (*Supervisor, error) {
	if err := Validate(services); err != nil {
		return nil, err
	}
	s := &Supervisor{asked: map[*actor]bool{}}
	byName := map[string]*actor{}
	for _, svc := range services {
		a := &actor{
			svc: svc, runner: runner, sink: sink,
			ready: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
			ask: make(chan chan Status), restart: make(chan chan<- restartReply),
			status: Status{Name: svc.Name, State: Waiting, Since: event.Now()},
		}
		for _, n := range svc.Needs {
			a.needs = append(a.needs, byName[n].ready)
		}
		byName[svc.Name] = a
		s.actors = append(s.actors, a)
	}
	for _, a := range s.actors {
		go a.guard()
	}
	return s, nil
}

// guard turns a panic of the loop into a failed service: a panic in any
// goroutine of PID 1 is a kernel panic.
func (a *actor) guard() {
	defer close(a.done)
	defer func() {
		if p := recover(); p != nil {
			a.set(Failed, fmt.Sprintf("supervisor panic: %v\n%s", p, debug.Stack()))
		}
	}()
	a.loop()
}

// Status gives all services in their order. A service whose loop does not
// answer within a second has the state "failed" and says so.
func (s *Supervisor) Status() []Status {
	s.mu.Lock()
	actors := append([]*actor(nil), s.actors...)
	s.mu.Unlock()
	out := make([]Status, len(actors))
	for i, a := range actors {
		out[i] = a.snapshot()
	}
	return out
}

func (a *actor) snapshot() Status {
	reply := make(chan Status, 1)
	select {
	case a.ask <- reply:
		return <-reply
	case <-a.done:
		return a.status // its owner has ended
	case <-time.After(time.Second):
		return Status{Name: a.svc.Name, State: Failed, Error: "the supervisor of this service does not answer"}
	}
}

// Alive says whether every loop answers: the condition for feeding a watchdog.
func (s *Supervisor) Alive() error {
	for _, st := range s.Status() {
		if st.State == Failed && st.Since == 0 {
			return fmt.Errorf("%s: %s", st.Name, st.Error)
		}
	}
	return nil
}

// Beat takes a sign of life that a service gave by itself; see Heartbeat. A name
// that is no service's is ignored: it comes from outside.
func (s *Supervisor) Beat(name string) {
	if a := s.find(name); a != nil {
		a.beats.Add(1)
	}
}

// WaitReady waits until the service was ready once.
func (s *Supervisor) WaitReady(ctx context.Context, name string) error {
	a := s.find(name)
	if a == nil {
		return fmt.Errorf("service %s: no such service", name)
	}
	select {
	case <-a.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("service %s: not ready: %w", name, ctx.Err())
	}
}

// Stop stops one service by its stop policy and keeps it stopped. It is an
// error when ctx ends first or SIGKILL does not help (ErrNotStopped). A service
// that is not there is stopped already.
func (s *Supervisor) Stop(ctx context.Context, name string) error {
	a := s.find(name)
	if a == nil {
		return nil
	}
	s.mu.Lock()
	if !s.asked[a] {
		s.asked[a] = true
		close(a.stop)
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		if a.status.State == Failed {
			return fmt.Errorf("service %s: %w", name, ErrNotStopped)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("service %s: not stopped: %w", name, ctx.Err())
	}
}

func (s *Supervisor) find(name string) *actor {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.actors {
		if a.svc.Name == name {
			return a
		}
	}
	return nil
}

// RunOnce runs a program to its end, outside of supervision, and returns its
// last lines. When ctx ends first the program is killed.
func RunOnce(ctx context.Context, runner Runner, svc Service) ([]string, error) {
	proc, err := runner.Start(svc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", svc.Name, err)
	}
	select {
	case exit := <-proc.Exited():
		if exit.Reason != "exit status 0" {
			return exit.Last, fmt.Errorf("%s: %v", svc.Name, exit)
		}
		return exit.Last, nil
	case <-ctx.Done():
		err := proc.Kill()
		select {
		case exit := <-proc.Exited():
			return exit.Last, fmt.Errorf("%s: %w: %v", svc.Name, ctx.Err(), exit)
		case <-time.After(time.Second):
			return nil, fmt.Errorf("%s: %w; not killed: %v", svc.Name, ctx.Err(), err)
		}
	}
}
