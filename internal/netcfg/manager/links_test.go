package manager_test

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"kubesolo.io/os/internal/netcfg"
	"kubesolo.io/os/internal/netcfg/nettest"
	"kubesolo.io/os/internal/nstest"
)

// limited is a context that ends a hang.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func sysctl(t *testing.T, path, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/"+path, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// router advertises 2001:db8::/64 and serves DHCPv6 on peer.
func router(t *testing.T, peer netlink.Link) {
	t.Helper()
	nettest.Dnsmasq(t, peer, "2001:db8::1/64", "--log-facility=/dev/null", "--dhcp-leasefile=/dev/null", "--enable-ra",
		"--dhcp-range=::100,::1ff,constructor:peer0,slaac,64,10m",
		"--dhcp-option=option6:dns-server,[2001:db8::53]", "--dhcp-option=option6:domain-search,six.example")
}

// A node forwards, and must listen to routers all the same: also on a link that
// somebody set up before, when the kernel did not ask for routers.
func TestIPv6OfAForwardingNode(t *testing.T) {
	nstest.Require(t, nstest.Net)
	sysctl(t, "net/ipv6/conf/default/accept_ra", "1")
	sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	link, peer := nettest.Pair(t)
	nettest.Up(t, link)
	router(t, peer)
	ctx := limited(t)
	isUp := func() bool {
		l, err := netlink.LinkByName("eth0")
		return err == nil && l.Attrs().OperState == netlink.OperUp
	}
	wait(t, ctx, isUp)
	o := options(t, t.TempDir())
	o.Config = netcfg.Config{Links: []netcfg.Link{{ID: "eth0", DHCP6: true}}}
	m, _ := start(t, o)
	if s, err := m.WaitReady(ctx); err != nil {
		t.Fatalf("%v: %s", err, s)
	}
	leased, prefix := netip.MustParsePrefix("2001:db8::100/120"), netip.MustParsePrefix("2001:db8::/64")
	wait(t, ctx, func() bool {
		var dhcp, slaac bool
		for _, a := range m.Status().Addresses {
			dhcp = dhcp || a.Bits() == 128 && leased.Contains(a.Addr())
			slaac = slaac || a.Bits() == 64 && prefix.Contains(a.Addr())
		}
		return dhcp && slaac && len(m.Status().DNS) > 0
	})
	if s := m.Status(); s.DNS[0] != netip.MustParseAddr("2001:db8::53") || strings.Join(s.Search, " ") != "six.example" {
		t.Errorf("names: %v %q", s.DNS, s.Search)
	}
	hasDefault := func() bool {
		routes, err := netlink.RouteList(link, netlink.FAMILY_V6)
		return err == nil && slices.ContainsFunc(routes, func(r netlink.Route) bool {
			return r.Gw != nil && r.Gw.IsLinkLocalUnicast() && (r.Dst == nil || r.Dst.IP.IsUnspecified())
		})
	}
	wait(t, ctx, hasDefault)
	if got := read(t, "/proc/sys/net/ipv6/conf/eth0/accept_ra"); got != "2\n" {
		t.Errorf("accept_ra %q", got)
	}
}

// Where addresses come from routers alone, name servers do so too, behind those of
// the configuration, and only on links that listen to routers.
func TestNameServersOfRouters(t *testing.T) {
	nstest.Require(t, nstest.Net)
	_, peer := nettest.Pair(t)
	nettest.Dnsmasq(t, peer, "2001:db8::1/64", "--log-facility=/dev/null", "--enable-ra", "--dhcp-range=::,constructor:peer0,ra-only,64,10m",
		"--dhcp-option=option6:dns-server,[2001:db8::53],[fe80::53]", "--dhcp-option=option6:domain-search,six.example,router.example")
	o := options(t, t.TempDir())
	conf := netcfg.Config{Links: []netcfg.Link{{ID: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")},
		Nameservers: []netip.Addr{netip.MustParseAddr("2001:db8::54")}, Search: []string{"own.example"}}}}
	o.Config = conf
	m, _ := start(t, o)
	ctx := limited(t)
	wait(t, ctx, func() bool { return len(m.Status().DNS) > 1 && len(m.Status().Search) > 2 })
	want := "nameserver 2001:db8::54\nnameserver 2001:db8::53\nsearch own.example six.example router.example\n"
	wait(t, ctx, func() bool { return strings.HasSuffix(read(t, o.ResolvPath), want) })
	conf.Links = slices.Clone(conf.Links)
	conf.Links[0].AcceptRA = new(false)
	if err := m.Try(ctx, conf, time.Hour); err != nil {
		t.Fatal(err)
	}
	if s := m.Status(); len(s.DNS) != 1 || len(s.Search) != 1 {
		t.Errorf("names without routers: %v %q", s.DNS, s.Search)
	}
}

