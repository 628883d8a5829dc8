package main

import (
	"context"
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/boot"
)

const (
	watchdogDevice   = "/dev/watchdog"
	softwareWatchdog = "softdog"
	// The hardware resets the machine when it was not fed for so long.
	// Chips differ in what they can; they take the nearest.
	watchdogTimeout = 30 * time.Second
	watchdogEvery   = 5 * time.Second
)

// watchdog is a timer that resets a machine whose PID 1 hangs.
type watchdog struct {
	f    *os.File
	stop chan struct{}
}

// startWatchdog feeds the watchdog as long as the main loop and the supervisor
// answer. On a machine without one the kernel's timers stand in (softdog): they
// notice a PID 1 that hangs, but no kernel that does.
func (n *node) startWatchdog(ctx context.Context) error {
	f, err := os.OpenFile(watchdogDevice, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		if err := n.loadSoftdog(); err != nil {
			boot.Note(ctx, "this machine has none, and none stands in: %v", err)
			return nil
		}
		f, err = os.OpenFile(watchdogDevice, os.O_WRONLY, 0)
	}
	if err != nil {
		return err
	}
	w := &watchdog{f: f, stop: make(chan struct{})}
	// Before anything else: some drivers forget it at the first feeding.
	n.watchdogFired = w.fired()
	w.setTimeout(watchdogTimeout)
	n.mu.Lock()
	n.watchdog = w
	n.mu.Unlock()
	boot.Note(ctx, "%s resets the machine %v after ksinit hangs", w.identity(), watchdogTimeout)
	n.background("watchdog", func() { n.feed(w) })
	return nil
}

// loadSoftdog makes it end in a panic, not in a bare reset: pstore then knows
// why the machine was reset.
func (n *node) loadSoftdog() error {
	tree, err := n.modules()
	if err != nil {
		return err
	}
	return tree.Load(softwareWatchdog, "soft_panic=1")
}

func (n *node) feed(w *watchdog) {
	for {
		if err := n.lives(); err != nil {
			n.log.Error("watchdog is not fed", "err", err)
		} else if _, err := w.f.Write([]byte{0}); err != nil {
			n.log.Error("watchdog", "err", err)
		}
		select {
		case <-time.After(watchdogEvery):
		case <-w.stop:
			return
		}
	}
}

// lives asks the main loop and every service's loop for a sign of life.
func (n *node) lives() error {
	reply := make(chan struct{}, 1)
	select {
	case n.alive <- reply:
	case <-time.After(watchdogEvery):
		return errors.New("the main loop does not answer")
	}
	if s := n.running(); s != nil {
		return s.Alive()
	}
	return nil
}

// lastFeed gives the way down its time and a margin, then the hardware takes
// over. A halted machine is to stay so: 'V' switches the watchdog off, where
// the driver lets it (Documentation/watchdog/watchdog-api.rst).
func (w *watchdog) lastFeed(a action) {
	close(w.stop)
	w.setTimeout(downLimit + watchdogTimeout)
	_, _ = w.f.Write([]byte{0})
	if a == halt {
		_, _ = w.f.WriteString("V")
		_ = w.f.Close()
	}
}

// setTimeout asks for a time; a chip that refuses keeps its own.
func (w *watchdog) setTimeout(d time.Duration) {
	seconds := int32(d.Seconds())
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, w.f.Fd(), unix.WDIOC_SETTIMEOUT, uintptr(unsafe.Pointer(&seconds)))
}

// fired tells whether the watchdog says that it caused the last reset.
func (w *watchdog) fired() bool {
	status, err := unix.IoctlGetInt(int(w.f.Fd()), unix.WDIOC_GETBOOTSTATUS)
	return err == nil && status&unix.WDIOF_CARDRESET != 0
}

// identity is the name that the driver gives itself, such as "i6300ESB timer".
func (w *watchdog) identity() string {
	info, err := unix.IoctlGetWatchdogInfo(int(w.f.Fd()))
	if err != nil {
		return watchdogDevice
	}
	return unix.ByteSliceToString(info.Identity[:])
}
