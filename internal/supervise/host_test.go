package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/cgroup"
	"kubesolo.io/os/internal/nstest"
	"kubesolo.io/os/internal/reap"
)

func newHost(t *testing.T) Host {
	t.Helper()
	r := reap.New()
	t.Cleanup(r.Close)
	return Host{Reaper: r, LogDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
}

func sh(script string) Service {
	return Service{Name: "test", Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin", "ONLY=this"}}
}

func mustRun(t *testing.T, h Host, s Service) Exit {
	t.Helper()
	p, err := h.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	return <-p.Exited()
}

func TestHostOutputAndEnvironment(t *testing.T) {
	h := newHost(t)
	e := mustRun(t, h, sh("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort; echo on stderr >&2; exit 3"))
	if e.Reason != "exit status 3" || strings.Join(e.Last, "|") != "ONLY=this|PATH=/usr/bin:/bin|on stderr" {
		t.Errorf("got %v", e)
	}
	log, err := os.ReadFile(filepath.Join(h.LogDir, "test.log"))
	if err != nil || !strings.HasSuffix(string(log), "on stderr\n") {
		t.Errorf("log %q, %v", log, err)
	}
}

// A child that keeps the pipe open must not delay the news of the end.
func TestHostDaemonHoldsThePipe(t *testing.T) {
	e := mustRun(t, newHost(t), sh("sleep 3 & echo last words; exit 1"))
	if e.String() != "exit status 1; last output: last words" {
		t.Errorf("got %v", e)
	}
}

func TestHostExplains(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"no-loader":  {"#!/nonexistent/ld.so\n", 0o755, "its interpreter"},
		"not-a-prog": {"\x7fELF rubbish", 0o755, "not a program for this machine"},
		"not-exec":   {"#!/bin/sh\n", 0o644, "not executable"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(tc.content), tc.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Start(Service{Name: "x", Argv: []string{path}}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
	_, err := h.Start(Service{Name: "kubesolo", Argv: []string{"/usr/local/bin/absent"}})
	if err == nil || !strings.HasPrefix(err.Error(), "start /usr/local/bin/absent: ") || !strings.Contains(err.Error(), "rebuild the image") {
		t.Errorf("missing program: %v", err)
	}
	if _, err := RunOnce(t.Context(), h, Service{Name: "stop-pods", Argv: []string{"/usr/local/bin/absent"}}); err == nil || !strings.HasPrefix(err.Error(), "stop-pods: start ") {
		t.Errorf("missing program: %v", err)
	}
}

func TestRunOnce(t *testing.T) {
	h := newHost(t)
	if last, err := RunOnce(t.Context(), h, sh("echo fine")); err != nil || strings.Join(last, "") != "fine" {
		t.Errorf("got %q, %v", last, err)
	}
	if _, err := RunOnce(t.Context(), h, sh("echo bad; exit 2")); err == nil || !strings.Contains(err.Error(), "exit status 2; last output: bad") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := RunOnce(ctx, h, sh("exec sleep 60")); err == nil || !strings.Contains(err.Error(), "SIGKILL") {
		t.Errorf("got %v", err)
	}
}

func TestProbe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	p := Probe{Network: "unix", Address: path}
	if p.Check(t.Context()) == nil {
		t.Error("nothing listens, and the probe is met")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := p.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// With a real cgroup2: the service is born in its group, and what it leaves
// behind is killed with it, except for one that keeps its children.
func TestHostGroups(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "cgroup2", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	tree, err := cgroup.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t)
	h.Groups = tree
	// The hierarchy is the machine's: what a failed run leaves in a group
	// must not be counted by the next.
	name := fmt.Sprintf("kstest-supervise-%d", os.Getpid())
	t.Cleanup(func() {
		if group, err := tree.Make(name); err == nil {
			_ = errors.Join(group.Kill(), group.WaitEmpty(context.Background()), group.Remove())
		}
	})
	for _, keep := range []bool{false, true} {
		service := sh("setsid sleep 60 & exec sleep 60")
		service.Name = name
		service.Stop = StopPolicy{KeepChildren: keep}
		s := mustStart(t, h, &history{}, service)
		waitFor(t, func() bool { return processes(t, dir, service.Name) == 2 })
		group, err := tree.Make(service.Name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Stop(t.Context(), service.Name); err != nil {
			t.Error(err)
		}
		want := 0
		if keep {
			want = 1
		}
		waitFor(t, func() bool { return processes(t, dir, service.Name) == want })
		if err := group.Kill(); err != nil {
			t.Error(err)
		}
		if err := group.WaitEmpty(t.Context()); err != nil {
			t.Error(err)
		}
		if err := group.Remove(); err != nil {
			t.Error(err)
		}
	}
}

// A service that was killed with its group must live after its restart: the
// kernel kills what is started into a group that was killed before.
func TestHostGroupAfterKill(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "cgroup2", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	tree, err := cgroup.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t)
	h.Groups = tree
	name := fmt.Sprintf("kstest-kill-%d", os.Getpid())
	for _, script := range []string{"exec sleep 60", "exit 0"} {
		service := sh(script)
		service.Name = name
		p, err := h.Start(service)
		if err != nil {
			t.Fatal(err)
		}
		if script != "exit 0" {
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		if e := <-p.Exited(); script == "exit 0" && e.Reason != "exit status 0" {
			t.Errorf("after a kill of its group: %v", e)
		}
	}
	group, err := tree.Make(name)
	if err == nil {
		err = group.Remove()
	}
	if err != nil {
		t.Error(err)
	}
}

// processes counts those of a group. The host renews the group while it starts
// a service, so one that is just removed (ENODEV of an open file) or not there
// has none: a CI run failed on that instant.
func processes(t *testing.T, dir, group string) int {
	t.Helper()
	procs, err := os.ReadFile(filepath.Join(dir, group, "cgroup.procs"))
	if errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(procs), "\n")
}

func waitFor(t *testing.T, met func() bool) {
	t.Helper()
	for range 1000 {
		if met() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("not met within 10 s")
}

// A stopped process is the real hang: it is there, its socket takes
// connections, and nothing comes back.
func TestHostHang(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var silent atomic.Bool
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if !silent.Load() {
				_, _ = conn.Write([]byte{21, 3, 1, 0, 2, 2, 70})
			}
			defer conn.Close()
		}
	}()
	h := newHost(t)
	service := sh("trap '' TERM; kill -STOP $$")
	service.Ready = Probe{Network: "tcp", Address: l.Addr().String()}
	service.Stop = StopPolicy{Grace: 100 * time.Millisecond, Again: 100 * time.Millisecond}
	service.Live = Liveness{Protocol: TLS, Every: 20 * time.Millisecond, Limit: 2 * time.Second, Failures: 2}
	s := mustStart(t, h, &history{}, service)
	if err := s.WaitReady(t.Context(), service.Name); err != nil {
		t.Fatal(err)
	}
	if st := s.Status()[0]; st.Starts != 1 {
		t.Fatalf("it answers, and was ended: %+v", st)
	}
	silent.Store(true)
	for range 100 {
		if s.Status()[0].LastExit != "" {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	silent.Store(false)
	if st := s.Status()[0]; !strings.HasPrefix(st.LastExit, "hung: 2 probes in a row without an answer: ") || !strings.HasSuffix(st.LastExit, "; killed by SIGKILL") {
		t.Errorf("%+v", st)
	}
	_ = s.Stop(t.Context(), service.Name) // the next one is stopped, too, and ends by SIGKILL
}

// However much a service prints, its log has two files of at most 8 MiB.
func TestHostLogIsBounded(t *testing.T) {
	h := newHost(t)
	e := mustRun(t, h, sh("yes 'a line that is printed for ever, or so it seems' | head -c 40000000; echo end >&2"))
	if e.Reason != "exit status 0" || len(e.Last) != lastLines {
		t.Errorf("got %v", e)
	}
	var sum int64
	files, err := filepath.Glob(filepath.Join(h.LogDir, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.Size() > maxLogSize {
			t.Fatalf("%s: %d bytes, %v", f, info.Size(), err)
		}
		sum += info.Size()
	}
	if sum < maxLogSize {
		t.Errorf("only %d bytes were kept", sum)
	}
}