func TestRoutersAreIgnoredOnRequest(t *testing.T) {
	nstest.Require(t, nstest.Net)
	sysctl(t, "net/ipv6/conf/default/accept_ra", "2")
	_, peer := nettest.Pair(t)
	nettest.Up(t, peer)
	o := options(t, t.TempDir())
	o.Config = netcfg.Config{Links: []netcfg.Link{{ID: "eth0", AcceptRA: new(false), Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")}}}}
	m, _ := start(t, o)
	if _, err := m.WaitReady(limited(t)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, "/proc/sys/net/ipv6/conf/eth0/accept_ra"); got != "0\n" {
		t.Errorf("accept_ra %q", got)
	}
}

// A direct cable: no server, and the machines find each other. The address goes
// when a server comes.
func TestLinkLocalUntilALeaseComes(t *testing.T) {
	nstest.Require(t, nstest.Net)
	_, peer := nettest.Pair(t)
	nettest.Up(t, peer)
	o := options(t, t.TempDir())
	o.LinkLocalAfter = time.Millisecond
	m, _ := start(t, o)
	ctx := limited(t)
	local := netip.MustParsePrefix("169.254.0.0/16")
	wait(t, ctx, func() bool { a := m.Status().Addresses; return len(a) == 1 && local.Contains(a[0].Addr()) })
	if s := m.Status(); s.Ready || s.NodeIP.IsValid() {
		t.Errorf("a link-local address is no network to run a node with: %s", s)
	}
	var host atomic.Uint32
	host.Store(10)
	stop := serve(t, &host)
	wait(t, ctx, func() bool { return m.Status().Ready })
	if got, want := m.Status().String(), "ready 192.0.2.10/24 via 192.0.2.1 dns 192.0.2.53 node 192.0.2.10 (chosen)"; got != want {
		t.Errorf("status\n got %s\nwant %s", got, want)
	}
	// The cable goes from the switch into a laptop: the lease is still good, but
	// nobody there has an address of that network.
	stop()
	if err := netlink.LinkSetDown(peer); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, func() bool { return !m.Status().Links[0].Carrier })
	nettest.Up(t, peer)
	wait(t, ctx, func() bool {
		a := m.Status().Addresses
		return len(a) == 2 && slices.ContainsFunc(a, func(p netip.Prefix) bool { return local.Contains(p.Addr()) })
	})
}

// A card that comes late, goes, and comes back; its address stays the node's.
func TestLinkComesAndGoes(t *testing.T) {
	nstest.Require(t, nstest.Net)
	o := options(t, t.TempDir())
	o.NoLinkGrace = time.Hour
	m, _ := start(t, o)
	ctx := limited(t)
	wait(t, ctx, func() bool { return strings.Contains(m.Status().String(), "there is no link for eth0") })
	var host atomic.Uint32
	host.Store(10)
	for round := range 2 {
		link, peer := nettest.Pair(t)
		nettest.Up(t, peer)
		stop := serve(t, &host)
		wait(t, ctx, func() bool { return m.Status().Ready })
		if s := m.Status(); s.NodeIP != netip.MustParseAddr("192.0.2.10") {
			t.Errorf("round %d: %s", round, s)
		}
		stop()
		if err := netlink.LinkDel(link); err != nil {
			t.Fatal(err)
		}
		wait(t, ctx, func() bool { return !m.Status().Ready })
		if s := m.Status(); len(s.Addresses) != 0 || s.NodeIP != netip.MustParseAddr("192.0.2.10") {
			t.Errorf("round %d, without the link: %s", round, s)
		}
	}
}

// Modules are asked for before the links that need them, and a bridge over a
// DHCP link takes its lease.
func TestBridgeWithALease(t *testing.T) {
	nstest.Require(t, nstest.Net)
	_, peer := nettest.Pair(t)
	nettest.Up(t, peer)
	var host atomic.Uint32
	host.Store(10)
	serve(t, &host)
	o := options(t, t.TempDir())
	o.Config = netcfg.Config{Links: []netcfg.Link{
		{ID: "eth0", DHCP4: true},
		{ID: "lan", DHCP4: true, Bridge: &netcfg.Bridge{Ports: []string{"eth0", "eth9"}, STP: new(false)}},
	}}
	var asked []string
	o.LoadModule = func(name, params string) error { asked = append(asked, name+params); return nil }
	m, stop := start(t, o)
	s, err := m.WaitReady(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if len(s.Addresses) != 1 || len(asked) != 1 || asked[0] != "bridge" {
		t.Errorf("asked for %q; %s", asked, s)
	}
	if !slices.Contains(s.Warnings, "lan: there is no link for its port eth9") {
		t.Errorf("warnings %q", s.Warnings)
	}
	for _, l := range s.Links {
		if l.Name == "eth0" && len(l.Addrs) != 0 {
			t.Errorf("the port has %v", l.Addrs)
		}
	}
}
