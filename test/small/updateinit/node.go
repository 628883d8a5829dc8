package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/bootenv"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/slots"
	"kubesolo.io/os/test/small/guest"
)

// disk lets one at a time open the partition: the end of a run reads what the
// engine may be about to change.
type disk struct {
	*bootenv.Disk
	mu sync.Mutex
}

func (d *disk) Change(next func(abslot.State) (abslot.State, error)) (abslot.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Disk.Change(next)
}

func (d *disk) Read() (abslot.Copies, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Disk.Read()
}

// node is an update.Node without the socket that is between cmd/ksinit and ksagent.
type node struct {
	disk    *disk
	slots   *slots.Slots
	restart chan struct{}
	found   guest.Found
}

// newNode says what this boot is.
func newNode(d *bootenv.Disk, running abslot.Slot, trial bool) (*node, error) {
	n := &node{disk: &disk{Disk: d}, restart: make(chan struct{}, 1)}
	before, err := d.Read()
	if err != nil {
		return nil, err
	}
	_, _, lost := before.Choose()
	var seen slots.Found
	n.slots, seen, err = slots.Open(slots.Options{Disk: n.disk, Running: running, Trial: trial, VerdictFile: filepath.Join(updateDir, "verdict.json")})
	n.found = guest.Found{State: seen.State.String(), Outcome: seen.Outcome.String(), Mended: seen.Mended, BothLost: lost != nil}
	if n.slots.OnTrial() {
		const deadline = 10 * time.Minute // whatever the machine has to do besides
		time.AfterFunc(deadline, func() { n.trialFails(fmt.Sprintf("not found good within %v", deadline)) })
	}
	return n, err
}

// armed says whether the next boot is a trial.
func (n *node) armed() bool { return n.slots.State().Armed() && !n.slots.OnTrial() }

// trialFails ends a trial that is still on, and restarts the machine.
func (n *node) trialFails(reason string) bool {
	ends, err := n.slots.EndTrial(reason)
	if err != nil {
		guest.Say(err)
	}
	if ends {
		n.askForRestart()
	}
	return ends
}

func (n *node) askForRestart() {
	select {
	case n.restart <- struct{}{}:
	default: // it was asked for already
	}
}

// Slots and the rest implement update.Node.
func (n *node) Slots(context.Context) (control.Slots, error) { return n.slots.Report(), nil }

// Arm has the next boot try a slot.
func (n *node) Arm(_ context.Context, slot string) error { return n.slots.Arm(abslot.ParseSlot(slot)) }

// Commit makes the running slot the good one.
func (n *node) Commit(context.Context) error { return n.slots.Commit() }

// RollBack gives a trial up, or takes back that one is armed.
func (n *node) RollBack(_ context.Context, reason string) error {
	if n.trialFails(reason) {
		return nil
	}
	return n.slots.GiveUp(reason)
}

// Reboot restarts the machine in order.
func (n *node) Reboot(context.Context) error {
	n.askForRestart()
	return nil
}
