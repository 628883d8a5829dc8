package kernel_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/image/kernel"
)

func TestReleaseOf(t *testing.T) {
	image := make([]byte, 0x400)
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x20e:], 0x100)
	copy(image[0x300:], "6.1.0-56-amd64 (debian-kernel@lists.debian.org) #1 SMP")
	if r, err := kernel.ReleaseOf(bytes.NewReader(image)); err != nil || r != "6.1.0-56-amd64" {
		t.Errorf("release = %q, %v", r, err)
	}
	for name, b := range map[string][]byte{"empty": nil, "not a kernel": make([]byte, 0x400), "cut": image[:0x250]} {
		if _, err := kernel.ReleaseOf(bytes.NewReader(b)); !errors.Is(err, kernel.ErrNotKernel) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReleaseOf(f *testing.F) {
	image := make([]byte, 0x400)
	copy(image[0x202:], "HdrS")
	f.Add(image)
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := kernel.ReleaseOf(bytes.NewReader(b)); err == nil && (r == "" || strings.Contains(r, "/")) {
			t.Errorf("release %q", r)
		}
	})
}

func index(t *testing.T) *kernel.Index {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep": `kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko
kernel/fs/jbd2/jbd2.ko:
kernel/crypto/crc32c_generic.ko:
kernel/drivers/usb/host/xhci-pci.ko: kernel/drivers/usb/host/xhci-hcd.ko
kernel/drivers/usb/host/xhci-hcd.ko:
kernel/drivers/usb/storage/uas.ko:
`,
		"modules.builtin": "kernel/fs/efivarfs/efivarfs.ko\n",
		"modules.softdep": "# comment\nsoftdep ext4 pre: crypto-crc32c\nsoftdep jbd2 pre: not-here\n",
		"modules.alias":   "alias crypto-crc32c crc32c_generic\nalias pci:v*d* xhci_pci\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	x, err := kernel.ReadIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func list(t *testing.T, text string) []kernel.Wanted {
	t.Helper()
	l, err := kernel.ParseList(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestSelect(t *testing.T) {
	x := index(t)
	for _, c := range []struct {
		name, list    string
		want, initrd  string
		absent, error string
	}{
		{name: "dependency, and a softdep through its alias", list: "ext4",
			want: "kernel/crypto/crc32c_generic.ko kernel/fs/ext4/ext4.ko kernel/fs/jbd2/jbd2.ko"},
		{name: "dash and underscore are one", list: "xhci_pci",
			want: "kernel/drivers/usb/host/xhci-hcd.ko kernel/drivers/usb/host/xhci-pci.ko"},
		{name: "path pattern", list: "drivers/usb/storage/*", want: "kernel/drivers/usb/storage/uas.ko"},
		{name: "built in", list: "efivarfs", want: ""},
		{name: "initramfs", list: "uas !jbd2 # a comment",
			want: "kernel/fs/jbd2/jbd2.ko kernel/drivers/usb/storage/uas.ko", initrd: "kernel/fs/jbd2/jbd2.ko"},
		{name: "optional", list: "?nope", absent: "nope"},
		{name: "missing", list: "uas\nnope", error: "nope (line 2)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sel, err := x.Select(list(t, c.list))
			if c.error != "" {
				if err == nil || !strings.Contains(err.Error(), c.error) {
					t.Fatalf("error = %v, want one that names %s", err, c.error)
				}
				return
			}
			want := strings.Fields(c.want)
			slices.Sort(want)
			if err != nil || !slices.Equal(sel.Modules, want) {
				t.Errorf("modules = %v, %v; want %v", sel.Modules, err, want)
			}
			if got := strings.Join(sel.Initrd, " "); got != c.initrd {
				t.Errorf("initramfs = %q, want %q", got, c.initrd)
			}
			if got := strings.Join(sel.Absent, " "); got != c.absent {
				t.Errorf("absent = %q, want %q", got, c.absent)
			}
		})
	}
}

// The shipped list must not bring ip_tables: KubeSolo and kube-proxy would turn to iptables.
func TestShippedListHasNoIptables(t *testing.T) {
	f, err := os.Open("../../../kernel/modules.list")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	l, err := kernel.ParseList(f)
	if err != nil || len(l) < 100 {
		t.Fatalf("%d entries, %v", len(l), err)
	}
	for _, w := range l {
		for _, bad := range []string{"ip_tables", "ip6_tables", "iptable_", "ip6table_", "x_tables"} {
			if strings.HasPrefix(w.Pattern, bad) {
				t.Errorf("line %d: %s", w.Line, w.Pattern)
			}
		}
	}
}
