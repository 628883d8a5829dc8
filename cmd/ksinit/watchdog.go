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
	watchdogDevice = "/dev/watchdog"
	// The hardware resets the machine when it was not fed for so long.
	// Chips differ in what they can; they take the nearest.
	watchdogTimeout = 30 * time.Second
	watchdogEvery   = 5 * time.Second
)

// watchdog is the hardware's timer that resets a machine whose PID 1 hangs.
type watchdog struct {
	f    *os.File
	stop chan struct{}
}

// startWatchdog feeds the watchdog, if the machine has one, as long as the
// main loop and the supervisor answer.
func (n *node) startWatchdog(ctx context.Context) error {
	f, err := os.OpenFile(watchdogDevice, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		boot.Note(ctx, "this machine has none")
		return nil
	}
	if err != nil {
		return err
	}
	w := &watchdog{f: f, stop: make(chan struct{})}
	w.setTimeout(watchdogTimeout)
	n.mu.Lock()
	n.watchdog = w
	n.mu.Unlock()
	boot.Note(ctx, "resets the machine %v after ksinit hangs", watchdogTimeout)
	n.background("watchdog", func() { n.feed(w) })
	return nil
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
