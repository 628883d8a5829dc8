package manager_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/netcfg"
	"kubesolo.io/os/internal/netcfg/manager"
	"kubesolo.io/os/internal/netcfg/nettest"
	"kubesolo.io/os/internal/nstest"
)

func static(address string) netcfg.Config {
	return netcfg.Config{Links: []netcfg.Link{{ID: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix(address)}}}}
}

func has(m *manager.Manager, address string) bool {
	return slices.Contains(m.Status().Addresses, netip.MustParsePrefix(address))
}

func trials(t *testing.T) (o manager.Options, ctx context.Context) {
	t.Helper()
	_, peer := nettest.Pair(t)
	nettest.Up(t, peer)
	dir := t.TempDir()
	o = options(t, dir)
	o.TrialPath = filepath.Join(dir, "trial.json")
	o.Config = static("192.0.2.9/24")
	return o, limited(t)
}

func TestUnconfirmedTrialIsTakenBack(t *testing.T) {
	nstest.Require(t, nstest.Net)
	o, ctx := trials(t)
	m, stop := start(t, o)
	if err := m.Try(ctx, static("192.0.2.10/24"), 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if !has(m, "192.0.2.10/24") || m.Status().TrialUntil.IsZero() {
		t.Errorf("on trial: %s", m.Status())
	}
	wait(t, ctx, func() bool {
		return has(m, "192.0.2.9/24") && !has(m, "192.0.2.10/24") && m.Status().TrialUntil.IsZero()
	})
	if err := m.Confirm(ctx); !errors.Is(err, manager.ErrNoTrial) {
		t.Errorf("late confirmation: %v", err)
	}
	stop()

	// The next boot is given the tried one, which was stored already.
	o.Config = static("192.0.2.10/24")
	m, stop = start(t, o)
	wait(t, ctx, func() bool { return has(m, "192.0.2.9/24") })
	if w := strings.Join(m.Status().Warnings, "\n"); has(m, "192.0.2.10/24") || !strings.Contains(w, "tried and not confirmed") {
		t.Errorf("after a reboot: %s\n%s", m.Status(), w)
	}
	stop()

	// The boot after that is given another one: it is used.
	o.Config = static("192.0.2.11/24")
	m, stop = start(t, o)
	wait(t, ctx, func() bool { return has(m, "192.0.2.11/24") })
	if _, err := os.Stat(o.TrialPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the trial is still remembered: %v", err)
	}
	stop()
}

func TestConfirmedTrialStays(t *testing.T) {
	nstest.Require(t, nstest.Net)
	o, ctx := trials(t)
	m, stop := start(t, o)
	next := static("192.0.2.10/24")
	if err := m.Try(ctx, next, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := m.Try(ctx, static("192.0.2.11/24"), time.Hour); !errors.Is(err, manager.ErrTrialRuns) {
		t.Errorf("a second trial: %v", err)
	}
	if err := m.Revert(ctx); err != nil || !has(m, "192.0.2.9/24") {
		t.Errorf("taken back: %v %s", err, m.Status())
	}
	if err := m.Try(ctx, next, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := m.Confirm(ctx); err != nil || !m.Status().TrialUntil.IsZero() {
		t.Errorf("confirmation: %v %s", err, m.Status())
	}
	stop()
	o.Config = next
	m, _ = start(t, o)
	wait(t, ctx, func() bool { return has(m, "192.0.2.10/24") })
}

// The power goes during a trial.
func TestRebootIsNoConfirmation(t *testing.T) {
	nstest.Require(t, nstest.Net)
	o, ctx := trials(t)
	m, stop := start(t, o)
	o.Config = netcfg.Config{Links: []netcfg.Link{{ID: "eth0", Bridge: &netcfg.Bridge{}}}}
	if err := m.Try(ctx, o.Config, time.Hour); err != nil {
		t.Fatal(err)
	}
	stop()
	m, _ = start(t, o)
	wait(t, ctx, func() bool { return has(m, "192.0.2.9/24") })
}

func TestTrialThatIsRefused(t *testing.T) {
	nstest.Require(t, nstest.Net)
	o, ctx := trials(t)
	o.TrialPath = "/proc/no/trial.json"
	m, _ := start(t, o)
	for name, try := range map[string]func() error{
		"no link":      func() error { return m.Try(ctx, netcfg.Config{}, time.Hour) },
		"more than 0":  func() error { return m.Try(ctx, static("192.0.2.10/24"), 0) },
		"remember the": func() error { return m.Try(ctx, static("192.0.2.10/24"), time.Hour) },
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := m.Confirm(gone); err == nil {
		t.Error("confirmed with nobody waiting")
	}
	wait(t, ctx, func() bool { return has(m, "192.0.2.9/24") })
}
