package update

import (
	"fmt"
	"strings"
	"time"

	"kubesolo.io/os/internal/health"
)

// Evidence is what is known of a trial at one instant. Each error is "" when all
// is well.
type Evidence struct {
	Now    time.Time
	Health health.Report
	Pods   string // pods of kube-system that do not run
	Data   string // why the data partition takes no writes
	Probe  string // why the operator's own address does not answer
	Engine int    // pid of kubesolo, 0 when it does not run
}

// Trial judges: a version is good when everything was as it should be, without
// a break and by the same kubesolo, for so long.
type Trial struct {
	For time.Duration

	since  time.Time
	engine int
}

// See takes evidence into account. It says whether the trial has passed, and if
// not, what it waits for.
func (t *Trial) See(e Evidence) (passed bool, waiting string) {
	if missing := e.missing(); missing != "" {
		t.since, t.engine = time.Time{}, e.Engine
		return false, missing
	}
	if t.since.IsZero() || t.engine != e.Engine {
		t.since, t.engine = e.Now, e.Engine
	}
	held := e.Now.Sub(t.since)
	if held >= t.For {
		return true, ""
	}
	return false, fmt.Sprintf("healthy for %v of %v", held.Round(time.Second), t.For)
}

// missing names what is not as it should be, "" for nothing.
func (e Evidence) missing() string {
	var all []string
	for _, name := range []string{health.API, health.Node, health.CoreDNS} {
		if c := e.Health.Get(name); c.State != health.OK {
			all = append(all, strings.TrimSuffix(name+": "+c.Message, ": "))
		}
	}
	for _, x := range []struct{ name, problem string }{{"pods", e.Pods}, {"data", e.Data}, {"probe", e.Probe}} {
		if x.problem != "" {
			all = append(all, x.name+": "+x.problem)
		}
	}
	if e.Engine == 0 {
		all = append(all, "kubesolo does not run")
	}
	return strings.Join(all, "; ")
}
