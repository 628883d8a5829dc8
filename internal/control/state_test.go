package control

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"kubesolo.io/os/internal/event"
)

func stateOf(events ...event.Event) *State {
	s := NewState()
	for i, e := range events {
		e.Time = float64(i + 1)
		s.Emit(e)
	}
	return s
}

func filled(s *State) Status {
	var out Status
	s.Fill(&out)
	return out
}

func TestPhases(t *testing.T) {
	booted := []event.Event{
		{Type: "step", Name: "network", State: "started"},
		{Type: "step", Name: "network", State: "degraded", Message: "no answer", Duration: 0.5},
		{Type: "step", Name: "services", State: "ok"},
		{Type: "service", Name: "kubesolo", State: "starting"},
	}
	ready := append(slices.Clone(booted),
		event.Event{Type: "service", Name: "kubesolo", State: "ready", Duration: 3},
		event.Event{Type: "health", Name: "node", State: "ok"},
		event.Event{Type: "ready", Name: "node", Message: "v1.34.0"})
	and := func(list []event.Event, more ...event.Event) []event.Event {
		return append(slices.Clone(list), more...)
	}
	for _, tc := range []struct {
		name     string
		events   []event.Event
		phase    Phase
		waiting  []string
		problems []string
		last     string
	}{
		{"nothing yet", nil, Booting, nil, nil, ""},
		{"in a step", booted[:1], Booting, []string{"step network"}, nil, ""},
		{"a step that degraded does not end the boot", booted[:2], Booting, nil, []string{"step network"}, "step network"},
		{"services start", booted, Starting, []string{"service kubesolo (starting)"}, []string{"step network"}, "step network"},
		{"agent waits", and(booted, event.Event{Type: "health", Name: "coredns", State: "waiting", Message: "no pod"}), Starting,
			[]string{"service kubesolo (starting)", "coredns (no pod)"}, []string{"step network"}, "step network"},
		{"ready, whatever the network says", ready, Ready, nil, []string{"step network"}, "step network"},
		{"a service ends", and(ready, event.Event{Type: "service", Name: "kubesolo", State: "exited", Message: "killed"}), Degraded,
			[]string{"service kubesolo (exited)"}, []string{"step network"}, "service kubesolo"},
		{"health is bad", and(ready, event.Event{Type: "health", Name: "node", State: "bad"}), Degraded, nil,
			[]string{"step network", "health node"}, "health node"},
		{"and good again", and(ready, event.Event{Type: "health", Name: "node", State: "bad"}, event.Event{Type: "health", Name: "node", State: "ok"}),
			Ready, nil, []string{"step network"}, "health node"},
		{"a fatal step", []event.Event{{Type: "step", Name: "data", State: "failed", Message: "no /data"}}, Failed, nil, []string{"step data"}, "step data"},
		{"on the way down", and(ready, event.Event{Type: "shutdown", State: "started"}), Stopping, nil, []string{"step network"}, "step network"},
	} {
		got := filled(stateOf(tc.events...))
		var problems []string
		for _, p := range got.Problems {
			problems = append(problems, p.Source)
		}
		last := ""
		if got.LastError != nil {
			last = got.LastError.Source
		}
		if got.Phase != tc.phase || !slices.Equal(got.Waiting, tc.waiting) || !slices.Equal(problems, tc.problems) || last != tc.last {
			t.Errorf("%s: %s, waiting %q, problems %q, last %q", tc.name, got.Phase, got.Waiting, problems, last)
		}
	}
}

func TestTimeline(t *testing.T) {
	s := stateOf(
		event.Event{Type: "step", Name: "b", State: "started"},
		event.Event{Type: "step", Name: "a", State: "started"},
		event.Event{Type: "step", Name: "a", State: "ok", Duration: 0.5, Message: "done"},
		event.Event{Type: "step", Name: "skipped", State: "skipped"},
		event.Event{Type: "service", Name: "x", State: "starting"},
		event.Event{Type: "service", Name: "x", State: "ready", Duration: 7},
		event.Event{Type: "ready", Name: "node", Message: "v1"})
	got, err := json.Marshal(s.Timeline())
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"name":"b","state":"started","start":1,"duration":0},{"name":"a","state":"ok","start":2,"duration":0.5,"message":"done"},` +
		`{"name":"skipped","state":"skipped","start":4,"duration":0},{"name":"service x","state":"ready","start":5,"duration":7},` +
		`{"name":"node","state":"ready","start":0,"duration":7,"message":"v1"}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Names of health come from another program: they must not fill PID 1.
func TestStateIsBounded(t *testing.T) {
	s := NewState()
	for i := range 10 * most {
		for _, kind := range []string{"step", "service", "health"} {
			s.Emit(event.Event{Type: kind, Name: fmt.Sprint(i), State: "bad"})
		}
	}
	if len(s.steps) != most || len(s.services) != most || len(s.health) != most {
		t.Errorf("%d steps, %d services, %d checks", len(s.steps), len(s.services), len(s.health))
	}
}
