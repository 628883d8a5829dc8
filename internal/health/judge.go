// Package health says whether the node is up: the API answers, the node is
// Ready and alive, CoreDNS runs, the data partition takes writes, and the
// preloaded images are there.
//
// It owns the judgement (Judge, a pure function of one Observation), the way an
// Observation is made (Observer), and the telling of changes (Monitor). It
// repairs nothing and decides nothing: what a bad verdict means is for its
// caller. Everything that the API stores survives a power cut, so nothing the
// API says counts unless it was said in this boot.
//
// Judge is tested by tables, Observer against an HTTP server, Monitor with
// virtual time.
package health

import (
	"fmt"
	"time"
)

// State of one check.
type State string

// OK, Waiting (not yet in this boot) and Bad (was, and is no more; or cannot
// become OK by waiting).
const (
	OK      State = "ok"
	Waiting State = "waiting"
	Bad     State = "bad"
)

// Names of the checks, in the order of a Report.
const (
	API     = "api"
	Node    = "node"
	CoreDNS = "coredns"
	Images  = "images"
	Data    = "data"
)

// Check is the verdict on one thing.
type Check struct {
	Name    string `json:"name"`
	State   State  `json:"state"`
	Message string `json:"message,omitempty"`
}

// Report has one Check for each name, in a fixed order.
type Report []Check

// Get returns the check with that name.
func (r Report) Get(name string) Check {
	for _, c := range r {
		if c.Name == name {
			return c
		}
	}
	return Check{Name: name, State: Waiting}
}

// Ready says whether the node can be used: API, node and CoreDNS are OK. Images
// and data are not part of it: a node with a full disk is better than none.
func (r Report) Ready() bool {
	return r.Get(API).State == OK && r.Get(Node).State == OK && r.Get(CoreDNS).State == OK
}

// Observation is what was seen at one instant. Times are wall-clock times.
type Observation struct {
	Now, Boot time.Time
	// APIError is why the API does not answer /readyz, "" when it does. The
	// fields below it up to CoreDNSError are only set when it does.
	APIError  string
	Nodes     []NodeStatus
	NodeError string
	// CoreDNS are the pods of its Deployment.
	CoreDNS      []PodStatus
	CoreDNSError string
	// ImagesPending is what the last preload pass could not do; ImagesDone that
	// a pass is over.
	ImagesPending string
	ImagesDone    bool
	// DataError is why the data partition takes no writes.
	DataError string
}

// NodeStatus is one Node object and its lease.
type NodeStatus struct {
	Name    string
	Ready   bool
	Message string    // of the Ready condition
	Renewed time.Time // of the lease; zero when there is none
	// Moved says that the lease was seen to change since the observer began,
	// which proves a live kubelet whatever the clocks say.
	Moved bool
}

// Running says whether containerd runs a pod's containers now.
type Running int

// Unknown means that containerd could not be asked.
const (
	Unknown Running = iota
	Yes
	No
)

// PodStatus is one pod as the API has it, checked against the runtime.
type PodStatus struct {
	Name    string
	Ready   bool
	Message string
	Started time.Time // of its youngest container
	Running Running
}

// clockSlack is how far ahead of our clock a lease of this boot can seem to be.
const clockSlack = time.Minute

// Judge gives the verdict on o. had holds the names that were OK before in this
// boot: what had been OK and is not now is Bad, not Waiting.
func Judge(o Observation, had map[string]bool) Report {
	r := Report{
		{API, Waiting, o.APIError},
		judgeNode(o),
		judgeCoreDNS(o),
		judgeImages(o),
		{Data, OK, ""},
	}
	if o.APIError == "" {
		r[0].State = OK
	}
	if o.DataError != "" {
		r[4] = Check{Data, Bad, o.DataError}
	}
	for i, c := range r {
		if c.State == Waiting && had[c.Name] {
			r[i].State = Bad
		}
	}
	return r
}

// judgeNode needs one live node: there is more than one object when the node
// was renamed, and the old ones stay as they were.
func judgeNode(o Observation) Check {
	c := Check{Name: Node, State: Waiting}
	switch {
	case o.APIError != "":
		c.Message = "the API does not answer"
		return c
	case o.NodeError != "":
		c.Message = o.NodeError
		return c
	case len(o.Nodes) == 0:
		c.Message = "no node has registered"
		return c
	}
	for _, n := range o.Nodes {
		switch alive := n.Moved || thisBoot(o, n.Renewed); {
		case alive && n.Ready:
			return Check{Node, OK, n.Name}
		case alive:
			c.Message = fmt.Sprintf("%s is not ready: %s", n.Name, n.Message)
		case c.Message == "":
			c.Message = fmt.Sprintf("%s has not renewed its lease since this boot", n.Name)
		}
	}
	return c
}

func judgeCoreDNS(o Observation) Check {
	c := Check{Name: CoreDNS, State: Waiting}
	switch {
	case o.APIError != "":
		c.Message = "the API does not answer"
		return c
	case o.CoreDNSError != "":
		c.Message = o.CoreDNSError
		return c
	case len(o.CoreDNS) == 0:
		c.Message = "no pod yet"
		return c
	}
	for _, p := range o.CoreDNS {
		alive := p.Running == Yes || p.Running == Unknown && thisBoot(o, p.Started)
		switch {
		case p.Ready && alive:
			return Check{CoreDNS, OK, p.Name}
		case p.Ready:
			c.Message = p.Name + " is ready only by the status of an earlier boot"
		case c.Message == "":
			c.Message = p.Name + " is not ready: " + p.Message
		}
	}
	return c
}

func judgeImages(o Observation) Check {
	switch {
	case o.ImagesPending != "":
		return Check{Images, Bad, o.ImagesPending}
	case !o.ImagesDone:
		return Check{Images, Waiting, ""}
	}
	return Check{Images, OK, ""}
}

// thisBoot says whether t lies between the boot and now. A time from the future
// is no proof: an earlier boot may have had a clock that was ahead.
func thisBoot(o Observation, t time.Time) bool {
	return t.After(o.Boot) && t.Before(o.Now.Add(clockSlack))
}
