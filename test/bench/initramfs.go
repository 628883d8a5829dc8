package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/u-root/u-root/pkg/cpio"

	"kubesolo.io/os/internal/vmtest"
)

// Files in the bench's own directory.
const (
	baselineInitrd = "baseline.cpio"
	tinyInitrd     = "tiny.cpio"
)

// initramfs writes the two initramfs that the image's is measured against: the
// same with the shell baseline as /init, and one of 1 MB.
func (b *bench) initramfs() error {
	ksinit, err := os.Stat(filepath.Join(b.build, "bin", "ksinit"))
	if err != nil {
		return err
	}
	b.add(figure{Name: "ksinit stripped", Value: float64(ksinit.Size()) / 1e6, Unit: "MB", Must: "6 MB", Aim: "4 MB"})
	busybox, err := b.busybox()
	if err != nil {
		return err
	}
	records := []cpio.Record{
		cpio.Directory("bin", 0o755), cpio.StaticFile("bin/busybox", busybox, 0o755), cpio.Directory("baseline", 0o755),
	}
	for name, to := range map[string]string{"init": "init", "system": "baseline/system", "udhcpc": "baseline/udhcpc"} {
		text, err := os.ReadFile(filepath.Join("test", "baseline", name))
		if err != nil {
			return fmt.Errorf("%w: run bench in the top directory", err)
		}
		records = append(records, cpio.StaticFile(to, string(text), 0o755))
	}
	ours := filepath.Join(b.build, "kubesolo-os.gz")
	if err := vmtest.WriteInitramfs(filepath.Join(b.dir, baselineInitrd), ours, records); err != nil {
		return err
	}
	filler := make([]byte, 1<<20)
	_, _ = rand.Read(filler) // never fails
	return vmtest.WriteInitramfs(filepath.Join(b.dir, tinyInitrd), "", []cpio.Record{
		cpio.StaticFile("init", string(filler), 0o755), // the kernel's word "Run /init" is all that is wanted
	})
}

// busybox is the one of the image's own root.
func (b *bench) busybox() (string, error) {
	var out, errText bytes.Buffer
	cmd := exec.Command("unsquashfs", "-cat", filepath.Join(b.build, "root.squashfs"), "bin/busybox")
	cmd.Stdout, cmd.Stderr = &out, &errText
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("unsquashfs (Debian package squashfs-tools): %w: %s", err, errText.String())
	}
	return out.String(), nil
}
