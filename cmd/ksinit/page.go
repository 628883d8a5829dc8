package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/control"
)

// The status page takes the first rows of a screen; what else is printed there
// scrolls below.
const (
	pageRows    = 7
	pageLeast   = 20  // rows that a screen must have for one
	widest      = 240 // columns; a drawing of more is no single write
	pageEvery   = 10 * time.Second
	pageAtMost  = 500 * time.Millisecond // one drawing in that time
	kdgkbtype   = 0x4B33                 // linux/kd.h: answered by virtual terminals only
	ttyMajor    = 4                      // minors below 64 are virtual terminals, above serial lines
	serialMinor = 64
)

// page is the drawing of the status page.
type page struct{ stop, done chan struct{} }

// startPage draws the state of the node on the machine's screen, if it is a
// console and one that can be drawn on. Serial consoles and all others get lines
// only: who reads them reads a log, and a program may read it too.
func (n *node) startPage() {
	for _, name := range consoleDevices() {
		f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if rows, columns, ok := screenOf(f); ok {
			p := &page{stop: make(chan struct{}), done: make(chan struct{})}
			n.mu.Lock()
			n.page = p
			n.mu.Unlock()
			n.background("status page", func() { n.drawPages(p, f, rows, columns) })
			return
		}
		_ = f.Close()
	}
}

// stopPage leaves the whole screen to a shell.
func (n *node) stopPage() {
	n.mu.Lock()
	p := n.page
	n.page = nil
	n.mu.Unlock()
	if p == nil {
		return
	}
	close(p.stop)
	select {
	case <-p.done:
	case <-time.After(time.Second): // the terminal stands still
	}
}

// screenOf gives the size of a virtual terminal that is large enough.
func screenOf(f *os.File) (rows, columns int, ok bool) {
	fd := int(f.Fd())
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || unix.Major(stat.Rdev) != ttyMajor || unix.Minor(stat.Rdev) >= serialMinor {
		return 0, 0, false
	}
	if _, err := unix.IoctlGetInt(fd, kdgkbtype); err != nil {
		return 0, 0, false
	}
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil || size.Row < pageLeast {
		return 0, 0, false
	}
	return int(size.Row), min(int(size.Col), widest), true
}

func (n *node) drawPages(p *page, f *os.File, rows, columns int) {
	defer close(p.done)
	defer f.Close()
	// An empty screen, which scrolls below the page from now on (DECSTBM). At
	// the end it scrolls as a whole again, from where the last line is.
	say := func(text string) { _, _ = f.WriteString(text) } // nobody to tell
	say(fmt.Sprintf("\x1b[2J\x1b[%d;%dr\x1b[%d;1H", pageRows+1, rows, pageRows+1))
	defer say("\x1b7\x1b[r\x1b8")
	again := time.NewTicker(pageEvery)
	defer again.Stop()
	for {
		// One write, which other writers to the terminal cannot part.
		say(drawing(pageLines(n.status(), columns)))
		select {
		case <-time.After(pageAtMost):
		case <-p.stop:
			return
		}
		select {
		case <-n.state.Changed():
		case <-again.C:
		case <-p.stop:
			return
		}
	}
}

// drawing puts lines into the first rows and the cursor back to where it was.
func drawing(lines []string) string {
	var b strings.Builder
	b.WriteString("\x1b7")
	for i, line := range lines {
		fmt.Fprintf(&b, "\x1b[%d;1H\x1b[0;7m%s\x1b[0m", i+1, line)
	}
	b.WriteString("\x1b8")
	return b.String()
}

// pageLines gives the page as pageRows lines of exactly so many columns.
func pageLines(s control.Status, columns int) []string {
	state := string(s.Phase)
	if s.Ready != "" {
		state += fmt.Sprintf(", ready %s after the start", upTime(s.ReadyAt))
	}
	slot := ""
	if s.Slot != "" {
		slot = "   slot " + s.Slot
	}
	lastError := "none"
	if s.LastError != nil {
		lastError = fmt.Sprintf("%s, %s after the start: %s", s.LastError.Source, upTime(s.LastError.Time), s.LastError.Message)
	}
	lines := []string{
		" KubeSolo OS " + s.Version + slot + "   up " + upTime(s.Uptime),
		"",
		" node        " + s.Hostname + "   " + strings.Join(s.Addresses, " "),
		" state       " + state,
		" waiting for " + orNothing(strings.Join(s.Waiting, ", ")),
		" last error  " + lastError,
		"",
	}
	for i, line := range lines {
		line = fitted(line, columns)
		lines[i] = line + strings.Repeat(" ", columns-len(line))
	}
	return lines
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// fitted cuts a line to the width of the screen. What a program printed may be
// in it, and must not move the cursor: only plain ASCII is left.
func fitted(line string, columns int) string {
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, line)
	return line[:min(len(line), columns)]
}

// upTime is as exact as a page that is drawn every ten seconds.
func upTime(seconds float64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d < time.Minute:
		return d.String()
	case d < 24*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%d days %dh", int(d.Hours())/24, int(d.Hours())%24)
}
