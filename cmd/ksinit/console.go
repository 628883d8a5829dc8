package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/event"
)

// console writes lines for people. A terminal can stand still (a pressed
// ctrl-S, a serial line with flow control), so a goroutine writes, and lines
// that find its queue full are lost: they are in the log as well.
type console struct {
	lines chan string
	flush chan chan struct{}
}

func newConsole(w io.Writer) *console {
	c := &console{lines: make(chan string, 256), flush: make(chan chan struct{})}
	go c.write(w)
	return c
}

func (c *console) write(w io.Writer) {
	for {
		select {
		case l := <-c.lines:
			_, _ = io.WriteString(w, l) // nobody to tell
			continue
		default:
		}
		select {
		case l := <-c.lines:
			_, _ = io.WriteString(w, l)
		case done := <-c.flush:
			close(done)
		}
	}
}

// line prints one line: the boot clock, how it stands, and what.
func (c *console) line(state, format string, args ...any) {
	text := strings.ReplaceAll(strings.TrimSpace(fmt.Sprintf(format, args...)), "\n", "\n"+strings.Repeat(" ", 19))
	c.print(fmt.Sprintf("[%6.2f] %-9s %s\n", event.Now(), state, text))
}

func (c *console) print(text string) {
	select {
	case c.lines <- text:
	default:
	}
}

// wait returns when what was printed is out, or after a second.
func (c *console) wait() {
	done := make(chan struct{})
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case c.flush <- done:
		<-done
	case <-timer.C:
	}
}

// observe reports a boot step everywhere: console, log and events.
func (n *node) observe(r boot.Result) {
	message := strings.Join(r.Notes, "; ")
	if r.Err != nil {
		message = strings.TrimPrefix(message+"; "+r.Err.Error(), "; ")
	}
	n.events.Emit(event.Event{Type: event.Step, Name: r.Step, State: string(r.State), Message: message, Duration: r.Duration.Seconds()})
	if r.State == boot.Started {
		n.log.Debug("started", "step", r.Step)
		return
	}
	log := n.log.Info
	if r.Err != nil {
		log = n.log.Warn
	}
	log(string(r.State), "step", r.Step, "took", r.Duration, "message", message)
	if message != "" {
		message = ": " + message
	}
	n.console.line(string(r.State), "%s%s", r.Step, message)
}
