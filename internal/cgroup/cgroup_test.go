package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/nstest"
)

func TestLimitsString(t *testing.T) {
	for _, tc := range []struct {
		l    Limits
		want string
	}{
		{Limits{}, "-"},
		{Limits{MemoryMin: 64 << 20, MemoryMax: 1000, CPUWeight: 200, PidsMax: 512},
			"memory.min=64M memory.max=1000 cpu.weight=200 pids.max=512"},
		{Limits{MemoryLow: 1 << 20, MemoryHigh: 2 << 20}, "memory.low=1M memory.high=2M"},
	} {
		if got := tc.l.String(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestOpenElsewhere(t *testing.T) {
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrAbsent) {
		t.Errorf("got %v, want ErrAbsent", err)
	}
}

// The files of a group in a plain directory: what is written, and that a
// missing controller is an error that names it while the rest is applied.
func TestApply(t *testing.T) {
	g := &Group{Name: "kubesolo", dir: t.TempDir()}
	for _, name := range []string{"memory.min", "pids.max"} {
		if err := os.WriteFile(filepath.Join(g.dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := g.Apply(Limits{MemoryMin: 5, CPUWeight: 50, PidsMax: 7})
	if err == nil || !strings.Contains(err.Error(), "cpu.weight") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want one about cpu.weight", err)
	}
	for name, want := range map[string]string{"memory.min": "5", "pids.max": "7"} {
		if got, _ := os.ReadFile(filepath.Join(g.dir, name)); string(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if n, err := g.OOMKills(); n != 0 || err != nil {
		t.Errorf("without a memory controller: %d, %v", n, err)
	}
}

func mountTree(t *testing.T) *Tree {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "cgroup2", 0, ""); err != nil {
		t.Fatalf("mount cgroup2: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	tree, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// A setsid grandchild survives a kill of its process group; it must not
// survive the kill of its control group.
func TestKillReachesDaemons(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	tree := mountTree(t)
	g, err := tree.Make(fmt.Sprintf("kstest-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	}()
	dir, err := g.Dir()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	pid, _, err := syscall.StartProcess("/bin/sh", []string{"sh", "-c", "setsid sleep 60 & sleep 60"}, &syscall.ProcAttr{
		Env: []string{"PATH=/usr/bin:/bin"},
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for n := 0; n < 3; time.Sleep(10 * time.Millisecond) {
		procs, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
		if err != nil || ctx.Err() != nil {
			t.Fatalf("only %d processes: %v %v", n, err, ctx.Err())
		}
		n = strings.Count(string(procs), "\n")
	}
	short, cancelShort := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancelShort()
	if err := g.WaitEmpty(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a full group: %v", err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || status.Signal() != unix.SIGKILL {
		t.Errorf("shell ended with %v, %v", status, err)
	}
	if err := g.WaitEmpty(ctx); err != nil {
		t.Error(err)
	}
}

// Needs a machine whose controllers belong to cgroup v2.
func TestVMLimits(t *testing.T) {
	nstest.Require(t, nstest.VM|nstest.Mount)
	tree := mountTree(t)
	enabled, err := tree.EnableAll()
	if err != nil || !strings.Contains(strings.Join(enabled, " "), "memory") {
		t.Fatalf("enabled %q, %v", enabled, err)
	}
	g, err := tree.Make(fmt.Sprintf("kstest-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Remove() }()
	if err := g.Apply(Limits{MemoryMin: 1 << 20, MemoryMax: 16 << 20, CPUWeight: 50, PidsMax: 30}); err != nil {
		t.Fatal(err)
	}
	dir, err := g.Dir()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	// dd with a block of 64 MiB cannot live in 16 MiB.
	pid, _, err := syscall.StartProcess("/bin/busybox", []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"},
		&syscall.ProcAttr{Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}})
	if err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || status.Signal() != unix.SIGKILL {
		t.Errorf("dd ended with %v, %v", status, err)
	}
	if n, err := g.OOMKills(); n == 0 || err != nil {
		t.Errorf("%d processes killed for memory, %v", n, err)
	}
}
