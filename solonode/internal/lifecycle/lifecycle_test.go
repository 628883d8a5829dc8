package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// record collects what happened, in order.
type record struct {
	mu    sync.Mutex
	lines []string
}

func (r *record) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
}

func (r *record) only(prefix string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []string
	for _, line := range r.lines {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			found = append(found, rest)
		}
	}
	return found
}

func service(name string, log *record, readyAfter time.Duration, needs ...string) Component {
	begin := time.Now()
	return Component{
		Name: name, Needs: needs, StopTimeout: time.Second,
		Run: func(ctx context.Context) error {
			log.add("run " + name)
			<-ctx.Done()
			log.add("end " + name)
			return nil
		},
		Ready: func(context.Context) error {
			if time.Since(begin) < readyAfter {
				return errors.New("not yet")
			}
			return nil
		},
	}
}

func TestStartsByNeedsAndStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &record{}
		list := []Component{
			service("store", log, 2*time.Second),
			service("api", log, 5*time.Second, "store"),
			service("pods", log, 0, "api"),
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := Run(ctx, list, Options{StopBudget: testBudget, StartupTimeout: time.Minute, Log: log.add}); err != nil {
			t.Fatal(err)
		}
		if got := log.only("run "); !slices.Equal(got, []string{"store", "api", "pods"}) {
			t.Errorf("started %v", got)
		}
		if got := log.only("end "); !slices.Equal(got, []string{"pods", "api", "store"}) {
			t.Errorf("ended %v", got)
		}
		if got := log.only("component ready: "); len(got) != 3 {
			t.Errorf("ready: %v", got)
		}
	})
}

func TestOneFailureStopsAll(t *testing.T) {
	broken := errors.New("broken")
	tests := map[string]struct {
		run      func(context.Context) error
		optional bool
		want     string // "" for none
	}{
		"error":             {run: func(context.Context) error { return broken }, want: "component bad: broken"},
		"return":            {run: func(context.Context) error { return nil }, want: "component bad: stopped by itself"},
		"optional fails":    {run: func(context.Context) error { return broken }, optional: true},
		"never gets ready":  {want: "component bad: not ready after 30s: never"},
		"needs a dead part": {run: func(context.Context) error { return broken }, want: "component bad: broken"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &record{}
				bad := Component{Name: "bad", Run: test.run, Optional: test.optional, StopTimeout: time.Second}
				if test.run == nil {
					bad.Run = func(ctx context.Context) error { <-ctx.Done(); return nil }
					bad.Ready = func(context.Context) error { return errors.New("never") }
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				err := Run(ctx, []Component{service("good", log, 0), bad}, Options{StopBudget: testBudget, StartupTimeout: 30 * time.Second, Log: log.add})
				if got := message(err); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
				if got := log.only("end "); !slices.Equal(got, []string{"good"}) {
					t.Errorf("ended %v", got)
				}
			})
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestFiniteComponentLetsOthersStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &record{}
		wait := Component{Name: "wait", Finite: true, StopTimeout: time.Second, Run: func(ctx context.Context) error {
			time.Sleep(3 * time.Second)
			return nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := Run(ctx, []Component{wait, service("after", log, 0, "wait")}, Options{StopBudget: testBudget, StartupTimeout: time.Minute, Log: log.add})
		if err != nil || len(log.only("run after")) != 1 {
			t.Errorf("error %v, log %v", err, log.lines)
		}
	})
}

func TestStopIsBounded(t *testing.T) {
	for name, hurry := range map[string]bool{"by the component's limit": false, "by the second signal": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &record{}
				release := make(chan struct{})
				stuck := Component{Name: "stuck", StopTimeout: 7 * time.Second, Run: func(context.Context) error {
					<-release
					return nil
				}}
				hurried := make(chan struct{})
				if hurry {
					close(hurried)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begin := time.Now()
				err := Run(ctx, []Component{service("store", log, 0), stuck}, Options{StopBudget: testBudget, StartupTimeout: time.Minute, Log: log.add, Hurry: hurried})
				want := 67 * time.Second
				if hurry {
					want = time.Minute
				}
				if took := time.Since(begin); err != nil || took != want {
					t.Errorf("took %s, want %s (error %v)", took, want, err)
				}
				if got := log.only("component left behind: stuck"); len(got) != 1 {
					t.Errorf("log %v", log.lines)
				}
				close(release)
			})
		})
	}
}

func TestUnknownNeed(t *testing.T) {
	err := Run(t.Context(), []Component{{Name: "a", Needs: []string{"b"}}}, Options{})
	if err == nil || !strings.Contains(err.Error(), "unknown component b") {
		t.Errorf("got %v", err)
	}
}
