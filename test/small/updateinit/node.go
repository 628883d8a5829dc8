package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/bootenv"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/test/small/guest"
)

// node is the slots as cmd/ksinit (slots.go) keeps them, without the socket.
type node struct {
	disk    *bootenv.Disk
	running abslot.Slot
	restart chan struct{}
	found   guest.Found

	mu      sync.Mutex
	state   abslot.State
	onTrial bool
	over    bool // the trial was given up, and the machine is to restart
	verdict *control.Verdict
}

// newNode says what this boot is. Copies that a power cut tore are mended.
func newNode(disk *bootenv.Disk, running abslot.Slot, trial bool) (*node, error) {
	n := &node{disk: disk, running: running, restart: make(chan struct{}, 1)}
	before, err := disk.Read()
	if err != nil {
		return nil, err
	}
	var mended bool
	if n.state, mended, err = disk.Heal(running, trial); err != nil {
		return nil, err
	}
	if text, err := os.ReadFile(n.verdictFile()); err == nil {
		var v control.Verdict
		if json.Unmarshal(text, &v) == nil {
			n.verdict = &v
		}
	}
	outcome := n.state.Outcome(running, trial)
	_, _, lost := before.Choose()
	n.found = guest.Found{State: n.state.String(), Outcome: outcome.String(), Mended: mended, BothLost: lost != nil}
	switch outcome {
	case abslot.TrialRunning:
		n.onTrial = true
		const deadline = 10 * time.Minute // whatever the machine has to do besides
		time.AfterFunc(deadline, func() { n.trialFails(fmt.Sprintf("not found good within %v", deadline)) })
	case abslot.TrialFailed:
		reason := "its kernel could not be loaded"
		if n.state.Tries == 0 {
			reason = fmt.Sprintf("%d starts without a verdict", abslot.MaxTries)
		}
		return n, n.giveUp(reason)
	}
	return n, nil
}

func (n *node) verdictFile() string { return filepath.Join(updateDir, "verdict.json") }

// giveUp ends the trial in the environment block, and keeps the reason first.
func (n *node) giveUp(reason string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.state.Armed() {
		return errors.New("no trial is armed")
	}
	next, err := n.state.Rollback()
	if err != nil {
		return err
	}
	n.verdict = &control.Verdict{Slot: n.state.Trial.String(), Reason: reason, Time: time.Now().UTC(), Generation: next.Generation}
	text, err := json.Marshal(n.verdict)
	if err == nil {
		err = atomicfile.Write(n.verdictFile(), append(text, '\n'), 0o600)
	}
	return errors.Join(err, n.change(abslot.State.Rollback))
}

// change brings another state to the disk; the lock is held.
func (n *node) change(next func(abslot.State) (abslot.State, error)) error {
	state, err := n.disk.Change(next)
	if err == nil {
		n.state = state
	}
	return err
}

// armed says whether the next boot is a trial.
func (n *node) armed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.Armed() && !n.onTrial
}

// trialFails ends a trial that is still on, and restarts the machine.
func (n *node) trialFails(reason string) bool {
	n.mu.Lock()
	ends := n.onTrial && !n.over
	n.over = n.over || ends
	n.mu.Unlock()
	if !ends {
		return false
	}
	if err := n.giveUp(reason); err != nil {
		guest.Say(err)
	}
	n.askForRestart()
	return true
}

func (n *node) askForRestart() {
	select {
	case n.restart <- struct{}{}:
	default: // it was asked for already
	}
}

// Slots and the rest implement update.Node.
func (n *node) Slots(context.Context) (control.Slots, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := control.Slots{Running: n.running.String(), OnTrial: n.onTrial, Verdict: n.verdict,
		Good: n.state.Good.String(), Tries: n.state.Tries, Generation: n.state.Generation}
	if n.state.Armed() {
		out.Trial = n.state.Trial.String()
	}
	out.Device, _ = n.disk.Slot(n.running)
	device, size := n.disk.Slot(n.running.Other())
	out.Passive = control.Passive{Slot: n.running.Other().String(), Device: device, Size: size}
	return out, nil
}

// Arm has the next boot try a slot.
func (n *node) Arm(_ context.Context, slot string) error {
	return n.order(func(s abslot.State) (abslot.State, error) { return s.Arm(abslot.ParseSlot(slot), abslot.MaxTries) })
}

// Commit makes the running slot the good one.
func (n *node) Commit(context.Context) error {
	err := n.order(func(s abslot.State) (abslot.State, error) { return s.Commit(n.running) })
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onTrial = n.onTrial && err != nil
	return err
}

func (n *node) order(next func(abslot.State) (abslot.State, error)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.over {
		return errors.New("the trial was given up, and the machine restarts")
	}
	return n.change(next)
}

// RollBack gives a trial up, or takes back that one is armed.
func (n *node) RollBack(_ context.Context, reason string) error {
	if n.trialFails(reason) {
		return nil
	}
	return n.giveUp(reason)
}

// Reboot restarts the machine in order.
func (n *node) Reboot(context.Context) error {
	n.askForRestart()
	return nil
}
