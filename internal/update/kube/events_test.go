package kube

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/update"
)

// Events over an API that comes and goes, and refuses one.
func TestEvents(t *testing.T) {
	n := newNode(t)
	c := n.start()
	for i := range maxEvents {
		n.engine.begin(fmt.Sprintf("0.2.%d", i))
		n.engine.to(func(s update.State, now time.Time) update.State { return s.Fail("full", now) })
	}
	posts, refused := 0, 0
	n.api.before = func(method, path string) (int, bool) {
		if path != eventsURL {
			return 0, false
		}
		posts++
		switch posts {
		case 3:
			refused++
			return http.StatusUnprocessableEntity, true
		case 10:
			return http.StatusServiceUnavailable, true
		}
		return 0, false
	}
	for i, want := range []int{8, 28, 39, 39} {
		c.round(t.Context())
		if len(n.api.events) != want {
			t.Errorf("round %d: %d events, want %d", i, len(n.api.events), want)
		}
	}
	if posts != 2*maxEvents+1 {
		t.Errorf("%d were sent", posts)
	}
	// Another node's name is no obstacle when it is the only one; more than one is.
	n.api.nodes = []string{"old", "older"}
	n.engine.to(update.State.Stage)
	if c.round(t.Context()); len(n.api.events) != 39 || !strings.Contains(c.said, "2 nodes, none of which is box") {
		t.Errorf("%d events, %s", len(n.api.events), c.said)
	}
	// A file that makes no sense has the history told once more, which is no harm.
	n.api.nodes = []string{"box", "old"}
	for _, text := range []string{"", "nonsense", `{"time":7}`} {
		if err := os.WriteFile(n.told, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			c.round(t.Context())
		}
		if len(n.api.events) != 41 { // one more is the one that was refused
			t.Errorf("%q: %d events", text, len(n.api.events))
		}
	}
}

// TestDocument: the tables of the document have what is written.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../../docs/updates-use.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range update.Phases() {
		reason, kind, _ := eventOf(update.Entry{Phase: p})
		if !strings.Contains(string(text), "| `"+reason+"` | "+kind+" |") {
			t.Errorf("no event %s, which is a %s", reason, kind)
		}
	}
	for _, reason := range []string{reasonOf(update.Good), reasonOf(update.RolledBack), reasonOf(update.Failed), reasonRuns, reasonRejected, reasonCancelled, reasonLost} {
		if !strings.Contains(string(text), "| `"+reason+"` |") {
			t.Errorf("no reason %s", reason)
		}
	}
}

func TestUntoldAlwaysGetsOn(t *testing.T) {
	var s update.State
	now := time.Unix(1_800_000_000, 0)
	tick := func() time.Time { now = now.Add(time.Second); return now }
	for i := range 12 { // a boot loop in the second between two writes, again and again
		s = s.Begin("0.1.0", "B", update.Payload{Version: fmt.Sprint(i)}, update.Order{}, tick()).Stage(tick()).Arm("", "", 1, tick()).Stage(tick()).Arm("", "", 1, tick()).
			Judge(tick()).RollBack("panic", tick())
	}
	told := map[update.Entry]bool{}
	var last update.Entry
	for range len(s.History) {
		news := untold(s.History, last)
		if len(news) > maxEvents {
			t.Fatalf("%d at once", len(news))
		}
		if len(news) == 0 {
			break
		}
		for _, e := range news {
			told[e] = true
		}
		last = news[len(news)-1]
	}
	if len(told) != len(s.History) {
		t.Errorf("%d of %d are told", len(told), len(s.History))
	}
}
