package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/cloudinit"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/event"
)

func testNode(dir string) *node {
	return &node{console: newConsole(io.Discard), log: slog.New(slog.DiscardHandler), fresh: map[string]config.Part{}, good: dir}
}

func writeTree(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that led to a healthy node is what a later, bad one falls back to, and
// the message says in which line the bad one is bad.
func TestBadFileFallsBackToTheLastGoodOne(t *testing.T) {
	dir := t.TempDir()
	read := func(n *node, text string) error {
		return n.addDocument(context.Background(), document{name: "data", kind: cloudinit.CloudConfig, origin: "/data/cloud-init.yaml", text: []byte(text)})
	}
	bad := "#cloud-config\nhostname: other\nnetwork:\n  version: 2\n  ethernets:\n    eth0: {dhcp4: perhaps}\nkubesolo: {mtu: 5}\n"

	n := testNode(dir)
	err := read(n, bad)
	if err == nil || !strings.Contains(err.Error(), "no earlier good configuration is there; the defaults stand") || n.parts[0].Hostname != nil {
		t.Errorf("without a good one: %v, %+v", err, n.parts)
	}

	n = testNode(dir)
	if err := read(n, "#cloud-config\nhostname: tried\n"); err != nil {
		t.Fatal(err)
	}
	// That it could be read makes it no good one: the node never was ready.
	n = testNode(dir)
	if err := read(n, bad); err == nil || n.parts[0].Hostname != nil {
		t.Errorf("a configuration that never led to a healthy node is used: %v", n.parts)
	}

	n = testNode(dir)
	if err := read(n, "#cloud-config\nhostname: proven\nportainer: {edge-id: a, edge-key: geheim}\n"); err != nil {
		t.Fatal(err)
	}
	n.keepConfig() // as the event "ready" does

	n = testNode(dir)
	err = read(n, bad)
	want := []string{
		"/data/cloud-init.yaml: line 6: network.ethernets.eth0.dhcp4 must be true or false, but it is a string",
		"/data/cloud-init.yaml: line 7: kubesolo.mtu: 5 is not between 576 and 65535",
		"/data/cloud-init.yaml is not used; the last configuration that led to a healthy node is",
	}
	if err == nil || !slices.Equal(strings.Split(err.Error(), "\n"), want) {
		t.Errorf("messages:\n%v", err)
	}
	documented(t, err)
	c, o := config.Merge(append([]config.Part{config.Defaults()}, n.parts...)...)
	if c.Hostname != "proven" || o["hostname"] != "last good configuration" || c.Portainer.EdgeKey.Reveal() != "geheim" {
		t.Errorf("host name %q from %q", c.Hostname, o["hostname"])
	}
	// A file that the disk does not give is bad, too.
	n = testNode(dir)
	err = n.addDocument(t.Context(), document{name: "data", origin: "/data/cloud-init.yaml", err: unix.EIO})
	if err == nil || !strings.Contains(err.Error(), "input/output error") || *n.parts[0].Hostname != "proven" {
		t.Errorf("a file that cannot be read: %v, %+v", err, n.parts)
	}
	n.keepConfig()
	if p, err := config.Load(n.goodPath("data")); err != nil || *p.Hostname != "proven" {
		t.Errorf("the good one is lost: %v %+v", err, p)
	}
}

// documented: what the console shows of it is what the document shows.
func documented(t *testing.T, err error) {
	t.Helper()
	var screen bytes.Buffer
	n := &node{console: newConsole(&screen), log: slog.New(slog.DiscardHandler), events: event.NewLog(1)}
	n.observe(boot.Result{Step: "config", State: boot.DegradedRun, Err: err})
	n.console.wait()
	_, shown, _ := strings.Cut(screen.String(), "]")
	text, readErr := os.ReadFile("../../docs/configuration.md")
	if readErr != nil || !strings.Contains(string(text), shown) {
		t.Errorf("docs/configuration.md does not show\n%s\n%v", screen.String(), readErr)
	}
}

func TestVolumeDocuments(t *testing.T) {
	addresses := []string{"02:00:00:00:00:01", "52:54:00:12:34:56"}
	for name, test := range map[string]struct {
		files    map[string]string
		hostname string
		origin   string
		network  string
		fails    string
	}{
		"the file of this machine is the strongest": {
			map[string]string{"user-data": "#cloud-config\nhostname: all\n", "meta-data": "local-hostname: meta\n",
				"network-config": "version: 2\nethernets: {eth0: {dhcp4: true}}\n", "52-54-00-12-34-56.yaml": "#cloud-config\nhostname: mine\n",
				"52-54-00-12-34-57.yaml": "#cloud-config\nhostname: neighbour\n"},
			"mine", "/dev/sr0 52-54-00-12-34-56.yaml", "/dev/sr0 network-config", "",
		},
		"user-data before meta-data": {
			map[string]string{"user-data": "#cloud-config\nhostname: all\n", "meta-data": "local-hostname: meta\n"},
			"all", "/dev/sr0 user-data", "defaults", "",
		},
		"an empty user-data, as cloud-init demands it": {
			map[string]string{"user-data": "\n", "meta-data": "instance-id: x\nhostname: meta\n"},
			"meta", "/dev/sr0 meta-data", "defaults", "",
		},
		"capital letters": {
			map[string]string{"USER-DATA": "#cloud-config\nhostname: all\n"}, "all", "/dev/sr0 user-data", "defaults", "",
		},
		"only the file of this machine": {
			map[string]string{"02-00-00-00-00-01.yaml": "#cloud-config\nhostname: mine\nnetwork: {version: 2}\n"},
			"mine", "/dev/sr0 02-00-00-00-00-01.yaml", "/dev/sr0 02-00-00-00-00-01.yaml", "",
		},
		"nothing of use": {
			map[string]string{"readme.txt": "x"}, "kubesolo", "defaults", "defaults",
			"/dev/sr0: it has none of user-data, meta-data, network-config and 02-00-00-00-00-01.yaml",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeTree(t, dir, test.files)
			n := testNode(t.TempDir())
			n.parts = []config.Part{config.Defaults()}
			failed := ""
			for _, d := range volumeDocuments(dir, "/dev/sr0", addresses) {
				if err := n.addDocument(t.Context(), d); err != nil {
					failed += err.Error()
				}
			}
			if !strings.Contains(failed, test.fails) || (failed == "") != (test.fails == "") {
				t.Errorf("errors: %q, want %q", failed, test.fails)
			}
			c, o := config.Merge(n.parts...)
			if c.Hostname != test.hostname || o["hostname"] != test.origin || o["network"] != test.network {
				t.Errorf("host name %q from %q, network from %q", c.Hostname, o["hostname"], o["network"])
			}
		})
	}
}

