package base_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/image/base"
	"kubesolo.io/os/internal/image/coretest"
	"kubesolo.io/os/internal/image/elfcheck"
	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/image/tree"
)

var update = flag.Bool("update", false, "write the golden files")

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func golden(t *testing.T, name string, tr *tree.Tree) {
	t.Helper()
	var b strings.Builder
	must(t, tr.List(&b, false))
	file := filepath.Join("testdata", name)
	if *update {
		must(t, os.WriteFile(file, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	if err != nil || b.String() != string(want) {
		t.Errorf("%s differs (go test -update writes it), %v; have:\n%s", file, err, b.String())
	}
}

// debian is the package cache of the checkout's build, so that a build and a test fetch
// each package once.
func debian(t *testing.T) inputs.Debian {
	t.Helper()
	cache, err := filepath.Abs("../../../build/cache/debian")
	must(t, err)
	return inputs.Debian{Run: tool.New(nil, time.Unix(1700000000, 0)), Cache: cache}
}

// parts are small stand-ins for what is injected; which bytes they are does not matter
// to the layout.
func parts(t *testing.T) base.Parts {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "program")
	must(t, os.WriteFile(file, []byte("x"), 0o755))
	modules := filepath.Join(dir, "m/lib/modules/6.1/kernel")
	must(t, os.MkdirAll(modules, 0o755), os.WriteFile(filepath.Join(modules, "loop.ko"), []byte("x"), 0o644))
	return base.Parts{Overlay: "../../../rootfs-overlay", Modules: filepath.Join(dir, "m"),
		Binaries: map[string]string{"usr/local/bin/kubesolo": file, "opt/cni/bin/bridge": file},
		Release:  base.OSRelease{Version: "0.1.0", Build: "unknown", Base: "tinycore", Kernel: "6.1"},
		Built:    time.Unix(1767225600, 0), Engine: "solonode", Root: "{}\n"}
}

// The whole remaster of a Tiny Core root, and then the proof that its programs start:
// the base's busybox with the base's glibc, ours with ours.
func TestTinyCore(t *testing.T) {
	d := debian(t)
	var lock inputs.Lock
	tr, notes, err := base.TinyCore(coretest.File(t, coretest.Tree(t, d)), &lock)
	must(t, err)
	if len(notes) < 10 {
		t.Errorf("notes: %v", notes)
	}
	must(t, base.Programs(context.Background(), d, tr, true, t.TempDir(), &lock), base.Inject(tr, parts(t)))
	golden(t, "tinycore.txt", tr)
	report, err := elfcheck.Check(tr)
	must(t, err)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	if len(report.LibC) != 2 {
		t.Errorf("C libraries %v, want the base's and ours", report.LibC)
	}
	for _, p := range tr.Paths() {
		n := tr.Get(p)
		if n.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 || (n.Mode&fs.ModeSymlink == 0 && n.Mode.Perm()&0o022 != 0 && p != "tmp") {
			t.Errorf("/%s has mode %s", p, n.Mode)
		}
	}
	if b, err := tr.ReadFile("etc/shadow"); err != nil || !strings.HasPrefix(string(b), "root:!:") || strings.Contains(string(b), "tc:") {
		t.Errorf("shadow: %q, %v", b, err)
	}
}

// Without the private loader the build must see that a Debian program cannot start there.
func TestTinyCoreWithoutItsOwnLoaderIsRefused(t *testing.T) {
	d := debian(t)
	var lock inputs.Lock
	tr, _, err := base.TinyCore(coretest.File(t, coretest.Tree(t, d)), &lock)
	must(t, err)
	must(t, base.Programs(context.Background(), d, tr, true, t.TempDir(), &lock))
	tr.Remove("usr/lib/kubesolo")
	report, err := elfcheck.Check(tr)
	must(t, err)
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), "/usr/sbin/nft: its interpreter") {
		t.Errorf("error = %v", err)
	}
}

func TestDebian(t *testing.T) {
	d := debian(t)
	var lock inputs.Lock
	tr, err := base.Debian(context.Background(), d, t.TempDir(), &lock)
	must(t, err)
	must(t, base.Programs(context.Background(), d, tr, false, t.TempDir(), &lock),
		base.Certificates(context.Background(), d, tr, &lock), base.Names(context.Background(), d, tr, &lock),
		base.Inject(tr, parts(t)))
	report, err := elfcheck.Check(tr)
	must(t, err)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	// What ksinit reads of the image that it is in.
	for name, want := range map[string]string{"build-time": "1767225600\n", "engine": "solonode\n", "update/root.json": "{}\n"} {
		if got, err := tr.ReadFile("etc/kubesolo-os/" + name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if len(report.LibC) != 1 {
		t.Errorf("C libraries %v, want one", report.LibC)
	}
	for p, want := range map[string]string{"sbin/modprobe": "init", "usr/local/bin/ksctl": "ksagent", "etc/resolv.conf": "/run/etc/resolv.conf", "bin/sh": "/bin/busybox"} {
		if n := tr.Get(p); n == nil || n.Target != want {
			t.Errorf("/%s is %+v, want a link to %s", p, n, want)
		}
	}
	for _, p := range []string{"usr/sbin/nft", "bin/mount", "bin/umount", "etc/ssl/certs/ca-certificates.crt", "etc/cni/net.d", "opt/cni/bin", "lib/modules/6.1/kernel/loop.ko"} {
		if tr.Get(p) == nil {
			t.Errorf("/%s is missing", p)
		}
	}
	// No second reboot in another directory may reach busybox's.
	for _, p := range []string{"bin/reboot", "usr/sbin/halt", "sbin/poweroff"} {
		if n := tr.Get(p); n != nil && n.Target != "init" {
			t.Errorf("/%s -> %s", p, n.Target)
		}
	}
	if len(lock.List()) < 10 {
		t.Errorf("lock has %v", lock.List())
	}
}

func TestTinyCoreBadInput(t *testing.T) {
	dir := t.TempDir()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte("not a cpio"))
	must(t, err, z.Close())
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"text", []byte("hello"), "not a (gzip'ed) newc cpio"},
		{"gzip of text", packed.Bytes(), "not a (gzip'ed) newc cpio"},
		{"cut", packed.Bytes()[:15], "damaged gzip"},
	} {
		file := filepath.Join(dir, c.name)
		must(t, os.WriteFile(file, c.data, 0o644))
		if _, _, err := base.TinyCore(file, &inputs.Lock{}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "CORE_GZ") {
			t.Errorf("%s: error = %v, want %q", c.name, err, c.want)
		}
	}
	if _, _, err := base.TinyCore(filepath.Join(dir, "none"), &inputs.Lock{}); err == nil || !strings.Contains(err.Error(), "CORE_GZ") {
		t.Errorf("missing file: %v", err)
	}
	empty := tree.New()
	must(t, empty.Dir("etc", 0o755, ""))
	if _, _, err := base.TinyCore(coretest.File(t, empty), &inputs.Lock{}); err == nil || !strings.Contains(err.Error(), "not a Tiny Core root") {
		t.Errorf("a root without busybox: %v", err)
	}
}
