package clocksync

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestChoose(t *testing.T) {
	const ms = time.Millisecond
	m := func(server string, offset, distance time.Duration) Measurement {
		return Measurement{server, Sample{Offset: offset, Distance: distance}}
	}
	for name, tc := range map[string]struct {
		all   []Measurement
		best  string
		agree string
		err   string
	}{
		"none": {nil, "", "", "no time server answers"},
		"one is believed": {
			[]Measurement{m("a", time.Hour, ms)}, "a", "a", ""},
		"two that meet": {
			[]Measurement{m("a", 10*ms, 6*ms), m("b", 0, 5*ms)}, "b", "a b", ""},
		"two that only touch": {
			[]Measurement{m("a", 10*ms, 5*ms), m("b", 0, 5*ms)}, "a", "a b", ""},
		"two that do not meet: neither": {
			[]Measurement{m("a", 0, 5*ms), m("b", 3*time.Second, 5*ms)}, "", "", "a says +0 us, b says +3.0 s; a third one"},
		"two of three": {
			[]Measurement{m("liar", 40*365*24*time.Hour, ms), m("b", ms, 5*ms), m("c", 2*ms, 4*ms)}, "c", "b c", ""},
		"three that all differ": {
			[]Measurement{m("a", 0, ms), m("b", time.Second, ms), m("c", 2*time.Second, ms)}, "", "", "no majority"},
		"two against two": {
			[]Measurement{m("a", 0, ms), m("b", 0, ms), m("c", time.Second, ms), m("d", time.Second, ms)}, "", "", "no majority"},
		"three against two": {
			[]Measurement{m("a", 0, 3*ms), m("b", 0, 2*ms), m("e", ms, ms), m("c", time.Second, ms), m("d", time.Second, ms)}, "e", "a b e", ""},
		"a wide interval agrees with all and is not the best": {
			[]Measurement{m("wide", time.Second, 10*time.Second), m("b", 0, ms), m("c", 0, 2*ms)}, "b", "wide b c", ""},
	} {
		c, err := Choose(tc.all)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: %v, want %q", name, err, tc.err)
			}
			continue
		}
		var agree []string
		for _, a := range c.Agree {
			agree = append(agree, a.Server)
		}
		if err != nil || c.Server != tc.best || strings.Join(agree, " ") != tc.agree || len(c.Agree)+len(c.Refused) != len(tc.all) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestDiscipline(t *testing.T) {
	const ms = time.Millisecond
	built := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type at struct {
		offset time.Duration
		want   correction
		poll   int
	}
	polls := func(offset time.Duration, exponents ...int) (list []at) {
		for _, poll := range exponents {
			list = append(list, at{offset, slew, poll})
		}
		return list
	}
	today := built.AddDate(0, 6, 0)
	for name, tc := range map[string]struct {
		synced bool
		now    time.Time
		polls  []at
	}{
		"small from the start":       {false, today, []at{{127 * ms, slew, 6}, {-20 * ms, slew, 6}}},
		"first is a step":            {false, today, []at{{128 * ms, step, 6}, {0, slew, 6}}},
		"years, back":                {false, today.AddDate(80, 0, 0), []at{{today.Sub(today.AddDate(80, 0, 0)), step, 6}}},
		"a spike is not believed":    {true, today, []at{{3 * time.Second, watch, 6}, {ms, slew, 6}, {3 * time.Second, watch, 6}}},
		"another one twice":          {true, today, []at{{3 * time.Second, watch, 6}, {3*time.Second + 100*ms, step, 6}, {0, slew, 6}}},
		"two that differ":            {true, today, []at{{3 * time.Second, watch, 6}, {-3 * time.Second, watch, 6}, {-3 * time.Second, step, 6}}},
		"below the floor":            {false, built, []at{{-time.Second, refuse, 6}, {time.Second, step, 6}}},
		"years below the floor":      {true, today, []at{{-2 * 365 * 24 * time.Hour, refuse, 6}}},
		"rarer when calm, to 1024 s": {false, today, polls(0, 6, 7, 7, 8, 8, 9, 9, 10, 10, 10)},
		"more frequent when restless": {false, today, append(polls(ms, 6, 7, 7, 8),
			at{33 * ms, slew, 7}, at{9 * ms, slew, 7}, at{0, slew, 7}, at{-40 * ms, slew, 6}, at{-40 * ms, slew, 6})},
		"back to 64 s by a large offset": {false, today, append(polls(0, 6, 7, 7, 8), at{time.Second, watch, 6})},
	} {
		d := discipline{floor: built, synced: tc.synced, poll: minPoll}
		for i, p := range tc.polls {
			got, err := d.decide(p.offset, tc.now)
			if got != p.want || d.poll != p.poll || (err != nil) != (p.want == refuse) {
				t.Errorf("%s, poll %d: %d with poll %d, %v; want %d with %d", name, i, got, d.poll, err, p.want, p.poll)
			}
		}
	}
}

func TestSources(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if text == "" {
			return path + ".none"
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct {
		config, lease string
		servers       []string
		origin, err   string
	}{
		"nothing":                 {"", "", defaultServers(), "default pool", ""},
		"nothing about time":      {`{"hostname":"x"}`, `{"servers":null}`, defaultServers(), "default pool", ""},
		"lease":                   {`{"ntp":{}}`, `{"servers":["192.0.2.2","192.0.2.1"]}`, []string{"192.0.2.1", "192.0.2.2"}, "DHCP lease", ""},
		"configuration":           {`{"ntp":{"servers":["b","a","b"]}}`, `{"servers":["192.0.2.2"]}`, []string{"a", "b"}, "configuration", ""},
		"off":                     {`{"ntp":{"disabled":true,"servers":["a"]}}`, `{"servers":["192.0.2.2"]}`, nil, "switched off by the configuration", ""},
		"not the type":            {`{"ntp":{"servers":"a"}}`, "", nil, "", "config: json"},
		"not JSON":                {"", "{", nil, "", "lease: "},
		"the lease is not needed": {`{"ntp":{"servers":["a"]}}`, "{", []string{"a"}, "configuration", ""},
	} {
		s, err := ReadSources(file("config", tc.config), file("lease", tc.lease))
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: %v, want %q", name, err, tc.err)
			}
			continue
		}
		if err != nil || !slices.Equal(s.Servers, tc.servers) || s.Origin != tc.origin {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if _, err := ReadSources(dir, dir); err == nil {
		t.Error("a directory is read as a configuration")
	}
	if at, err := ReadFloor(file("build-time", "1767225600\n")); err != nil || at.Unix() != 1767225600 {
		t.Errorf("floor %v, %v", at, err)
	}
	for _, text := range []string{"", "yesterday"} {
		if _, err := ReadFloor(file("build-time", text)); err == nil {
			t.Errorf("floor %q taken", text)
		}
	}
}
