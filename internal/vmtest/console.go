package vmtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// ErrGuestDied is wrapped by every wait that ended because the guest's kernel
// reported that it cannot go on.
var ErrGuestDied = errors.New("the guest's kernel died")

// ErrExited is wrapped by every wait that ended because QEMU exited.
var ErrExited = errors.New("the virtual machine ended")

// console collects the serial output and watches it for the kernel's last
// words.
type console struct {
	*stream
	fatal   *regexp.Regexp
	mirror  io.Writer
	scanned int // text[:scanned] holds no fatal line
	pos     int // where the next expect starts
}

func newConsole(mirror io.Writer) *console {
	return &console{
		stream: newStream(),
		fatal:  regexp.MustCompile(`(?m)^.*(Kernel panic|\bBUG:|Attempted to kill init).*$`),
		mirror: mirror,
	}
}

// Write implements io.Writer for QEMU's output; there is one writer.
func (c *console) Write(p []byte) (int, error) {
	if c.mirror != nil {
		// The mirror is a convenience: the transcript must not depend on it.
		_, _ = c.mirror.Write(p)
	}
	_, _ = c.stream.Write(p)
	text, _, _ := c.from(c.scanned)
	end := bytes.LastIndexByte(text, '\n') + 1
	if line := c.fatal.Find(text[:end]); line != nil {
		c.end(fmt.Errorf("%w: %s", ErrGuestDied, strings.TrimSpace(string(line))))
	}
	c.scanned += end
	return len(p), nil
}

// expect finds the first match after the previous one. Only one goroutine may
// be in it.
func (c *console) expect(re *regexp.Regexp, limit time.Duration) ([]string, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		text, changed, err := c.from(c.pos)
		if m := re.FindSubmatchIndex(text); m != nil {
			c.pos += m[1]
			groups := make([]string, len(m)/2)
			for i := range groups {
				if m[2*i] >= 0 {
					groups[i] = string(text[m[2*i]:m[2*i+1]])
				}
			}
			return groups, nil
		}
		if err != nil {
			return nil, fmt.Errorf("console: waiting for %q: %w\n%s", re, err, c.tail(25))
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, fmt.Errorf("console: no match for %q in %v\n%s", re, limit, c.tail(25))
		}
	}
}

// tail is the last n lines, said to be so.
func (c *console) tail(n int) string {
	text, _, _ := c.from(0)
	lines := strings.Split(strings.TrimRight(string(text), "\r\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return "the console's last lines:\n  " + strings.Join(lines, "\n  ")
}
