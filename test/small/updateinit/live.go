package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/health"
	"kubesolo.io/os/internal/update"
	"kubesolo.io/os/internal/update/target"
	"kubesolo.io/os/test/small/guest"
)

const stateFile = updateDir + "/state.json"

// live runs the engine of updates until there is nothing left to do, or until the
// machine is to restart. A look ends before a download too.
func (n *node) live(i image, look bool) (restart bool, err error) {
	before, err := update.Load(stateFile)
	if err != nil {
		return false, err // no power cut may tear it
	}
	n.found.Phase = string(before.Phase)
	guest.Say(n.found)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return false, err
	}
	data := database{dir: filepath.Join(dataDir, "kubesolo")}
	if err := data.open(i.version); err != nil {
		return false, err
	}
	find, err := newFinder(n, i)
	if err != nil {
		return false, err
	}
	// What is there at the start counts as plugged in.
	medium := make(chan struct{}, 1)
	medium <- struct{}{}
	engine := update.New(update.Options{
		File: stateFile, Version: i.version, Boot: strings.TrimSpace(string(boot)),
		Node: n, Data: data, Find: find.find, Verify: target.Verify,
		Gates:    func(context.Context, update.State) string { return "" },
		Evidence: func(context.Context) update.Evidence { return evidence(i) },
		Settings: func() update.Settings { return update.Settings{} },
		Medium:   medium, Sink: event.NewLog(1), Log: slog.New(slog.NewTextHandler(os.Stdout, nil)),
	})
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		engine.Run(ctx)
	}()
	defer func() {
		end()
		<-ended
	}()
	checked, checking, failing := make(chan error, 1), false, false
	patience := time.Now().Add(10 * time.Minute)
	for {
		s := engine.Status()
		much := slices.Contains([]update.Phase{update.Downloading, update.Staged}, s.State.Phase) ||
			// By the file it is armed too while the engine has not looked at the slots yet.
			s.State.Phase == update.Armed && n.armed()
		if look && much {
			return false, n.end(guest.Ended{}, s, data)
		}
		if i.kind == unhealthy && !failing {
			noted, err := update.Load(stateFile)
			if failing = err == nil && noted.Phase == update.Judging; failing {
				time.AfterFunc(time.Second, func() { n.trialFails("never healthy") })
			}
		}
		if !checking && !s.State.Phase.Busy() {
			// Is there anything else? It answers when it has nothing to do.
			checking = true
			go func() { checked <- engine.Order(ctx, update.Order{Verb: update.Check, By: "updateinit"}) }()
		}
		select {
		case <-n.restart:
			return true, n.end(guest.Ended{Restart: true}, engine.Status(), data)
		case err := <-checked:
			checking = false
			s := engine.Status()
			switch {
			case s.State.Phase.Busy(): // with what was plugged in
			case err != nil && (s.Available == nil || s.Available.Error == "") && time.Now().Before(patience):
				// A slow machine looks at the medium for longer than an order waits to
				// be heard: it is asked again. What it answers is taken as it is.
			case err != nil:
				return false, err
			case s.Available.Version == "":
				return false, n.end(guest.Ended{Settled: true}, s, data)
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// end says where the update is, by the disk and not by what is remembered. The
// argument says how it ends.
func (n *node) end(e guest.Ended, s update.Status, data database) error {
	database, err := data.read()
	if err != nil {
		return err
	}
	copies, err := n.disk.Read()
	if err != nil {
		return err
	}
	state, _, err := copies.Choose()
	if err != nil {
		return err
	}
	e.Phase, e.Message, e.Database = string(s.State.Phase), s.State.Message, database
	e.Good, e.Trial, e.Tries, e.Generation = state.Good.String(), state.Trial.String(), state.Tries, state.Generation
	for _, r := range s.State.Refused {
		e.Refused = append(e.Refused, r.Version)
	}
	guest.Say(e)
	return nil
}

// evidence of a trial: all is well, or CoreDNS never runs.
func evidence(i image) update.Evidence {
	dns := health.OK
	if i.kind == unhealthy {
		dns = health.Waiting
	}
	return update.Evidence{Now: time.Now(), Engine: 1, Health: health.Report{
		{Name: health.API, State: health.OK}, {Name: health.Node, State: health.OK}, {Name: health.CoreDNS, State: dns}}}
}
