package ctl

import (
	"fmt"
	"strings"

	"kubesolo.io/os/internal/bootlog"
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

// parseRecord reads one record; see bootlog.ParseRecord.
func parseRecord(s string) (record, bool) {
	r, err := bootlog.ParseRecord([]byte(s))
	if err != nil {
		return record{}, false
	}
	return record{priority: r.Facility<<3 | r.Level, time: r.Time.Seconds(), text: r.Text}, true
}
