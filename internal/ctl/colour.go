package ctl

import (
	"os"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/control"
)

// Colours of a terminal (ECMA-48, SGR).
const (
	plain  = ""
	red    = "31"
	green  = "32"
	yellow = "33"
)

// paint colours text where a terminal shows it, and nobody said NO_COLOR
// (no-color.org): escape sequences in a file are a nuisance.
func (p Program) paint(colour, text string) string {
	if colour == plain || os.Getenv("NO_COLOR") != "" || !terminal(p.Stdout) {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// terminal says whether a stream of the program is one.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func phaseColour(p control.Phase) string {
	switch p {
	case control.Ready:
		return green
	case control.Degraded, control.Failed:
		return red
	}
	return yellow
}

func healthColour(state string) string {
	switch state {
	case "ok":
		return plain
	case "bad":
		return red
	}
	return yellow
}
