package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/health"
	"kubesolo.io/os/internal/update"
	"kubesolo.io/os/internal/update/kube"
	"kubesolo.io/os/internal/update/metrics"
	"kubesolo.io/os/internal/update/target"
)

const (
	updateDir    = "/var/lib/update"
	agentSocket  = "/run/ksagent/control.sock"
	engineFile   = "/etc/kubesolo-os/engine"
	updateChange = 10 * time.Second // how soon something that was plugged in is looked at
)

// updater wires the engine of updates to this node.
type updater struct {
	agent   *agent
	ksinit  update.Ksinit
	engine  *update.Engine
	finder  *finder
	source  kubeconfigSource
	runtime health.Runtime
	medium  chan struct{}
	version string

	mu     sync.Mutex
	report health.Report
}

func (a *agent) newUpdater(runtime health.Runtime) (*updater, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	u := &updater{agent: a, ksinit: update.Ksinit{Socket: control.Socket}, source: kubeconfigSource{path: a.kubeconfig}, runtime: runtime,
		medium: make(chan struct{}, 1), version: version("/etc/os-release")}
	u.finder = newFinder(u)
	u.engine = update.New(update.Options{
		File: update.StateFile, Version: u.version, Boot: strings.TrimSpace(string(boot)),
		Node: u.ksinit, Data: database{}, Find: u.finder.find, Gates: u.gates, Verify: target.Verify, Evidence: u.evidence,
		Settings: u.settings, Medium: u.medium, Sink: eventSink{a}, Log: a.log,
	})
	return u, nil
}

// run works until ctx ends.
func (u *updater) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { u.watchMedia(ctx) })
	wg.Go(func() { u.serve(ctx) })
	wg.Go(func() { u.objects(ctx) })
	wg.Go(func() {
		if err := metrics.Run(ctx, metrics.Address, u.engine.Status, u.ready); err != nil && ctx.Err() == nil {
			u.agent.log.Warn("no metrics", "err", err)
		}
	})
	u.engine.Run(ctx)
}

// serve answers ksctl update.
func (u *updater) serve(ctx context.Context) {
	l, err := control.Listen(agentSocket)
	if err != nil {
		u.agent.log.Error("ksctl update has nobody to ask", "err", err)
		return
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	if err := control.Serve(l, update.Handler(u.engine)); err != nil && ctx.Err() == nil {
		u.agent.log.Error("ksctl update has nobody to ask from now on", "err", err)
	}
}

// objects carries out what the cluster's OSUpdates ask for.
func (u *updater) objects(ctx context.Context) {
	name, err := os.Hostname()
	if err != nil {
		u.agent.log.Error("OSUpdates are not carried out", "err", err)
		return
	}
	source := kubeconfigSource{path: u.agent.kubeconfig}
	(&kube.Controller{API: source.client, Updater: u.engine, Node: name, Told: kube.ToldFile, Log: u.agent.log}).Run(ctx)
}

// saw takes the last report on the node's health.
func (u *updater) saw(r health.Report) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.report = r
}

func (u *updater) ready() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.report.Ready()
}

// configuration is what the boot found; a node that cannot read it has the
// defaults, of which the first is to do nothing by itself.
func (u *updater) configuration() config.Update {
	c, _, err := config.ReadEffective(config.EffectiveDir)
	if err != nil {
		u.agent.log.Debug("updates: configuration", "err", err)
		return config.Update{Channel: config.DefaultChannel, Auto: config.AutoOff}
	}
	return c.Update
}

func (u *updater) settings() update.Settings {
	c := u.configuration()
	s := update.Settings{Healthy: time.Duration(c.HealthyFor), Apply: c.Auto == config.AutoApply}
	s.Download = s.Apply || c.Auto == config.AutoDownload
	if c.Source != "" && c.Auto != config.AutoOff {
		s.Every = time.Duration(c.CheckEvery)
	}
	// ksinit runs a configuration with mistakes too: a trial that has to be
	// healthy for longer than it may last could never pass.
	if s.Healthy <= 0 || s.Healthy >= time.Duration(c.Deadline) {
		s.Healthy = 30 * time.Second
	}
	return s
}

// watchMedia looks at the names of the block devices, which costs nothing, and
// tells the engine when there is a new one.
func (u *updater) watchMedia(ctx context.Context) {
	known := blockDevices()
	tick := time.NewTicker(updateChange)
	defer tick.Stop()
	// What is there at the start counts as plugged in: a node that is installed
	// at a site without a network boots with the stick in it.
	for first := true; ; first = false {
		now := blockDevices()
		fresh := first
		for name := range now {
			fresh = fresh || !known[name]
		}
		if known = now; fresh && u.configuration().USB {
			select {
			case u.medium <- struct{}{}:
			default:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func blockDevices() map[string]bool {
	names := map[string]bool{}
	entries, err := os.ReadDir("/sys/class/block")
	if err != nil {
		return names
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "loop") && !strings.HasPrefix(e.Name(), "zram") {
			names[e.Name()] = true
		}
	}
	return names
}

// database is the node's own, by the command that keeps its copies. An official
// KubeSolo release has none: its database is not copied.
type database struct{}

func (database) Copy(ctx context.Context) (string, error) {
	if engine, err := os.ReadFile(engineFile); err != nil || strings.TrimSpace(string(engine)) != "solonode" {
		return "", nil
	}
	out, err := kubesoloState(ctx, "copy", "-o", "json")
	if err != nil {
		return "", err
	}
	var made struct{ Name string }
	if err := json.Unmarshal(out, &made); err != nil || made.Name == "" {
		return "", fmt.Errorf("kubesolo state copy answered %.200q", out)
	}
	return made.Name, nil
}

func (database) Restore(ctx context.Context, name string) error {
	_, err := kubesoloState(ctx, "restore", name)
	return err
}

func kubesoloState(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/local/bin/kubesolo", append([]string{"state"}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("kubesolo state %s: %w: %.500s", args[0], err, strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}

// probeWrite writes, syncs and reads back a KiB of the data partition.
func probeWrite(dir string) error {
	path := filepath.Join(dir, ".probe")
	want := make([]byte, 1024)
	copy(want, time.Now().String())
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(want)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		var got []byte
		if got, err = os.ReadFile(path); err == nil && string(got) != string(want) {
			err = errors.New("what was written does not read back")
		}
	}
	return errors.Join(err, os.Remove(path))
}
