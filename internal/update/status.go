package update

import (
	"time"

	"kubesolo.io/os/internal/control"
)

// Status is all that is known of updates at one instant, for people and programs.
type Status struct {
	Version string        `json:"version"` // that runs
	State   State         `json:"state"`
	Slots   control.Slots `json:"slots"`
	// Waiting is what the phase waits for, in words; "" when for nothing.
	Waiting   string     `json:"waiting,omitempty"`
	Done      int64      `json:"done,omitempty"`  // bytes of the download
	Total     int64      `json:"total,omitempty"` //
	Available *Available `json:"available,omitempty"`
}

// Available is what the last check found.
type Available struct {
	Checked time.Time `json:"checked"`
	From    string    `json:"from"`              // the place, without secrets
	Version string    `json:"version,omitempty"` // that could be installed, "" for none
	Notes   string    `json:"notes,omitempty"`
	Reason  string    `json:"reason,omitempty"` // why none, or why not now
	Error   string    `json:"error,omitempty"`  // why the check failed
}

// Verb is what an Order asks for.
type Verb string

// The orders that are taken.
const (
	Check    Verb = "check"
	Apply    Verb = "apply"
	RollBack Verb = "rollback" // to the other slot, also after it was Good
	Cancel   Verb = "cancel"   // of what is not armed yet
)

// MediumSource stands for the medium with updates, in the place of an address.
const MediumSource = "usb"

// byMedium is who ordered what was plugged in.
const byMedium = "medium"

// Order is what somebody wants: the operator by ksctl, or an OSUpdate.
type Order struct {
	Verb    Verb   `json:"verb"`
	Version string `json:"version,omitempty"` // "" for the newest
	Channel string `json:"channel,omitempty"` // "" for the configured one
	Source  string `json:"source,omitempty"`  // "" for the configured one
	Window  string `json:"window,omitempty"`  // "" for the configured one
	Force   bool   `json:"force,omitempty"`
	By      string `json:"by"` // who, for the history: "ksctl", "osupdate/NAME"
}