func TestHardwareAddresses(t *testing.T) {
	sysfs := t.TempDir()
	writeTree(t, sysfs, map[string]string{
		"class/net/lo/address":   "00:00:00:00:00:00\n",
		"class/net/eth1/address": "52:54:00:AB:cd:02\n",
		"class/net/eth0/address": "52:54:00:ab:cd:01\n",
		"class/net/vlan/address": "52:54:00:ab:cd:01\n",
		"class/net/ib0/address":  "80:00:00:00:fe:80:00:00:00:00:00:00:00:02:c9:03:00:00:00:01\n",
		"class/net/tun0/address": "\n",
	})
	if got := hardwareAddresses(sysfs); !slices.Equal(got, []string{"52:54:00:ab:cd:01", "52:54:00:ab:cd:02"}) {
		t.Errorf("got %v", got)
	}
}

func TestReadFileIsBounded(t *testing.T) {
	text, err := readFile("/dev/zero")
	if err != nil || len(text) != maxConfig {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	if _, _, err := cloudinit.Parse(cloudinit.CloudConfig, text); err == nil || !strings.Contains(err.Error(), "bytes, more than") {
		t.Errorf("what was cut off is not refused: %v", err)
	}
}

func TestWriteRegistries(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, config.RegistryDir)
	foreign := filepath.Join(dir, "ghcr.io/hosts.toml")
	writeTree(t, root, map[string]string{config.RegistryDir + "/ghcr.io/hosts.toml": "# by hand\n"})
	registries := map[string]config.Registry{
		"docker.io": {Mirrors: []string{"https://m.example"}, CA: "CERT\n"},
		"quay.io":   {SkipVerify: true},
	}
	if err := writeRegistries(root, registries); err != nil {
		t.Fatal(err)
	}
	ours := filepath.Join(dir, "docker.io/hosts.toml")
	before, err := os.Stat(ours)
	if err != nil {
		t.Fatal(err)
	}
	delete(registries, "quay.io")
	if err := writeRegistries(root, registries); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(ours)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again though nothing changed: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "quay.io")); !os.IsNotExist(err) {
		t.Errorf("a registry that is not configured any more stays: %v", err)
	}
	if err := writeRegistries(root, nil); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(dir + "/*/*")
	if err != nil || !slices.Equal(left, []string{foreign}) {
		t.Errorf("left are %v, %v", left, err)
	}
	if text, err := os.ReadFile(foreign); err != nil || !bytes.Equal(text, []byte("# by hand\n")) {
		t.Errorf("a file of other makers: %q, %v", text, err)
	}
}

func TestServicesGetTheProxy(t *testing.T) {
	c := config.Config{Proxy: config.Proxy{HTTPS: "http://p.example:3128"}}
	node := netip.MustParseAddr("192.0.2.7")
	list := services(config.RuntimeExternal, true, config.KubeSoloEnv(c, node))
	throughProxy(list, config.ProxyEnv(c.Proxy, node))
	for _, s := range list {
		https, direct := 0, 0
		for _, v := range s.Env {
			if v == "HTTPS_PROXY=http://p.example:3128" {
				https++
			}
			if strings.HasPrefix(v, "NO_PROXY=") && strings.Contains(v, "192.0.2.7") {
				direct++
			}
		}
		if https != 1 || direct != 1 {
			t.Errorf("%s: %v", s.Name, s.Env)
		}
	}
	if len(list) != 3 {
		t.Errorf("%d services", len(list))
	}
}
