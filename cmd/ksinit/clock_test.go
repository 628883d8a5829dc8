package main

import (
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/clocksync"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/nstest"
	"kubesolo.io/os/internal/reap"
	"kubesolo.io/os/internal/supervise"
)

// What ksinit writes is what ksagent reads, and it is written on change only.
func TestLeaseServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run", "ntp.json")
	tell := leaseServers(file)
	var before os.FileInfo
	for i, servers := range [][]string{{"192.0.2.1", "2001:db8::1"}, {"192.0.2.1", "2001:db8::1"}, {"192.0.2.9"}, nil} {
		var list []netip.Addr
		for _, s := range servers {
			list = append(list, netip.MustParseAddr(s))
		}
		if err := tell(list); err != nil {
			t.Fatal(err)
		}
		s, err := clocksync.ReadSources(filepath.Join(t.TempDir(), "none"), file)
		if err != nil {
			t.Fatal(err)
		}
		if servers == nil && s.Origin != "default pool" || servers != nil && !slices.Equal(s.Servers, servers) {
			t.Errorf("%q became %+v", servers, s)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if again := before != nil && os.SameFile(before, info); again != (i == 1) {
			t.Errorf("%d: written again: %v", i, !again)
		}
		before = info
	}
}

// TestVMClockIsSet: a step is remembered at once, and a long one starts kubesolo
// again, and nothing else. It sets the clock of the VM.
func TestVMClockIsSet(t *testing.T) {
	nstest.Require(t, nstest.VM)
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	watch, err := openClockWatch()
	if err != nil {
		t.Fatal(err)
	}
	if by, err := watch.wait(10 * time.Millisecond); err != nil || by.Abs() > time.Second {
		t.Errorf("nothing happened, and it says %v, %v", by, err)
	}
	n := &node{log: slog.New(slog.DiscardHandler), exits: map[string]string{}, events: event.NewLog(64), console: newConsole(io.Discard)}
	reaper := reap.New()
	t.Cleanup(reaper.Close)
	var list []supervise.Service
	for _, name := range []string{"containerd", "kubesolo"} {
		list = append(list, supervise.Service{
			Name: name, Argv: []string{"/bin/busybox", "sleep", "1000"},
			Restart: supervise.RestartPolicy{Min: time.Millisecond, Max: time.Second},
		})
	}
	n.supervisor, err = supervise.Start(supervise.Host{Reaper: reaper, LogDir: t.TempDir(), Log: n.log}, n, list...)
	if err != nil {
		t.Fatal(err)
	}
	started := func(containerd, kubesolo int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			st := n.supervisor.Status()
			if st[0].Starts == containerd && st[1].Starts == kubesolo && st[1].Pid > 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%+v, want %d and %d starts", st, containerd, kubesolo)
			}
		}
	}
	started(1, 1)
	go n.rememberTime()
	kept := filepath.Join(stateDir, timeFile)
	remembered := func(after time.Time) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			at, err := readTime(kept)
			if err == nil && !at.Before(after) && at.Before(after.Add(time.Hour)) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v, %v is remembered, not %v", at, err, after)
			}
		}
	}
	remembered(time.Now().Add(-time.Minute).Truncate(time.Second))
	for _, step := range []struct {
		by     time.Duration
		starts int // of kubesolo, then
	}{{40 * 24 * time.Hour, 2}, {-31 * time.Second, 3}, {20 * 24 * time.Hour, 3}, {-20 * time.Second, 3}} {
		ts := unix.NsecToTimespec(time.Now().Add(step.by).UnixNano())
		after := time.Unix(ts.Unix()).Truncate(time.Second)
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
			t.Fatal(err)
		}
		remembered(after)
		if got, err := watch.wait(time.Hour); err != nil || (got-step.by).Abs() > time.Second {
			t.Errorf("the clock was set by %v, and it says %v, %v", step.by, got, err)
		}
		started(1, step.starts)
	}
	// After the short steps kubesolo must stay. It would be gone at once.
	for range 20 {
		started(1, 3)
		time.Sleep(10 * time.Millisecond)
	}
}
