package health

import (
	"context"
	"time"

	"kubesolo.io/os/internal/event"
)

// Monitor observes for as long as it runs, and tells what changes.
type Monitor struct {
	Observe func(context.Context) Observation
	Sink    event.Sink
	// Changed is called after each observation, also when nothing changed.
	Changed func(Report)
	// Version is the message of the ready event. AlreadyReady says that this
	// boot has had that event, from an earlier process.
	Version      string
	AlreadyReady bool
	// Wake cuts a pause short; nil for never.
	Wake <-chan struct{}
}

// Pauses between observations: short while somebody waits for the node, longer
// when it has not come up for a while or is up.
const (
	pauseStarting = time.Second
	pauseSlow     = 5 * time.Second
	pauseReady    = 20 * time.Second
	startingFor   = 5 * time.Minute
)

// Run observes until ctx ends. It emits a health event for each check whose
// state or message changed, and one ready event when the node is ready for the
// first time.
func (m Monitor) Run(ctx context.Context) {
	had := make(map[string]bool)
	said := m.AlreadyReady
	var last Report
	start := time.Now()
	for ctx.Err() == nil {
		report := Judge(m.Observe(ctx), had)
		if ctx.Err() != nil {
			return // the observation was cut short and says nothing
		}
		for _, c := range report {
			had[c.Name] = had[c.Name] || c.State == OK
			if old := last.Get(c.Name); last == nil || old != c {
				m.Sink.Emit(event.Event{Time: event.Now(), Type: event.Health, Name: c.Name, State: string(c.State), Message: c.Message})
			}
		}
		if report.Ready() && !said {
			said = true
			m.Sink.Emit(event.Event{Time: event.Now(), Type: event.Ready, Name: Node, Message: m.Version})
		}
		last = report
		if m.Changed != nil {
			m.Changed(report)
		}
		pause := pauseStarting
		if report.Ready() {
			pause, start = pauseReady, time.Now()
		} else if time.Since(start) > startingFor {
			pause = pauseSlow
		}
		select {
		case <-ctx.Done():
		case <-m.Wake:
		case <-time.After(pause):
		}
	}
}
