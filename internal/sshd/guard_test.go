package sshd

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// fail is one login that is refused.
func fail(t *testing.T, g *guard, from netip.Addr) {
	t.Helper()
	if why := g.admit(from); why != "" {
		t.Fatal(why)
	}
	g.done(from, failedLogin)
}

func TestPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, from, other := newGuard(), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		for range freeTries {
			fail(t, g, from)
		}
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			fail(t, g, from)
			time.Sleep(pause*time.Second - 1)
			if g.admit(from) == "" {
				t.Fatalf("admitted before the end of %d s", pause)
			}
			if why := g.admit(other); why != "" {
				t.Fatalf("another source: %s", why)
			}
			g.done(other, neither)
			time.Sleep(1)
		}
		// A login ends it.
		if why := g.admit(from); why != "" {
			t.Fatal(why)
		}
		g.done(from, loggedIn)
		for range freeTries {
			fail(t, g, from)
		}
		// So does time.
		time.Sleep(forgetAfter + 1)
		for range freeTries {
			fail(t, g, from)
		}
		if why := g.admit(from); why != "" {
			t.Error(why)
		}
	})
}

func TestPlacesAreGivenBack(t *testing.T) {
	g, from := newGuard(), netip.MustParseAddr("192.0.2.1")
	for range 3 {
		for range maxPending {
			if why := g.admit(from); why != "" {
				t.Fatal(why)
			}
		}
		if g.admit(from) == "" {
			t.Fatal("one too many is admitted")
		}
		for range maxPending {
			g.done(from, neither)
		}
	}
}

func TestSources(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := prefix(netip.MustParseAddr(address)); got.String() != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

func TestOneLineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, from := newGuard(), netip.MustParseAddr("192.0.2.1")
		lines := 0
		for range 600 { // each 100 ms of a minute
			if since, ok := g.worthALine(from); ok {
				if lines++; since != 0 {
					t.Errorf("%d refusals before the first", since)
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		if lines != 1 {
			t.Errorf("%d lines", lines)
		}
		if since, ok := g.worthALine(from); !ok || since != 599 {
			t.Errorf("the next line says %d, %t", since, ok)
		}
	})
}

// A flood from many addresses: the table stays small, the log too, and a new
// address still gets in.
func TestManySources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, lines := newGuard(), 0
		for i := range 10_000 {
			from := netip.MustParseAddr(fmt.Sprintf("198.51.%d.%d", i/250, i%250))
			fail(t, g, from)
			if _, ok := g.worthALine(from); ok {
				lines++
			}
		}
		if len(g.sources) > maxSources+1 || lines > maxSources+1 {
			t.Errorf("%d sources, %d lines", len(g.sources), lines)
		}
		if why := g.admit(netip.MustParseAddr("192.0.2.1")); why != "" {
			t.Error(why)
		}
		// Once they are of no interest there is room again.
		time.Sleep(forgetAfter + time.Second)
		fail(t, g, netip.MustParseAddr("192.0.2.9"))
		if len(g.sources) > 2 {
			t.Errorf("%d sources after a while", len(g.sources))
		}
	})
}
