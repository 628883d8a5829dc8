package kube

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/update"
)

func minute(n int) time.Time { return time.Date(2026, 11, 26, 18, n, 0, 5000, time.UTC) }

// made is an OSUpdate of so many minutes after the hour.
func made(name string, n int, s spec, st status) object {
	return object{Metadata: metadata{Name: name, UID: name, Generation: 1, CreationTimestamp: minute(n)}, Spec: s, Status: st}
}

// begun is the status of generation 1 whose update has that number.
func begun(p phase, attempt, n int) status {
	return status{ObservedGeneration: 1, Phase: p, Attempt: attempt, StartedAt: second(minute(n)), Version: "0.2.0"}
}

func payload(version string) update.Payload {
	return update.Payload{Version: version, From: "https://u"}
}

func TestDecide(t *testing.T) {
	now := minute(50)
	idle := update.Status{Version: "0.1.0", State: update.State{Phase: update.Idle}}
	running := func(s update.State) update.Status { return update.Status{Version: "0.1.0", State: s} }
	first := update.State{Phase: update.Idle}.Begin("0.1.0", "B", payload("0.2.0"), update.Order{}, minute(10))
	back := first.Stage(minute(11)).Arm("b", "", 1, minute(12)).Judge(minute(13)).RollBack("kernel panic", minute(14))
	another := back.Begin("0.1.0", "B", payload("0.3.0"), update.Order{}, minute(20))
	cancelled := first
	cancelled.Phase, cancelled.Message = update.Idle, ""
	cancelled.History = append(cancelled.History, update.Entry{Time: minute(11), Phase: update.Idle, Version: "0.2.0"})
	version := func(v string) spec { return spec{Version: v} }
	reserved := status{ObservedGeneration: 1, Phase: pending, Attempt: 1}
	lost := running(update.State{Phase: update.Idle})
	for _, tc := range []struct {
		name   string
		list   []object
		s      update.Status
		delays map[string]delay
		next   string
		// want is phase, reason of Succeeded, version, progress and the beginning
		// of the message of the object called a.
		want string
	}{
		{"new", []object{made("a", 1, version("0.2.0"), status{})}, idle, nil, "a", "pending Ordered   "},
		{"without a version", []object{made("a", 1, spec{Channel: "edge"}, status{})}, idle, nil, "a", "pending Ordered   "},
		{"runs already", []object{made("a", 1, version("0.1.0"), status{})}, idle, nil, "", "good AlreadyRunning 0.1.0  0.1.0 runs already"},
		{"done, and something newer runs", []object{made("a", 1, version("0.0.9"), status{ObservedGeneration: 1, Phase: update.Good})}, idle, nil, "", "good"},
		{"rejected once", []object{made("a", 1, version("0.0.9"), status{ObservedGeneration: 1, Phase: update.Failed})}, idle, nil, "", "failed"},
		{"rejected, and changed", []object{made("a", 1, version("0.2.0"), status{ObservedGeneration: 0, Phase: update.Failed})}, idle, nil, "a", "pending Ordered"},
		{"the oldest first", []object{made("a", 9, version("0.3.0"), status{}), made("b", 2, version("0.2.0"), status{})}, idle, nil, "b",
			"pending Waiting   waits for osupdate/b, which is older"},
		{"of one age by name", []object{made("b", 1, version("0.3.0"), status{}), made("a", 1, version("0.2.0"), status{})}, idle, nil, "a", "pending Ordered"},
		{"something else is under way", []object{made("a", 1, version("0.1.0"), status{})}, running(first), nil, "",
			"pending Waiting   waits for the end of the update to 0.2.0"},
		{"not taken", []object{made("a", 1, version("0.2.0"), status{}), made("b", 2, version("0.3.0"), status{})}, idle,
			map[string]delay{"a": {1, "no route to host", minDelay, minute(51)}}, "b", "pending NotTaken   no route to host; tried again at 2026-11-26T18:51:00Z"},
		{"tried again", []object{made("a", 1, version("0.2.0"), reserved)}, idle, map[string]delay{"a": {1, "x", minDelay, minute(49)}}, "a", "pending Ordered"},
		{"changed after it was not taken", []object{made("a", 1, version("0.2.0"), status{})}, idle, map[string]delay{"a": {0, "x", minDelay, minute(51)}}, "a", "pending Ordered"},

		{"the power went before the order", []object{made("a", 1, version("0.2.0"), reserved)}, idle, nil, "a", "pending Ordered"},
		{"the power went after the order", []object{made("a", 1, version("0.2.0"), reserved)}, running(first), nil, "", "downloading Downloading 0.2.0  https://u"},
		{"somebody else was quicker", []object{made("a", 1, version("0.9.0"), reserved)}, running(first), nil, "", "pending Waiting   waits for the end of the update to 0.2.0"},
		{"the power went after the order, and then came two", []object{made("a", 1, version("0.2.0"), reserved)}, running(another), nil, "",
			"rolled-back RolledBack 0.2.0  kernel panic"},

		{"progress", []object{made("a", 1, version("0.2.0"), begun(update.Downloading, 1, 10))},
			update.Status{Version: "0.1.0", State: first, Done: 63, Total: 150}, nil, "", "downloading Downloading 0.2.0 42 % https://u"},
		{"waiting", []object{made("a", 1, version("0.2.0"), begun(update.Staged, 1, 10))},
			update.Status{Version: "0.1.0", State: first.Stage(now), Waiting: "the window"}, nil, "", "staged Staged 0.2.0 100 % the window"},
		{"taken back", []object{made("a", 1, version("0.2.0"), begun(update.Armed, 1, 10))}, running(back), nil, "", "rolled-back RolledBack 0.2.0 100 % kernel panic"},
		{"good", []object{made("a", 1, version("0.2.0"), begun(update.Judging, 1, 10))},
			update.Status{Version: "0.2.0", State: first.Pass("", now)}, nil, "", "good Installed 0.2.0 100 %"},
		{"good, and then back by hand", []object{made("a", 1, version("0.2.0"), begun(update.Good, 1, 10))}, running(first.Pass("", now).RollBack("by hand", now)), nil, "",
			"rolled-back RolledBack 0.2.0 100 % by hand"},
		{"given up", []object{made("a", 1, version("0.2.0"), begun(update.Staged, 1, 10))}, running(cancelled), nil, "", "failed Cancelled 0.2.0  the update was given up"},
		{"ended while the API was away, and another began", []object{made("a", 1, version("0.2.0"), begun(update.Judging, 1, 10))}, running(another), nil, "",
			"rolled-back RolledBack 0.2.0  kernel panic"},
		{"given up while the API was away, and another began", []object{made("a", 1, version("0.2.0"), begun(update.Staged, 1, 10))},
			running(cancelled.Begin("0.1.0", "B", payload("0.3.0"), update.Order{}, minute(20))), nil, "", "failed Cancelled 0.2.0  the update was given up"},
		{"never ended, and another began", []object{made("a", 1, version("0.2.0"), begun(update.Staged, 1, 10))},
			running(first.Stage(now).Begin("0.1.0", "B", payload("0.3.0"), update.Order{}, minute(20))), nil, "", "failed Lost 0.2.0  another update began after it was staged"},

		{"the state was lost", []object{made("a", 1, version("0.2.0"), begun(update.Judging, 4, 10))}, lost, nil, "", "failed Lost 0.2.0  what became of it was lost"},
		{"the state was lost, and it runs", []object{made("a", 1, version("0.1.0"), begun(update.Judging, 4, 10))}, lost, nil, "", "good AlreadyRunning 0.1.0"},
		{"the state was lost in its trial", []object{made("a", 1, version("0.2.0"), begun(update.Judging, 4, 10))},
			running(update.State{}.Begin("", "B", payload("0.1.0"), update.Order{}, minute(30)).Judge(minute(30))), nil, "", "judging"},
		{"another of the same number after the state was lost", []object{made("a", 1, version("0.2.0"), begun(update.RolledBack, 1, 3))}, running(first.Pass("", now)), nil, "", "rolled-back"},
	} {
		wanted, next := decide(tc.list, tc.s, tc.delays, now)
		is := wanted["a"]
		reason := ""
		for _, c := range is.Conditions {
			if c.Type == "Succeeded" {
				reason = c.Reason
			}
		}
		got := fmt.Sprintf("%s %s %s %s %s", is.Phase, reason, is.Version, is.Progress, is.Message)
		name := ""
		if next != nil {
			name = next.Metadata.Name
		}
		if name != tc.next || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: next is %q, %q; want %q, %q", tc.name, name, got, tc.next, tc.want)
		}
		if next != nil && wanted[next.Metadata.UID].Attempt != tc.s.State.Attempts+1 {
			t.Errorf("%s: noted as update %d", tc.name, wanted[next.Metadata.UID].Attempt)
		}
		if len(is.Conditions) > 0 {
			again := made("a", 1, tc.list[0].Spec, is)
			if tc.list[0].Metadata.Name == "a" && final(is.Phase) {
				if w, n := decide([]object{again}, tc.s, nil, minute(55)); n != nil || !w["a"].same(is) {
					t.Errorf("%s: it is not left as it was: %+v, then %+v", tc.name, is, w["a"])
				}
			}
		}
	}
	gone := made("a", 1, version("0.2.0"), status{})
	gone.Metadata.DeletionTimestamp = &now
	if wanted, next := decide([]object{gone}, idle, nil, now); len(wanted) > 0 || next != nil {
		t.Error("an object that is being deleted is ordered")
	}
}

