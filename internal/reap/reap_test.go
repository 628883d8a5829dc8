package reap

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const shell = "/bin/sh"

func newReaper(t *testing.T) *Reaper {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	r := New()
	t.Cleanup(r.Close)
	return r
}

func (r *Reaper) mustSh(t *testing.T, script string) *Process {
	t.Helper()
	p, err := r.Start(shell, []string{"sh", "-c", script}, &syscall.ProcAttr{Env: []string{"PATH=/usr/bin:/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestExit(t *testing.T) {
	r := newReaper(t)
	for script, want := range map[string]string{
		"exit 0": "exit status 0", "exit 7": "exit status 7", "kill -9 $$": "killed by SIGKILL", "kill -TERM $$": "killed by SIGTERM",
	} {
		e := <-r.mustSh(t, script).Exited()
		if e.String() != want || e.Clean() != (script == "exit 0") {
			t.Errorf("%q: %v, clean %v", script, e, e.Clean())
		}
	}
}

func TestStartErrors(t *testing.T) {
	r := newReaper(t)
	if _, err := r.Start("/nonexistent/kubesolo", []string{"kubesolo"}, &syscall.ProcAttr{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want os.ErrNotExist", err)
	}
}

// No exit may be lost when many children end while others are being started,
// with orphans ending between them.
func TestNoExitIsLost(t *testing.T) {
	r := newReaper(t)
	const starters, each = 8, 25
	var wg sync.WaitGroup
	for s := range starters {
		wg.Go(func() {
			for i := range each {
				code := (s*each + i) % 200
				// Each leaves one orphan, which ends later than its parent.
				e := <-r.mustSh(t, fmt.Sprintf("sleep 0.05 & exit %d", code)).Exited()
				if e.Status.ExitStatus() != code {
					t.Errorf("exit %v, want %d", e, code)
				}
			}
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(20 * time.Second); r.Orphans() < starters*each && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if got := r.Orphans(); got != starters*each {
		t.Errorf("%d orphans were collected, want %d", got, starters*each)
	}
	assertNoZombies(t)
}

func TestSignal(t *testing.T) {
	r := newReaper(t)
	p := r.mustSh(t, "exec sleep 60")
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := <-p.Exited(); e.String() != "killed by SIGTERM" {
		t.Errorf("got %v", e)
	}
	if err := p.Signal(unix.SIGKILL); !errors.Is(err, ErrExited) {
		t.Errorf("signal to an ended process: %v, want ErrExited", err)
	}
}

func TestCloseMakesRoomForAnother(t *testing.T) {
	New().Close()
	r := newReaper(t)
	if e := <-r.mustSh(t, "exit 3").Exited(); e.Status.ExitStatus() != 3 {
		t.Errorf("got %v", e)
	}
}

func assertNoZombies(t *testing.T) {
	t.Helper()
	self := fmt.Sprint(os.Getpid())
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[0] == "Z" && f[1] == self {
			t.Errorf("process %s is a zombie of ours", e.Name())
		}
	}
}
