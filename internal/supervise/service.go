// Package supervise keeps the node's services running: starts them when what
// they need is ready, knows when they are ready themselves, starts them again
// when they end, and stops them in the way each wants to be stopped.
//
// It owns restart policy, readiness and stop order of one service. It never
// decides what a crash loop means for the node: it says so (event "failed") and
// goes on trying, because a node that gave up would need a visit. One
// goroutine owns each service's state; others send it messages. Policies are
// pure; actors are tested in virtual time with scripted processes, and the
// real Host with real ones.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kubesolo.io/os/internal/cgroup"
)

// A Service is a program to keep running.
type Service struct {
	Name  string
	Argv  []string // Argv[0] is an absolute path
	Env   []string // complete: nothing is inherited
	Dir   string   // working directory; "" is /
	Needs []string // services that must have been ready once

	Ready        Probe
	ReadyTimeout time.Duration // 0: 2 min; then it is said, and probing goes on

	Live    Liveness // asked once it is ready; the zero value never
	Restart RestartPolicy
	Stop    StopPolicy
	Limits  cgroup.Limits
	// OOMScoreAdj from -1000 (never killed for memory) to 1000; 0 is the default.
	OOMScoreAdj int
	Rights      Rights
}

// String is one line of `ksinit -plan`.
func (s Service) String() string {
	needs := "-"
	if len(s.Needs) > 0 {
		needs = strings.Join(s.Needs, ",")
	}
	return fmt.Sprintf("%s: %s; needs %s; ready %v; alive %v; restart %v; stop %v; limits %v; oom score %d",
		s.Name, strings.Join(s.Argv, " "), needs, s.Ready, s.Live, s.Restart, s.Stop, s.Limits, s.OOMScoreAdj)
}

// Validate checks a whole list: names once, needs known and earlier, absolute
// programs.
func Validate(services []Service) error {
	var names []string
	for _, s := range services {
		switch {
		case s.Name == "" || slices.Contains(names, s.Name):
			return fmt.Errorf("service %q: the name is empty or taken", s.Name)
		case len(s.Argv) == 0 || !filepath.IsAbs(s.Argv[0]):
			return fmt.Errorf("service %s: argv %q has no absolute program", s.Name, s.Argv)
		}
		for _, n := range s.Needs {
			if !slices.Contains(names, n) {
				return fmt.Errorf("service %s: needs %q, which is not an earlier service", s.Name, n)
			}
		}
		names = append(names, s.Name)
	}
	return nil
}

// A Probe says when a service can be used: something accepts connections at
// an address. The zero Probe is met at once.
type Probe struct {
	Network string        // "unix" or "tcp"
	Address string        // path or host:port
	Every   time.Duration // 0: 250 ms
}

func (p Probe) String() string {
	if p.Network == "" {
		return "at once"
	}
	return p.Network + ":" + p.Address
}

// Check connects once, within a second.
func (p Probe) Check(ctx context.Context) error {
	if p.Network == "" {
		return nil
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, p.Network, p.Address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (p Probe) every() time.Duration {
	if p.Every == 0 {
		return 250 * time.Millisecond
	}
	return p.Every
}

// RestartPolicy says when and how fast a service is started again. The zero
// policy restarts always, from 1 s to 1 min apart.
type RestartPolicy struct {
	Never bool // a one-shot: it runs once
	// Min is the wait after the first failure; each further one doubles
	// it, to at most Max. Zero values: 1 s and 1 min.
	Min, Max time.Duration
	// ResetAfter of running halves the count of failures, as often as it
	// fits: an old failure weighs less, and one a week is no crash loop.
	// Zero: 1 min.
	ResetAfter time.Duration
	// Limit is the count from which the service is a crash loop. Zero: 5.
	Limit int
}

func (p RestartPolicy) String() string {
	if p.Never {
		return "never"
	}
	p = p.withDefaults()
	return fmt.Sprintf("always %v..%v, failed at %d, halved every %v", p.Min, p.Max, p.Limit, p.ResetAfter)
}

func (p RestartPolicy) withDefaults() RestartPolicy {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&p.Min, time.Second)
	set(&p.Max, time.Minute)
	set(&p.ResetAfter, time.Minute)
	if p.Limit == 0 {
		p.Limit = 5
	}
	return p
}

// A Decision is what to do after an end.
type Decision struct {
	Failures int           // the new count
	Restart  bool          // start again
	After    time.Duration // wait so long before
	Escalate bool          // this is a crash loop
}

// Next decides what follows an end: failures is the count so far, ran is how
// long the service was up. Every end counts, also with status 0: a service
// that is wanted and not there has failed.
func (p RestartPolicy) Next(failures int, ran time.Duration) Decision {
	if p.Never {
		return Decision{}
	}
	p = p.withDefaults()
	failures = p.decayed(failures, ran) + 1
	if failures >= p.Limit {
		return Decision{Failures: failures, Restart: true, After: p.Max, Escalate: true}
	}
	after := p.Min
	for i := 1; i < failures && after < p.Max; i++ {
		after *= 2
	}
	return Decision{Failures: failures, Restart: true, After: min(after, p.Max)}
}

// decayed is what is left of a count of failures after a run.
func (p RestartPolicy) decayed(failures int, ran time.Duration) int {
	p = p.withDefaults()
	for ; ran >= p.ResetAfter && failures > 0; ran -= p.ResetAfter {
		failures /= 2
	}
	return failures
}

// Forgives is how long a service in a crash loop must run until its next end
// would be none.
func (p RestartPolicy) Forgives(failures int) time.Duration {
	p = p.withDefaults()
	after := p.ResetAfter
	for failures /= 2; failures > 0 && failures+1 >= p.Limit; failures /= 2 {
		after += p.ResetAfter
	}
	return after
}

// StopPolicy says how a service is stopped: SIGTERM, after Grace a second one
// (KubeSolo v1.2.0 needs it), after Again SIGKILL.
type StopPolicy struct {
	Grace time.Duration // 0: 20 s
	Again time.Duration // 0: 5 s
	// KeepChildren limits SIGKILL to the main process and leaves what else
	// is in its control group running, also when it dies by itself:
	// containerd's shims must outlive it, or every pod dies with it.
	KeepChildren bool
}

func (p StopPolicy) grace() time.Duration { return orElse(p.Grace, 20*time.Second) }
func (p StopPolicy) again() time.Duration { return orElse(p.Again, 5*time.Second) }

func orElse(d, zero time.Duration) time.Duration {
	if d == 0 {
		return zero
	}
	return d
}

func (p StopPolicy) String() string {
	whom := "its control group"
	if p.KeepChildren {
		whom = "the process"
	}
	return fmt.Sprintf("TERM, %v, TERM, %v, KILL %s", p.grace(), p.again(), whom)
}

// ErrNotStopped is returned by Stop when even SIGKILL did not end a service
// in time (a process in uninterruptible sleep).
var ErrNotStopped = errors.New("does not end even by SIGKILL")
