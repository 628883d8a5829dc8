package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/netcfg"
)

func TestMergeKeepsOrigins(t *testing.T) {
	disk := config.Part{
		Source:   "cidata",
		Hostname: new("disk"),
		KubeSolo: config.KubeSoloPart{
			Debug:    new(true),
			ExtraEnv: map[string]config.Secret{"A": "1", "B": "1"},
		},
		Sysctl:     map[string]string{"vm.swappiness": "1"},
		Modules:    []string{"wireguard"},
		WriteFiles: []config.File{{Path: "/run/a", Content: []byte("old")}},
	}
	data := config.Part{
		Source:     "cloud-init.yaml",
		KubeSolo:   config.KubeSoloPart{ExtraEnv: map[string]config.Secret{"B": "2"}, LocalStorage: new(false)},
		Modules:    []string{"wireguard", "nvme"},
		WriteFiles: []config.File{{Path: "/run/a", Content: []byte("new")}},
	}
	args, err := config.KernelArgs("boss", "dhcp")
	if err != nil {
		t.Fatal(err)
	}
	c, o := config.Merge(config.Defaults(), disk, data, args)

	want := map[string]string{
		"hostname":               "kernel arguments",
		"network":                "kernel arguments",
		"kubesolo.debug":         "cidata",
		"kubesolo.load-balancer": "defaults",
		"kubesolo.local-storage": "cloud-init.yaml",
		"kubesolo.extra-env.A":   "cidata",
		"kubesolo.extra-env.B":   "cloud-init.yaml",
		"kubesolo.runtime":       "defaults",
		"sysctl.vm.swappiness":   "cidata",
		"modules.wireguard":      "cidata",
		"modules.nvme":           "cloud-init.yaml",
		"write-files./run/a":     "cloud-init.yaml",
		"update.channel":         "defaults",
		"update.check-every":     "defaults",
		"update.deadline":        "defaults",
		"update.healthy-for":     "defaults",
		"update.usb":             "defaults",
		"update.waves":           "defaults",
	}
	if !reflect.DeepEqual(map[string]string(o), want) {
		t.Errorf("origins:\n%s", o)
	}
	if c.Hostname != "boss" || c.KubeSolo.LocalStorage || !c.KubeSolo.Debug || !c.KubeSolo.LoadBalancer {
		t.Errorf("values: %+v", c)
	}
	if len(c.WriteFiles) != 1 || string(c.WriteFiles[0].Content) != "new" {
		t.Errorf("files: %+v", c.WriteFiles)
	}
	if err := config.Validate(c, o); err != nil {
		t.Errorf("validate: %v", err)
	}
}

func TestValidateReportsAll(t *testing.T) {
	c, o := config.Merge(config.Defaults(), config.Part{
		Source:   "test.yaml",
		Hostname: new("Upper"),
		Network: &netcfg.Config{Links: []netcfg.Link{{
			ID: "eth0", MTU: 10,
			Addresses: []netip.Prefix{netip.MustParsePrefix("224.0.0.1/24")},
			Routes:    []netcfg.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("fe80::1")}},
		}}},
		KubeSolo: config.KubeSoloPart{
			MTU: new(9), StartupTimeout: new(-1), NodeIP: new(netip.MustParseAddr("127.0.0.1")),
			Runtime: new(config.Runtime("docker")), ExtraEnv: map[string]config.Secret{"1X": "v"},
			ExtraSANs: &[]string{"ok.example", "*.ok.example", "192.0.2.1", "not ok"}, LocalStorageSharedPath: new("a/b"),
		},
		Portainer:  config.PortainerPart{EdgeKey: new(config.Secret("geheim"))},
		WriteFiles: []config.File{{Path: "/usr/bin/x"}, {Path: "/var/../etc/x"}, {Path: "/var/lib/x"}},
	})
	err := config.Validate(c, o)
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 14 {
		t.Errorf("%d errors, want 14:\n%v", len(lines), err)
	}
	for _, l := range lines {
		if !strings.Contains(l, "(from test.yaml)") {
			t.Errorf("no origin: %s", l)
		}
		if strings.Contains(l, "geheim") {
			t.Errorf("secret printed: %s", l)
		}
	}
}

func TestSecretIsHidden(t *testing.T) {
	c := config.Config{Portainer: config.Portainer{EdgeKey: "geheim"}, KubeSolo: config.KubeSolo{ExtraEnv: map[string]config.Secret{"T": "geheim"}}}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{string(j), fmt.Sprint(c), fmt.Sprintf("%+v %#v %q %s", c, c, c.Portainer.EdgeKey, c.Portainer.EdgeKey)} {
		if strings.Contains(s, "geheim") {
			t.Errorf("secret printed: %s", s)
		}
	}
}

func TestLastGood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "last-good.json")
	bad := errors.New("line 1: bad")
	if _, why := config.OrLastGood(config.Part{Source: "x"}, bad, path); !strings.Contains(why, "no earlier good") {
		t.Errorf("reason: %q", why)
	}
	p := config.Part{
		Source: "x", Hostname: new("h"),
		Network: &netcfg.Config{Links: []netcfg.Link{{
			ID: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
			Routes: []netcfg.Route{config.DefaultRoute(netip.MustParseAddr("192.0.2.254"))},
		}}},
		KubeSolo:  config.KubeSoloPart{NodeIP: new(netip.MustParseAddr("192.0.2.1")), ExtraEnv: map[string]config.Secret{"K": "v"}},
		Portainer: config.PortainerPart{EdgeKey: new(config.Secret("geheim"))},
	}
	if err := config.Save(path, p); err != nil {
		t.Fatal(err)
	}
	got, why := config.OrLastGood(config.Part{Source: "x"}, bad, path)
	if why == "" {
		t.Error("no reason")
	}
	p.Source = got.Source
	if !reflect.DeepEqual(got, p) {
		t.Errorf("got %+v\nwant %+v", got, p)
	}
	if same, why := config.OrLastGood(p, nil, path); why != "" || !reflect.DeepEqual(same, p) {
		t.Errorf("a good part was replaced: %q", why)
	}
}

