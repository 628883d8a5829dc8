package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/kmod"
)

// action is a way to end the node.
type action int

const (
	restartNode action = iota
	powerOff
	halt
)

func (a action) String() string {
	switch a {
	case powerOff:
		return "power off"
	case halt:
		return "halt"
	}
	return "restart"
}

// actionOf maps signals as sysvinit and busybox do; others mean nothing here.
func actionOf(sig os.Signal) (action, bool) {
	switch sig {
	case unix.SIGTERM, unix.SIGINT: // INT is ctrl-alt-del
		return restartNode, true
	case unix.SIGUSR2, unix.SIGPWR:
		return powerOff, true
	case unix.SIGUSR1:
		return halt, true
	}
	return 0, false
}

// command is ksinit by one of its other names, or asked for its plan.
func command(name string, args []string) int {
	switch name {
	case "modprobe":
		return kmod.Modprobe(args, os.Stdout, os.Stderr)
	case "reboot":
		return ask(unix.SIGTERM)
	case "poweroff":
		return ask(unix.SIGUSR2)
	case "halt":
		return ask(unix.SIGUSR1)
	case "shutdown":
		return ask(shutdownSignal(args))
	}
	if len(args) == 1 && args[0] == "-plan" {
		text, err := plan()
		if err != nil {
			fmt.Fprintln(os.Stderr, "ksinit: error:", err)
			return 1
		}
		fmt.Print(text)
		return 0
	}
	fmt.Fprintln(os.Stderr, "usage: ksinit -plan    (otherwise it is started by the kernel, as PID 1)")
	return 2
}

// shutdownSignal understands -r, -h, -H and -P of shutdown(8); times and
// messages are not offered.
func shutdownSignal(args []string) unix.Signal {
	for _, a := range args {
		switch a {
		case "-r":
			return unix.SIGTERM
		case "-H":
			return unix.SIGUSR1
		}
	}
	return unix.SIGUSR2
}

func ask(sig unix.Signal) int {
	if err := unix.Kill(1, sig); err != nil {
		fmt.Fprintf(os.Stderr, "error: signal to PID 1: %v\n", err)
		return 1
	}
	return 0
}
