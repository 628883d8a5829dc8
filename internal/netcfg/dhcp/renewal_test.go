package dhcp_test

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"

	"kubesolo.io/os/internal/netcfg/dhcp"
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

// plugged connects peer and the ends of new pairs with a switch, and returns
// the other ends: links for one server each. A server takes its link with it
// when it ends, which must not take eth0 away.
func plugged(t *testing.T, peer netlink.Link, names ...string) (ends []netlink.Link) {
	t.Helper()
	add := func(l netlink.Link) {
		t.Helper()
		if err := netlink.LinkAdd(l); err != nil {
			t.Fatal(err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "switch0"
	between := &netlink.Bridge{LinkAttrs: attrs}
	add(between)
	// It would answer for the address of eth0, which is in the same namespace.
	if err := netlink.LinkSetARPOff(between); err != nil {
		t.Fatal(err)
	}
	ports := []netlink.Link{peer}
	for _, name := range names {
		attrs.Name = "to-" + name
		port := &netlink.Veth{LinkAttrs: attrs, PeerName: name}
		add(port)
		end, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		ports, ends = append(ports, port), append(ends, end)
	}
	for _, port := range ports {
		if err := netlink.LinkSetMaster(port, between); err != nil {
			t.Fatal(err)
		}
	}
	nettest.Up(t, append(ports, between)...)
	return ends
}

// The server of the lease is gone for good: from T2 on every server of the link
// is asked, another one goes on with the lease, and the address stays.
func TestRebindFindsAnotherServer(t *testing.T) {
	nstest.Require(t, nstest.Net)
	dir := t.TempDir()
	link, peer := links(t)
	ends := plugged(t, peer, "first", "second")
	serve := func(t *testing.T, end netlink.Link, address string) (log string) {
		log = filepath.Join(dir, end.Attrs().Name+".log")
		// Authoritative: the second one has never heard of the lease.
		nettest.Dnsmasq(t, end, address+"/24", "--dhcp-authoritative", "--no-ping", "--log-dhcp", "--log-facility="+log,
			"--dhcp-leasefile="+filepath.Join(dir, end.Attrs().Name+".leases"), "--dhcp-range=192.0.2.100,192.0.2.110,2m",
			"--dhcp-option=option:router,"+address, "--dhcp-option=option:T1,3", "--dhcp-option=option:T2,10")
		return log
	}
	c, leases, _ := run(t, link, filepath.Join(dir, "kept"))
	var had *dhcp.Lease
	t.Run("the first server", func(t *testing.T) { // which ends with this
		serve(t, ends[0], "192.0.2.1")
		c.SetCarrier(true)
		had = nettest.Next(t, leases)
	})
	if had == nil || had.Server != netip.MustParseAddr("192.0.2.1") {
		t.Fatalf("lease %v", had)
	}
	log := serve(t, ends[1], "192.0.2.2")
	// The first one may have renewed it once before it ended.
	l := had
	for l.Server == had.Server {
		if l = nettest.Next(t, leases); l == nil || l.Address != had.Address {
			t.Fatalf("without its server the lease is %v, before %v", l, had)
		}
	}
	if !strings.Contains(l.String(), "/24 from 192.0.2.2 for 2m0s, default via 192.0.2.2") {
		t.Errorf("lease %v", l)
	}
	// From now on the second one is asked alone.
	if again := nettest.Next(t, leases); again == nil || again.Address != had.Address || again.Server != l.Server {
		t.Errorf("renewal gave %v, before %v", again, l)
	}
	if did := actions(t, log); !strings.HasPrefix(did, "REQUEST ACK REQUEST ACK") {
		t.Errorf("actions of the second server: %s", did)
	}
}