func TestKubeSoloEnv(t *testing.T) {
	c, _ := config.Merge(config.Defaults(), config.Part{
		KubeSolo: config.KubeSoloPart{
			ExtraSANs: &[]string{"a.example", "192.0.2.9"}, StartupTimeout: new(900), MTU: new(1400), Debug: new(true),
			DisableIPv6: new(true), LocalStorageSharedPath: new("/var/share"), ExtraEnv: map[string]config.Secret{"KUBESOLO_LOAD_BALANCER_IP": "192.0.2.7"},
		},
		Portainer: config.PortainerPart{EdgeID: new("id"), EdgeKey: new(config.Secret("key")), Async: new(true), Image: new("img")},
	})
	want := []string{
		"HOME=/root",
		"KUBESOLO_APISERVER_EXTRA_SANS=a.example,192.0.2.9",
		"KUBESOLO_CONTAINER_RUNTIME_ENDPOINT=unix:///run/containerd/containerd.sock",
		"KUBESOLO_DEBUG=true",
		"KUBESOLO_DISABLE_IPV6=true",
		"KUBESOLO_LOAD_BALANCER=true",
		"KUBESOLO_LOAD_BALANCER_IP=192.0.2.7",
		"KUBESOLO_LOCAL_STORAGE=true",
		"KUBESOLO_LOCAL_STORAGE_SHARED_PATH=/var/share",
		"KUBESOLO_MTU=1400",
		"KUBESOLO_NODE_IP=192.0.2.1",
		"KUBESOLO_PATH=/var/lib/kubesolo",
		"KUBESOLO_PORTAINER_EDGE_ASYNC=true",
		"KUBESOLO_PORTAINER_EDGE_ID=id",
		"KUBESOLO_PORTAINER_EDGE_IMAGE=img",
		"KUBESOLO_PORTAINER_EDGE_KEY=key",
		"KUBESOLO_STARTUP_TIMEOUT=900",
		"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
	if got := config.KubeSoloEnv(c, netip.MustParseAddr("192.0.2.1")); !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	c.KubeSolo.Runtime = config.RuntimeBundled
	if got := strings.Join(config.KubeSoloEnv(c, netip.Addr{}), "\n"); strings.Contains(got, "ENDPOINT") || strings.Contains(got, "NODE_IP") {
		t.Errorf("bundled, no address:\n%s", got)
	}
}

func TestParseIP(t *testing.T) {
	for in, want := range map[string]string{
		"dhcp":                    "default: (any physical ethernet) dhcp4",
		":::::eth1:dhcp":          "kubesolo.ip: (name=eth1) dhcp4",
		"192.0.2.5::192.0.2.1:24": "kubesolo.ip: (first of: any physical ethernet) 192.0.2.5/24 route default via 192.0.2.1",
		"192.0.2.5::192.0.2.1:255.255.255.0:box:eth0:off:192.0.2.2:192.0.2.3": "kubesolo.ip: (name=eth0) 192.0.2.5/24 route default via 192.0.2.1 dns 192.0.2.2 dns 192.0.2.3",
		"[2001:db8::5]::[fe80::1]:64::eth0:none":                              "kubesolo.ip: (name=eth0) 2001:db8::5/64 route default (ipv6) via fe80::1",
	} {
		c, _, err := config.ParseIP(in)
		if err != nil || c.String() != want {
			t.Errorf("%s: %v\n got %s\nwant %s", in, err, c, want)
		}
	}
	for _, in := range []string{"off", "bootp", "::::::none", "192.0.2.5", "192.0.2.5:::", "192.0.2.5:::255.0.255.0", "x::y:24:Z::off:d", "192.0.2.5:::33"} {
		if c, _, err := config.ParseIP(in); err == nil {
			t.Errorf("%s accepted: %s", in, c)
		}
	}
	if _, err := config.KernelArgs("Bad_Name", "nonsense"); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("want two errors: %v", err)
	}
}

func FuzzParseIP(f *testing.F) {
	for _, s := range []string{"dhcp", "192.0.2.5::192.0.2.1:255.255.255.0:box:eth0:off:192.0.2.2:192.0.2.3", "[::1]::[", ":::::::::::::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, host, err := config.ParseIP(s)
		if err == nil && len(c.Links) != 1 {
			t.Errorf("%q: %v", s, c)
		}
		if host != "" && config.ValidHostname(host) != nil {
			t.Errorf("%q: host %q", s, host)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{"part":{"source":"x","hostname":"h"},"edge-key":"k","extra-env":{"A":"b"},"http-proxy":"http://p"}`))
	f.Add([]byte(`{"part":{"network":{"links":[{"id":"a","addresses":["192.0.2.1/24"],"bond":{"ports":null,"mode":""}}]}}}`))
	f.Add([]byte(`{"part":{"update":{"window":"Sat 01:00-05:00","check-every":"6h","auto":"x","registry-auth":"(hidden)"}},"registry-auth":"{}"}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "good.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := config.Load(path)
		if err != nil {
			return
		}
		// Whatever a damaged file holds, it can be merged, judged and kept.
		c, o := config.Merge(config.Defaults(), p)
		_ = config.Validate(c, o)
		if err := config.Save(path, p); err != nil {
			t.Errorf("loaded, but not to be saved: %v", err)
		}
	})
}
