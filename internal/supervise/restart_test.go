package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/cgroup"
	"kubesolo.io/os/internal/nstest"
)

// endsAt gives a script whose processes end at their n-th signal, and have no
// ear for more than most.
func endsAt(n, most int, seen *[]string) *script {
	return newScript(func(_ string, _ int, p *scripted) error {
		go func() {
			for i := 1; i <= most; i++ {
				*seen = append(*seen, <-p.signals)
				if i == n {
					p.exit <- Exit{Reason: fmt.Sprint("signal ", i), Last: []string{"boom"}}
				}
			}
		}()
		return nil
	})
}

func stopAll(t *testing.T, s *Supervisor, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := s.Stop(context.Background(), name); err != nil {
			t.Error(err)
		}
	}
}

// A restart that was asked for is no failure, takes the time that the service
// needs to end and no more, and is told as what it is.
func TestRestartIsNoFailure(t *testing.T) {
	for _, tc := range []struct {
		endsAt int
		took   time.Duration
		ended  string
	}{
		{1, 0, "signal 1"},
		{2, 20 * time.Second, "signal 2"},
		{3, 25 * time.Second, "signal 3; last output: boom, after 25s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var seen []string
			h, r := &history{}, endsAt(tc.endsAt, tc.endsAt, &seen)
			service := svc("a")
			service.Stop.KeepChildren = true // no further kill for leftovers
			s := mustStart(t, r, h, service)
			time.Sleep(10 * time.Second)
			for range 6 { // as many as would be a crash loop
				synctest.Wait()
				begin := time.Now()
				got, err := s.Restart(t.Context(), "a")
				if took := time.Since(begin); err != nil || got != (Restarted{tc.ended, 42}) || took != tc.took {
					t.Errorf("got %+v, %v after %v, want %v", got, err, took, tc.took)
				}
			}
			synctest.Wait()
			if st := s.Status()[0]; st.State != Ready || st.Starts != 7 || st.Failures != 0 || st.CrashLoop || st.Error != "" ||
				st.LastExit != "ended for a restart: "+tc.ended {
				t.Errorf("%+v", st)
			}
			if got, want := h.of("a"), "starting running ready"+strings.Repeat(" stopping starting running ready", 6); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
			stopAll(t, s, "a")
		})
	}
}

// In a wait after a failure a restart is a start at once; the verdict of a
// crash loop stays until the service has run for long enough.
func TestRestartInBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &history{}
		r := newScript(func(_ string, nth int, p *scripted) error {
			if nth <= 3 {
				return errors.New("not in this image")
			}
			go func() { p.exit <- Exit{Reason: <-p.signals} }()
			return nil
		})
		service := svc("a")
		service.Restart = RestartPolicy{Min: time.Second, Max: time.Hour, Limit: 2, ResetAfter: time.Minute}
		s := mustStart(t, r, h, service)
		time.Sleep(10 * time.Second) // the second start failed after a second
		if _, err := s.Restart(t.Context(), "a"); err == nil || err.Error() != "service a: not in this image" {
			t.Errorf("got %v", err)
		}
		if got, err := s.Restart(t.Context(), "a"); err != nil || got != (Restarted{"", 42}) {
			t.Errorf("got %+v, %v", got, err)
		}
		if got, err := s.Restart(t.Context(), "a"); err != nil || got != (Restarted{"SIGTERM", 42}) {
			t.Errorf("got %+v, %v", got, err)
		}
		synctest.Wait()
		if st := s.Status()[0]; st.State != Ready || st.Starts != 5 || st.Failures != 3 || !st.CrashLoop {
			t.Errorf("%+v", st)
		}
		time.Sleep(3 * time.Minute)
		if st := s.Status()[0]; st.CrashLoop {
			t.Errorf("%+v", st)
		}
		if got, want := h.of("a"), "starting exited backoff starting exited failed ready"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		// A long run is worth the same whether it ends by itself or by wish.
		if _, err := s.Restart(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if st := s.Status()[0]; st.Failures != 0 {
			t.Errorf("%+v", st)
		}
		stopAll(t, s, "a")
	})
}

func TestRestartThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		h, r := &history{}, endsAt(0, 6, &seen)
		slow := svc("slow")
		slow.Ready = Probe{Network: "unix", Address: "/nonexistent"}
		s := mustStart(t, r, h, slow, svc("waits", "slow"))
		synctest.Wait()
		want := func(name, message string) {
			t.Helper()
			if _, err := s.Restart(t.Context(), name); err == nil || err.Error() != message {
				t.Errorf("got %v, want %s", err, message)
			}
		}
		want("absent", "service absent: no such service")
		want("waits", "service waits: waits for slow, and starts as soon as that is ready")
		stopAll(t, s, "waits")
		want("waits", "service waits: is stopped for good")

		// It does not end, whatever is done; it is watched all the same.
		go func() {
			time.Sleep(time.Second)
			want("slow", "service slow: is being ended already")
		}()
		want("slow", "service slow: does not end even by SIGKILL")
		synctest.Wait()
		if st := s.Status()[0]; st.State != Running || st.Starts != 1 || strings.Join(seen, " ") != "SIGTERM SIGTERM kill" {
			t.Errorf("%+v, %v", st, seen)
		}
		if err := s.Stop(t.Context(), "slow"); !errors.Is(err, ErrNotStopped) {
			t.Errorf("got %v", err)
		}
	})
}

// The node goes down during a restart: the service is not started again.
func TestStopDuringRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &history{}
		var seen []string
		r := endsAt(2, 2, &seen)
		service := svc("a")
		service.Stop.KeepChildren = true
		s := mustStart(t, r, h, service)
		synctest.Wait()
		go func() {
			time.Sleep(time.Second)
			stopAll(t, s, "a")
		}()
		if _, err := s.Restart(t.Context(), "a"); err == nil || err.Error() != "service a: was stopped meanwhile" {
			t.Errorf("got %v", err)
		}
		if got := h.of("a"); got != "starting running ready stopping stopped" {
			t.Errorf("got %s", got)
		}
	})
}

// Who asked may go; the restart is done.
func TestRestartWithoutWhoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &history{}
		var seen []string
		service := svc("a")
		service.Stop.KeepChildren = true
		s := mustStart(t, endsAt(2, 2, &seen), h, service)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Restart(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute)
		if st := s.Status()[0]; st.State != Ready || st.Starts != 2 || st.Failures != 0 {
			t.Errorf("%+v", st)
		}
		stopAll(t, s, "a")
	})
}

// A service that leaves a child behind is started again at once into a new
// control group: into one that was killed the kernel lets nothing start.
func TestHostRestartAtOnce(t *testing.T) {
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
	service := sh("for i in 1 2 3 4 5 6 7 8 9; do setsid sleep 60 & done; exec sleep 60")
	service.Name = fmt.Sprintf("kstest-restart-%d", os.Getpid())
	s := mustStart(t, h, &history{}, service)
	for range 5 {
		waitFor(t, func() bool { return processes(t, dir, service.Name) == 10 })
		if got, err := s.Restart(t.Context(), service.Name); err != nil || got.Ended != "killed by SIGTERM" {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	waitFor(t, func() bool { return processes(t, dir, service.Name) == 10 })
	if st := s.Status()[0]; st.Starts != 6 || st.Failures != 0 {
		t.Errorf("%+v", st)
	}
	if err := s.Stop(t.Context(), service.Name); err != nil {
		t.Error(err)
	}
	group, err := tree.Make(service.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(group.WaitEmpty(t.Context()), group.Remove()); err != nil {
		t.Error(err)
	}
}
