package policy_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/update/policy"
	"kubesolo.io/os/internal/update/window"
)

// names are the gates in the order in which they are asked.
func names() []string {
	return []string{
		policy.Architecture, policy.Channel, policy.Version, policy.MinimumVersion, policy.SlotSize, policy.FreeSpace,
		policy.KnownBad, policy.Label, policy.Wave, policy.Window,
	}
}

// now is a Thursday.
func now() time.Time { return time.Date(2026, 11, 26, 12, 30, 0, 0, time.UTC) }

func nights(t testing.TB, s string) window.Window {
	t.Helper()
	w, err := window.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// good is an input with all gates open.
func good() policy.Input {
	return policy.Input{
		Now: now(), MachineID: "2c1f3f0e6b1d4c0f9a7c5b7f4b1f9d11", Running: "0.1.0", Architecture: "amd64", Channel: "stable", Waves: true,
		SlotSize: 512 << 20, FreeSpace: 3e9, NeedSpace: 12e6,
		Target: policy.Target{
			Version: "0.2.0", Architecture: "amd64", Channels: []string{"edge", "stable"}, MinVersion: "0.1.0",
			Released: now().Add(-48 * time.Hour), Rollout: "24h", Size: 97e6,
		},
	}
}

func TestGates(t *testing.T) {
	for name, test := range map[string]struct {
		gate   string
		change func(*policy.Input)
		open   bool
		reason string
		until  time.Time
	}{
		"architecture": {policy.Architecture, func(in *policy.Input) { in.Target.Architecture = "arm64" }, false,
			"it is made for arm64, and this machine is amd64", time.Time{}},
		"no architecture": {policy.Architecture, func(in *policy.Input) { in.Target.Architecture = "" }, false, `it is made for ""`, time.Time{}},
		"channel": {policy.Channel, func(in *policy.Input) { in.Channel = "lts" }, false,
			"it is in edge, stable, and this node takes lts; set update.channel", time.Time{}},
		"no channel":   {policy.Channel, func(in *policy.Input) { in.Target.Channels = nil }, false, "it is in no channel, and", time.Time{}},
		"same version": {policy.Version, func(in *policy.Input) { in.Running = "0.2.0+build" }, false, "0.2.0+build runs already", time.Time{}},
		"older version": {policy.Version, func(in *policy.Input) { in.Running = "0.10.0" }, false,
			"0.2.0 is older than 0.10.0, which runs; to go back is ksctl update rollback", time.Time{}},
		"after its candidate":       {policy.Version, func(in *policy.Input) { in.Running = "0.2.0-rc.10" }, true, "0.2.0 follows 0.2.0-rc.10", time.Time{}},
		"candidate after candidate": {policy.Version, func(in *policy.Input) { in.Running, in.Target.Version = "0.2.0-rc.9", "0.2.0-rc.10" }, true, "follows", time.Time{}},
		"candidate of what runs":    {policy.Version, func(in *policy.Input) { in.Running, in.Target.Version = "0.2.0", "0.2.0-rc.1" }, false, "is older", time.Time{}},
		"not a version":             {policy.Version, func(in *policy.Input) { in.Target.Version = "newest" }, false, "newest is no version such as 1.2.3", time.Time{}},
		"two lines":                 {policy.Version, func(in *policy.Input) { in.Target.Version = "1.0\n" }, false, `"1.0\n" is no version`, time.Time{}},
		"a build of nobody":         {policy.Version, func(in *policy.Input) { in.Running = "unknown" }, false, "unknown runs, which is no version", time.Time{}},
		"minimum": {policy.MinimumVersion, func(in *policy.Input) { in.Target.MinVersion = "0.1.5" }, false,
			"it needs 0.1.5, and 0.1.0 runs; install a version between them first", time.Time{}},
		"no minimum":        {policy.MinimumVersion, func(in *policy.Input) { in.Target.MinVersion = "" }, true, "any", time.Time{}},
		"newer than it":     {policy.MinimumVersion, func(in *policy.Input) { in.Running = "0.1.7" }, true, "0.1.0 or newer", time.Time{}},
		"odd minimum":       {policy.MinimumVersion, func(in *policy.Input) { in.Target.MinVersion = "v1" }, false, "asks for v1, which is no version", time.Time{}},
		"minimum of nobody": {policy.MinimumVersion, func(in *policy.Input) { in.Running = "" }, false, `and "" runs, which is no version`, time.Time{}},
		"too large":         {policy.SlotSize, func(in *policy.Input) { in.Target.Size = in.SlotSize + 1 }, false, "it has 536.9 MB, and the slot 536.9 MB", time.Time{}},
		"just fits":         {policy.SlotSize, func(in *policy.Input) { in.Target.Size = in.SlotSize }, true, "536.9 MB of 536.9 MB", time.Time{}},
		"no slot":           {policy.SlotSize, func(in *policy.Input) { in.SlotSize = 0 }, false, "updates need the disk image, not the ISO", time.Time{}},
		"disk full": {policy.FreeSpace, func(in *policy.Input) { in.FreeSpace = 11e6 }, false,
			"it needs 12.0 MB, and 11.0 MB of the data partition are free; remove", time.Time{}},
		"no database yet": {policy.FreeSpace, func(in *policy.Input) { in.NeedSpace, in.FreeSpace = 0, 0 }, true, "0.0 MB needed", time.Time{}},
		"known bad": {policy.KnownBad, func(in *policy.Input) {
			in.Refused = []policy.Refusal{
				{Version: "0.2.0", Reason: "old", At: now().Add(-time.Hour)},
				{Version: "0.2.0", Reason: "not Ready by the deadline\nof 10m", At: now().Add(-time.Minute)},
				{Version: "0.1.9", Reason: "panic", At: now()},
			}
		}, false, "0.2.0 was tried at 2026-11-26 12:29 UTC and left: not Ready by the deadline; of 10m", time.Time{}},
		"another was bad": {policy.KnownBad, func(in *policy.Input) { in.Refused = []policy.Refusal{{Version: "0.2"}, {Version: "0.2.0-rc.1"}} }, true,
			"not tried before", time.Time{}},
		"label": {policy.Label, func(in *policy.Input) { in.Label = "true" }, false,
			"updates.kubesolo.io/block=true; kubectl label node --all updates.kubesolo.io/block- takes it off", time.Time{}},
		"label in other words": {policy.Label, func(in *policy.Input) { in.Label = "yes" }, false, "block=yes", time.Time{}},
		"label false":          {policy.Label, func(in *policy.Input) { in.Label = "false" }, true, "", time.Time{}},
		"label not known": {policy.Label, func(in *policy.Input) { in.LabelErr = errors.New("connection refused") }, false,
			"could not be read: connection refused", time.Time{}},
		"before its turn": {policy.Wave, func(in *policy.Input) { in.Target.Released = now() }, false,
			"it is rolled out over 24h, and this machine's turn is at 2026-11-26 23:22 UTC", turn(now())},
		"after its turn": {policy.Wave, func(in *policy.Input) { in.Target.Released = now().Add(-24 * time.Hour) }, true, "this machine's turn was at 2026-11-25", time.Time{}},
		"at its turn":    {policy.Wave, func(in *policy.Input) { in.Target.Released = now(); in.Now = turn(now()) }, true, "turn was at", time.Time{}},
		"no waves":       {policy.Wave, func(in *policy.Input) { in.Target.Released, in.Waves = now(), false }, true, "no turn is waited for", time.Time{}},
		"at once":        {policy.Wave, func(in *policy.Input) { in.Target.Released, in.Target.Rollout = now().Add(time.Hour), "" }, true, "at once", time.Time{}},
		"in no time":     {policy.Wave, func(in *policy.Input) { in.Target.Rollout = "0s" }, true, "at once", time.Time{}},
		"odd rollout": {policy.Wave, func(in *policy.Input) { in.Target.Rollout = "two\ndays" }, false,
			`its metadata has the rollout "two\ndays", which`, time.Time{}},
		"negative rollout": {policy.Wave, func(in *policy.Input) { in.Target.Rollout = "-1h" }, false, `"-1h", which is not a length of time`, time.Time{}},
		"no release":       {policy.Wave, func(in *policy.Input) { in.Target.Released = time.Time{} }, false, "not when it was released", time.Time{}},
		"outside the window": {policy.Window, func(in *policy.Input) { in.Window = nights(t, "Sat 01:00-05:00") }, false,
			"it is Sat 01:00-05:00 UTC, and opens at 2026-11-28 01:00 UTC", time.Date(2026, 11, 28, 1, 0, 0, 0, time.UTC)},
		"inside the window": {policy.Window, func(in *policy.Input) { in.Window = nights(t, "12:00-13:00") }, true, "12:00-13:00 UTC", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			in := good()
			test.change(&in)
			g := policy.Evaluate(in)[slices.Index(names(), test.gate)]
			if g.Name != test.gate || g.Open != test.open || g.Forced || !strings.Contains(g.Reason, test.reason) || !g.Until.Equal(test.until) {
				t.Errorf("%+v\nwant open %v, until %s: %s", g, test.open, test.until, test.reason)
			}
			if strings.Contains(g.Reason, "\n") {
				t.Errorf("two lines: %q", g.Reason)
			}
		})
	}
}

