package hostnet

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func addrs(list ...string) []netip.Addr {
	var result []netip.Addr
	for _, text := range list {
		result = append(result, netip.MustParseAddr(text))
	}
	return result
}

func TestChoose(t *testing.T) {
	loopback := Link{Name: "lo", Up: true, MTU: 65536, Addresses: addrs("127.0.0.1")}
	bridge := Link{Name: "cni0", Up: true, MTU: 1500, Addresses: addrs("10.42.0.1")}
	lan := Link{Name: "eth0", Up: true, MTU: 1400, Addresses: addrs("192.168.1.5", "192.168.1.6"), DefaultRoute: true}
	second := Link{Name: "eth1", Up: true, MTU: 9000, Addresses: addrs("172.16.0.1")}
	sourced := lan
	sourced.Source = netip.MustParseAddr("192.168.1.6")
	tests := map[string]struct {
		wanted  string
		links   []Link
		address string
		mtu     int
		foreign bool
	}{
		"default route wins":       {"", []Link{loopback, bridge, second, lan}, "192.168.1.5", 1400, false},
		"source of the route":      {"", []Link{second, sourced}, "192.168.1.6", 1400, false},
		"no default route":         {"", []Link{loopback, bridge, second}, "172.16.0.1", 0, false},
		"nothing":                  {"", []Link{loopback, bridge}, "10.40.0.1", 0, true},
		"link-local is no address": {"", []Link{{Name: "eth0", Up: true, Addresses: addrs("169.254.3.3")}}, "10.40.0.1", 0, true},
		"wanted and there":         {"172.16.0.1", []Link{second, lan}, "172.16.0.1", 1400, false},
		"wanted and gone":          {"10.9.9.9", []Link{second, lan}, "10.9.9.9", 1400, true},
	}
	for name, test := range tests {
		var wanted netip.Addr
		if test.wanted != "" {
			wanted = netip.MustParseAddr(test.wanted)
		}
		got := Choose(wanted, test.links)
		if got.Address.String() != test.address || got.MTU != test.mtu || got.Foreign != test.foreign {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestNameservers(t *testing.T) {
	tests := map[string][]netip.Addr{
		"": nil,
		"nameserver 192.168.1.1\nnameserver 192.168.1.1\n":                                    addrs("192.168.1.1"),
		"search x\n# nameserver 9.9.9.9\nnameserver 127.0.0.53\n":                             nil,
		"nameserver fe80::1%eth0\nnameserver ::1\nnameserver 2001:db8::1\n":                   addrs("2001:db8::1"),
		"nameserver 169.254.169.254\nnameserver 169.254.1.1\n":                                addrs("169.254.169.254"),
		"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n":    addrs("1.1.1.1", "1.1.1.2", "1.1.1.3"),
		"nameserver\nnameserver x\nnameserver 8.8.8.8 trailing\nnameserver 0.0.0.0\nnonsense": addrs("8.8.8.8"),
	}
	for text, want := range tests {
		if got := Nameservers(text); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func FuzzNameservers(f *testing.F) {
	f.Add("nameserver 1.1.1.1\n")
	f.Add("nameserver fe80::1%eth0")
	f.Fuzz(func(t *testing.T, text string) {
		servers := Nameservers(text)
		if len(servers) > maxNameservers {
			t.Errorf("%d servers", len(servers))
		}
		for _, addr := range servers {
			if addr.IsLoopback() || addr.Zone() != "" || addr.IsUnspecified() {
				t.Errorf("unusable server %v", addr)
			}
		}
	})
}

func TestWriteCNI(t *testing.T) {
	dir := t.TempDir()
	warning, err := WriteCNI(dir, "10.42.0.0/16", 1400)
	if err != nil || warning != "" {
		t.Fatalf("warning %q, error %v", warning, err)
	}
	data, err := os.ReadFile(filepath.Join(dir, cniFile))
	if err != nil {
		t.Fatal(err)
	}
	var conf struct {
		Plugins []struct {
			Type   string
			MTU    int
			IPMasq bool
		}
	}
	if err := json.Unmarshal(data, &conf); err != nil {
		t.Fatal(err)
	}
	if len(conf.Plugins) != 2 || conf.Plugins[0].Type != "bridge" || conf.Plugins[0].MTU != 1400 || conf.Plugins[0].IPMasq || conf.Plugins[1].Type != "portmap" {
		t.Errorf("got %s", data)
	}
	if err := os.WriteFile(filepath.Join(dir, "05-other.conf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	warning, err = WriteCNI(dir, "10.42.0.0/16", 0)
	if err != nil || !strings.Contains(warning, "05-other.conf") {
		t.Errorf("warning %q, error %v", warning, err)
	}
}
