package node

import (
	"context"
	"os"
	"regexp"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kubesolo.io/os/solonode/internal/lifecycle"
	"kubesolo.io/os/solonode/internal/options"
	"kubesolo.io/os/solonode/internal/statecopy"
)

// everything is the longest list of components there is.
func everything(t *testing.T) []lifecycle.Component {
	t.Helper()
	opts, err := options.Parse(nil, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	opts.Path, opts.LoadBalancer, opts.MetricsServer, opts.Pprof = t.TempDir(), true, true, true
	n := &node{Config: Config{Options: opts, Log: func(line string) { t.Log(line) }}}
	n.keeper = statecopy.NewKeeper(StateStore(opts), 0, n.Log)
	return n.components()
}

// TestStopOfAllComponents has each component of the real list hang.
func TestStopOfAllComponents(t *testing.T) {
	list := everything(t)
	synctest.Test(t, func(t *testing.T) {
		var before atomic.Int32 // told to stop before the datastore was
		var begin, told time.Time
		release := make(chan struct{})
		defer close(release)
		for i := range list {
			component := &list[i]
			if component.StopTimeout <= 0 || component.StopReserve > component.StopTimeout {
				t.Errorf("%s may take %s, of which %s are reserved", component.Name, component.StopTimeout, component.StopReserve)
			}
			component.Needs, component.Ready = nil, nil
			component.Run = func(ctx context.Context) error {
				<-ctx.Done()
				if component.Name != "datastore" {
					before.Add(1)
				} else if told = time.Now(); int(before.Load()) != len(list)-1 {
					t.Errorf("the datastore stops after %d components of %d", before.Load(), len(list))
				}
				<-release
				return nil
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, func() { begin = time.Now(); cancel() })
		err := lifecycle.Run(ctx, list, lifecycle.Options{StopBudget: stopBudget, Log: func(line string) { t.Log(line) }})
		if took := time.Since(begin); err != nil || took > stopBudget {
			t.Errorf("took %s of %s (error %v)", took, stopBudget, err)
		}
		// Half for the server to let go of its clients (gracePeriod there),
		// half to close the database.
		if got := time.Since(told); got < 4*time.Second {
			t.Errorf("the datastore had %s", got)
		}
	})
}

// TestStopBeforeTheSupervisorKills reads what ksinit prints of its plan: its
// second TERM hurries the node, and then comes SIGKILL.
func TestStopBeforeTheSupervisorKills(t *testing.T) {
	plan, err := os.ReadFile("../../../cmd/ksinit/testdata/plan.golden")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`\n    kubesolo\n(?:        .*\n)*?        stop TERM, (\w+), TERM, (\w+), KILL`).FindSubmatch(plan)
	if found == nil {
		t.Fatal("the plan does not say how kubesolo is stopped")
	}
	grace, err := time.ParseDuration(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	if grace < stopBudget+time.Second {
		t.Errorf("ksinit gives %s, and the stop takes up to %s and the end of the process some more", grace, stopBudget)
	}
	if stopBudget+time.Second > stopLimit {
		t.Errorf("the stop takes up to %s, promised are %s", stopBudget, stopLimit)
	}
}
