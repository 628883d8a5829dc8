package window_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/update/window"
)

// at is a time of the week that begins with Monday, 2026-11-23, UTC.
func at(t *testing.T, day string, clock string) time.Time {
	t.Helper()
	monday := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for i := range 7 {
		d := monday.AddDate(0, 0, i)
		if d.Weekday().String()[:3] == day {
			c, err := time.Parse("15:04:05", clock)
			if err != nil {
				t.Fatal(err)
			}
			return d.Add(time.Duration(c.Hour())*time.Hour + time.Duration(c.Minute())*time.Minute + time.Duration(c.Second())*time.Second)
		}
	}
	t.Fatalf("no day %q", day)
	return time.Time{}
}

func TestOpenAndNext(t *testing.T) {
	for _, test := range []struct {
		window, day, clock string
		open               bool
		nextDay, nextClock string // when it is closed
	}{
		{"", "Tue", "12:34:56", true, "", ""},
		{"01:00-05:00", "Tue", "00:59:59", false, "Tue", "01:00:00"},
		{"01:00-05:00", "Tue", "01:00:00", true, "", ""},
		{"01:00-05:00", "Tue", "04:59:59", true, "", ""},
		{"01:00-05:00", "Tue", "05:00:00", false, "Wed", "01:00:00"},
		{"22:00-04:00", "Tue", "21:59:00", false, "Tue", "22:00:00"},
		{"22:00-04:00", "Tue", "23:00:00", true, "", ""},
		{"22:00-04:00", "Tue", "03:59:00", true, "", ""},
		{"22:00-04:00", "Tue", "04:00:00", false, "Tue", "22:00:00"},
		{"Sat,Sun 01:00-05:00", "Fri", "02:00:00", false, "Sat", "01:00:00"},
		{"Sat,Sun 01:00-05:00", "Sat", "02:00:00", true, "", ""},
		{"Sat,Sun 01:00-05:00", "Sat", "05:00:00", false, "Sun", "01:00:00"},
		{"Sun 22:00-04:00", "Mon", "03:00:00", true, "", ""},
		{"Sun 22:00-04:00", "Sun", "03:00:00", false, "Sun", "22:00:00"},
		{"Sat 22:00-04:00", "Sun", "03:59:59", true, "", ""},
		{"Sat 22:00-24:00", "Sat", "23:59:59", true, "", ""},
		{"Sat 22:00-24:00", "Sun", "00:00:00", false, "", ""},
		{"Wed 00:00-24:00", "Wed", "00:00:00", true, "", ""},
		{"Wed 00:00-24:00", "Tue", "23:59:59", false, "Wed", "00:00:00"},
		{"Wed 00:00-00:01", "Wed", "00:00:59", true, "", ""},
	} {
		w, err := window.Parse(test.window)
		if err != nil {
			t.Fatal(err)
		}
		now := at(t, test.day, test.clock)
		// What the node's time zone is must not matter.
		for _, now := range []time.Time{now, now.In(time.FixedZone("", -9*3600))} {
			next := w.Next(now)
			if w.Open(now) != test.open || next.Equal(now) != test.open {
				t.Errorf("%q at %s %s: open %v, next %s", test.window, test.day, test.clock, w.Open(now), next)
			}
			if test.nextDay != "" && !next.Equal(at(t, test.nextDay, test.nextClock)) {
				t.Errorf("%q at %s %s: next is %s, want %s %s", test.window, test.day, test.clock, next, test.nextDay, test.nextClock)
			}
		}
	}
	// A week later, over the end of a month.
	w, err := window.Parse("Mon 01:00-01:30")
	if err != nil {
		t.Fatal(err)
	}
	if got := w.Next(at(t, "Mon", "01:30:00")); !got.Equal(time.Date(2026, 11, 30, 1, 0, 0, 0, time.UTC)) {
		t.Errorf("next is %s", got)
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"  ":                       "",
		"01:00-05:00":              "01:00-05:00",
		" Sun,Sat   22:00-04:00 ":  "Sat,Sun 22:00-04:00",
		"sat, SUN,sat 00:00-24:00": "Sat,Sun 00:00-24:00",
		"Mon,Tue,Wed,Thu,Fri,Sat,Sun 01:00-02:00": "01:00-02:00",
	} {
		w, err := window.Parse(in)
		if err != nil || w.String() != want || w.Always() != (want == "") {
			t.Errorf("%q: %q, %v", in, w, err)
		}
	}
	for in, hint := range map[string]string{
		"night":                  `"night" is not a window; write 01:00-05:00`,
		"1:00-5:00":              `"1:00" is not a time of day`,
		"01:00-25:00":            `"25:00" is not a time of day`,
		"01:60-02:00":            `"01:60" is not a time of day`,
		"01:00-24:01":            `"24:01" is not a time of day`,
		"24:00-02:00":            "cannot begin at 24:00",
		"01:00–05:00":            "is not a window",
		"01:00-01:00":            "has no length; leave the window out for always",
		"00:00-00:00":            "or write 00:00-24:00",
		"Sa 01:00-05:00":         `"Sa" is not a day of the week; write Mon, Tue`,
		"Sat Sun 01:00-05:00":    `"SatSun" is not a day`,
		"Sat, 01:00-05:00":       `"" is not a day`,
		"Mon-Fri 01:00-05:00":    `"Mon-Fri" is not a day of the week`,
		"01:00-05:00 CET":        `"01:00-05:00 CET" is not a window`,
		"01:00-05:00 Sat":        "is not a window",
		"+1:00-05:00":            "is not a time of day",
		"01:00-05:00-06:00":      "is not a time of day",
		strings.Repeat("x", 900): "is not a window",
	} {
		if w, err := window.Parse(in); err == nil || !strings.Contains(err.Error(), hint) || len(err.Error()) > 200 {
			t.Errorf("%q: %q, %v, want %q", in, w, err, hint)
		}
	}
}

func TestJSON(t *testing.T) {
	type document struct {
		Window window.Window `json:"window,omitzero"`
	}
	for _, text := range []string{`{}`, `{"window":"Sat,Sun 01:00-05:00"}`} {
		var d document
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(d); err != nil || string(got) != text {
			t.Errorf("%s, %v, want %s", got, err, text)
		}
	}
	d := document{}
	if err := json.Unmarshal([]byte(`{"window":"01:00"}`), &d); err == nil || !d.Window.Always() {
		t.Errorf("%q, %v", d.Window, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "01:00-05:00", "22:00-04:00", "Sat,Sun 00:00-24:00", "Mon, tue 23:59-00:00", "Sun 23:59-24:00", "a,b 1-2"} {
		f.Add(s, int64(1_795_000_000))
	}
	f.Fuzz(func(t *testing.T, s string, seconds int64) {
		w, err := window.Parse(s)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
				t.Errorf("not one short line: %q", err)
			}
			return
		}
		if again, err := window.Parse(w.String()); err != nil || again != w {
			t.Errorf("%q: %q is read as %q, %v", s, w.String(), again, err)
		}
		const year = 365 * 24 * 60 * 60
		now := time.Unix(seconds%(100*year), 0)
		next := w.Next(now)
		if next.Before(now) || next.Sub(now) > 7*24*time.Hour || !w.Open(next) {
			t.Errorf("%q: from %s on it is open at %s", s, now.UTC(), next)
		}
		// Nothing before is open: the window has whole minutes.
		for m := now; m.Before(next); m = m.Add(time.Minute) {
			if w.Open(m) {
				t.Fatalf("%q: at %s the next is %s, but it is open at %s", s, now.UTC(), next, m.UTC())
			}
		}
	})
}
