// Package coretest makes a core.gz in the shape of Tiny Core's, from Debian's packages:
// what there is to harden, and a dynamic busybox with a C library of its own. It stands
// in for Tiny Core's own, which is not to be downloaded for every test.
//
// It owns nothing that ships.
package coretest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"

	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/tree"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Tree is a root in Tiny Core's shape: a dynamic busybox with its own glibc in /lib
// and no /lib64, a set-uid busybox, sudo, world-writable places, an open account.
func Tree(t testing.TB, d inputs.Debian) *tree.Tree {
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

// File packs a root as a core.gz, in a directory of the test.
func File(t testing.TB, tr *tree.Tree) string {
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
