// Package policy decides whether a version may be installed now: ten gates, each
// open or closed with a reason.
//
// It owns what each gate asks for, which of them a person may force, and a
// machine's turn in a roll-out. It is pure: it reads no clock, no disk and no
// network, and trusts that signatures were checked before. It never decides what
// to do about a closed gate.
//
// Tests: tables, every gate alone with force and without, the spread of turns
// over many machines, and a fuzz target.
package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kubesolo.io/os/internal/update/window"
)

// The names of the gates.
const (
	Architecture   = "architecture"    // made for this kind of machine
	Channel        = "channel"         // in the channel of this node
	Version        = "version"         // newer than what runs
	MinimumVersion = "minimum-version" // what runs is new enough to be followed by it
	SlotSize       = "slot-size"       // fits into the passive slot
	FreeSpace      = "free-space"      // the copy of the database fits beside it
	KnownBad       = "known-bad"       // was not tried here in vain
	Label          = "label"           // the node does not say BlockLabel
	Wave           = "wave"            // it is this machine's turn
	Window         = "window"          // the maintenance window is open
)

// BlockLabel is the label of the Kubernetes node that holds updates back.
const BlockLabel = "updates.kubesolo.io/block"

// Forceable tells whether a person may open the gate by force: where the
// machine could be harmed, or nothing would work, nobody may.
func Forceable(name string) bool {
	return slices.Contains([]string{KnownBad, Label, Wave, Window}, name)
}

// Gate is one condition.
type Gate struct {
	Name string `json:"name"`
	Open bool   `json:"open"`
	// Forced: it is open by force alone.
	Forced bool `json:"forced,omitempty"`
	// Reason is one line on why it is as it is, for a closed one with what
	// can be done.
	Reason string `json:"reason"`
	// Until is when a closed gate opens by itself; zero when it does not.
	Until time.Time `json:"until,omitzero"`
}

// Target is a version that could be installed, as its signed metadata tells.
type Target struct {
	Version      string
	Architecture string
	Channels     []string
	MinVersion   string    // "" is any
	Released     time.Time // begin of the roll-out
	Rollout      string    // its length as time.ParseDuration reads it, "" is at once
	Size         int64     // of the slot image, bytes
}

// Refusal remembers a version that was tried, and left for the one before.
type Refusal struct {
	Version string    `json:"version"`
	Reason  string    `json:"reason"`
	At      time.Time `json:"at"`
}

// Input is all that the gates depend on.
type Input struct {
	Now       time.Time
	Force     bool
	MachineID string // of /etc/machine-id
	Running   string // version of the running system

	Architecture string // as runtime.GOARCH has it
	Channel      string
	Window       window.Window
	Waves        bool // whether turns are waited for: not for a medium, which somebody brought

	Refused   []Refusal
	Label     string // value of BlockLabel, "" without
	LabelErr  error  // why the label could not be read
	SlotSize  int64  // of the passive slot, bytes; 0 when there is none
	FreeSpace int64  // on the data partition, bytes
	NeedSpace int64  // for the copy of the database, bytes
	Target    Target
}

// Evaluate asks every gate, in a fixed order: first those that stay closed, then
// those that open with time.
func Evaluate(in Input) []Gate {
	gates := []Gate{
		in.architecture(), in.channel(), in.version(), in.minimumVersion(), in.slotSize(), in.freeSpace(),
		in.knownBad(), in.label(), in.wave(), in.window(),
	}
	for i := range gates {
		if g := &gates[i]; !g.Open && in.Force && Forceable(g.Name) {
			g.Open, g.Forced, g.Until = true, true, time.Time{}
		}
	}
	return gates
}

// Closed are the gates that are closed; with none the version may be installed.
func Closed(gates []Gate) []Gate {
	return slices.DeleteFunc(slices.Clone(gates), func(g Gate) bool { return g.Open })
}

func open(name, format string, args ...any) Gate {
	return Gate{Name: name, Open: true, Reason: oneLine(fmt.Sprintf(format, args...))}
}

func closed(name, format string, args ...any) Gate {
	return Gate{Name: name, Reason: oneLine(fmt.Sprintf(format, args...))}
}

// oneLine: errors of other programs are in some reasons.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
