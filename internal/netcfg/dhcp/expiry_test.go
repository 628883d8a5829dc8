package dhcp

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func leased(t *testing.T) *Lease {
	t.Helper()
	m, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 10)),
		dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32))), dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))), dhcpv4.WithLeaseTime(1800))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Parse(m)
	if err != nil {
		t.Fatal(err)
	}
	return &l
}

// A lease that nobody renews is dropped when it expires and not before, with
// and without a carrier. The link does not exist, so every exchange fails.
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
				c.lease, c.since = leased(t), start
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

// called runs itself for every line that is logged.
type called func(line string)

func (f called) Write(b []byte) (int, error) {
	f(string(b))
	return len(b), nil
}

// After renewals that failed the lease is asked for by broadcast at T2, not
// before and not after, however short the times are. The link does not exist, so
// every exchange fails: a renewal for want of its address, a rebind of the link.
func TestRebindIsDueAtT2(t *testing.T) {
	for name, at := range map[string]struct{ t1, t2, end time.Duration }{
		"two minutes":             {60 * time.Second, 105 * time.Second, 2 * time.Minute},
		"five minutes":            {150 * time.Second, 262 * time.Second, 5 * time.Minute},
		"T2 soon after T1":        {60 * time.Second, 70 * time.Second, time.Hour},
		"a minute from T1 to T2":  {60 * time.Second, 121 * time.Second, time.Hour},
		"an hour":                 {30 * time.Minute, 3150 * time.Second, time.Hour},
		"a day":                   {12 * time.Hour, 21 * time.Hour, 24 * time.Hour},
		"T2 just before it is up": {60 * time.Second, 119 * time.Second, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var renewals, rebinds []time.Duration
				log := slog.New(slog.NewTextHandler(called(func(line string) {
					switch since := time.Since(start); {
					case since == 0 || !strings.Contains(line, "not renewed yet"): // at first the lease is confirmed
					case strings.Contains(line, "listen udp4 192.0.2.10:68"):
						renewals = append(renewals, since)
					default:
						rebinds = append(rebinds, since)
					}
				}), nil))
				gone := make(chan time.Duration, 1)
				c := New(Options{Link: "absent0", Log: log, Changed: func(*Lease) { gone <- time.Since(start) }})
				c.lease, c.since = leased(t), start
				c.lease.Server = netip.MustParseAddr("192.0.2.1")
				c.lease.T1, c.lease.T2, c.lease.Lifetime = at.t1, at.t2, at.end
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go c.Run(ctx)
				c.SetCarrier(true)
				if after := <-gone; after != at.end {
					t.Errorf("dropped after %s, the lease is for %s", after, at.end)
				}
				if len(renewals) == 0 || renewals[0] != at.t1 || renewals[len(renewals)-1] >= at.t2 {
					t.Errorf("renewals after %s, T1 is %s and T2 %s", renewals, at.t1, at.t2)
				}
				if len(rebinds) == 0 || rebinds[0] != at.t2 {
					t.Errorf("rebinds after %s, T2 is %s", rebinds, at.t2)
				}
				for _, tries := range [][]time.Duration{renewals, rebinds} {
					for i := 1; i < len(tries); i++ {
						if tries[i]-tries[i-1] < time.Minute {
							t.Errorf("tries after %s are less than a minute apart", tries)
						}
					}
				}
			})
		})
	}
}

// T2 may pass while a renewal waits for its answer.
func TestRebindThatIsOverdueComesAtOnce(t *testing.T) {
	c := New(Options{Link: "absent0", Log: slog.New(slog.DiscardHandler)})
	c.lease, c.since = leased(t), time.Now().Add(-28*time.Minute)
	if _, wait := c.next(); wait > 0 {
		t.Errorf("the rebind waits %s more, T2 was %s ago", wait, -c.left(c.lease.T2))
	}
	if c.rebound {
		t.Error("it counts as tried before it is")
	}
}

func TestInheritKeepsWhatARenewalLeavesOut(t *testing.T) {
	old := leased(t)
	sparse, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 10)), dhcpv4.WithLeaseTime(600))
	if err != nil {
		t.Fatal(err)
	}
	if err := inherit(sparse, old.ACK); err != nil {
		t.Fatal(err)
	}
	l, err := Parse(sparse)
	if err != nil || len(l.Routes) != 1 || l.Lifetime != 10*time.Minute || l.Address.Bits() != 24 {
		t.Errorf("%v: %s", err, l)
	}
}
