package health

import (
	"strings"
	"testing"
	"time"
)

// good is an observation with nothing wrong, 100 s after boot.
func good() Observation {
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	return Observation{
		Now: now, Boot: now.Add(-100 * time.Second),
		Nodes:      []NodeStatus{{Name: "n", Ready: true, Renewed: now.Add(-5 * time.Second)}},
		CoreDNS:    []PodStatus{{Name: "coredns-1", Ready: true, Running: Yes, Started: now.Add(-20 * time.Second)}},
		ImagesDone: true,
	}
}

func TestJudge(t *testing.T) {
	lastBoot := good().Boot.Add(-time.Minute)
	for name, tc := range map[string]struct {
		change  func(*Observation)
		had     []string
		check   string // the one check that is not OK, "" for none
		state   State
		message string
		ready   bool
	}{
		"all well": {change: func(*Observation) {}, ready: true},
		"lease of the previous boot": {
			change: func(o *Observation) { o.Nodes[0].Renewed = lastBoot },
			check:  Node, state: Waiting, message: "not renewed its lease since this boot",
		},
		"lease of a boot whose clock was ahead": {
			change: func(o *Observation) { o.Nodes[0].Renewed = o.Now.Add(24 * time.Hour) },
			check:  Node, state: Waiting, message: "lease",
		},
		"clock set forward after the last renewal, but the lease moved": {
			change: func(o *Observation) { o.Nodes[0].Renewed, o.Nodes[0].Moved = lastBoot, true }, ready: true,
		},
		"never a lease": {
			change: func(o *Observation) { o.Nodes[0].Renewed = time.Time{} },
			check:  Node, state: Waiting, message: "lease",
		},
		"node alive but not ready": {
			change: func(o *Observation) { o.Nodes[0].Ready, o.Nodes[0].Message = false, "CNI not initialized" },
			check:  Node, state: Waiting, message: "CNI not initialized",
		},
		"renamed: the old object stays ready for ever": {
			change: func(o *Observation) {
				o.Nodes = append([]NodeStatus{{Name: "old", Ready: true, Renewed: lastBoot}}, o.Nodes...)
			}, ready: true,
		},
		"renamed: only the old object is ready": {
			change: func(o *Observation) {
				o.Nodes[0].Ready = false
				o.Nodes = append(o.Nodes, NodeStatus{Name: "old", Ready: true, Renewed: lastBoot})
			},
			check: Node, state: Waiting, message: "n is not ready",
		},
		"no node": {
			change: func(o *Observation) { o.Nodes = nil }, check: Node, state: Waiting, message: "registered",
		},
		"nodes cannot be read": {
			change: func(o *Observation) { o.Nodes, o.NodeError = nil, "500" }, check: Node, state: Waiting, message: "500",
		},
		"CoreDNS ready by the status of the previous boot": {
			change: func(o *Observation) { o.CoreDNS[0].Running, o.CoreDNS[0].Started = No, lastBoot },
			check:  CoreDNS, state: Waiting, message: "earlier boot",
		},
		"the same, and containerd does not tell": {
			change: func(o *Observation) { o.CoreDNS[0].Running, o.CoreDNS[0].Started = Unknown, lastBoot },
			check:  CoreDNS, state: Waiting, message: "earlier boot",
		},
		"containerd does not tell, but it started in this boot": {
			change: func(o *Observation) { o.CoreDNS[0].Running = Unknown }, ready: true,
		},
		"clock set forward after CoreDNS started": {
			change: func(o *Observation) { o.CoreDNS[0].Started = lastBoot }, ready: true,
		},
		"running but stale times and not ready": {
			change: func(o *Observation) { o.CoreDNS[0].Ready, o.CoreDNS[0].Message = false, "ErrImageNeverPull" },
			check:  CoreDNS, state: Waiting, message: "ErrImageNeverPull",
		},
		"an old pod beside the new one": {
			change: func(o *Observation) {
				o.CoreDNS = append([]PodStatus{{Name: "coredns-0", Ready: true, Running: No}}, o.CoreDNS...)
			}, ready: true,
		},
		"no pod": {
			change: func(o *Observation) { o.CoreDNS = nil }, check: CoreDNS, state: Waiting, message: "no pod",
		},
		"it had been ready": {
			change: func(o *Observation) { o.CoreDNS = nil }, had: []string{CoreDNS},
			check: CoreDNS, state: Bad, message: "no pod",
		},
		"images still coming": {
			change: func(o *Observation) { o.ImagesDone = false }, check: Images, state: Waiting, ready: true,
		},
		"a broken archive": {
			change: func(o *Observation) { o.ImagesPending = "archive x" }, check: Images, state: Bad, message: "archive x", ready: true,
		},
		"data partition read-only": {
			change: func(o *Observation) { o.DataError = "/data is read-only" }, check: Data, state: Bad, message: "read-only", ready: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := good()
			tc.change(&o)
			had := make(map[string]bool)
			for _, h := range tc.had {
				had[h] = true
			}
			r := Judge(o, had)
			if r.Ready() != tc.ready {
				t.Errorf("ready is %v", r.Ready())
			}
			for _, c := range r {
				want := OK
				if c.Name == tc.check {
					want = tc.state
				}
				if c.State != want {
					t.Errorf("%s is %s (%s), want %s", c.Name, c.State, c.Message, want)
				}
			}
			if tc.check != "" && !strings.Contains(r.Get(tc.check).Message, tc.message) {
				t.Errorf("message %q says nothing about %q", r.Get(tc.check).Message, tc.message)
			}
		})
	}
}

func TestNoAPI(t *testing.T) {
	o := good()
	o.APIError = "connection refused"
	r := Judge(o, map[string]bool{API: true, Node: true})
	for name, want := range map[string]State{API: Bad, Node: Bad, CoreDNS: Waiting, Images: OK, Data: OK} {
		if got := r.Get(name).State; got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if r.Get(API).Message != "connection refused" {
		t.Errorf("message %q", r.Get(API).Message)
	}
}
