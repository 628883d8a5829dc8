package mount

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/nstest"
)

// squash makes a squashfs of one file in dir.
func squash(t *testing.T, dir string) string {
	t.Helper()
	src, image := filepath.Join(dir, "root"), filepath.Join(dir, "root.squashfs")
	for _, d := range []string{"", "dev", "proc", "sys", "run"} {
		if err := os.MkdirAll(filepath.Join(src, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(src, "hello"), bytes.Repeat([]byte("squash"), 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mksquashfs", src, image, "-quiet", "-no-progress", "-all-root").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return image
}

func TestLoopSquashfs(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	d := t.TempDir()
	image := squash(t, d)
	dev, err := LoopAttach(image, true)
	if err != nil {
		t.Fatal(err)
	}
	if ro, err := os.ReadFile("/sys/block/" + filepath.Base(dev) + "/ro"); err != nil || strings.TrimSpace(string(ro)) != "1" {
		t.Errorf("read-only: %q %v", ro, err)
	}
	apply(t, Entry{Source: dev, Target: d + "/mnt", Type: "squashfs", Flags: unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV})
	// The loop device keeps the file when its name is gone.
	if err := os.Remove(image); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(d + "/mnt/hello"); err != nil || len(b) != 60000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if i := at(t, d+"/mnt"); !i.Has("ro") || !i.Has("nosuid") || !i.Has("nodev") {
		t.Errorf("%v", i.Options)
	}
	if err := unix.Unmount(d+"/mnt", 0); err != nil {
		t.Fatal(err)
	}
	if err := LoopDetach(dev); err != nil {
		t.Error(err)
	}
	if _, err := LoopAttach(d+"/missing", true); err == nil {
		t.Error("a missing file: no error")
	}
}

// The walk from a tmpfs root, as the initramfs is one, to the squashfs root.
func TestSwitchRoot(t *testing.T) {
	nstest.Require(t, nstest.Mount|nstest.PID)
	// Become an initramfs: a tmpfs as root, with devices, and files to free.
	root := t.TempDir()
	apply(t, Entry{Source: "initramfs", Target: root, Type: "tmpfs"})
	image := squash(t, root)
	if err := os.WriteFile(root+"/init", []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	dev, err := LoopAttach(image, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Entry{
		{Source: "/dev", Target: root + "/dev", Flags: unix.MS_BIND | unix.MS_REC},
		{Source: "proc", Target: root + "/proc", Type: "proc"},
		{Source: "sysfs", Target: root + "/sys", Type: "sysfs"},
	} {
		apply(t, e)
	}
	if err := unix.Chdir(root); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(root, "/", "", unix.MS_MOVE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chroot("."); err != nil {
		t.Fatal(err)
	}
	apply(t, Entry{Source: dev, Target: "/sysroot", Type: "squashfs", Flags: unix.MS_RDONLY})
	old, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()

	if err := SwitchRoot("/sysroot", "init"); err != nil {
		t.Fatal(err)
	}
	defer func() { // takes effect when the namespace ends
		if err := LoopDetach(dev); err != nil {
			t.Error(err)
		}
	}()
	if b, err := os.ReadFile("/hello"); err != nil || len(b) != 60000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if i := at(t, "/"); i.Type != "squashfs" {
		t.Errorf("root is %+v", i)
	}
	for _, f := range []string{"/dev/null", "/proc/self", "/sys/class"} {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
	left, err := old.Readdirnames(-1)
	if err != nil || !slices.Equal(left, []string{"init"}) {
		t.Errorf("left in the initramfs: %v %v", left, err)
	}
	if _, err := os.Stat("/dev/null"); err != nil {
		t.Errorf("the deletion went into another file system: %v", err)
	}
}

func TestUnmountNamesHolders(t *testing.T) {
	nstest.Require(t, nstest.Mount|nstest.PID)
	d := t.TempDir()
	image := filepath.Join(d, "ext4")
	if out, err := exec.Command("/usr/sbin/mkfs.ext4", "-q", image, "8m").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dev, err := LoopAttach(image, false)
	if err != nil {
		t.Fatal(err)
	}
	top := filepath.Join(d, "top")
	apply(t, Entry{Source: "n", Target: top, Type: "tmpfs"})
	apply(t, Entry{Source: dev, Target: top + "/disk", Type: "ext4"})
	apply(t, Entry{Source: top + "/disk", Target: top + "/bound", Flags: unix.MS_BIND})
	held := exec.Command("sleep", "1000")
	held.Dir = top + "/disk"
	if err := held.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = unmountBelow(ctx, top, func(s string) { said = append(said, s) })
	if err != nil {
		t.Errorf("it was made read-only, so no error: %v", err)
	}
	text := strings.Join(said, "\n")
	if !strings.Contains(text, "unmount "+top+"/disk: busy, held by sleep[") || !strings.Contains(text, "(cwd "+top+"/disk)") {
		t.Errorf("said %q", text)
	}
	if i := at(t, top+"/disk"); !contains(i.SuperOptions, "ro") {
		t.Errorf("%+v", i)
	}
	if _, err := At(top + "/bound"); err == nil {
		t.Error("the bind is still there")
	}
	if err := held.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = held.Wait()
	if err := unmountBelow(t.Context(), top, func(s string) { t.Error(s) }); err != nil {
		t.Error(err)
	}
	if _, err := At(top); err == nil {
		t.Error("still mounted")
	}
	if err := LoopDetach(dev); err != nil {
		t.Error(err)
	}
}

func TestUsageAndSync(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	d := t.TempDir()
	apply(t, Entry{Source: "n", Target: d + "/m", Type: "tmpfs", Flags: unix.MS_RDONLY, Data: "size=1m"})
	u, err := UsageOf(d + "/m")
	if err != nil || u.Total != 1<<20 || u.Available != 1<<20 || !u.ReadOnly {
		t.Errorf("%+v %v", u, err)
	}
	if err := Sync(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = Sync(ctx) // may have finished: only must return
	if err := unix.Unmount(d+"/m", 0); err != nil {
		t.Error(err)
	}
}
