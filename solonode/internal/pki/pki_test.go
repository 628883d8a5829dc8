package pki

import (
	"crypto/tls"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func day(text string) time.Time {
	parsed, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return parsed
}

func config(t *testing.T) Config {
	t.Helper()
	return Config{
		Dir: filepath.Join(t.TempDir(), "pki"), NodeName: "node1", Server: "https://127.0.0.1:6443",
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.43.0.1")},
		Names:     []string{"box.example"}, Now: day("2027-01-01"), Floor: day("2026-11-01"),
	}
}

func ensure(t *testing.T, cfg Config) []string {
	t.Helper()
	signed, err := Ensure(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func read(t *testing.T, cfg Config, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(cfg.Dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSecondRunChangesNothing(t *testing.T) {
	cfg := config(t)
	if signed := ensure(t, cfg); len(signed) != len(cfg.leafs()) {
		t.Errorf("first run signed %v", signed)
	}
	kubeconfig := filepath.Join(cfg.Dir, "admin", "admin.kubeconfig")
	before, err := os.Stat(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if before.Mode().Perm() != 0o600 {
		t.Errorf("admin.kubeconfig has mode %v", before.Mode())
	}
	if signed := ensure(t, cfg); len(signed) != 0 {
		t.Errorf("second run signed %v", signed)
	}
	if after, err := os.Stat(kubeconfig); err != nil || !os.SameFile(before, after) {
		t.Errorf("admin.kubeconfig was written again (%v)", err)
	}
}

func TestAddressChangeKeepsAuthorityAndServiceAccountKey(t *testing.T) {
	cfg := config(t)
	ensure(t, cfg)
	files := []string{"ca/ca.crt", "ca/ca.key", "request-header/request-header.crt", "apiserver/service-account.key", "admin/admin.kubeconfig"}
	before := map[string]string{}
	for _, file := range files {
		before[file] = read(t, cfg, file)
	}
	cfg.Addresses[0] = netip.MustParseAddr("192.168.7.7")
	if signed := ensure(t, cfg); !slices.Equal(signed, []string{"apiserver/apiserver", "kubelet/kubelet"}) {
		t.Errorf("signed %v", signed)
	}
	for _, file := range files {
		if read(t, cfg, file) != before[file] {
			t.Errorf("%s changed", file)
		}
	}
}

func TestLeafIsSignedAgain(t *testing.T) {
	tests := map[string]struct {
		change func(*Config)
		want   int
	}{
		"near its end":     {func(c *Config) { c.Now = c.Now.Add(leafLifetime - RenewBefore + 48*time.Hour) }, 9},
		"middle of life":   {func(c *Config) { c.Now = c.Now.Add(leafLifetime / 2) }, 0},
		"clock went back":  {func(c *Config) { c.Now, c.Floor = day("2026-06-01"), time.Time{} }, 9},
		"name added":       {func(c *Config) { c.Names = append(c.Names, "other.example") }, 1},
		"another node":     {func(c *Config) { c.NodeName = "node2" }, 3},
		"order of SANs":    {func(c *Config) { slices.Reverse(c.Addresses) }, 0},
		"expired long ago": {func(c *Config) { c.Now = c.Now.Add(3 * leafLifetime) }, 9},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			ensure(t, cfg)
			test.change(&cfg)
			if signed := ensure(t, cfg); len(signed) != test.want {
				t.Errorf("signed %v, want %d", signed, test.want)
			}
			if signed := ensure(t, cfg); len(signed) != 0 {
				t.Errorf("not settled: signed %v", signed)
			}
		})
	}
}

// A node without a battery-backed clock starts in 1970 and is corrected later;
// another starts years ahead. Neither may need new authorities.
func TestWrongClockAtFirstBoot(t *testing.T) {
	for _, first := range []string{"1970-01-02", "2040-01-01"} {
		cfg := config(t)
		cfg.Now = day(first)
		ensure(t, cfg)
		authority := read(t, cfg, "ca/ca.crt")
		for _, now := range []string{first, "2026-12-24"} {
			cfg.Now = day(now)
			ensure(t, cfg)
			verify(t, cfg)
		}
		if read(t, cfg, "ca/ca.crt") != authority {
			t.Errorf("first boot in %s: the authority changed", first)
		}
	}
}

// verify checks the API server's certificate against the authority as a client
// does at cfg.Now.
func verify(t *testing.T, cfg Config) {
	t.Helper()
	ca, _, err := readCertificate(filepath.Join(cfg.Dir, "ca", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, _, err := readCertificate(filepath.Join(cfg.Dir, "apiserver", "apiserver.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, cert := range []struct{ from, to time.Time }{{ca.NotBefore, ca.NotAfter}, {leaf.NotBefore, leaf.NotAfter}} {
		if cfg.Now.Before(cert.from) || cfg.Now.After(cert.to) {
			t.Errorf("at %s: valid %s to %s", cfg.Now, cert.from, cert.to)
		}
	}
	if err := leaf.CheckSignatureFrom(ca); err != nil {
		t.Error(err)
	}
	if err := leaf.VerifyHostname("box.example"); err != nil {
		t.Error(err)
	}
	if err := leaf.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	base := filepath.Join(cfg.Dir, "admin", "admin")
	if _, err := tls.LoadX509KeyPair(base+".crt", base+".key"); err != nil {
		t.Error(err)
	}
}

func TestDamagedFiles(t *testing.T) {
	t.Run("leaf is replaced", func(t *testing.T) {
		cfg := config(t)
		ensure(t, cfg)
		for _, file := range []string{"scheduler/scheduler.key", "kube-proxy/kube-proxy.crt"} {
			if err := os.WriteFile(filepath.Join(cfg.Dir, file), []byte("torn"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if signed := ensure(t, cfg); !slices.Equal(signed, []string{"scheduler/scheduler", "kube-proxy/kube-proxy"}) {
			t.Errorf("signed %v", signed)
		}
	})
	for _, file := range []string{"ca/ca.key", "ca/ca.crt", "apiserver/service-account.key"} {
		t.Run(file+" is never replaced", func(t *testing.T) {
			cfg := config(t)
			ensure(t, cfg)
			if err := os.WriteFile(filepath.Join(cfg.Dir, file), []byte("torn"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Ensure(cfg); err == nil {
				t.Error("no error")
			}
			if read(t, cfg, file) != "torn" {
				t.Error("file was written")
			}
		})
	}
}

func TestLinkIsRefused(t *testing.T) {
	cfg := config(t)
	if err := os.Symlink(t.TempDir(), cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Ensure(cfg); err == nil || !strings.Contains(err.Error(), "link") {
		t.Errorf("got error %v", err)
	}
}
