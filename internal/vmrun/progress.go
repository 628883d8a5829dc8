package vmrun

import (
	"fmt"
	"slices"
	"strings"

	"kubesolo.io/os/internal/event"
)

// progress turns events into lines, and knows what the node still waits for.
type progress struct {
	open  map[string]string // "step network" -> "started"
	order []string
	last  map[string]string // the state last printed, per thing
}

func newProgress() *progress {
	return &progress{open: map[string]string{}, last: map[string]string{}}
}

// settled are the states after which nothing more is waited for.
func settled(e event.Event) bool {
	switch e.Type {
	case event.Step, event.Health:
		return e.State != "started" && e.State != "waiting"
	case event.Service:
		return e.State == "ready" || e.State == "failed" || e.State == "stopped"
	}
	return true
}

// line is what to print for e, "" for nothing: the start of a step is seen
// only in its waiting line, unless the step takes long.
func (p *progress) line(e event.Event) string {
	thing := strings.TrimSpace(e.Type + " " + e.Name)
	if settled(e) {
		if _, found := p.open[thing]; found {
			delete(p.open, thing)
			p.order = slices.DeleteFunc(p.order, func(s string) bool { return s == thing })
		}
	} else {
		if _, found := p.open[thing]; !found {
			p.order = append(p.order, thing)
		}
		p.open[thing] = e.State
		if e.Type == event.Step {
			return ""
		}
	}
	// A list of checks changes in every other line while it is waited for.
	first, _, _ := strings.Cut(e.Message, "\n")
	said := e.State + "\x00" + first
	if p.last[thing] == said {
		return ""
	}
	p.last[thing] = said
	return format(e)
}

func format(e event.Event) string {
	state := e.State
	if state == "" {
		state = e.Type
	}
	s := fmt.Sprintf("%7.1f s  %-9s %-8s %s", e.Time, state, e.Type, e.Name)
	if e.Duration > 0 {
		s += fmt.Sprintf(" (%.2f s)", e.Duration)
	}
	if lines := strings.Split(strings.TrimSpace(e.Message), "\n"); lines[0] != "" {
		if len(lines) > 4 { // the cause stands at either end
			lines = []string{lines[0], fmt.Sprintf("(%d more lines)", len(lines)-3), lines[len(lines)-2], lines[len(lines)-1]}
		}
		s += ": " + strings.Join(lines, "\n"+strings.Repeat(" ", 11))
	}
	return strings.TrimRight(s, " ")
}

// waiting is the line for a time when nothing was said.
func (p *progress) waiting(now float64) string {
	var what []string
	kind := ""
	for _, thing := range slices.Sorted(slices.Values(p.order)) {
		of, name, _ := strings.Cut(thing, " ")
		if of != kind {
			kind, name = of, thing
		}
		if p.open[thing] != "waiting" && p.open[thing] != "started" {
			name += " (" + p.open[thing] + ")"
		}
		what = append(what, name)
	}
	if len(what) == 0 {
		what = []string{"firmware, boot loader and kernel"}
		if len(p.last) > 0 {
			what = []string{"the node to be Ready"}
		}
	}
	return fmt.Sprintf("%7.1f s  waiting   for %s", now, strings.Join(what, ", "))
}
