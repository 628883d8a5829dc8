package control

import (
	"slices"
	"sync"

	"kubesolo.io/os/internal/event"
)

// Phase is how far the node is.
type Phase string

const (
	Booting  Phase = "booting"  // boot steps are running
	Starting Phase = "starting" // services have been started
	Ready    Phase = "ready"
	Degraded Phase = "degraded" // was ready, and something is not
	Failed   Phase = "failed"   // a step without which there is no node failed
	Stopping Phase = "stopping"
)

// Span is something that took its time: a boot step, or the way of a service
// or of the node to readiness.
type Span struct {
	Name     string  `json:"name"`
	State    string  `json:"state"`
	Start    float64 `json:"start"`
	Duration float64 `json:"duration"`
	Message  string  `json:"message,omitempty"`
}

// Problem is something that is, or was, not as it should be.
type Problem struct {
	Time    float64 `json:"time"`
	Source  string  `json:"source"` // "step network", "service kubesolo"
	Message string  `json:"message"`
}

// Check is one thing that the agent watches.
type Check struct {
	Name    string  `json:"name"`
	State   string  `json:"state"` // ok, waiting or bad
	Since   float64 `json:"since"`
	Message string  `json:"message,omitempty"`
}

// most bounds the lists whose names come from events of other programs.
const most = 64

// State is what the events of this boot add up to. It implements event.Sink.
type State struct {
	mu       sync.Mutex
	steps    []Span
	services []Span
	health   []Check
	ready    event.Event
	last     *Problem
	stopping bool
	changed  chan struct{} // holds a token when something was emitted
}

// NewState is the state before the first event.
func NewState() *State { return &State{changed: make(chan struct{}, 1)} }

// Changed gets a token after a change; several changes may be one token.
func (s *State) Changed() <-chan struct{} { return s.changed }

// Emit takes one event into account.
func (s *State) Emit(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Type {
	case event.Step:
		s.steps = follow(s.steps, e, "started")
		if e.State == "degraded" || e.State == "failed" {
			s.problem(e)
		}
	case event.Service:
		s.services = follow(s.services, e, "starting")
		if e.State == "exited" || e.State == "failed" {
			s.problem(e)
		}
	case event.Health:
		s.check(e)
		if e.State == "bad" {
			s.problem(e)
		}
	case event.Ready:
		s.ready = e
	case event.Shutdown:
		s.stopping = true
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *State) problem(e event.Event) {
	s.last = &Problem{Time: e.Time, Source: e.Type + " " + e.Name, Message: e.Message}
}

// follow puts e where it belongs: begin is the state that starts the clock.
func follow(list []Span, e event.Event, begin string) []Span {
	i := slices.IndexFunc(list, func(p Span) bool { return p.Name == e.Name })
	if i < 0 {
		if len(list) == most {
			return list
		}
		list, i = append(list, Span{Name: e.Name, Start: e.Time}), len(list)
	}
	p := &list[i]
	if e.State == begin {
		p.Start, p.Duration = e.Time, 0
	} else if e.Duration > 0 {
		p.Duration = e.Duration
	}
	p.State, p.Message = e.State, e.Message
	return list
}

func (s *State) check(e event.Event) {
	c := Check{Name: e.Name, State: e.State, Since: e.Time, Message: e.Message}
	for i, old := range s.health {
		if old.Name == e.Name {
			if old.State == e.State {
				c.Since = old.Since
			}
			s.health[i] = c
			return
		}
	}
	if len(s.health) < most {
		s.health = append(s.health, c)
	}
}

// Timeline is the boot so far: steps, then services, then the node.
func (s *State) Timeline() []Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.steps)
	slices.SortStableFunc(out, func(a, b Span) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
	for _, p := range s.services {
		p.Name = "service " + p.Name
		out = append(out, p)
	}
	if s.ready.Type != "" {
		out = append(out, Span{Name: "node", State: "ready", Duration: s.ready.Time, Message: s.ready.Message})
	}
	return out
}

// Fill sets what of a Status comes from events.
func (s *State) Fill(out *Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Ready, out.ReadyAt = s.ready.Message, s.ready.Time
	out.Health = slices.Clone(s.health)
	if s.last != nil {
		last := *s.last
		out.LastError = &last
	}
	unfit, failed, started := s.unfit(out)
	switch {
	case s.stopping:
		out.Phase = Stopping
	case failed:
		out.Phase = Failed
	case s.ready.Type != "" && !unfit:
		out.Phase = Ready
	case s.ready.Type != "":
		out.Phase = Degraded
	case started:
		out.Phase = Starting
	default:
		out.Phase = Booting
	}
}

// unfit collects what is not as it should be now: unfit when it keeps the node
// from its work, failed and started when the boot ended, and how.
func (s *State) unfit(out *Status) (unfit, failed, started bool) {
	for _, p := range s.steps {
		switch p.State {
		case "started":
			out.Waiting = append(out.Waiting, "step "+p.Name)
			continue
		case "degraded", "failed", "skipped":
			out.Problems = append(out.Problems, Problem{Time: p.Start + p.Duration, Source: "step " + p.Name, Message: p.Message})
			failed = failed || p.State == "failed"
		}
		started = started || p.Name == "services"
	}
	for _, p := range s.services {
		if p.State == "ready" {
			continue
		}
		unfit = true
		out.Waiting = append(out.Waiting, "service "+p.Name+" ("+p.State+")")
	}
	for _, c := range s.health {
		switch c.State {
		case "waiting":
			out.Waiting = append(out.Waiting, c.Name+brackets(c.Message))
		case "bad":
			unfit = true
			out.Problems = append(out.Problems, Problem{Time: c.Since, Source: "health " + c.Name, Message: c.Message})
		}
	}
	return unfit, failed, started
}

func brackets(message string) string {
	if message == "" {
		return ""
	}
	return " (" + message + ")"
}
