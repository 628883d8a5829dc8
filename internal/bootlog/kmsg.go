package bootlog

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// A Record is one message of the kernel's log: of the kernel itself, or of a
// program that wrote to /dev/kmsg.
type Record struct {
	Level    int           // syslog's: 0 emergency to 7 debug
	Facility int           // 0 is the kernel
	Time     time.Duration // since the kernel's start
	Text     string        // one line; what cannot be printed is \xNN
}

// ParseRecord reads what one read(2) of /dev/kmsg gives
// (Documentation/ABI/testing/dev-kmsg):
//
//	6,339,5140900,-;NET: Registered protocol family
//	 SUBSYSTEM=net
//
// The lines that begin with a space are for programs and are left out.
func ParseRecord(b []byte) (Record, error) {
	head, text, ok := bytes.Cut(b, []byte(";"))
	fields := bytes.Split(head, []byte(","))
	if !ok || len(fields) < 3 {
		return Record{}, errors.New("record of the kernel's log: no prefix")
	}
	priority, err := strconv.ParseUint(string(fields[0]), 10, 16)
	if err != nil {
		return Record{}, fmt.Errorf("record of the kernel's log: priority: %w", err)
	}
	micros, err := strconv.ParseUint(string(fields[2]), 10, 53)
	if err != nil {
		return Record{}, fmt.Errorf("record of the kernel's log: time: %w", err)
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	return Record{
		Level: int(priority & 7), Facility: int(priority >> 3),
		Time: time.Duration(micros) * time.Microsecond, Text: string(text),
	}, nil
}

// Urgent is a record that must not wait for the next batch: the machine may
// not live that long. Those are errors of the kernel, and warnings of ksinit,
// which is how it says "degraded".
func (r Record) Urgent() bool {
	return r.Level <= 3 || r.Facility != 0 && r.Level <= 4
}

// String is a line of the log file, in the form of dmesg.
func (r Record) String() string {
	return fmt.Sprintf("<%d>[%12.6f] %s", r.Level, r.Time.Seconds(), r.Text)
}

// lastTime finds the time of the last line in the end of a log file.
func lastTime(tail []byte) time.Duration {
	for len(tail) > 0 {
		i := bytes.LastIndexByte(bytes.TrimRight(tail, "\n"), '\n')
		line := tail[i+1:]
		tail = tail[:max(i, 0)]
		_, rest, ok := bytes.Cut(line, []byte(">["))
		number, _, closed := bytes.Cut(rest, []byte("] "))
		if !ok || !closed {
			continue
		}
		if s, err := strconv.ParseFloat(string(bytes.TrimSpace(number)), 64); err == nil && s >= 0 && s < 1e9 {
			return time.Duration(s * float64(time.Second))
		}
	}
	return 0
}