// turn is that of the machine of good, of a version released at that time.
func turn(released time.Time) time.Time {
	in := good()
	return released.Add(time.Duration(policy.Share(in.MachineID, in.Target.Version) * float64(24*time.Hour)))
}

// closers close one gate each, and no other.
func closers(t testing.TB) map[string]func(*policy.Input) {
	return map[string]func(*policy.Input){
		policy.Architecture:   func(in *policy.Input) { in.Architecture = "arm64" },
		policy.Channel:        func(in *policy.Input) { in.Channel = "lts" },
		policy.Version:        func(in *policy.Input) { in.Running = "0.2.0" },
		policy.MinimumVersion: func(in *policy.Input) { in.Target.MinVersion = "0.9.0" },
		policy.SlotSize:       func(in *policy.Input) { in.SlotSize = 1 },
		policy.FreeSpace:      func(in *policy.Input) { in.FreeSpace = 1 },
		policy.KnownBad:       func(in *policy.Input) { in.Refused = []policy.Refusal{{Version: "0.2.0", Reason: "panic"}} },
		policy.Label:          func(in *policy.Input) { in.Label = "true" },
		policy.Wave:           func(in *policy.Input) { in.Target.Released = now().Add(time.Hour) },
		policy.Window:         func(in *policy.Input) { in.Window = nights(t, "01:00-02:00") },
	}
}

