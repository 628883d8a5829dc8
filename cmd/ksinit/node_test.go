package main

import (
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"kubesolo.io/os/internal/event"
)

// What the node waits for is a line when its state changes, not at each message.
func TestShowHealth(t *testing.T) {
	var screen strings.Builder
	n := &node{console: newConsole(&screen), log: slog.New(slog.DiscardHandler), events: event.NewLog(16), exits: map[string]string{}}
	for _, e := range []event.Event{
		{State: "waiting", Message: "no kubeconfig yet"}, {State: "waiting", Message: "connection refused"},
		{State: "ok"}, {State: "bad", Message: "timeout"}, {State: "ok"},
	} {
		e.Type, e.Name = event.Health, "api"
		n.Emit(e)
	}
	n.console.wait()
	got := regexp.MustCompile(`(?m)^\[.*?\] `).ReplaceAllString(screen.String(), "")
	want := `waiting   health api: no kubeconfig yet
ok        health api
degraded  health api: timeout
ok        health api
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A service that ends for the same reason again and again is one line, and
// another one when it is given up as failed; after it was ready it is news again.
func TestShowServiceOnce(t *testing.T) {
	var screen strings.Builder
	n := &node{console: newConsole(&screen), log: slog.New(slog.DiscardHandler), events: event.NewLog(16), exits: map[string]string{}}
	for _, e := range []event.Event{
		{State: "exited", Message: "exit status 3"}, {State: "backoff"}, {State: "starting"},
		{State: "exited", Message: "exit status 3"},
		{State: "exited", Message: "exit status 4"},
		{State: "failed", Message: "5 failures"}, {State: "failed", Message: "6 failures"},
		{State: "ready", Duration: 1},
		{State: "exited", Message: "exit status 4"},
	} {
		e.Type, e.Name = event.Service, "a"
		n.Emit(e)
	}
	n.console.wait()
	got := regexp.MustCompile(`(?m)^\[.*?\] `).ReplaceAllString(screen.String(), "")
	want := `degraded  service a: exit status 3
degraded  service a: exit status 4
failed    service a: 5 failures
failed    service a: 6 failures
ok        service a: ready after 1.0 s
degraded  service a: exit status 4
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
