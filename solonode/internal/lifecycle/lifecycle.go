package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Component is one part of the node.
type Component struct {
	Name  string
	Needs []string // names of components that must be ready first

	// Run works until ctx ends. A return before that is a failure, also with
	// a nil error, unless Finite is set.
	Run func(ctx context.Context) error

	// Ready reports nil when the component answers. Nil: ready when Run
	// returned (Finite) or at once.
	Ready func(ctx context.Context) error

	Finite      bool          // Run ends by itself when its work is done
	Optional    bool          // a failure is logged and does not stop the node
	StopTimeout time.Duration // how long Run may take to return after its context ended
	StopReserve time.Duration // what of Options.StopBudget is kept for it, whatever stops before it
}

// Options of Run.
type Options struct {
	StartupTimeout time.Duration     // for each component, from its start to ready
	StopBudget     time.Duration     // for the stop of all components together
	Log            func(line string) // one line each
	Hurry          <-chan struct{}   // closed: wait for components that stop no longer than is reserved for them
	Fatal          <-chan error      // a failure reported from outside of Run, such as a fatal log call
}

var errReturned = errors.New("stopped by itself")

type task struct {
	Component
	ctx    context.Context
	cancel context.CancelFunc
	ready  chan struct{}
	done   chan struct{}
	begun  atomic.Bool
}

type runner struct {
	opts  Options
	tasks map[string]*task
	fail  chan error
}

// Run starts all components and blocks until ctx ends or one fails, then stops
// what runs, last started first. The error names the component that failed.
func Run(ctx context.Context, components []Component, opts Options) error {
	run := &runner{opts: opts, tasks: map[string]*task{}, fail: make(chan error, len(components))}
	base := context.WithoutCancel(ctx)
	for _, component := range components {
		taskCtx, cancel := context.WithCancel(base)
		run.tasks[component.Name] = &task{Component: component, ctx: taskCtx, cancel: cancel,
			ready: make(chan struct{}), done: make(chan struct{})}
	}
	for _, component := range components {
		for _, need := range component.Needs {
			if run.tasks[need] == nil {
				return fmt.Errorf("component %s needs the unknown component %s", component.Name, need)
			}
		}
	}
	if kept := reserved(components); kept >= opts.StopBudget {
		return fmt.Errorf("stop: a budget of %s has no room for the %s that are reserved", opts.StopBudget, kept)
	}
	for _, component := range components {
		go run.start(run.tasks[component.Name])
	}
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-run.fail:
	case failure = <-opts.Fatal:
	}
	run.stop(components)
	return failure
}

// start waits for the needs of t, runs it and follows it to its end.
func (run *runner) start(t *task) {
	defer close(t.done)
	for _, need := range t.Needs {
		select {
		case <-run.tasks[need].ready:
		case <-t.ctx.Done():
			return
		}
	}
	t.begun.Store(true)
	begin := time.Now()
	var probe sync.WaitGroup
	probeCtx, stopProbe := context.WithCancel(t.ctx)
	if t.Ready != nil || !t.Finite {
		probe.Go(func() { run.awaitReady(probeCtx, t, begin) })
	}
	err := t.Run(t.ctx)
	if t.Finite && t.Ready == nil && err == nil && t.ctx.Err() == nil {
		run.becameReady(t, begin)
	}
	if !t.Finite || err != nil {
		stopProbe()
	}
	probe.Wait()
	stopProbe()
	switch {
	case t.ctx.Err() != nil:
	case err == nil && t.Finite:
	case err == nil:
		run.failed(t, errReturned)
	default:
		run.failed(t, err)
	}
}

func (run *runner) failed(t *task, err error) {
	if t.Optional {
		run.opts.Log(fmt.Sprintf("component failed: %s: %v (the node runs on without it)", t.Name, err))
		return
	}
	run.fail <- fmt.Errorf("component %s: %w", t.Name, err)
}

func (run *runner) becameReady(t *task, begin time.Time) {
	run.opts.Log(fmt.Sprintf("component ready: %s %.1fs", t.Name, time.Since(begin).Seconds()))
	close(t.ready)
}

// awaitReady probes with 20 ms to 1 s between the attempts.
func (run *runner) awaitReady(ctx context.Context, t *task, begin time.Time) {
	if t.Ready == nil {
		run.becameReady(t, begin)
		return
	}
	limit, cancel := context.WithTimeout(ctx, run.opts.StartupTimeout)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(pause*5/4, time.Second) {
		err := t.Ready(limit)
		if err == nil {
			run.becameReady(t, begin)
			return
		}
		select {
		case <-time.After(pause):
		case <-limit.Done():
			if ctx.Err() == nil {
				run.failed(t, fmt.Errorf("not ready after %s: %w", run.opts.StartupTimeout, err))
			}
			return
		}
	}
}