func TestConditions(t *testing.T) {
	o := made("a", 1, spec{}, status{})
	for _, tc := range []struct{ phase, want string }{
		{"pending", "Unknown False False Unknown"},
		{"downloading", "True True False Unknown"},
		{"staged", "True True False Unknown"},
		{"armed", "True True False Unknown"},
		{"judging", "True True False Unknown"},
		{"good", "True False False True"},
		{"rolled-back", "True False True False"},
		{"failed", "False False True False"},
	} {
		var got []string
		for _, c := range o.with(phase(tc.phase), "R", "", minute(1)).Conditions {
			got = append(got, c.Status)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v, want %s", tc.phase, got, tc.want)
		}
	}
	o.Status = o.with(update.Downloading, "Downloading", "", minute(1))
	later := o.with(update.RolledBack, "RolledBack", strings.Repeat("ä", maxMessage), minute(2))
	for i, from := range []int{1, 2, 2, 2} {
		if got := later.Conditions[i]; !got.LastTransitionTime.Equal(minute(from).Truncate(time.Second)) || len(got.Message) != maxMessage {
			t.Errorf("%+v: want it since minute %d, and %d bytes", got, from, maxMessage)
		}
	}
}

func TestDelays(t *testing.T) {
	o := made("a", 1, spec{}, status{})
	var d delay
	for _, want := range []time.Duration{minDelay, 2 * minDelay, 4 * minDelay} {
		if d = d.again(o, "x", minute(1)); d.pause != want || !d.until.Equal(minute(1).Add(want)) {
			t.Errorf("%+v, want %v", d, want)
		}
	}
	for range 20 {
		d = d.again(o, "x", minute(1))
	}
	if d.pause != maxDelay {
		t.Errorf("%v, want %v", d.pause, maxDelay)
	}
	if o.Metadata.Generation = 2; d.again(o, "x", minute(1)).pause != minDelay {
		t.Error("a changed spec is delayed as the one before")
	}
}
