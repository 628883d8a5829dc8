package dhcp_test

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"kubesolo.io/os/internal/netcfg/nettest"
	"kubesolo.io/os/internal/nstest"
)

// The network was renumbered: the server refuses to renew, and the address must
// go at once and another one come.
func TestRefusedRenewalMeansAnotherLease(t *testing.T) {
	nstest.Require(t, nstest.Net)
	link, _ := links(t)
	var renumbered atomic.Bool
	server(t, func(req, answer *dhcpv4.DHCPv4) bool {
		answer.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 0, 1}))
		answer.UpdateOption(dhcpv4.OptServerIdentifier(net.IPv4zero)) // so that it is asked by broadcast: it has no address
		if renewal := req.ClientIPAddr.Equal(net.IPv4(192, 0, 2, 50)); renewal {
			renumbered.Store(true)
			answer.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
			answer.YourIPAddr = net.IPv4zero
		} else if renumbered.Load() {
			answer.YourIPAddr = net.IPv4(192, 0, 2, 60)
		}
		return true
	})
	c, leases, _ := run(t, link, t.TempDir())
	c.SetCarrier(true)
	if l := nettest.Next(t, leases); l == nil || l.Address != netip.MustParsePrefix("192.0.2.50/24") {
		t.Fatalf("lease %v", l)
	}
	if l := nettest.Next(t, leases); l != nil {
		t.Errorf("after the refusal %s is still in use", l)
	}
	if l := nettest.Next(t, leases); l == nil || l.Address != netip.MustParsePrefix("192.0.2.60/24") {
		t.Errorf("another lease: %v", l)
	}
}
