package manager

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"kubesolo.io/os/internal/netcfg"
)

func one(id string) netcfg.Config {
	return netcfg.Config{Links: []netcfg.Link{{ID: id, DHCP4: true}}}
}

func TestResume(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trial.json")
	log := slog.New(slog.DiscardHandler)
	for name, tc := range map[string]struct {
		file  func() error
		given string
		want  string
		kept  bool
	}{
		"no trial":          {func() error { return nil }, "eth0", "eth0", false},
		"the tried one":     {func() error { return keep(path, keptTrial{one("eth1"), one("eth0")}) }, "eth1", "eth0", true},
		"the former one":    {func() error { return keep(path, keptTrial{one("eth1"), one("eth0")}) }, "eth0", "eth0", false},
		"another one":       {func() error { return keep(path, keptTrial{one("eth1"), one("eth0")}) }, "eth2", "eth2", false},
		"a damaged file":    {func() error { return os.WriteFile(path, []byte("{"), 0o600) }, "eth1", "eth1", false},
		"an empty file":     {func() error { return os.WriteFile(path, nil, 0o600) }, "eth1", "eth1", false},
		"no former in file": {func() error { return keep(path, keptTrial{Tried: one("eth1")}) }, "eth1", "eth1", false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.file(); err != nil {
				t.Fatal(err)
			}
			got, why := resume(path, one(tc.given), log)
			if got.Links[0].ID != tc.want || (why != "") != (tc.given != tc.want) {
				t.Errorf("%s: %q, want %s", got, why, tc.want)
			}
			if _, err := os.Stat(path); (err == nil) != tc.kept {
				t.Errorf("the file: %v, want it kept: %t", err, tc.kept)
			}
			if err := forget(path); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func FuzzParseTrial(f *testing.F) {
	f.Add([]byte(`{"tried":{"links":[{"id":"eth0","addresses":["192.0.2.1/24"]}]},"former":{"links":[{"id":"b","bond":{"ports":["x"],"mode":""}}]}}`))
	f.Add([]byte(`{"tried":{"links":[{"id":"v","vlan":{"id":-1,"link":"v"}}]},"former":{"links":[{}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		kept, err := parseTrial(b)
		if err != nil {
			return
		}
		if !same(kept.Former, kept.Former) {
			t.Error("a configuration is not the same as itself")
		}
		netcfg.Resolve(kept.Former, netcfg.State{Links: []netcfg.LinkState{{Index: 2, Name: "eth0"}, {Index: 3, Name: "x"}}}, nil)
	})
}
