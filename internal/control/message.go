package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Where ksinit listens, and where ksagent does, of which updates are asked.
const (
	Socket      = "/run/ksinit/control.sock"
	AgentSocket = "/run/ksagent/control.sock"
)

// Verbs of a request.
const (
	VerbStatus   = "status"   // one Status
	VerbServices = "services" // one list of Service
	VerbTimeline = "timeline" // one list of Span
	VerbNetwork  = "network"  // the network manager's own status
	VerbEvents   = "events"   // one reply an event; with Follow also those to come
	VerbRestart  = "restart"  // of Service: one reply a line of progress
	VerbReboot   = "reboot"
	VerbPowerOff = "poweroff"
	// A network configuration on trial: begun with File for Seconds, and then
	// kept or taken back.
	VerbTry     = "network-try"
	VerbConfirm = "network-confirm"
	VerbRevert  = "network-revert"
	// The system slots: one Slots; the orders of an update, of which the first
	// names the Slot, and the last gives the Reason and restarts the machine.
	VerbSlots    = "slots"
	VerbArm      = "slot-arm"
	VerbCommit   = "slot-commit"
	VerbRollBack = "slot-rollback"
	// The medium with updates: one Medium, once it is mounted; and no more.
	VerbMedium    = "medium"
	VerbMediumEnd = "medium-end"
	// Asked of ksagent: one status of internal/update; and an Order, which may be
	// answered by a line that says why there was nothing to do.
	VerbUpdate = "update"
	VerbOrder  = "update-order"
)

func verbs() []string {
	return []string{VerbStatus, VerbServices, VerbTimeline, VerbNetwork, VerbEvents, VerbRestart, VerbReboot, VerbPowerOff,
		VerbTry, VerbConfirm, VerbRevert, VerbSlots, VerbArm, VerbCommit, VerbRollBack,
		VerbMedium, VerbMediumEnd, VerbUpdate, VerbOrder}
}

// maxRequest is the longest line that is read as a request.
const maxRequest = 4 << 10

// A Request asks for one thing.
type Request struct {
	Verb    string `json:"verb"`
	Service string `json:"service,omitempty"` // of restart
	Follow  bool   `json:"follow,omitempty"`  // of events
	File    string `json:"file,omitempty"`    // of network-try: a path on the node
	Seconds int    `json:"seconds,omitempty"` // of network-try
	Slot    string `json:"slot,omitempty"`    // of slot-arm: A or B
	Reason  string `json:"reason,omitempty"`  // of slot-rollback
	Order   Order  `json:"order,omitzero"`    // of update-order
}

// Order is that of internal/update in the form of a request: this package knows
// only that it says what is wanted, and by whom.
type Order struct {
	Verb    string `json:"verb"`
	Version string `json:"version,omitempty"`
	Channel string `json:"channel,omitempty"`
	Source  string `json:"source,omitempty"`
	Window  string `json:"window,omitempty"`
	Force   bool   `json:"force,omitempty"`
	By      string `json:"by"`
}

// A Reply is one line of an answer. The last has End, and Error when it did not
// work out.
type Reply struct {
	Data  json.RawMessage `json:"data,omitempty"`
	Error string          `json:"error,omitempty"`
	End   bool            `json:"end,omitempty"`
}

// ErrRequest is wrapped by what Decode refuses.
var ErrRequest = errors.New("not a request")

// Decode reads one line as a request. What is unknown in it is refused: an
// order that is only half understood must not be carried out.
func Decode(line []byte) (Request, error) {
	var r Request
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Request{}, fmt.Errorf("%w: %v", ErrRequest, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Request{}, fmt.Errorf("%w: more than one value on the line", ErrRequest)
	}
	switch {
	case !slices.Contains(verbs(), r.Verb):
		return Request{}, fmt.Errorf("%w: no verb %q; there are %s", ErrRequest, r.Verb, strings.Join(verbs(), ", "))
	case (r.Verb == VerbRestart) != (r.Service != ""):
		return Request{}, fmt.Errorf("%w: %s wants a service, and nothing else does", ErrRequest, VerbRestart)
	case (r.Verb == VerbTry) != (r.File != ""), (r.Verb == VerbTry) != (r.Seconds > 0), r.Seconds < 0:
		return Request{}, fmt.Errorf("%w: %s wants a file and seconds, and nothing else does", ErrRequest, VerbTry)
	case (r.Verb == VerbArm) != (r.Slot != ""), (r.Verb == VerbRollBack) != (r.Reason != ""):
		return Request{}, fmt.Errorf("%w: %s wants a slot and %s a reason, and nothing else does", ErrRequest, VerbArm, VerbRollBack)
	case (r.Verb == VerbOrder) != (r.Order != Order{}):
		return Request{}, fmt.Errorf("%w: %s wants an order, and nothing else does", ErrRequest, VerbOrder)
	case (r.Verb == VerbOrder) != (r.Order.Verb != "" && r.Order.By != ""):
		return Request{}, fmt.Errorf("%w: an order says what is to be done (verb) and who wants it (by)", ErrRequest)
	case r.Follow && r.Verb != VerbEvents:
		return Request{}, fmt.Errorf("%w: only %s can be followed", ErrRequest, VerbEvents)
	}
	return r, nil
}

// Status is the answer to VerbStatus: the node at one instant. Times and
// durations are seconds, times of the boot clock (CLOCK_BOOTTIME).
type Status struct {
	Hostname  string    `json:"hostname"`
	Version   string    `json:"version"`           // of the image: 0.1.0 (4f0c2a…)
	Kernel    string    `json:"kernel"`            // release
	Slot      string    `json:"slot,omitempty"`    // A or B; none when not booted from one
	Uptime    float64   `json:"uptime"`            // seconds
	Phase     Phase     `json:"state"`             //
	Ready     string    `json:"ready,omitempty"`   // version of the image, once the node was ready
	ReadyAt   float64   `json:"readyAt,omitempty"` //
	Waiting   []string  `json:"waiting,omitempty"` // for what, in words
	Problems  []Problem `json:"problems,omitempty"`
	LastError *Problem  `json:"lastError,omitempty"`
	Health    []Check   `json:"health,omitempty"`
	Services  []Service `json:"services,omitempty"` // the asker's to fill in, by VerbServices
	NodeIP    string    `json:"nodeIP,omitempty"`
	Addresses []string  `json:"addresses,omitempty"`
}

// Service is a supervised program: internal/supervise's Status as a reader sees
// it, who knows what an older node leaves out.
type Service struct {
	Name      string  `json:"name"`
	State     string  `json:"state"`
	Pid       int     `json:"pid,omitempty"`
	Since     float64 `json:"since"`
	Starts    int     `json:"starts"`
	Failures  int     `json:"failures"`
	Error     string  `json:"error,omitempty"`
	LastExit  string  `json:"lastExit,omitempty"`
	CrashLoop bool    `json:"crashLoop,omitempty"`
}
