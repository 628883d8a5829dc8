// Package kconfig audits a kernel configuration against the list of options that the
// node needs (kernel/required.options), each with what breaks without it.
//
// It reads text only. Tested with small configurations and the list itself.
package kconfig

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Requirement is one line of the list.
type Requirement struct {
	Option string `json:"option"` // without CONFIG_
	Want   string `json:"want"`   // "y", "m" (module or built in) or "!y"
	Reason string `json:"reason"`
}

// Finding is a requirement that a configuration does not meet.
type Finding struct {
	Requirement
	Have string `json:"have"` // "y", "m", a value, or "not set"
}

// ParseRequirements reads the list. Errors name the line.
func ParseRequirements(r io.Reader) ([]Requirement, error) {
	var list []Requirement
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		option, reason, ok := strings.Cut(line, "|")
		name, want, hasWant := strings.Cut(strings.TrimSpace(option), "=")
		if strings.HasSuffix(name, "!") {
			name, want = strings.TrimSuffix(name, "!"), "!"+want
		}
		if !ok || !hasWant || name == "" || (want != "y" && want != "m" && want != "!y") {
			return nil, fmt.Errorf("line %d: want `NAME=y | reason`, NAME=m or NAME!=y, have %q", n, line)
		}
		list = append(list, Requirement{Option: name, Want: want, Reason: strings.TrimSpace(reason)})
	}
	return list, s.Err()
}

// ErrNotConfig is returned when a file holds no kernel options at all.
var ErrNotConfig = errors.New("not a kernel configuration: no CONFIG_ line in it")

// Parse reads a kernel configuration (.config, /boot/config-*, or /proc/config.gz).
// Options that are off are not in the map.
func Parse(r io.Reader) (map[string]string, error) {
	b := bufio.NewReader(r)
	var text io.Reader = b
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		text = z
	}
	options, seen := map[string]string{}, false
	s := bufio.NewScanner(text)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if rest, ok := strings.CutPrefix(line, "CONFIG_"); ok {
			if name, value, ok := strings.Cut(rest, "="); ok {
				options[name], seen = value, true
			}
		} else if strings.HasPrefix(line, "# CONFIG_") {
			seen = true
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if !seen {
		return nil, ErrNotConfig
	}
	return options, nil
}

// Audit returns what options lack, in the order of the list.
func Audit(list []Requirement, options map[string]string) []Finding {
	var findings []Finding
	for _, r := range list {
		have, ok := options[r.Option]
		met := false
		switch r.Want {
		case "y":
			met = have == "y"
		case "m":
			met = have == "y" || have == "m"
		case "!y":
			met = have != "y"
		}
		if !met {
			if !ok {
				have = "not set"
			}
			findings = append(findings, Finding{Requirement: r, Have: have})
		}
	}
	return findings
}

// Write prints findings as a table for people.
func Write(w io.Writer, findings []Finding) error {
	if _, err := fmt.Fprintf(w, "%-40s %-8s %-8s %s\n", "OPTION", "NEEDED", "HAVE", "WITHOUT IT"); err != nil {
		return err
	}
	for _, f := range findings {
		if _, err := fmt.Fprintf(w, "%-40s %-8s %-8s %s\n", "CONFIG_"+f.Option, f.Want, f.Have, f.Reason); err != nil {
			return err
		}
	}
	return nil
}
