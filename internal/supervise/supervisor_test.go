package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/event"
)

// script is a Runner whose processes do in virtual time what the test says.
type script struct {
	mu     sync.Mutex
	starts map[string][]time.Duration
	begin  time.Time
	run    func(name string, nth int, p *scripted) error
}

type scripted struct {
	exit    chan Exit
	signals chan string
}

func (p *scripted) Pid() int                     { return 42 }
func (p *scripted) Exited() <-chan Exit          { return p.exit }
func (p *scripted) Signal(sig unix.Signal) error { p.signals <- unix.SignalName(sig); return nil }
func (p *scripted) Kill() error                  { p.signals <- "kill"; return nil }

func (s *script) Start(svc Service) (Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starts[svc.Name] = append(s.starts[svc.Name], time.Since(s.begin))
	p := &scripted{exit: make(chan Exit, 1), signals: make(chan string, 16)}
	return p, s.run(svc.Name, len(s.starts[svc.Name]), p)
}

func (s *script) startsOf(name string) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.starts[name])
}

type history struct {
	mu    sync.Mutex
	lines []string
}

func (h *history) Emit(e event.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, e.Name+" "+e.State)
}

func (h *history) of(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, l := range h.lines {
		if rest, ok := strings.CutPrefix(l, name+" "); ok {
			out = append(out, rest)
		}
	}
	return strings.Join(out, " ")
}

func newScript(run func(string, int, *scripted) error) *script {
	return &script{starts: map[string][]time.Duration{}, begin: time.Now(), run: run}
}

func svc(name string, needs ...string) Service {
	return Service{Name: name, Argv: []string{"/bin/" + name}, Needs: needs}
}

func mustStart(t *testing.T, r Runner, sink event.Sink, services ...Service) *Supervisor {
	t.Helper()
	s, err := Start(r, sink, services...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNeedsRestartAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &history{}
		r := newScript(func(name string, nth int, p *scripted) error {
			switch {
			case name == "a" && nth == 1:
				return errors.New("not in this image")
			case name == "b" && nth == 1:
				time.AfterFunc(5*time.Second, func() { p.exit <- Exit{Reason: "exit status 1", Last: []string{"boom"}} })
			}
			go func() {
				// A kill is that of what the dead process left behind.
				if <-p.signals == "SIGTERM" {
					p.exit <- Exit{Reason: "exit status 0"}
				}
			}()
			return nil
		})
		s := mustStart(t, r, h, svc("a"), svc("b", "a"))
		time.Sleep(time.Minute)
		synctest.Wait()
		// a: fails at once, again after 1 s; b starts when a is ready, dies
		// at 6 s, comes back after 1 s.
		if got := r.startsOf("a"); !slices.Equal(got, []time.Duration{0, time.Second}) {
			t.Errorf("a started at %v", got)
		}
		if got := r.startsOf("b"); !slices.Equal(got, []time.Duration{time.Second, 7 * time.Second}) {
			t.Errorf("b started at %v", got)
		}
		if err := s.WaitReady(t.Context(), "b"); err != nil {
			t.Error(err)
		}
		if err := s.Alive(); err != nil {
			t.Error(err)
		}
		st := s.Status()[1]
		if st.State != Ready || st.Starts != 2 || st.Failures != 1 || st.Pid != 42 || st.Error != "" {
			t.Errorf("%+v", st)
		}
		for _, name := range []string{"b", "a", "absent"} {
			if err := s.Stop(t.Context(), name); err != nil {
				t.Error(err)
			}
			if err := s.Stop(t.Context(), name); err != nil {
				t.Errorf("again: %v", err)
			}
		}
		if got, want := h.of("b"), "waiting starting running ready exited backoff starting running ready stopping stopped"; got != want {
			t.Errorf("b: %s\nwant %s", got, want)
		}
		if st := s.Status()[0]; st.State != Stopped || st.Pid != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestCrashLoopEscalatesAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &history{}
		r := newScript(func(_ string, _ int, p *scripted) error {
			p.exit <- Exit{Reason: "killed by SIGKILL", OOM: true, Last: []string{"allocating", "more"}}
			return nil
		})
		service := svc("a")
		service.Ready = Probe{Network: "unix", Address: "/nonexistent"}
		service.Restart = RestartPolicy{Min: time.Second, Max: 4 * time.Second, Limit: 3}
		s := mustStart(t, r, h, service)
		time.Sleep(12 * time.Second) // starts at 0, 1, 3, 7, 11
		st := s.Status()[0]
		if st.State != Failed || st.Starts != 5 {
			t.Errorf("%+v", st)
		}
		if !strings.Contains(st.Error, "killed by SIGKILL (out of memory); last output: allocating | more") {
			t.Errorf("error is %q", st.Error)
		}
		// The third end is the verdict; what follows is no news.
		if got, want := h.of("a"), "starting running exited backoff starting running exited backoff starting running exited failed"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		if !st.CrashLoop || st.LastExit == "" {
			t.Errorf("%+v", st)
		}
		if err := s.Stop(t.Context(), "a"); err != nil { // while it waits
			t.Error(err)
		}
	})
}

