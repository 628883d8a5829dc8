package kmod

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const release = "6.1.0-test"

// recorder stands where finit_module is and keeps what would be loaded.
type recorder struct {
	calls []string
	errs  map[string]error
}

func (r *recorder) insert(file, params string) error {
	name := moduleName(file)
	if err := r.errs[name]; err != nil {
		return err
	}
	r.calls = append(r.calls, strings.TrimSpace(name+" "+params))
	return nil
}

func open(t *testing.T) (*Tree, *recorder) {
	t.Helper()
	tree, err := Open("testdata/root", release)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{errs: map[string]error{}}
	tree.insert = r.insert
	return tree, r
}

func TestLoadOrder(t *testing.T) {
	for name, want := range map[string]string{
		"virtio-net":           "failover net_failover virtio_net",
		"xhci_pci":             "xhci_hcd xhci_pci",
		"ext3":                 "crc32c_generic mbcache crc16 crc32c_intel jbd2 loop ext4",
		"fs-ext4":              "crc32c_generic mbcache crc16 crc32c_intel jbd2 loop ext4",
		"virtio:d00000001v1AF": "failover net_failover virtio_net",
		"pci:v00001033d00000194sv00001033sd00000194bc0Csc03i30": "xhci_hcd xhci_pci",
		"of:Nx-yT-Cvendor,b-chip":                               "b a",
		"both":                                                  "b a",
		"squashfs":                                              "",
		"fs-squashfs":                                           "",
		"virtio_pci":                                            "",
		"tiny":                                                  "",
	} {
		tree, r := open(t)
		if err := tree.Load(name, ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Join(r.calls, " "); got != want {
			t.Errorf("%s loads %q, want %q", name, got, want)
		}
		n := len(r.calls)
		if err := tree.Load(name, ""); err != nil || len(r.calls) != n {
			t.Errorf("%s, again: %v, %v", name, err, r.calls[n:])
		}
	}
}

func TestLoadErrors(t *testing.T) {
	tree, r := open(t)
	err := tree.Load("virtio_nat", "")
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "did you mean virtio_net?") {
		t.Errorf("unknown: %v", err)
	}
	if err := tree.Load("no_such_module", ""); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "kernel/modules.list") {
		t.Errorf("unknown, and like no other: %v", err)
	}
	r.errs["failover"] = unix.EEXIST
	r.errs["virtio_net"] = unix.ENODEV
	if err := tree.Load("virtio_net", ""); !errors.Is(err, ErrNoHardware) || !errors.Is(err, unix.ENODEV) {
		t.Errorf("no hardware: %v", err)
	}
	// Not sticky: the device may come.
	delete(r.errs, "virtio_net")
	if err := tree.Load("virtio_net", ""); err != nil {
		t.Errorf("second try: %v", err)
	}
	r.errs["crc16"] = unix.EPERM
	if err := tree.Load("ext4", ""); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "module ext4: needs crc16") {
		t.Errorf("dependency: %v", err)
	}
	r.errs["crc32c_intel"] = unix.ENODEV // only a soft dependency
	delete(r.errs, "crc16")
	if err := tree.Load("ext4", ""); err != nil {
		t.Errorf("soft dependency: %v", err)
	}
	if _, err := Open("testdata/root", "7.0"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "kernel 7.0") {
		t.Errorf("no tree: %v", err)
	}
}

func TestCompressedModuleOfAnotherAlgorithm(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.ko.gz")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	have, _ := os.ReadFile("/sys/module/compression")
	if strings.TrimSpace(string(have)) == "gzip" {
		file = strings.TrimSuffix(file, "gz") + "zst"
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := insertFile(file, ""); !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), "plain .ko") {
		t.Errorf("%v", err)
	}
}

func TestParameters(t *testing.T) {
	tree, r := open(t)
	tree.UseKernelArgs(`quiet loop.max_loop=3 xhci-hcd.quirks=1 loop.flag xhci_pci.s="a b" kubesolo.data=x modprobe.blacklist=a,virtio-net -- ext4.not=1`)
	if err := tree.Load("loop", "max_part=7"); err != nil {
		t.Fatal(err)
	}
	if err := tree.Load("xhci_pci", ""); err != nil {
		t.Fatal(err)
	}
	if err := tree.Load("both", ""); err != nil {
		t.Fatal(err)
	}
	// b pulls a in as a dependency; the blacklist is about aliases only.
	want := []string{"loop max_loop=3 flag max_part=7", "xhci_hcd quirks=1", `xhci_pci s="a b"`, "a", "b"}
	if !slices.Equal(r.calls, want) {
		t.Errorf("got  %q\nwant %q", r.calls, want)
	}
	if err := tree.Load("virtio:d00000001v1", ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("alias of a blacklisted module: %v", err)
	}
	if err := tree.Load("virtio_net", ""); err != nil {
		t.Errorf("its name: %v", err)
	}
	if len(tree.params["ext4"])+len(tree.params["kubesolo"]) > 0 {
		t.Errorf("params %v", tree.params)
	}
}

