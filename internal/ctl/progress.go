package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/update"
)

const (
	// updatePoll is how often a running update is looked at.
	updatePoll = 250 * time.Millisecond
	// agentRestart is how long ksagent may take to be there again.
	agentRestart = time.Minute
	// paceWidth is room for how fast it goes, in columns: the bar is of one
	// length before and after that is known.
	paceWidth = len("  123.4 MB/s  12m34s") + 1
)

// follow shows an update until the node restarts or the update ends.
func (p Program) follow(asJSON bool) (status int) {
	g := progress{Program: p, redrawn: !asJSON && terminal(p.Stdout)}
	var seen json.RawMessage
	heard := time.Now()
	for ; ; time.Sleep(updatePoll) {
		s, text, err := p.updateNow()
		if err != nil {
			if time.Since(heard) > agentRestart {
				g.end()
				return p.unknown(err)
			}
			continue
		}
		heard = time.Now()
		if asJSON && !bytes.Equal(text, seen) {
			fmt.Fprintf(p.Stdout, "%s\n", text)
			seen = text
		}
		if s.State.Phase == update.Downloading || s.State.Phase == update.Staged {
			if !asJSON {
				g.show(s, heard)
			}
			continue
		}
		g.end()
		said, status := ended(s)
		switch {
		case status != exitGood:
			fmt.Fprintln(p.Stderr, "ksctl:", said)
		case !asJSON:
			fmt.Fprintln(p.Stdout, said)
		}
		return status
	}
}

// ended says what a phase in which nothing is left to be shown means.
func ended(s update.Status) (said string, status int) {
	version, why := orDash(printable(s.State.Payload.Version)), strings.TrimSuffix(": "+printable(s.State.Message), ": ")
	switch s.State.Phase {
	case update.Armed:
		return restarts(orDash(s.State.Slot)), exitGood
	case update.Judging:
		return version + " runs on trial; ksctl update status says how it goes", exitGood
	case update.Good:
		return version + " is installed", exitGood
	case update.RolledBack:
		return version + " was taken back" + why, exitWrong
	case update.Failed:
		return version + " cannot be installed" + why, exitWrong
	}
	return "the update was given up" + why, exitWrong
}

// progress draws how far an update is: on a terminal one line in place for each
// phase, elsewhere a line for what is new.
type progress struct {
	Program
	redrawn bool

	phase   update.Phase
	waiting string
	tenth   int64
	open    bool      // a line that is not ended yet
	began   time.Time // of the download, as far as it was seen
	from    int64     // bytes there by then
}

func (g *progress) show(s update.Status, now time.Time) {
	if next := s.State.Phase; next != g.phase {
		g.end()
		g.phase, g.waiting, g.tenth, g.began, g.from = next, "", 0, now, s.Done
		if !g.redrawn {
			fmt.Fprintln(g.Stdout, headline(s))
		}
	}
	if g.redrawn {
		g.draw(s, now)
		return
	}
	if s.Waiting != g.waiting {
		g.waiting = s.Waiting
		if s.Waiting != "" {
			fmt.Fprintln(g.Stdout, "waiting for:", oneLine(s.Waiting))
		}
	}
	if s.State.Phase != update.Downloading || s.Total <= 0 {
		return
	}
	if tenth := s.Done * 10 / s.Total; tenth > g.tenth {
		g.tenth = tenth
		fmt.Fprintf(g.Stdout, "%d %%, %s\n", tenth*10, amount(s.Done, s.Total))
	}
}

// headline says what a phase is about.
func headline(s update.Status) string {
	text := string(s.State.Phase)
	if s.State.Payload.Version != "" {
		text += " " + oneLine(s.State.Payload.Version)
	}
	switch {
	case s.State.Phase == update.Downloading && s.State.Payload.From != "":
		text += " from " + oneLine(s.State.Payload.From)
	case s.State.Phase == update.Staged:
		text += ": written to slot " + orDash(s.State.Slot) + " and verified"
	}
	return text
}

// draw puts the line of the phase in the place of the one before.
func (g *progress) draw(s update.Status, now time.Time) {
	text := headline(s)
	switch {
	case s.Waiting != "":
		text += "  waiting for: " + oneLine(s.Waiting)
	case s.State.Phase == update.Downloading && s.Total > 0:
		text = fmt.Sprintf("%s %s  ", s.State.Phase, oneLine(s.State.Payload.Version))
		figures := fmt.Sprintf("  %3d %%  %*s", s.Done*100/s.Total, len(amount(s.Total, s.Total)), amount(s.Done, s.Total))
		text += bar(s.Done, s.Total, g.width()-len(text)-len(figures)-paceWidth) + figures + g.pace(s, now)
	}
	// One column less than there are: a full line would go on in the next.
	if runes := []rune(text); len(runes) >= g.width() {
		text = string(runes[:g.width()-1])
	}
	if rest, ok := strings.CutPrefix(text, string(s.State.Phase)); ok {
		text = g.paint(updateColour(s.State.Phase), string(s.State.Phase)) + rest
	}
	fmt.Fprintf(g.Stdout, "\r%s\x1b[K", text)
	g.open = true
}

// pace is how fast it goes, once that can be said.
func (g *progress) pace(s update.Status, now time.Time) string {
	took := now.Sub(g.began).Seconds()
	if got := float64(s.Done - g.from); took >= 1 && got > 0 {
		left := time.Duration(float64(s.Total-s.Done) / got * took * float64(time.Second))
		return fmt.Sprintf("  %.1f MB/s  %v", got/took/1e6, left.Round(time.Second))
	}
	return ""
}

// bar fills so many columns; none when they are too few to tell anything.
func bar(done, total int64, columns int) string {
	columns = min(columns, 42) - 2
	if columns < 8 {
		return ""
	}
	full := int(min(done, total) * int64(columns) / total)
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", columns-full) + "]"
}

// width is that of the terminal in columns.
func (g *progress) width() int {
	if f, ok := g.Stdout.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col >= 20 {
			return int(size.Col)
		}
	}
	return 80
}

// end leaves the line.
func (g *progress) end() {
	if g.open {
		fmt.Fprintln(g.Stdout)
		g.open = false
	}
}
