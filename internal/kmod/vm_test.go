package kmod

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/nstest"
)

func running(t *testing.T) *Tree {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	tree, err := Open("/", unix.ByteSliceToString(u.Release[:]))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// The real finit_module, with a dependency and a parameter.
func TestVMLoad(t *testing.T) {
	nstest.Require(t, nstest.VM)
	tree := running(t)
	if err := tree.Load("loop", "max_loop=3"); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile("/sys/module/loop/parameters/max_loop"); err != nil || strings.TrimSpace(string(b)) != "3" {
		t.Errorf("max_loop is %q, %v", b, err)
	}
	if err := running(t).Load("loop", ""); err != nil {
		t.Errorf("loaded already: %v", err)
	}
}

func TestVMColdplugAndWatch(t *testing.T) {
	nstest.Require(t, nstest.VM)
	tree := running(t)
	hardware, err := Scan("/sys")
	if err != nil {
		t.Fatal(err)
	}
	defer hardware.Close()
	ready := 0
	loaded, err := hardware.Coldplug(tree, func() { ready++ })
	if err != nil || ready != 1 || !slices.Contains(loaded, "virtio_rng") {
		t.Errorf("%v; loaded %v; disks were ready %d times", err, loaded, ready)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := hardware.Watch(ctx, tree, nil); err != nil {
		t.Error(err)
	}
}
