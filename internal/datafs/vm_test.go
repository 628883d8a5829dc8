package datafs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/blockdev"
	"kubesolo.io/os/internal/gpt"
	"kubesolo.io/os/internal/mount"
	"kubesolo.io/os/internal/nstest"
)

// A disk image written to a bigger disk: format, grow partition and file
// system, then nothing to do at the second boot. It takes the first blank disk
// of the VM that has at least 256 MiB.
func TestVMFormatAndGrow(t *testing.T) {
	nstest.Require(t, nstest.VM|nstest.Mount)
	disk := blankDisk(t)
	writeTable(t, disk, TemplateSize+4<<20)
	opts := Options{Spec: "PARTLABEL=" + Label, Target: filepath.Join(t.TempDir(), "data"), Template: os.Getenv("KS_DATA_TEMPLATE")}
	for boot := 1; boot <= 2; boot++ {
		res, err := Prepare(t.Context(), opts)
		if err != nil || res.State != Mounted {
			t.Fatalf("boot %d: %+v %v", boot, res, err)
		}
		if first := boot == 1; res.Formatted != first || res.Grown != first || len(res.Notes) > 0 {
			t.Errorf("boot %d: %+v", boot, res)
		}
		u, err := mount.UsageOf(opts.Target)
		if err != nil || u.Total < uint64(disk.Size)*6/10 {
			t.Errorf("boot %d: %+v of a disk of %d, %v", boot, u, disk.Size, err)
		}
		if err := unix.Unmount(opts.Target, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func blankDisk(t *testing.T) blockdev.Device {
	t.Helper()
	devs, err := blockdev.Scan("/sys", "/dev")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range candidates(devs) {
		if d.Size >= 256<<20 {
			return d
		}
	}
	t.Fatalf("the VM needs a blank disk of 256 MiB; seen: %s", blockdev.Seen(devs))
	return blockdev.Device{}
}

// writeTable writes a table made for a disk of size bytes.
func writeTable(t *testing.T, disk blockdev.Device, size int64) {
	t.Helper()
	table, err := gpt.Build(gpt.MustGUID("00000000-1111-4222-8333-000000000009"), size, disk.SectorSize, []gpt.Spec{
		{Number: 4, Type: gpt.MustGUID(gpt.TypeLinux), ID: gpt.MustGUID("00000000-1111-4222-8333-000000000004"), Name: Label},
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(disk.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(table.Write(f), blockdev.RereadPartitions(f), f.Close())
	if err != nil {
		t.Fatal(err)
	}
}
