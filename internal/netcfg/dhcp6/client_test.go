package dhcp6

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kubesolo.io/os/internal/netcfg/nettest"
	"kubesolo.io/os/internal/nstest"
)

// dnsmasq makes the pair eth0 - peer0 and serves on peer0.
func dnsmasq(t *testing.T, log string, options ...string) {
	t.Helper()
	link, peer := nettest.Pair(t)
	nettest.Up(t, link)
	nettest.Dnsmasq(t, peer, "2001:db8::1/64", append(options, "--log-dhcp", "--log-facility="+log, "--dhcp-leasefile="+log+".leases")...)
}

// run starts a client on eth0 and returns what it reports.
func run(t *testing.T) (c *Client, leases chan *Lease) {
	t.Helper()
	leases = make(chan *Lease, 10)
	c = New(Options{Link: "eth0", Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Changed: func(l *Lease) { leases <- l }})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return c, leases
}

func messages(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.SplitSeq(string(b), "\n") {
		for _, m := range []string{"SOLICIT", "ADVERTISE", "REQUEST", "RENEW", "REBIND", "REPLY", "INFORMATION-REQUEST"} {
			if strings.Contains(line, " DHCP"+m+"(") {
				out = append(out, m)
			}
		}
	}
	return strings.Join(out, " ")
}

func TestAddressesFromDnsmasq(t *testing.T) {
	nstest.Require(t, nstest.Net)
	log := t.TempDir() + "/log"
	dnsmasq(t, log, "--dhcp-range=2001:db8::100,2001:db8::1ff,64,10m", "--enable-ra",
		"--dhcp-option=option6:dns-server,[2001:db8::53]", "--dhcp-option=option6:domain-search,a.example,b.example",
		"--dhcp-option=option6:ntp-server,[2001:db8::123]")
	c, leases := run(t)
	c.SetCarrier(true)
	l := nettest.Next(t, leases)
	if l == nil || len(l.Addresses) != 1 || !netip.MustParsePrefix("2001:db8::100/120").Contains(l.Addresses[0]) {
		t.Fatalf("lease %v", l)
	}
	if len(l.DNS) != 1 || strings.Join(l.Search, " ") != "a.example b.example" || len(l.NTP) != 1 || l.Lifetime != 10*time.Minute || l.T1 > 5*time.Minute {
		t.Errorf("lease %+v", l)
	}
	// After a flap the same address, from the same server.
	c.SetCarrier(false)
	time.Sleep(50 * time.Millisecond) // lets the client see that it was away
	c.SetCarrier(true)
	if again := nettest.Next(t, leases); again == nil || again.Addresses[0] != l.Addresses[0] {
		t.Errorf("after the flap %v, before %v", again, l)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := open(ctx, "eth0")
	for err != nil && ctx.Err() == nil { // the client's socket is still open
		e, err = open(ctx, "eth0")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer e.conn.Close()
	for name, act := range map[string]func(context.Context, Lease) (Lease, error){"renew": e.renew, "rebind": e.rebind} {
		if again, err := act(ctx, *l); err != nil || again.Addresses[0] != l.Addresses[0] {
			t.Errorf("%s: %v, %v", name, again, err)
		}
	}
	// A binding that the server does not know.
	unknown := *l
	unknown.Addresses = []netip.Addr{netip.MustParseAddr("2001:db8::7777")}
	if got, err := e.renew(ctx, unknown); err == nil {
		t.Errorf("a renewal of what the server never gave: %s", got)
	}
	if got := messages(t, log); !strings.HasPrefix(got, "SOLICIT ADVERTISE REQUEST REPLY SOLICIT ADVERTISE REQUEST REPLY RE") {
		t.Errorf("messages: %s", got)
	}
}

func TestNamesFromDnsmasq(t *testing.T) {
	nstest.Require(t, nstest.Net)
	log := t.TempDir() + "/log"
	dnsmasq(t, log, "--dhcp-range=2001:db8::,ra-stateless", "--enable-ra", "--dhcp-option=option6:dns-server,[2001:db8::53]")
	c, leases := run(t)
	c.SetCarrier(true)
	if l := nettest.Next(t, leases); l == nil || len(l.Addresses) != 0 || len(l.DNS) != 1 {
		t.Errorf("lease %v; messages %s", l, messages(t, log))
	}
}

// A lease that nobody renews is dropped when it expires and not before. The
// link does not exist, so every exchange fails.
func TestUnrenewedLeaseExpires(t *testing.T) {
	for name, carrier := range map[string]bool{"no server answers": true, "no carrier": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				gone := make(chan time.Duration, 1)
				c := New(Options{Link: "absent0", Log: slog.New(slog.DiscardHandler), Changed: func(l *Lease) {
					if l != nil {
						t.Errorf("a lease from nowhere: %s", l)
					}
					gone <- time.Since(start)
				}})
				c.lease = &Lease{Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::1")}, Lifetime: 30 * time.Minute, T1: 15 * time.Minute, T2: 24 * time.Minute}
				c.since = start
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go c.Run(ctx)
				if carrier {
					c.SetCarrier(true)
				}
				if after := <-gone; after != 30*time.Minute {
					t.Errorf("dropped after %s, the lease is for 30m", after)
				}
			})
		})
	}
}

func TestUntilNext(t *testing.T) {
	for _, c := range []struct{ t2, lifetime, want time.Duration }{
		{36 * time.Second, 60 * time.Second, 36 * time.Second}, // of two minutes, after T1
		{12 * time.Hour, 20 * time.Hour, 5 * time.Hour},
		{time.Hour, 20 * time.Hour, time.Hour},
		{0, 24 * time.Second, time.Minute}, // it expires before
		{-time.Hour, 4 * time.Hour, time.Hour},
	} {
		if got := untilNext(c.t2, c.lifetime); got != c.want {
			t.Errorf("T2 in %v, the end in %v: next try in %v, want %v", c.t2, c.lifetime, got, c.want)
		}
	}
}
