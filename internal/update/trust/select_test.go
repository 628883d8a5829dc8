package trust

import (
	"errors"
	"strings"
	"testing"
)

func TestSelect(t *testing.T) {
	target := func(version, minVersion, architecture string, channels ...string) Target {
		return Target{Name: TargetName(version, architecture), Version: version, MinVersion: minVersion, Architecture: architecture, Channels: channels}
	}
	targets := []Target{
		target("0.1.0", "", "amd64", "stable"),
		target("0.2.0", "", "amd64", "stable", "beta"),
		target("0.3.0", "0.2.0", "amd64", "stable"),
		target("0.10.0", "0.3.0", "amd64", "stable"),
		target("0.11.0-rc.1", "0.3.0", "amd64", "beta"),
		target("0.9.0", "", "arm64", "stable"),
	}
	for _, test := range []struct {
		name   string
		policy Policy
		want   string // version, or a part of the reason
	}{
		{"the highest", Policy{Current: "0.3.0"}, "0.10.0"},
		{"numbers, not text", Policy{Current: "0.9.0"}, "0.10.0"},
		{"a stepping stone", Policy{Current: "0.1.0"}, "0.2.0"},
		{"the next stepping stone", Policy{Current: "0.2.0"}, "0.3.0"},
		{"a pre-release is before its release", Policy{Current: "0.3.0-rc.2"}, "0.3.0"},
		{"nothing newer", Policy{Current: "0.10.0"}, "no update: 0.10.0 is the newest in channel stable, and runs"},
		{"never down", Policy{Current: "0.12.0"}, "0.10.0 in channel stable is older than 0.12.0, which runs: going back must be forced"},
		{"another channel", Policy{Current: "0.3.0", Channel: "beta"}, "0.11.0-rc.1"},
		{"another architecture", Policy{Current: "0.1.0", Architecture: "arm64"}, "0.9.0"},
		{"nothing for the architecture", Policy{Current: "0.1.0", Architecture: "riscv64"}, "no update: the repository has nothing for riscv64"},
		{"nothing in the channel", Policy{Current: "0.1.0", Channel: "nightly"}, "no update: the repository has nothing in channel nightly for amd64"},
		{"refused: the next best", Policy{Current: "0.1.0", Refused: []string{"0.3.0", "0.10.0"}}, "0.2.0"},
		{"refused: nothing else", Policy{Current: "0.3.0", Refused: []string{"0.10.0"}}, "no update: 0.10.0 was rolled back on this node before: it must be forced"},
		{"refused and forced", Policy{Current: "0.3.0", Refused: []string{"0.10.0"}, Force: true}, "0.10.0"},
		{"asked for", Policy{Current: "0.1.0", Version: "0.2.0"}, "0.2.0"},
		{"asked for, too far", Policy{Current: "0.1.0", Version: "0.10.0"}, "no update: 0.10.0 can only follow 0.3.0 or later, 0.1.0 runs: a version between is needed first"},
		{"too far also by force", Policy{Current: "0.1.0", Version: "0.10.0", Force: true}, "0.10.0 can only follow 0.3.0"},
		{"asked for, runs", Policy{Current: "0.2.0", Version: "0.2.0"}, "no update: 0.2.0 runs already"},
		{"the same by force", Policy{Current: "0.2.0", Version: "0.2.0", Force: true}, "0.2.0"},
		{"asked for, older", Policy{Current: "0.3.0", Version: "0.1.0"}, "going back must be forced"},
		{"older by force", Policy{Current: "0.3.0", Version: "0.1.0", Force: true}, "0.1.0"},
		{"asked for, in no channel of ours", Policy{Current: "0.3.0", Version: "0.11.0-rc.1", Force: true}, "no update: version 0.11.0-rc.1 is not in channel stable for amd64"},
		{"not a version runs", Policy{Current: "my-build"}, `no update: the running version "my-build" is none like 1.2.3`},
		{"not a version runs, by force", Policy{Current: "my-build", Version: "0.2.0", Force: true}, "0.2.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.policy.Channel == "" {
				test.policy.Channel = "stable"
			}
			if test.policy.Architecture == "" {
				test.policy.Architecture = "amd64"
			}
			got, err := Select(targets, test.policy)
			if err != nil && (!errors.Is(err, ErrNoUpdate) || !strings.Contains(err.Error(), test.want)) || err == nil && got.Version != test.want {
				t.Errorf("%+v, %v; want %q", got, err, test.want)
			}
		})
	}
	if _, err := Select(nil, Policy{Current: "0.1.0"}); !errors.Is(err, ErrNoUpdate) {
		t.Errorf("of none: %v", err)
	}
}

func TestVersions(t *testing.T) {
	order := []string{"0.1.0-alpha", "0.1.0-alpha.1", "0.1.0-alpha.2", "0.1.0-alpha.10", "0.1.0-beta", "0.1.0", "0.1.1", "0.2.0", "0.10.0", "1.0.0"}
	for i, a := range order {
		for j, b := range order {
			if got, want := Compare(a, b), min(1, max(-1, i-j)); got != want {
				t.Errorf("Compare(%s, %s) = %d", a, b, got)
			}
		}
		if !ValidVersion(a) {
			t.Errorf("%s is no version", a)
		}
	}
	for _, bad := range []string{"", "1", "1.2", "v1.2.3", "1.2.3+build", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3 ", "1.2.x", "1.2.3/../x", strings.Repeat("1", 65) + ".0.0"} {
		if ValidVersion(bad) {
			t.Errorf("%q is a version", bad)
		}
	}
}
