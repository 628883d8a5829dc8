// Package boot runs the steps that bring a machine up: a list of data that can
// be printed and checked before anything runs, and a runner that starts each
// step as soon as what it needs has ended.
//
// It owns order, time limits, panics and the timeline. It never knows what a
// step does. It is pure apart from the clock, and tested in the virtual time
// of testing/synctest.
package boot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// DefaultTimeout limits a step that names no limit of its own.
const DefaultTimeout = 30 * time.Second

// Policy says what the failure of a step means for the boot.
type Policy int

const (
	Fatal   Policy = iota // the boot ends
	Degrade               // the boot goes on without it
)

func (p Policy) String() string {
	if p == Degrade {
		return "degrade"
	}
	return "fatal"
}

// A Step is one thing to do at boot. Needs and After name earlier steps of the
// list, which makes cycles impossible.
type Step struct {
	Name    string
	Needs   []string      // must have given what they are for, else this is skipped
	After   []string      // must have ended, well or badly
	Timeout time.Duration // 0: DefaultTimeout
	OnError Policy
	Run     func(context.Context) error // may call Note; may return Degraded
}

// A Sequence is a checked list of steps.
type Sequence struct{ steps []Step }

// New checks the steps: every name once, and only earlier ones referred to.
func New(steps ...Step) (*Sequence, error) {
	seen := map[string]bool{}
	for _, s := range steps {
		if s.Name == "" || s.Run == nil {
			return nil, fmt.Errorf("boot: step %q has no name or nothing to run", s.Name)
		}
		if seen[s.Name] {
			return nil, fmt.Errorf("boot: two steps are named %q", s.Name)
		}
		for _, before := range slices.Concat(s.Needs, s.After) {
			if !seen[before] {
				return nil, fmt.Errorf("boot: step %q refers to %q, which is not an earlier step", s.Name, before)
			}
		}
		seen[s.Name] = true
	}
	return &Sequence{steps: slices.Clone(steps)}, nil
}

// String is the plan as a table, one step a line.
func (q *Sequence) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tNEEDS\tAFTER\tLIMIT\tON FAILURE")
	for _, s := range q.steps {
		fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%v\n", s.Name, list(s.Needs), list(s.After), s.limit(), s.OnError)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

func list(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",")
}

func (s Step) limit() time.Duration {
	if s.Timeout == 0 {
		return DefaultTimeout
	}
	return s.Timeout
}

type degraded struct{ error }

func (d degraded) Unwrap() error { return d.error }

// Degraded marks the error of a step that gave what it is for in a lesser way
// (data in memory instead of on disk): what needs it still runs.
func Degraded(err error) error {
	if err == nil {
		return nil
	}
	return degraded{err}
}

// State is how a step stands. The words are those of the event stream.
type State string

const (
	Started     State = "started"
	OK          State = "ok"
	DegradedRun State = "degraded" // ended badly or in a lesser way; the boot goes on
	Failed      State = "failed"   // the boot ends
	Skipped     State = "skipped"  // something it needs is not there
)

// Result is what became of one step.
type Result struct {
	Step     string
	State    State
	Start    time.Duration // since Run began
	Duration time.Duration
	Notes    []string // from Note, in order
	Err      error    // nil only when State is Started or OK
	Usable   bool     // what needs this step may run
}

// resultOf sorts an ended step's error into the states.
func resultOf(s Step, err error) Result {
	r := Result{Step: s.Name, State: OK, Err: err, Usable: err == nil}
	var lesser degraded
	switch {
	case err == nil:
	case errors.As(err, &lesser):
		r.State, r.Usable = DegradedRun, true
	case s.OnError == Degrade:
		r.State = DegradedRun
	default:
		r.State = Failed
	}
	return r
}

// skipped is the result of a step that one it needs left without ground.
func skipped(s Step, need string) Result {
	r := Result{Step: s.Name, State: Skipped, Err: fmt.Errorf("needs %s", need)}
	if s.OnError == Fatal {
		r.State = Failed
	}
	return r
}
