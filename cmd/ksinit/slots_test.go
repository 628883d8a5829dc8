package main

import (
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/abslottest"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/slots"
)

// trialNode is a node whose slot B is on trial.
func trialNode(t *testing.T, kept, noPersist bool) *node {
	t.Helper()
	state, err := abslot.First(abslot.A).Arm(abslot.B, abslot.MaxTries)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := abslottest.NewDisk(state)
	if err != nil {
		t.Fatal(err)
	}
	slot, trial := disk.Boot()
	s, _, err := slots.Open(slots.Options{Disk: disk, Running: slot, Trial: trial, VerdictFile: filepath.Join(t.TempDir(), verdictFile)})
	if err != nil || !s.OnTrial() {
		t.Fatal("not on trial", err)
	}
	n := &node{
		console: newConsole(io.Discard), log: slog.New(slog.DiscardHandler), events: event.NewLog(16),
		asked: make(chan action, 1), kept: kept,
		slots: s,
	}
	n.args.NoPersist = noPersist
	n.config.Update.Deadline = config.Duration(1000 * time.Hour) // of the boot clock, which is this machine's
	n.beginTrial(s)
	return n
}

// A version that cannot mount the data partition runs from memory, gets Ready there
// with an empty cluster, and was found good.
func TestTrialWithoutData(t *testing.T) {
	n := trialNode(t, false, false)
	select {
	case a := <-n.asked:
		if a != restartNode {
			t.Errorf("%v", a)
		}
	default:
		t.Error("the trial goes on without the data partition")
	}
	events := n.events.Events()
	if len(events) != 1 || events[0].State != "rolled-back" || !strings.Contains(events[0].Message, "data partition") {
		t.Errorf("%+v", events)
	}
}

func TestTrialGoesOn(t *testing.T) {
	for name, n := range map[string]*node{
		"with its data":              trialNode(t, true, false),
		"nothing is kept, as wanted": trialNode(t, false, true), // its deadline ends it
	} {
		if len(n.asked) != 0 || len(n.events.Events()) != 0 {
			t.Errorf("%s: ended: %+v", name, n.events.Events())
		}
	}
}

func TestOnlyWhatKeepsIsCommitted(t *testing.T) {
	commit := func(n *node) error {
		return n.handleSlots(control.Request{Verb: control.VerbCommit}, func(any) error { return nil })
	}
	if err := commit(trialNode(t, false, true)); err == nil || !strings.Contains(err.Error(), "data partition") {
		t.Errorf("committed from memory: %v", err)
	}
	if err := commit(trialNode(t, true, false)); err != nil {
		t.Error(err)
	}
}