// The verdict is said again for another reason, and lifted by a long run.
func TestCrashLoopVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &history{}
		r := newScript(func(_ string, nth int, p *scripted) error {
			switch {
			case nth <= 4:
				return errors.New("not in this image")
			case nth == 5:
				p.exit <- Exit{Reason: "exit status 1"}
			default:
				go func() { p.exit <- Exit{Reason: <-p.signals} }()
			}
			return nil
		})
		service := svc("a")
		service.Restart = RestartPolicy{Min: time.Second, Max: 10 * time.Second, Limit: 3, ResetAfter: time.Minute}
		s := mustStart(t, r, h, service)
		time.Sleep(40 * time.Second) // starts at 0, 1, 3, 13, 23, 33
		if st := s.Status()[0]; st.State != Ready || !st.CrashLoop || st.Failures != 5 {
			t.Errorf("%+v", st)
		}
		time.Sleep(50 * time.Second)
		if st := s.Status()[0]; !st.CrashLoop {
			t.Errorf("lifted too early: %+v", st)
		}
		time.Sleep(65 * time.Second) // two halvings after the start
		if st := s.Status()[0]; st.State != Ready || st.CrashLoop {
			t.Errorf("%+v", st)
		}
		if got := strings.ReplaceAll(h.of("a"), "starting exited backoff ", ""); got != "starting exited failed failed ready" {
			t.Errorf("got %s", got)
		}
		if err := s.Stop(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	})
}

func TestStopEscalation(t *testing.T) {
	for _, tc := range []struct {
		name    string
		endsAt  int // the n-th signal ends it; 0: none does
		signals []string
		took    time.Duration
		fails   bool
	}{
		{"first TERM", 1, []string{"SIGTERM"}, 0, false},
		{"second TERM", 2, []string{"SIGTERM", "SIGTERM"}, 20 * time.Second, false},
		{"KILL", 3, []string{"SIGTERM", "SIGTERM", "kill"}, 25 * time.Second, false},
		{"nothing helps", 0, []string{"SIGTERM", "SIGTERM", "kill"}, 30 * time.Second, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen []string
				r := newScript(func(_ string, _ int, p *scripted) error {
					go func() {
						for n := 1; n <= len(tc.signals); n++ {
							seen = append(seen, <-p.signals)
							if n == tc.endsAt {
								p.exit <- Exit{Reason: fmt.Sprint("signal ", n)}
							}
						}
					}()
					return nil
				})
				service := svc("a")
				service.Stop.KeepChildren = true // no further kill for leftovers
				s := mustStart(t, r, &history{}, service)
				synctest.Wait()
				begin := time.Now()
				err := s.Stop(t.Context(), "a")
				synctest.Wait()
				if errors.Is(err, ErrNotStopped) != tc.fails {
					t.Errorf("got %v", err)
				}
				if took := time.Since(begin); took != tc.took || !slices.Equal(seen, tc.signals) {
					t.Errorf("took %v, signals %v; want %v, %v", took, seen, tc.took, tc.signals)
				}
			})
		})
	}
}

func TestStopGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustStart(t, newScript(func(_ string, _ int, p *scripted) error { return nil }), &history{}, svc("a"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := s.Stop(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute) // let the actor end
	})
}

func TestStopWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &history{}
		r := newScript(func(string, int, *scripted) error { return errors.New("no") })
		s := mustStart(t, r, h, svc("a"), svc("b", "a"))
		time.Sleep(10 * time.Second)
		for _, name := range []string{"b", "a"} {
			if err := s.Stop(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
		if got := h.of("b"); got != "waiting stopped" {
			t.Errorf("b: %s", got)
		}
	})
}
