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
	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/bootenv"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/event"
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

// slots are the system slots. What is in the environment block is read once: ksinit
// is the only one that writes it while the system runs.
type slots struct {
	running  abslot.Slot
	onTrial  bool
	deadline time.Duration // of the boot clock

	mu      sync.Mutex
	disk    *bootenv.Disk // nil: problem says why
	problem error
	state   abslot.State
	verdict *control.Verdict
	over    bool // the trial was given up, and the machine is to restart
}

var errNoSlots = errors.New("not started from a slot of an installed disk")

// notKept is why a trial is no good though the node may well get Ready in it: with
// an empty cluster in memory, the other one being on a data partition that this
// version cannot use.
const notKept = "the data partition could not be mounted for writing: all that the cluster has would be lost with this version"

// readSlots says what this boot is: an ordinary one, a trial, or one after a trial
// that failed. Copies that a power cut tore are mended.
func (n *node) readSlots(ctx context.Context) error {
	s := &slots{running: abslot.ParseSlot(n.args.Slot), problem: errNoSlots}
	outcome, err := n.lookAtSlots(ctx, s)
	s.onTrial = outcome == abslot.TrialRunning
	n.mu.Lock()
	n.slots = s
	n.mu.Unlock()
	if s.onTrial {
		n.beginTrial(s)
	}
	return err
}

func (n *node) lookAtSlots(ctx context.Context, s *slots) (outcome abslot.Outcome, err error) {
	if s.running == abslot.None {
		boot.Note(ctx, "%v", errNoSlots)
		return outcome, nil
	}
	if s.disk, s.problem = bootenv.Find("/sys", "/dev"); s.problem != nil {
		return outcome, boot.Degraded(fmt.Errorf("no updates: %w", s.problem))
	}
	var notes []error
	var mended bool
	if s.state, mended, s.problem = s.disk.Heal(s.running, n.args.Trial); s.problem != nil {
		// A trial whose block cannot be written can be given up only by its tries.
		notes = append(notes, fmt.Errorf("no updates: %w", s.problem))
	}
	if mended {
		boot.Note(ctx, "a copy of the slot state was damaged, and is mended")
	}
	s.verdict = readVerdict(filepath.Join(updateDir, verdictFile))
	outcome = s.state.Outcome(s.running, n.args.Trial)
	boot.Note(ctx, "%v runs (%v): %v", s.running, outcome, s.state)
	if outcome == abslot.TrialFailed {
		reason := "its kernel could not be loaded"
		if s.state.Tries == 0 {
			reason = fmt.Sprintf("%d starts without a verdict: %s", abslot.MaxTries, n.lastBoot)
		}
		notes = append(notes, fmt.Errorf("slot %v: %s: slot %v is used", s.state.Trial, reason, s.running), s.giveUp(reason))
	}
	return outcome, boot.Degraded(errors.Join(notes...))
}

// giveUp ends the trial in the environment block, and keeps the reason first: what
// ended without one is found out by nobody.
func (s *slots) giveUp(reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.Armed() {
		return errors.New("no trial is armed")
	}
	next, err := s.state.Rollback()
	if err != nil {
		return err
	}
	v := &control.Verdict{Slot: s.state.Trial.String(), Reason: reason, Time: time.Now().UTC(), Generation: next.Generation}
	text, keepErr := json.Marshal(v)
	if keepErr == nil {
		keepErr = atomicfile.Write(filepath.Join(updateDir, verdictFile), append(text, '\n'), 0o600)
	}
	s.verdict = v
	return errors.Join(keepErr, s.change(abslot.State.Rollback))
}

// change brings another state to the disk; the lock is held.
func (s *slots) change(next func(abslot.State) (abslot.State, error)) error {
	if s.disk == nil {
		return s.problem
	}
	state, err := s.disk.Change(next)
	if err == nil {
		s.state = state
	}
	return err
}

func readVerdict(path string) *control.Verdict {
	text, err := os.ReadFile(path)
	var v control.Verdict
	if err != nil || json.Unmarshal(text, &v) != nil {
		return nil // it only tells why
	}
	return &v
}

// beginTrial gives the trial its time. A service in a crash loop ends it too (see
// trialFails), and the watchdog and the kernel's panic end what hangs. One without
// the data of the node ends at once, unless it was asked for that.
func (n *node) beginTrial(s *slots) {
	deadline := trialDeadline
	if d := n.config.Update.Deadline; d > 0 {
		deadline = time.Duration(d)
	}
	s.mu.Lock()
	s.deadline = deadline
	s.mu.Unlock()
	if !n.kept && !n.args.NoPersist {
		n.trialFails(notKept)
		return
	}
	n.console.line("ok", "slot %v is on trial until %.0f s: it must be found good by then", s.running, deadline.Seconds())
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
	s.mu.Lock()
	ends := s.onTrial && !s.over
	s.over = s.over || ends
	s.mu.Unlock()
	if !ends {
		return false
	}
	if err := s.giveUp(reason); err != nil {
		n.console.line("degraded", "slot %v: %v: GRUB gives it up after its tries", s.running, err)
	}
	n.console.line("failed", "slot %v: %s: slot %v is started again", s.running, reason, s.running.Other())
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
		return send(s.report())
	}
	if s.problem != nil {
		return s.problem
	}
	n.log.Info("asked by the control socket", "action", r.Verb, "slot", r.Slot, "reason", r.Reason)
	if r.Verb == control.VerbRollBack {
		if n.trialFails(r.Reason) {
			return nil
		}
		return s.giveUp(r.Reason) // of what is armed and was not started
	}
	if !n.kept {
		return fmt.Errorf("slot %v is not changed to: %s", s.running, notKept)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return errors.New("the trial was given up, and the machine restarts")
	}
	next := func(x abslot.State) (abslot.State, error) { return x.Commit(s.running) }
	if r.Verb == control.VerbArm {
		next = func(x abslot.State) (abslot.State, error) { return x.Arm(abslot.ParseSlot(r.Slot), abslot.MaxTries) }
	}
	if err := s.change(next); err != nil {
		return err
	}
	s.onTrial = s.onTrial && r.Verb != control.VerbCommit
	n.console.line("ok", "slots: %v", s.state)
	return nil
}

func (s *slots) report() control.Slots {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := control.Slots{OnTrial: s.onTrial, Verdict: s.verdict}
	if s.running != abslot.None {
		out.Running = s.running.String()
	}
	if s.problem != nil {
		out.Problem = s.problem.Error()
		return out
	}
	out.Good, out.Tries, out.Generation = s.state.Good.String(), s.state.Tries, s.state.Generation
	if s.state.Armed() {
		out.Trial = s.state.Trial.String()
	}
	if s.onTrial {
		out.Deadline = s.deadline.Seconds()
	}
	out.Device, _ = s.disk.Slot(s.running)
	passive := s.running.Other()
	device, size := s.disk.Slot(passive)
	out.Passive = control.Passive{Slot: passive.String(), Device: device, Size: size}
	return out
}
