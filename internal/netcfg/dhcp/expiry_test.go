package dhcp

import (
	"context"
	"log/slog"
	"net"
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
