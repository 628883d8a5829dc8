package main

import (
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/bootlog"
	"kubesolo.io/os/internal/cgroup"
	"kubesolo.io/os/internal/cmdline"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/klog"
	"kubesolo.io/os/internal/kmod"
	"kubesolo.io/os/internal/netcfg/manager"
	"kubesolo.io/os/internal/reap"
	"kubesolo.io/os/internal/slots"
	"kubesolo.io/os/internal/supervise"
)

// fatalDelay leaves time to read the last message before a restart.
const fatalDelay = 10 * time.Second

// node is what the boot steps find out and hand on. A field is written by one
// step and read by those that need or follow it, or after the boot.
type node struct {
	console *console
	log     *slog.Logger
	level   *slog.LevelVar
	events  *event.Log
	state   *control.State // what the events add up to
	reaper  *reap.Reaper
	asked   chan action
	alive   chan chan struct{} // answered by the main loop
	results []boot.Result

	args     cmdline.Args
	warnings []cmdline.Warning
	index    func() (*kmod.Tree, error) // of the modules; read once, 0.1 s under emulation
	modules  func() (*kmod.Tree, error) // the same, for steps after "arguments", which does not wait for it
	hardware func() (*kmod.Hardware, error)
	// Closed when the drivers of disks, and when all drivers are loaded.
	disksReady, driversLoaded chan struct{}
	groups                    *cgroup.Tree
	writable                  bool       // /data can be written, be it a disk or memory
	kept                      bool       // and what is written there is there at the next boot
	watchdogFired             bool       // it says that it caused the last reset
	volume                    []document // of the configuration volume
	good                      string     // directory of the documents that led to a healthy node
	parts                     []config.Part
	lastBoot                  string                 // how it ended, in words
	fresh                     map[string]config.Part // of files, to keep once the node is healthy
	config                    config.Config
	nodeIP                    netip.Addr

	mu         sync.Mutex // guards what follows: used by the boot and by the way down
	supervisor *supervise.Supervisor
	stopNet    func()
	network    *manager.Manager
	page       *page
	sockets    []io.Closer // files of sockets keep /run busy
	slots      *slots.Slots
	watchdog   *watchdog
	bootLog    *bootlog.Recorder
	mark       *bootlog.Mark     // of this boot; nil until that of the last was read
	exits      map[string]string // by service why it ended, by check how it stood: as the console said it last

	mediumMu sync.Mutex
	medium   func() error // lets go of the medium with updates; nil: none is mounted
}

func newNode(stdout io.Writer) *node {
	level := &slog.LevelVar{}
	state := control.NewState()
	n := &node{
		console: newConsole(stdout), level: level, events: event.NewLog(4096, state), state: state,
		reaper: reap.New(), asked: make(chan action, 1), alive: make(chan chan struct{}),
		fresh: map[string]config.Part{}, exits: map[string]string{}, good: stateDir, index: sync.OnceValues(openModules),
		disksReady: make(chan struct{}), driversLoaded: make(chan struct{}),
	}
	n.modules = sync.OnceValues(n.modulesWithArgs)
	n.hardware = sync.OnceValues(func() (*kmod.Hardware, error) { return kmod.Scan("/sys") })
	n.log = slog.New(klog.NewHandler(n.openLog(), "ksinit", level))
	return n
}

// openLog gives the kernel's log, or nothing in a machine without one.
func (n *node) openLog() io.Writer {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return io.Discard
	}
	// The crash of a goroutine is then in the log that the next boot's
	// pstore shows, and not only on a console nobody watched.
	if err := debug.SetCrashOutput(f, debug.CrashOptions{}); err != nil {
		n.console.line("degraded", "log: crash output: %v", err)
	}
	return f
}

// background runs f in a goroutine of its own; its panic is an error message.
func (n *node) background(name string, f func()) {
	go func() {
		defer func() {
			if p := recover(); p != nil {
				n.log.Error("panic", "in", name, "value", p, "stack", string(debug.Stack()))
				n.console.line("failed", "%s: internal error: %v", name, p)
			}
		}()
		f()
	}()
}

// Emit implements event.Sink for the supervisor and for other programs.
func (n *node) Emit(e event.Event) {
	if e.Type == event.Alive {
		if s := n.running(); s != nil {
			s.Beat(e.Name)
		}
		return
	}
	n.events.Emit(e)
	switch e.Type {
	case event.Service:
		n.showService(e)
	case event.Health:
		n.showHealth(e)
	case event.Ready:
		n.console.line("ok", "node is ready: %s", e.Message)
		n.log.Info("node is ready", "version", e.Message)
		n.background("last good configuration", n.keepConfig)
	}
}

// showService puts on the console what a person waits for or must know; the
// rest is in the log. A service that cannot start says so once and then as
// failed, not at every try.
func (n *node) showService(e event.Event) {
	n.log.Info(e.State, "service", e.Name, "message", e.Message)
	switch supervise.State(e.State) {
	case supervise.Ready:
		n.exitIsNew(e.Name, "")
		n.console.line("ok", "service %s: ready after %.1f s", e.Name, e.Duration)
	case supervise.Exited:
		if n.exitIsNew(e.Name, e.Message) {
			n.console.line("degraded", "service %s: %s", e.Name, e.Message)
		}
	case supervise.Failed:
		n.console.line("failed", "service %s: %s", e.Name, e.Message)
		n.trialFails("service " + e.Name + " is in a crash loop: " + e.Message)
	}
}

// showHealth tells a serial line what the page tells a screen: what the node waits
// for, and what was well and is no more. Another message alone is no line.
func (n *node) showHealth(e event.Event) {
	n.log.Info("health", "name", e.Name, "state", e.State, "message", e.Message)
	if !n.exitIsNew("check "+e.Name, e.State) {
		return
	}
	state := e.State
	if state == "bad" { // event.Health
		state = "degraded"
	}
	n.console.line(state, "%s", strings.TrimSuffix("health "+e.Name+": "+e.Message, ": "))
}

// exitIsNew remembers why a service ended, and tells whether that is another
// reason than the last time.
func (n *node) exitIsNew(service, reason string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.exits[service]
	n.exits[service] = reason
	return reason != before
}
