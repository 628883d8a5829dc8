package bootlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// markSize is one sector: written in place, it is there whole or not at all,
// takes no space that a full disk lacks, and wears one block.
const markSize = 512

// A Mark is what a boot leaves of itself while it runs. Without an End it was
// cut short.
type Mark struct {
	Boot  int     `json:"boot"`          // counts the boots of this data partition
	Began int64   `json:"began"`         // seconds since 1970, by the clock of then
	Up    float64 `json:"up"`            // seconds, when this was written last
	End   string  `json:"end,omitempty"` // how it was ended in order: restart, power off, halt
}

// ParseMark reads the content of a mark's file.
func ParseMark(b []byte) (Mark, error) {
	var m Mark
	if err := json.Unmarshal(bytes.TrimSpace(b), &m); err != nil {
		return Mark{}, fmt.Errorf("mark of the boot before: %w", err)
	}
	if m.Boot < 1 || m.Up < 0 || m.Up > 1e10 {
		return Mark{}, errors.New("mark of the boot before: its numbers make no sense")
	}
	return m, nil
}

// ReadMark reads the mark at path. A node without one (os.ErrNotExist) boots
// for the first time.
func ReadMark(path string) (Mark, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Mark{}, err
	}
	return ParseMark(b)
}

// Write writes the mark in place and waits until it is on the disk.
func (m Mark) Write(path string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(text) >= markSize {
		return fmt.Errorf("mark: %d bytes, at most %d", len(text), markSize-1)
	}
	sector := bytes.Repeat([]byte(" "), markSize)
	copy(sector, text)
	sector[markSize-1] = '\n'
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(sector, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// How a boot ended that did not end in order.
const (
	FirstBoot = "first boot"
	Panic     = "kernel panic"
	Watchdog  = "watchdog reset"
	PowerCut  = "power cut or reset"
	Unknown   = "unknown"
)

// Evidence is what the next boot finds.
type Evidence struct {
	Mark     Mark
	MarkErr  error // of reading it
	LastLine time.Duration
	Watchdog bool // the watchdog says that it caused the last reset
	Dump     Dump
}

// Last is the boot before, as far as it can be told.
type Last struct {
	Reason string    `json:"reason"` // FirstBoot ... Unknown, or Mark.End
	Detail string    `json:"detail,omitempty"`
	Boot   int       `json:"boot,omitempty"` // its number
	Began  time.Time `json:"began,omitzero"`
	Up     float64   `json:"up,omitempty"`   // seconds; exact only after an orderly end
	Logs   []string  `json:"logs,omitempty"` // files
	Dumps  []string  `json:"dumps,omitempty"`
}

// Judge says how the boot before ended. A panic that was recorded outweighs
// all; a mark that says "restart" outweighs a watchdog, because some chips keep
// their flag over a reset that they have not caused.
func Judge(e Evidence) Last {
	l := Last{Reason: PowerCut, Boot: e.Mark.Boot, Up: e.Mark.Up}
	if e.MarkErr == nil {
		l.Began = time.Unix(e.Mark.Began, 0).UTC()
	}
	if e.Mark.End == "" {
		l.Up = max(l.Up, e.LastLine.Seconds())
	}
	switch {
	case e.Dump.Panic != "":
		l.Reason, l.Detail = Panic, e.Dump.Panic
	case errors.Is(e.MarkErr, os.ErrNotExist):
		l.Reason, l.Up = FirstBoot, 0
	case e.Mark.End != "":
		l.Reason = e.Mark.End
		if e.Watchdog {
			l.Detail = "the watchdog says that it has reset the machine"
		}
	case e.Watchdog:
		l.Reason = Watchdog
	case e.MarkErr != nil:
		l.Reason, l.Detail = Unknown, e.MarkErr.Error()
	}
	l.Dumps = e.Dump.Files
	return l
}

// Fault tells whether the node itself failed. A power cut is no fault of its: many
// a machine is never switched off in another way.
func (l Last) Fault() bool {
	return l.Reason == Panic || l.Reason == Watchdog || l.Reason == Unknown
}

// String is the line for the console, such as
//
//	power cut or reset after 3h12m0s
func (l Last) String() string {
	text := l.Reason
	if l.Up > 0 {
		up := time.Duration(l.Up * float64(time.Second))
		if up >= time.Minute {
			up = up.Truncate(time.Minute)
		}
		text += fmt.Sprintf(" after %v", up.Truncate(time.Second))
	}
	if l.Detail != "" {
		text += ": " + l.Detail
	}
	return text
}
