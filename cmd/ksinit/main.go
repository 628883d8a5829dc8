package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	// First of all: a SIGHUP that nobody asked for ends a Go program, and
	// the end of PID 1 is a kernel panic. So does a SIGSEGV that somebody
	// sends, unless it is asked for; one of our own making is a Go panic
	// in either case.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, allSignals()...)

	if os.Getpid() != 1 {
		os.Exit(command(filepath.Base(os.Args[0]), os.Args[1:]))
	}
	catchUncaught()
	// A few MB are what PID 1 needs. Until it has booted it collects nothing
	// below the limit: at 50 % of a heap that small the collector took 0.3 s of
	// the boot under emulation.
	debug.SetMemoryLimit(24 << 20)
	debug.SetGCPercent(-1)
	// Ctrl-alt-del is our SIGINT, not the kernel's instant reset. Refused
	// in a PID namespace, where there is no such key.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)

	if _, err := os.Stat(rootImage); err == nil {
		err := initramfs() // returns only on failure
		fmt.Fprintf(os.Stderr, "ksinit: error: %v\nksinit: the boot cannot go on; restarting in 10 s\n", err)
		time.Sleep(fatalDelay)
		restart()
	}
	system(signals)
}

// system is PID 1 of the running system. It never returns.
func system(signals <-chan os.Signal) {
	n := newNode(os.Stdout)
	ctx, cancel := context.WithCancel(context.Background())
	booted := make(chan error, 1)
	n.background("boot", func() { booted <- n.boot(ctx) })
	action := restartNode
	for going := true; going; {
		select {
		case sig := <-signals:
			if a, ok := actionOf(sig); ok {
				n.log.Info("signal", "name", unix.SignalName(sig.(unix.Signal)), "action", a.String())
				action, going = a, false
			}
		case err := <-booted:
			if err != nil && ctx.Err() == nil {
				n.background("emergency", func() { n.emergency(ctx, err) })
			}
		case a := <-n.asked:
			action, going = a, false
		case reply := <-n.alive:
			reply <- struct{}{}
		}
	}
	cancel()
	n.shutdown(action)
	select {} // reboot(2) was refused; PID 1 must not end
}