// TestForce closes every set of gates, and compares what is open with force and
// without.
func TestForce(t *testing.T) {
	forceable := map[string]bool{policy.KnownBad: true, policy.Label: true, policy.Wave: true, policy.Window: true}
	all, order := closers(t), names()
	for set := range 1 << len(order) {
		in := good()
		want := map[string]bool{} // closed
		for i, name := range order {
			if set&(1<<i) != 0 {
				all[name](&in)
				want[name] = true
			}
		}
		plain := policy.Evaluate(in)
		in.Force = true
		forced := policy.Evaluate(in)
		for i, name := range order {
			p, f := plain[i], forced[i]
			if p.Name != name || f.Name != name || p.Forced || p.Open == want[name] {
				t.Fatalf("set %b: %+v", set, p)
			}
			if f.Reason != p.Reason || f.Open == (want[name] && !forceable[name]) || f.Forced != (want[name] && forceable[name]) || f.Open && !f.Until.IsZero() {
				t.Fatalf("set %b: with force %+v, without %+v", set, f, p)
			}
		}
		if len(policy.Closed(plain)) != len(want) {
			t.Fatalf("set %b: closed are %+v", set, policy.Closed(plain))
		}
	}
	for _, name := range append(order, "signature", "") {
		if policy.Forceable(name) != forceable[name] {
			t.Errorf("%s: forceable is %v", name, policy.Forceable(name))
		}
	}
}

func TestTable(t *testing.T) {
	in := good()
	in.Architecture, in.Label = "arm64", "true"
	in.Window = nights(t, "Sat,Sun 01:00-05:00")
	var plain, forced bytes.Buffer
	if err := policy.Table(&plain, policy.Evaluate(in)); err != nil {
		t.Fatal(err)
	}
	in.Force = true
	if err := policy.Table(&forced, policy.Evaluate(in)); err != nil {
		t.Fatal(err)
	}
	want := `GATE             STATE   REASON
architecture     closed  it is made for amd64, and this machine is arm64
channel          open    stable
version          open    0.2.0 follows 0.1.0
minimum-version  open    0.1.0 or newer
slot-size        open    97.0 MB of 536.9 MB
free-space       open    12.0 MB needed, 3000.0 MB free
known-bad        open    not tried before
label            closed  the node is labelled updates.kubesolo.io/block=true; kubectl label node --all updates.kubesolo.io/block- takes it off (--force opens it)
wave             open    this machine's turn was at 2026-11-24 23:22 UTC
window           closed  it is Sat,Sun 01:00-05:00 UTC, and opens at 2026-11-28 01:00 UTC (--force opens it)
`
	if plain.String() != want {
		t.Errorf("got\n%swant\n%s", plain.String(), want)
	}
	if got := forced.String(); strings.Count(got, "forced") != 2 || strings.Contains(got, "--force") || !strings.Contains(got, "architecture     closed") {
		t.Errorf("with force\n%s", got)
	}
}

func FuzzEvaluate(f *testing.F) {
	f.Add("0.1.0", "0.2.0", "0.1.0", "24h", "stable", "amd64", "true", "why", int64(0))
	f.Add("", "1.0.0-rc.1+x", "v1", "-1h", "", "", "false", "a\nb", int64(1)<<62)
	f.Add("0", "9999999999999999999999.0.0", "", "2562047h47m16.854775807s", "a\tb", "x", "", "\r", int64(-5))
	f.Fuzz(func(t *testing.T, running, version, least, rollout, channel, architecture, label, reason string, n int64) {
		in := good()
		in.Running, in.Channel, in.Label, in.LabelErr = running, "stable", label, errors.New(reason)
		in.Now = time.Unix(n%(1<<40), 0)
		in.Refused = []policy.Refusal{{Version: version, Reason: reason}}
		in.Target = policy.Target{Version: version, Architecture: architecture, Channels: []string{channel}, MinVersion: least, Rollout: rollout, Released: now(), Size: n}
		gates := policy.Evaluate(in)
		in.Force = true
		forced := policy.Evaluate(in)
		if len(gates) != len(names()) {
			t.Fatalf("%d gates", len(gates))
		}
		for i, g := range gates {
			if g.Name != names()[i] || g.Reason == "" || strings.ContainsAny(g.Reason, "\n\r") {
				t.Errorf("%+v", g)
			}
			if forced[i].Open != (g.Open || policy.Forceable(g.Name)) {
				t.Errorf("with force %+v, without %+v", forced[i], g)
			}
			if !g.Until.IsZero() && !g.Until.After(in.Now) {
				t.Errorf("%+v at %s", g, in.Now)
			}
		}
	})
}
