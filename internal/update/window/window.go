// Package window is the maintenance window: the part of the day, on all days of
// the week or on some, in which a node may change itself.
//
// It owns the form "Sat,Sun 01:00-05:00" and the arithmetic on it, all in UTC.
// It never looks at a clock, and links nothing beyond the standard library,
// since PID 1 reads it with the configuration.
//
// Tests: tables, and a fuzz target that compares [Window.Next] with a walk over
// every minute of a week.
package window

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	hint     = "write 01:00-05:00, or Sat,Sun 01:00-05:00 (UTC)"
	dayOfMin = 24 * 60 // minutes
)

// Window is a span of the day. The zero value is always open.
type Window struct {
	// from and to are minutes after midnight. When to is not after from, the
	// window ends on the next day.
	from, to int16
	// days has the bit of each time.Weekday on which the window opens; 0 is
	// every day.
	days uint8
}

// Parse reads "HH:MM-HH:MM", with days of the week before it if it does not
// open on all: "Sat,Sun 22:00-04:00" opens twice a week, and the second time
// ends on Monday. The end of a day is 24:00. "" is always.
func Parse(s string) (Window, error) {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return Window{}, nil
	}
	days, hours := strings.Join(fields[:len(fields)-1], ""), fields[len(fields)-1]
	from, to, ok := strings.Cut(hours, "-")
	if !ok {
		return Window{}, fmt.Errorf("%.60q is not a window; %s", s, hint)
	}
	var w Window
	var err error
	if w.from, err = minute(from); err != nil {
		return Window{}, err
	}
	if w.from == dayOfMin {
		return Window{}, errors.New("a window cannot begin at 24:00; write 00:00 and the next day")
	}
	if w.to, err = minute(to); err != nil {
		return Window{}, err
	}
	if w.from == w.to {
		return Window{}, fmt.Errorf("%.60q has no length; leave the window out for always, or write 00:00-24:00 for a whole day", s)
	}
	if days != "" {
		if w.days, err = parseDays(days); err != nil {
			return Window{}, err
		}
	}
	return w, nil
}

// minute reads HH:MM.
func minute(s string) (int16, error) {
	digit := func(i int) int16 { return int16(s[i]) - '0' }
	if len(s) == 5 && s[2] == ':' && !strings.ContainsFunc(s[:2]+s[3:], func(r rune) bool { return r < '0' || r > '9' }) {
		hour, min := 10*digit(0)+digit(1), 10*digit(3)+digit(4)
		if hour < 24 && min < 60 || hour == 24 && min == 0 {
			return 60*hour + min, nil
		}
	}
	return 0, fmt.Errorf("%.40q is not a time of day from 00:00 to 24:00; %s", s, hint)
}

func parseDays(s string) (days uint8, err error) {
	for name := range strings.SplitSeq(s, ",") {
		i := slices.IndexFunc(dayNames(), func(n string) bool { return strings.EqualFold(n, name) })
		if i < 0 {
			return 0, fmt.Errorf("%.40q is not a day of the week; write Mon, Tue, Wed, Thu, Fri, Sat, Sun, with commas between them", name)
		}
		days |= 1 << i
	}
	if days == 1<<7-1 {
		days = 0
	}
	return days, nil
}

// dayNames are in the order of time.Weekday.
func dayNames() []string { return []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"} }

// Always tells of the window that never closes.
func (w Window) Always() bool { return w == Window{} }

// String is what Parse reads, with the days in the order of the week.
func (w Window) String() string {
	if w.Always() {
		return ""
	}
	var days []string
	for i := range 7 {
		day := (i + 1) % 7 // Monday first
		if w.days&(1<<day) != 0 {
			days = append(days, dayNames()[day])
		}
	}
	hours := fmt.Sprintf("%02d:%02d-%02d:%02d", w.from/60, w.from%60, w.to/60, w.to%60)
	if len(days) == 0 {
		return hours
	}
	return strings.Join(days, ",") + " " + hours
}

// MarshalText gives the form of String.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads the form of Parse.
func (w *Window) UnmarshalText(text []byte) error {
	v, err := Parse(string(text))
	if err != nil {
		return err
	}
	*w = v
	return nil
}

// Open tells whether the window is open at that time; its last minute is the
// one before its end.
func (w Window) Open(now time.Time) bool {
	if w.Always() {
		return true
	}
	now = now.UTC()
	minute, day := int16(60*now.Hour()+now.Minute()), now.Weekday()
	if w.from < w.to {
		return w.opens(day) && w.from <= minute && minute < w.to
	}
	return w.opens(day) && w.from <= minute || w.opens((day+6)%7) && minute < w.to
}

// Next is the earliest time from now on at which the window is open: now itself
// when it is.
func (w Window) Next(now time.Time) time.Time {
	if w.Open(now) {
		return now
	}
	now = now.UTC()
	next := time.Date(now.Year(), now.Month(), now.Day(), 0, int(w.from), 0, 0, time.UTC)
	for next.Before(now) || !w.opens(next.Weekday()) {
		next = next.AddDate(0, 0, 1)
	}
	return next
}

func (w Window) opens(day time.Weekday) bool { return w.days == 0 || w.days&(1<<day) != 0 }
