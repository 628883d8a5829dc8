package base_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/u-root/u-root/pkg/cpio"

	"kubesolo.io/os/internal/image/base"
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

// core returns a tree in Tiny Core's shape: a dynamic busybox with its own glibc in /lib
// and no /lib64, a set-uid busybox, sudo, world-writable places, an open account.
func core(t *testing.T, d inputs.Debian) *tree.Tree {
	t.Helper()
	packages, err := d.Fetch(context.Background(), "busybox", "libc6")
	must(t, err)
	tr := tree.New()
	for _, p := range packages {
		must(t, d.Entries(context.Background(), p, func(h *tar.Header, r io.Reader) error {
			name := strings.TrimPrefix(h.Name, "usr/")
			var to string
			switch {
			case name == "bin/busybox":
				to = name
			case name == "lib64/ld-linux-x86-64.so.2" || name == "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2":
				to = "lib/ld-linux-x86-64.so.2"
			case name == "lib/x86_64-linux-gnu/libc.so.6", name == "lib/x86_64-linux-gnu/libresolv.so.2", name == "lib/x86_64-linux-gnu/libm.so.6":
				to = "lib/" + filepath.Base(name)
			}
			if to == "" || h.Typeflag != tar.TypeReg {
				return nil
			}
			b, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			// Tiny Core's busybox asks for the loader in /lib.
			b = bytes.Replace(b, []byte("/lib64/ld-linux-x86-64.so.2\x00"), []byte("/lib/ld-linux-x86-64.so.2\x00\x00\x00"), 1)
			return tr.File(to, 0o755, tree.Bytes(b), "")
		}))
	}
	busybox, err := tr.ReadFile("bin/busybox")
	must(t, err)
	must(t,
		tr.File("bin/busybox.suid", 0o755|fs.ModeSetuid, tree.Bytes(busybox), ""),
		tr.Link("bin/su", "busybox.suid", ""), tr.Link("bin/sh", "busybox", ""), tr.Link("bin/mount", "busybox", ""),
		tr.Link("sbin/poweroff", "../bin/busybox", ""), tr.Link("sbin/init", "/bin/busybox", ""), tr.Link("linuxrc", "bin/busybox", ""),
		tr.File("init", 0o755, tree.Bytes("#!/bin/sh\n"), ""),
		tr.File("usr/bin/sudo", 0o111|fs.ModeSetuid, tree.Bytes("x"), ""), tr.Link("usr/bin/sudoedit", "sudo", ""),
		tr.File("etc/sudoers", 0o440, tree.Bytes("tc ALL=NOPASSWD: ALL\n"), ""),
		tr.File("etc/shadow", 0o660, tree.Bytes("tc::13646:0:99999:7:::\n"), ""),
		tr.File("etc/passwd", 0o664, tree.Bytes("tc:x:1001:50::/home/tc:/bin/sh\n"), ""),
		tr.File("etc/ld.so.cache", 0o664, tree.Bytes("x"), ""),
		tr.File("etc/host.conf", 0o664, tree.Bytes("order hosts,bind\n"), ""),
		tr.Dir("etc/pcmcia", 0o755, ""), tr.File("etc/pcmcia/config.opts", 0o666, tree.Bytes("x"), ""),
		tr.Dir("opt", 0o775|fs.ModeSetgid, ""), tr.File("opt/bootlocal.sh", 0o755, tree.Bytes("x"), ""),
		tr.Dir("usr/local/tce.installed", 0o775, ""), tr.File("usr/bin/tce-load", 0o755, tree.Bytes("x"), ""),
		tr.Dir("var/spool/cron", 0o775, ""), tr.Link("etc/mtab", "/proc/mounts", ""),
		tr.Device("dev/console", 0o600, 5, 1, ""),
	)
	return tr
}

func coreGZ(t *testing.T, tr *tree.Tree) string {
	t.Helper()
	records, err := tr.Records()
	must(t, err)
	file := filepath.Join(t.TempDir(), "core.gz")
	f, err := os.Create(file)
	must(t, err)
	z := gzip.NewWriter(f)
	w := cpio.Newc.Writer(z)
	must(t, cpio.WriteRecords(w, records), cpio.WriteTrailer(w), z.Close(), f.Close())
	return file
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
	tr, notes, err := base.TinyCore(coreGZ(t, core(t, d)), &lock)
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
	tr, _, err := base.TinyCore(coreGZ(t, core(t, d)), &lock)
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
	if _, _, err := base.TinyCore(coreGZ(t, empty), &inputs.Lock{}); err == nil || !strings.Contains(err.Error(), "not a Tiny Core root") {
		t.Errorf("a root without busybox: %v", err)
	}
}
