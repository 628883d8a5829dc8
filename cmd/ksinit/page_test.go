package main

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/control"
)

func TestPageLines(t *testing.T) {
	s := control.Status{
		Hostname: "kubesolo", Version: "0.1.0 (4f0c2ab19d77)", Slot: "A", Uptime: 3725, Phase: control.Degraded, Ready: "0.1.0", ReadyAt: 49.3,
		Addresses: []string{"10.0.2.15/24", "fd00::1/64"}, Waiting: []string{"service kubesolo (backoff)"},
		LastError: &control.Problem{Time: 59.9, Source: "service kubesolo", Message: "killed\n\x1b[2Jby \u00e4 " + strings.Repeat("x", 80)},
	}
	want := []string{
		" KubeSolo OS 0.1.0 (4f0c2ab19d77)   slot A   up 1h2m",
		"",
		" node        kubesolo   10.0.2.15/24 fd00::1/64",
		" state       degraded, ready 49s after the start",
		" waiting for service kubesolo (backoff)",
		" last error  service kubesolo, 59s after the start: killed  [2Jby   xxxxxxxxxxxx",
		"",
	}
	got := pageLines(s, 80)
	if len(got) != pageRows || len(got) != len(want) {
		t.Fatalf("%d lines, want %d", len(got), pageRows)
	}
	for i, line := range got {
		if len(line) != 80 || strings.TrimRight(line, " ") != want[i] {
			t.Errorf("line %d: %d columns\ngot  %q\nwant %q", i, len(line), line, want[i])
		}
	}
	nothing := strings.Join(pageLines(control.Status{Phase: control.Booting, Version: "unknown"}, 40), "|")
	if !strings.Contains(nothing, "waiting for nothing") || !strings.Contains(nothing, "last error  none") {
		t.Errorf("got %q", nothing)
	}
}

// A drawing moves the cursor only to come back, and is one write that a terminal
// takes in one piece (2 KiB, drivers/tty/tty_io.c).
func TestDrawing(t *testing.T) {
	got := drawing(pageLines(control.Status{Hostname: strings.Repeat("x", 500)}, 240))
	if !strings.HasPrefix(got, "\x1b7\x1b[1;1H") || !strings.HasSuffix(got, "\x1b8") || len(got) > 2048 || strings.Contains(got, "\n") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

func TestUpTime(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0s", 59.9: "59s", 60: "1m", 3725: "1h2m", 86400*3 + 7200: "3 days 2h"} {
		if got := upTime(seconds); got != want {
			t.Errorf("%v s: %q, want %q", seconds, got, want)
		}
	}
}

// Only virtual terminals are drawn on: not the serial line or the pipe that
// somebody greps, and not a terminal that may be anything.
func TestScreenOfRefuses(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	if err := unix.IoctlSetWinsize(int(pty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 80}); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]*os.File{"pipe": w, "null": null, "pty": pty} {
		if _, _, ok := screenOf(f); ok {
			t.Errorf("%s is taken for a screen", name)
		}
	}
}
