package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/bootenv"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/slots"
)

const (
	updateDir = dataDir + "/update"
	// verdictFile says why the last trial ended, for the agent of the slot that
	// runs after it.
	verdictFile = "verdict.json"
	// trialDeadline is how long a trial may take to be found good, from the
	// kernel's start, unless the configuration says otherwise.
	trialDeadline = 10 * time.Minute
)

var errNoSlots = errors.New("not started from a slot of an installed disk")

// notKept is why a trial is no good though the node may well get Ready in it: with
// an empty cluster in memory, the other one being on a data partition that this
// version cannot use.
const notKept = "the data partition could not be mounted for writing: all that the cluster has would be lost with this version"

// readSlots says what this boot is: an ordinary one, a trial, or one after a trial
// that failed. Copies that a power cut tore are mended.
func (n *node) readSlots(ctx context.Context) error {
	s, err := n.lookAtSlots(ctx)
	n.mu.Lock()
	n.slots = s
	n.mu.Unlock()
	if s.OnTrial() {
		n.beginTrial(s)
	}
	return boot.Degraded(err)
}

func (n *node) lookAtSlots(ctx context.Context) (*slots.Slots, error) {
	running := abslot.ParseSlot(n.args.Slot)
	if running == abslot.None {
		boot.Note(ctx, "%v", errNoSlots)
		return slots.Without(running, errNoSlots), nil
	}
	disk, err := bootenv.Find("/sys", "/dev")
	if err != nil {
		return slots.Without(running, err), fmt.Errorf("no updates: %w", err)
	}
	s, found, err := slots.Open(slots.Options{Disk: disk, Running: running, Trial: n.args.Trial,
		VerdictFile: filepath.Join(updateDir, verdictFile), LastBoot: n.lastBoot})
	if found.Mended {
		boot.Note(ctx, "a copy of the slot state was damaged, and is mended")
	}
	boot.Note(ctx, "%v runs (%v): %v", running, found.Outcome, found.State)
	if found.Failed != "" {
		err = errors.Join(fmt.Errorf("slot %v: %s: slot %v is used", running.Other(), found.Failed, running), err)
	}
	return s, err
}

// beginTrial gives the trial its time. A service in a crash loop ends it too (see
// trialFails), and the watchdog and the kernel's panic end what hangs. One without
// the data of the node ends at once, unless it was asked for that.
func (n *node) beginTrial(s *slots.Slots) {
	deadline := trialDeadline
	if d := n.config.Update.Deadline; d > 0 {
		deadline = time.Duration(d)
	}
	s.SetDeadline(deadline)
	if !n.kept && !n.args.NoPersist {
		n.trialFails(notKept)
		return
	}
	n.console.line("ok", "slot %v is on trial until %.0f s: it must be found good by then", s.Running(), deadline.Seconds())
	left := deadline - time.Duration(event.Now()*float64(time.Second))
	n.background("trial", func() {
		time.Sleep(left)
		n.trialFails(fmt.Sprintf("not found good within %v", deadline))
	})
}

// trialFails ends a trial that is still on, and restarts the machine into the other
// slot. Outside of a trial it does nothing.
func (n *node) trialFails(reason string) bool {
	n.mu.Lock()
	s := n.slots
	n.mu.Unlock()
	if s == nil {
		return false
	}
	ends, err := s.EndTrial(reason)
	if !ends {
		return false
	}
	if err != nil {
		n.console.line("degraded", "slot %v: %v: GRUB gives it up after its tries", s.Running(), err)
	}
	n.console.line("failed", "slot %v: %s: slot %v is started again", s.Running(), reason, s.Running().Other())
	n.events.Emit(event.Event{Type: event.Update, Name: imageVersion("/etc/os-release"), State: "rolled-back", Message: reason})
	if err := n.askFor(restartNode); err != nil {
		n.log.Warn("trial", "err", err) // it goes down anyway
	}
	return true
}

// handleSlots shows the slots, and carries out the orders of an update.
func (n *node) handleSlots(r control.Request, send func(any) error) error {
	n.mu.Lock()
	s := n.slots
	n.mu.Unlock()
	if s == nil {
		return errors.New("the slots are not looked at yet: see timeline")
	}
	if r.Verb == control.VerbSlots {
		return send(s.Report())
	}
	if err := s.Problem(); err != nil {
		return err
	}
	n.log.Info("asked by the control socket", "action", r.Verb, "slot", r.Slot, "reason", r.Reason)
	if r.Verb == control.VerbRollBack {
		if n.trialFails(r.Reason) {
			return nil
		}
		return s.GiveUp(r.Reason) // of what is armed and was not started
	}
	if !n.kept {
		return fmt.Errorf("slot %v is not changed to: %s", s.Running(), notKept)
	}
	order := s.Commit
	if r.Verb == control.VerbArm {
		order = func() error { return s.Arm(abslot.ParseSlot(r.Slot)) }
	}
	if err := order(); err != nil {
		return err
	}
	n.console.line("ok", "slots: %v", s.State())
	return nil
}
