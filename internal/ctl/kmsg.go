package ctl

import (
	"fmt"
	"strconv"
	"strings"
)

// record is one of the kernel log, as /dev/kmsg gives it:
//
//	30,512,3210000,-;ksinit: ok step=data
type record struct {
	priority int
	time     float64 // seconds since the kernel started
	text     string
}

// ours tells whether PID 1 wrote it.
func (r record) ours() bool { return strings.HasPrefix(r.text, "ksinit: ") }

func (r record) String() string { return fmt.Sprintf("[%12.6f] %s\n", r.time, r.text) }

// parseRecord reads one record; continuation lines of it (KEY=value of the
// device) are left away.
func parseRecord(s string) (record, bool) {
	head, text, ok := strings.Cut(s, ";")
	fields := strings.Split(head, ",")
	if !ok || len(fields) < 3 {
		return record{}, false
	}
	priority, err := strconv.ParseUint(fields[0], 10, 16)
	if err != nil {
		return record{}, false
	}
	micros, err := strconv.ParseUint(fields[2], 10, 64)
	if err != nil {
		return record{}, false
	}
	text, _, _ = strings.Cut(text, "\n")
	return record{priority: int(priority), time: float64(micros) / 1e6, text: text}, true
}
