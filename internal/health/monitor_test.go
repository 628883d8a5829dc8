package health

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"kubesolo.io/os/internal/event"
)

// record keeps what is emitted, without the times.
type record struct{ events []event.Event }

func (r *record) Emit(e event.Event) {
	e.Time = 0
	r.events = append(r.events, e)
}

func TestMonitorTellsChangesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var sink record
		var at []time.Duration
		m := Monitor{Sink: &sink, Version: "1.2", Observe: func(context.Context) Observation {
			at = append(at, time.Since(start))
			o := good()
			switch up := time.Since(start); {
			case up < 3*time.Second:
				o.APIError = "connection refused"
			case up >= 40*time.Second && up < 45*time.Second:
				o.CoreDNS = nil
			case up > 80*time.Second:
				cancel()
			}
			return o
		}}
		m.Run(ctx)
		h := func(name string, s State, msg string) event.Event {
			return event.Event{Type: event.Health, Name: name, State: string(s), Message: msg}
		}
		want := []event.Event{
			h(API, Waiting, "connection refused"),
			h(Node, Waiting, "the API does not answer"), h(CoreDNS, Waiting, "the API does not answer"),
			h(Images, OK, ""), h(Data, OK, ""),
			h(API, OK, ""), h(Node, OK, "n"), h(CoreDNS, OK, "coredns-1"),
			{Type: event.Ready, Name: Node, Message: "1.2"},
			h(CoreDNS, Bad, "no pod yet"), h(CoreDNS, OK, "coredns-1"),
		}
		if !slices.Equal(sink.events, want) {
			t.Errorf("got")
			for _, e := range sink.events {
				t.Errorf("  %+v", e)
			}
		}
		// Every second until ready, then every 20 s; every second while it is not.
		var seconds []int
		for _, d := range at {
			seconds = append(seconds, int(d/time.Second))
		}
		if want := []int{0, 1, 2, 3, 23, 43, 44, 45, 65, 85}; !slices.Equal(seconds, want) {
			t.Errorf("observed at %v s, want %v", seconds, want)
		}
	})
}

func TestMonitorSlowsDownAndWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wake := make(chan struct{})
		var at []time.Time
		m := Monitor{Sink: &record{}, AlreadyReady: true, Wake: wake, Observe: func(context.Context) Observation {
			at = append(at, time.Now())
			return Observation{APIError: "x"}
		}}
		go m.Run(ctx)
		time.Sleep(startingFor + 10*time.Minute)
		synctest.Wait()
		last := len(at) - 1
		if got := at[1].Sub(at[0]); got != pauseStarting {
			t.Errorf("first pause %v", got)
		}
		if got := at[last].Sub(at[last-1]); got != pauseSlow {
			t.Errorf("last pause %v", got)
		}
		before := len(at)
		wake <- struct{}{}
		synctest.Wait()
		if len(at) != before+1 {
			t.Errorf("%d observations after the wake", len(at)-before)
		}
		cancel()
		synctest.Wait()
	})
}
