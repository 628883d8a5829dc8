package initramfs_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/image/initramfs"
	"kubesolo.io/os/internal/image/tree"
)

func parts(t *testing.T) initramfs.Parts {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("m/lib/modules/6.1/modules.dep", "kernel/loop.ko:\nkernel/ext4.ko: kernel/jbd2.ko\n")
	write("m/lib/modules/6.1/modules.builtin", "kernel/x.ko\n")
	write("m/lib/modules/6.1/kernel/loop.ko", "LOOP")
	return initramfs.Parts{Ksinit: write("ksinit", "INIT"), Root: write("root.squashfs", "hsqs"+strings.Repeat("x", 1001)),
		Modules: filepath.Join(dir, "m"), Release: "6.1", Selected: []string{"kernel/loop.ko"}}
}

func TestWrite(t *testing.T) {
	p := parts(t)
	out := filepath.Join(t.TempDir(), "kubesolo-os.gz")
	var made [2][]byte
	for i := range made {
		if err := initramfs.Write(out, p); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		made[i] = b
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("two archives differ")
	}
	// The second archive starts where the kernel looks: after zeros, at a multiple of 4.
	at := bytes.Index(made[0], []byte{0x1f, 0x8b})
	if at < 0 || at%512 != 0 {
		t.Fatalf("gzip data at %d", at)
	}
	z, err := gzip.NewReader(bytes.NewReader(made[0][at:]))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	tr := tree.New()
	for _, archive := range [][]byte{made[0][:at], packed} {
		if err := tr.ReadCPIO(bytes.NewReader(archive), ""); err != nil {
			t.Fatal(err)
		}
	}
	var list strings.Builder
	if err := tr.List(&list, true); err != nil {
		t.Fatal(err)
	}
	const want = `drwxr-xr-x /dev
Dcrw------- /dev/console 5:1
Dcrw-rw-rw- /dev/null 1:3
-rwxr-xr-x /init 4
drwxr-xr-x /lib
drwxr-xr-x /lib/modules
drwxr-xr-x /lib/modules/6.1
drwxr-xr-x /lib/modules/6.1/kernel
-rw-r--r-- /lib/modules/6.1/kernel/loop.ko 4
-rw-r--r-- /lib/modules/6.1/modules.builtin 12
-rw-r--r-- /lib/modules/6.1/modules.dep 16
dr-xr-xr-x /proc
-r--r--r-- /root.squashfs 1005
dr-xr-xr-x /sys
drwxr-xr-x /sysroot
`
	if list.String() != want {
		t.Errorf("contents:\n%s\nwant:\n%s", list.String(), want)
	}
	if dep, err := tr.ReadFile("lib/modules/6.1/modules.dep"); err != nil || string(dep) != "kernel/loop.ko:\n" {
		t.Errorf("modules.dep = %q, %v", dep, err)
	}
}

func TestMissingModule(t *testing.T) {
	p := parts(t)
	p.Selected = append(p.Selected, "kernel/none.ko")
	if err := initramfs.Write(filepath.Join(t.TempDir(), "x"), p); err == nil || !strings.Contains(err.Error(), "none.ko") {
		t.Errorf("error = %v", err)
	}
}
