package datafs

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/blockdev"
	"kubesolo.io/os/internal/mount"
	"kubesolo.io/os/internal/nstest"
)

func TestReserveDecision(t *testing.T) {
	const mb = 1 << 20
	for _, test := range []struct {
		total, free, have uint64
		want              reserveAction
	}{
		{32 << 30, 30 << 30, 0, reserveMake},
		{32 << 30, 30 << 30, 64 * mb, reserveKeep},
		{32 << 30, 0, 64 * mb, reserveRelease},
		{32 << 30, 47 * mb, 64 * mb, reserveRelease},
		{32 << 30, 48 * mb, 64 * mb, reserveKeep},
		{32 << 30, 0, 0, reserveKeep},
		{32 << 30, 271 * mb, 0, reserveKeep},
		{32 << 30, 272 * mb, 0, reserveMake},
		{2 << 30, 1 << 30, 0, reserveMake},
		{64 << 30, 60 << 30, 32 * mb, reserveMake}, // grown since
		{60 * mb, 50 * mb, 0, reserveKeep},         // too small for one
	} {
		if got := reserveDecision(mount.Usage{Total: test.total, Free: test.free}, test.have); got != test.want {
			t.Errorf("%d of %d MB free, reserve %d MB: %d, want %d", test.free/mb, test.total/mb, test.have/mb, got, test.want)
		}
	}
}

// A disk on which not one block is free, filled by root with all capabilities,
// and then as a pod's root fills it.
func TestVMFullDisk(t *testing.T) {
	nstest.Require(t, nstest.VM|nstest.Mount)
	disk := smallestBlankDisk(t) // it is written full
	opts := Options{Spec: disk.Path, Target: filepath.Join(t.TempDir(), "data"), Template: os.Getenv("KS_DATA_TEMPLATE")}
	boot := func() Result {
		t.Helper()
		if _, err := mount.At(opts.Target); err == nil {
			if err := unix.Unmount(opts.Target, 0); err != nil {
				t.Fatal(err)
			}
		}
		res, err := Prepare(t.Context(), opts)
		if err != nil || res.State != Mounted {
			t.Fatalf("%+v %v", res, err)
		}
		return res
	}
	file := func(name string) string { return filepath.Join(opts.Target, name) }

	boot()
	info, err := os.Stat(file(ReserveName))
	if err != nil || info.Size() < 1<<20 || info.Mode().Perm() != 0o600 {
		t.Fatalf("reserve: %v, %v", info, err)
	}
	fill(t, file("containerd/fill"))
	if err := writeSynced(file("kubesolo/state")); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if res := boot(); len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "full: 0 of") || !strings.Contains(res.Notes[0], "was released") {
		t.Errorf("a full disk: %q", res.Notes)
	}
	if err := withoutSysResource(t, func() error { return writeSynced(file("containerd/pod")) }); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a pod's root takes what was released: %v", err)
	}
	if err := writeSynced(file("kubesolo/state")); err != nil {
		t.Errorf("the system cannot write: %v", err)
	}
	if res := boot(); len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "nearly full") {
		t.Errorf("still nearly full: %q", res.Notes)
	}
	if err := os.Remove(file("containerd/fill")); err != nil {
		t.Fatal(err)
	}
	if res := boot(); len(res.Notes) != 0 {
		t.Errorf("room again: %q", res.Notes)
	}
	if again, err := os.Stat(file(ReserveName)); err != nil || again.Size() != info.Size() {
		t.Errorf("reserve: %v, %v", again, err)
	}

	// What a pod does never needs the reserve file.
	err = withoutSysResource(t, func() error { return fillUp(file("containerd/pod")) })
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := writeSynced(file("kubesolo/more")); err != nil {
		t.Errorf("the system cannot write beside a pod that filled the disk: %v", err)
	}
	if err := unix.Unmount(opts.Target, 0); err != nil {
		t.Error(err)
	}
}

func smallestBlankDisk(t *testing.T) blockdev.Device {
	t.Helper()
	devs, err := blockdev.Scan("/sys", "/dev")
	if err != nil {
		t.Fatal(err)
	}
	disks := candidates(devs)
	if len(disks) == 0 {
		t.Fatalf("the VM needs a blank disk; seen: %s", blockdev.Seen(devs))
	}
	return slices.MinFunc(disks, func(a, b blockdev.Device) int { return cmp.Compare(a.Size, b.Size) })
}

// fill leaves not one block.
func fill(t *testing.T, file string) {
	t.Helper()
	if err := fillUp(file); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

func fillUp(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	for _, size := range []int{1 << 20, 4 << 10} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// writeSynced fails where delayed allocation finds no block.
func writeSynced(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 64<<10))
	return errors.Join(err, f.Sync(), f.Close())
}

// withoutSysResource runs f as root with the capabilities of a container.
func withoutSysResource(t *testing.T, f func() error) error {
	t.Helper()
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with f
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&header, &data[0]); err != nil {
			result <- fmt.Errorf("capget: %w", err)
			return
		}
		data[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
		if err := unix.Capset(&header, &data[0]); err != nil {
			result <- fmt.Errorf("capset: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}