func TestColdplug(t *testing.T) {
	tree, r := open(t)
	r.errs["xhci_hcd"] = unix.EPERM
	sys := t.TempDir()
	for i, alias := range []string{"virtio:d00000001v00001AF4\n", "pci:v00008086d00001E31sv1sd2bc3sc4i5", "acpi:NOBODY:", ""} {
		dir := filepath.Join(sys, "bus/x/devices", fmt.Sprint(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "modalias"), []byte(alias), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hardware, err := Scan(sys)
	if err != nil {
		t.Fatal(err)
	}
	defer hardware.Close()
	disks := 0
	loaded, err := hardware.Coldplug(tree, func() { disks++ })
	if !slices.Equal(loaded, []string{"failover", "net_failover", "virtio_net"}) || disks != 1 {
		t.Errorf("loaded %v, disks were ready %d times", loaded, disks)
	}
	if !errors.Is(err, unix.EPERM) || strings.Count(err.Error(), "\n") != 0 {
		t.Errorf("want one refusal: %v", err)
	}
	if _, err := Scan(filepath.Join(sys, "none")); err == nil {
		t.Error("no sysfs: no error")
	}
}

func TestModprobe(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		calls  string
		out    string
	}{
		{"loop max_loop=8 x=1", 0, "loop max_loop=8 x=1", ""},
		{"-q -b -- loop", 0, "loop", ""},
		{"-qa loop nothing net_failover", 1, "loop,failover,net_failover", ""},
		{"loop net-failover", 0, "loop,failover,net_failover", ""},
		{"squashfs", 0, "", ""},
		{"-n xhci_pci", 0, "", ""},
		{"-nv xhci_pci a=1", 0, "", "xhci-hcd.ko\n*xhci-pci.ko a=1"},
		{"nothing", 1, "", "no such module"},
		{"-q nothing", 1, "", ""},
		{"--quiet nothing", 1, "", ""},
		{"-r loop", 1, "", "never unloaded"},
		{"--remove", 1, "", "never unloaded"},
		{"--nonsense loop", 1, "", "unknown option"},
		{"", 1, "", "usage"},
		{"-S", 1, "", "needs a value"},
		{"-d /nowhere/ -S 1.2 loop", 1, "", "/nowhere/lib/modules/1.2"},
		{"--set-version=1.2 --dirname=/nowhere loop", 1, "", "/nowhere/lib/modules/1.2"},
	} {
		var out bytes.Buffer
		args := strings.Fields(c.args)
		o, err := parseOptions(args)
		var status int
		var calls []string
		if err != nil || o.release != "" {
			status = Modprobe(args, &out, &out)
		} else {
			tree, r := open(t)
			status = tree.modprobe(o, &out, &out)
			calls = r.calls
		}
		if status != c.status || strings.Join(calls, ",") != c.calls {
			t.Errorf("modprobe %s: status %d, loads %v", c.args, status, calls)
		}
		for _, want := range strings.Split(c.out, "*") {
			if !strings.Contains(out.String(), want) {
				t.Errorf("modprobe %s: output lacks %q: %s", c.args, want, out.String())
			}
		}
		if c.out == "" && out.Len() > 0 {
			t.Errorf("modprobe %s says %s", c.args, out.String())
		}
	}
}

// Two that load at once: every module is inserted once, and after those it needs.
func TestLoadTogether(t *testing.T) {
	tree, r := open(t)
	var mu sync.Mutex
	tree.insert = func(file, params string) error {
		time.Sleep(time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		return r.insert(file, params)
	}
	var group sync.WaitGroup
	for _, name := range []string{"ext3", "xhci_pci", "ext4", "virtio_net", "fs-ext4", "xhci_hcd"} {
		group.Go(func() {
			if err := tree.Load(name, ""); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if modules, _ := tree.resolve(name); !slices.Contains(r.calls, modules[0]) {
				t.Errorf("%s is said to be loaded, and %v is not among %v", name, modules, r.calls)
			}
		})
	}
	group.Wait()
	for _, pair := range [][2]string{{"xhci_hcd", "xhci_pci"}, {"jbd2", "ext4"}, {"crc16", "ext4"}, {"net_failover", "virtio_net"}} {
		if before, after := slices.Index(r.calls, pair[0]), slices.Index(r.calls, pair[1]); before < 0 || before > after {
			t.Errorf("%s is not before %s in %v", pair[0], pair[1], r.calls)
		}
	}
	if sorted := slices.Sorted(slices.Values(r.calls)); len(slices.Compact(sorted)) != len(r.calls) {
		t.Errorf("inserted twice: %v", r.calls)
	}
}
