// Package manager runs the network of the node: it watches the links, keeps a
// DHCP client on each link that wants one, hears what routers say, converges the kernel to the
// configuration, chooses the node's address, and writes resolv.conf and hosts.
//
// One goroutine owns all of that state; DHCP clients and callers send messages.
// It never stops the boot: what does not work is a warning in [Status], and
// with no network at all a dummy link gives Kubernetes an address.
//
// Tests: choices and files by tables, the whole over veth pairs against a real
// DHCP server in a network namespace.
package manager

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"kubesolo.io/os/internal/netcfg"
)

const (
	defaultGrace = 3 * time.Second
	// settleLimit bounds what WaitReady does after its limit: the manager
	// needs one round over netlink for the dummy link.
	settleLimit = 2 * time.Second
	// again is when refused changes are tried again.
	again = 10 * time.Second
)

// Manager is made by New and works while Run runs.
type Manager struct {
	o       Options
	kernel  loading
	changes chan change
	settle  chan struct{}

	mu      sync.Mutex
	status  Status
	changed chan struct{} // closed and replaced with every new status
}

// New opens the kernel's interface; nothing is changed before Run.
func New(o Options) (*Manager, error) {
	k, err := open(o.LoadModule)
	if err != nil {
		return nil, err
	}
	if len(o.Config.Links) == 0 {
		o.Config = netcfg.Default()
	}
	if o.NoLinkGrace == 0 {
		o.NoLinkGrace = defaultGrace
	}
	if o.LinkLocalAfter == 0 {
		o.LinkLocalAfter = defaultLinkLocalAfter
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Manager{
		o: o, kernel: k, changes: make(chan change), settle: make(chan struct{}, 1), changed: make(chan struct{}),
		status: Status{Missing: []string{"the network has not been looked at yet"}},
	}, nil
}

// Run works until ctx ends, and leaves the network as it is then. A Manager
// runs once.
func (m *Manager) Run(ctx context.Context) {
	defer m.kernel.Close()
	ctx, cancel := context.WithCancel(ctx)
	r := &runner{m: m, clients: map[string]*client{}}
	r.config, r.rejected = resume(m.o.TrialPath, m.o.Config, m.o.Log)
	defer r.wg.Wait()
	defer cancel()
	links := m.kernel.Watch(ctx)
	r.listen(ctx)
	grace := time.After(m.o.NoLinkGrace)
	for ctx.Err() == nil {
		var retry <-chan time.Time
		if r.refused != "" {
			retry = time.After(again)
		}
		var applied chan struct{}
		select {
		case <-ctx.Done():
			return
		case _, open := <-links:
			if !open {
				return
			}
		case c := <-m.changes:
			m.guarded(func() { c.do(r) })
			applied = c.applied
		case <-m.settle:
			r.settled = true
		case <-grace:
			// A machine without any link has nothing to wait for.
			if !r.anyLink {
				r.settled = true
			}
		case <-retry:
		case <-r.fallback():
		case <-r.trial.expired():
			r.revert("nobody confirmed it")
		}
		m.guarded(func() { r.step(ctx) })
		if applied != nil {
			close(applied)
		}
	}
}

// guarded: a bug in here must not be a kernel panic.
func (m *Manager) guarded(step func()) {
	defer func() {
		if p := recover(); p != nil {
			m.o.Log.Error("network step crashed", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	step()
}

// Status is the newest state.
func (m *Manager) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

// WaitReady returns as soon as the network is ready and the node's address is
// chosen; or when ctx ends, and on a machine without links shortly after the start,
// with an error that says what is missing. In both cases the Status has a node
// address, from then on fixed, that Kubernetes can be started with.
func (m *Manager) WaitReady(ctx context.Context) (Status, error) {
	var limit <-chan time.Time
	expired := ctx.Done()
	for {
		m.mu.Lock()
		s, changed := m.status, m.changed
		m.mu.Unlock()
		if s.NodeIP.IsValid() {
			if s.Ready {
				return s, nil
			}
			return s, notReady(s)
		}
		select {
		case <-changed:
		case <-expired:
			expired = nil
			limit = time.After(settleLimit)
			select {
			case m.settle <- struct{}{}:
			default: // is on its way
			}
		case <-limit:
			return s, notReady(s)
		}
	}
}

func notReady(s Status) error {
	missing := s.Missing
	if !s.NodeIP.IsValid() {
		missing = append(missing[:len(missing):len(missing)], "the node has no address")
	}
	return fmt.Errorf("network is not ready: %s", strings.Join(missing, "; "))
}

func (m *Manager) publish(s Status) {
	m.mu.Lock()
	m.status = s
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()
	if m.o.Notify != nil {
		m.o.Notify(s)
	}
}

// lanRanges are KubeSolo's constants.
func lanRanges() map[string]netip.Prefix {
	return map[string]netip.Prefix{
		"pods":     netip.MustParsePrefix("10.42.0.0/16"),
		"services": netip.MustParsePrefix("10.43.0.0/16"),
	}
}
