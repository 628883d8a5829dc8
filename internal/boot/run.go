package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

type noteKey struct{}

type notes struct {
	mu    sync.Mutex
	lines []string
}

// Note adds a line of news ("/dev/vda1 (ext4) mounted") to the result of the
// step that ctx belongs to. Outside of a step it does nothing.
func Note(ctx context.Context, format string, args ...any) {
	if n, ok := ctx.Value(noteKey{}).(*notes); ok {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.lines = append(n.lines, fmt.Sprintf(format, args...))
	}
}

func (n *notes) taken() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.lines)
}

// Run runs every step, each as soon as its own Needs and After have ended. It
// calls observe from one goroutine, when a step starts and when it ends, and
// returns the results in the order of their ends.
//
// When a fatal step fails, or ctx ends, no further step starts, the context of
// those running is cancelled, and Run returns that error once they have ended.
// A step that does not end when its time is up is left behind: its goroutine
// may go on, its result is an error.
func (q *Sequence) Run(ctx context.Context, observe func(Result)) ([]Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := run{begin: time.Now(), ended: map[string]Result{}, done: make(chan Result), observe: observe}
	waiting := slices.Clone(q.steps)
	for {
		if r.fatal == nil && ctx.Err() != nil {
			r.fatal = ctx.Err()
		}
		if r.fatal != nil {
			cancel()
			waiting = nil
		}
		progress := false
		waiting = slices.DeleteFunc(waiting, func(s Step) bool {
			if r.fatal != nil || !r.mayStart(s) {
				return false
			}
			progress = true
			r.start(ctx, s)
			return true
		})
		if progress { // a skipped step may have made others ready
			continue
		}
		if r.running == 0 {
			return r.results, r.fatal
		}
		r.end(<-r.done)
	}
}

type run struct {
	begin   time.Time
	ended   map[string]Result
	results []Result
	running int
	done    chan Result
	fatal   error
	observe func(Result)
}

func (r *run) mayStart(s Step) bool {
	for _, before := range slices.Concat(s.Needs, s.After) {
		if _, ok := r.ended[before]; !ok {
			return false
		}
	}
	return true
}

func (r *run) start(ctx context.Context, s Step) {
	begin := time.Since(r.begin)
	for _, need := range s.Needs {
		if !r.ended[need].Usable {
			result := skipped(s, need)
			result.Start = begin
			r.running++
			r.end(result)
			return
		}
	}
	r.running++
	r.observe(Result{Step: s.Name, State: Started, Start: begin})
	go func() {
		result := runStep(ctx, s)
		result.Start, result.Duration = begin, time.Since(r.begin)-begin
		r.done <- result
	}()
}

func (r *run) end(result Result) {
	r.running--
	r.ended[result.Step] = result
	r.results = append(r.results, result)
	if result.State == Failed && r.fatal == nil {
		r.fatal = fmt.Errorf("%s: %w", result.Step, result.Err)
	}
	r.observe(result)
}

// runStep runs one step within its limit. The step gets its own goroutine,
// since a system call (a mount of a dying disk) cannot be called off.
func runStep(ctx context.Context, s Step) Result {
	n := &notes{}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, noteKey{}, n), s.limit())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				ended <- fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		ended <- s.Run(ctx)
	}()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		// Its own report says more than ours, if it comes at once.
		select {
		case err = <-ended:
		case <-time.After(100 * time.Millisecond):
			err = ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("did not end within %v: %w", s.limit(), err)
		}
	}
	result := resultOf(s, err)
	result.Notes = n.taken()
	return result
}

// Timeline prints results for people, slowest first: where the time went.
func Timeline(results []Result) string {
	sorted := slices.Clone(results)
	slices.SortStableFunc(sorted, func(a, b Result) int { return cmp.Compare(b.Duration, a.Duration) })
	parts := make([]string, 0, len(sorted))
	for _, r := range sorted {
		if r.State != Skipped {
			parts = append(parts, fmt.Sprintf("%s %.3fs", r.Step, r.Duration.Seconds()))
		}
	}
	return strings.Join(parts, ", ")
}
