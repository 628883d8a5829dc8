package kernel_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/netcfg"
	"kubesolo.io/os/internal/netcfg/kernel"
	"kubesolo.io/os/internal/nstest"
)

func veth(t *testing.T, name, peer string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}); err != nil {
		t.Fatal(err)
	}
	l, err := netlink.LinkByName(peer)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T) *kernel.Kernel {
	t.Helper()
	k, err := kernel.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func TestConvergeTwice(t *testing.T) {
	nstest.Require(t, nstest.Net)
	veth(t, "eth0", "peer0")
	veth(t, "eth1", "peer1")
	k := open(t)

	first := netcfg.Config{Links: []netcfg.Link{
		{
			ID: "eth0", MTU: 1400, DHCP4: true,
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24"), netip.MustParsePrefix("192.0.2.11/24"), netip.MustParsePrefix("2001:db8::10/64")},
			Routes: []netcfg.Route{
				{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1")},
				{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("2001:db8::1")},
				{Dst: netip.MustParsePrefix("198.18.0.0/15"), Via: netip.MustParseAddr("10.9.9.9")}, // a gateway that no address covers
				{Dst: netip.MustParsePrefix("198.51.100.0/24")},
			},
		},
		{ID: "eth1", Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24")}, Routes: []netcfg.Route{
			{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("203.0.113.1")}, // the same metric as eth0's
		}},
	}}
	leases := map[string]netcfg.Lease{"eth0": {
		Address: netip.MustParsePrefix("172.16.0.5/16"),
		Routes:  []netcfg.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("172.16.0.1")}},
	}}
	converge := func(c netcfg.Config) []netcfg.Op {
		t.Helper()
		ops, err := netcfg.Converge(k, func(s netcfg.State) netcfg.Want { return netcfg.Resolve(c, s, leases) })
		if err != nil {
			t.Fatal(err)
		}
		return ops
	}
	if ops := converge(first); len(ops) < 12 {
		t.Errorf("only %v", ops)
	}
	if ops := converge(first); len(ops) != 0 {
		t.Errorf("not idempotent: %v", ops)
	}

	// Foreign things must survive: an address and a route made by others.
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := netlink.ParseAddr("192.0.2.77/32")
	if err := netlink.AddrAdd(link, foreign); err != nil {
		t.Fatal(err)
	}
	_, dst, _ := net.ParseCIDR("100.64.0.0/10")
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK, Protocol: 3}); err != nil {
		t.Fatal(err)
	}

	// Another lease in the subnet of the first, and the primary static address gone.
	leases["eth0"] = netcfg.Lease{
		Address: netip.MustParsePrefix("172.16.0.6/16"), MTU: 1300,
		Routes: []netcfg.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("172.16.0.2")}},
	}
	second := first
	second.Links = slices.Clone(first.Links)
	second.Links[0].Addresses = second.Links[0].Addresses[1:]
	converge(second)
	if ops := converge(second); len(ops) != 0 {
		t.Errorf("not idempotent after a change: %v", ops)
	}
	state, err := k.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	eth0, _ := state.Link("eth0")
	want := "eth0: up " + eth0.MAC + " mtu 1400 192.0.2.11/24 192.0.2.77/32 172.16.0.6/16 2001:db8::10/64"
	sorted := func(s string) string { f := strings.Fields(s); slices.Sort(f); return strings.Join(f, " ") }
	if sorted(eth0.String()) != sorted(want) {
		t.Errorf("got  %s\nwant %s", eth0, want)
	}
	if !slices.ContainsFunc(eth0.Routes, func(r netcfg.Route) bool { return r.Dst.String() == "100.64.0.0/10" }) {
		t.Errorf("the foreign route is gone: %v", eth0.Routes)
	}
	lo, _ := state.Link("lo")
	if !lo.Up || len(lo.Addrs) == 0 {
		t.Errorf("loopback: %s", lo)
	}
}

func TestRefusedChangeIsNamed(t *testing.T) {
	nstest.Require(t, nstest.Net)
	k := open(t)
	veth(t, "eth0", "peer0")
	c := netcfg.Config{Links: []netcfg.Link{{ID: "eth0", MTU: 1 << 20, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}}}
	ops, err := netcfg.Converge(k, func(s netcfg.State) netcfg.Want { return netcfg.Resolve(c, s, nil) })
	if err == nil || !strings.Contains(err.Error(), "link set eth0 mtu 1048576") {
		t.Errorf("error: %v", err)
	}
	if !slices.ContainsFunc(ops, func(o netcfg.Op) bool { return o.Kind == netcfg.OpAddrAdd }) {
		t.Errorf("the rest was not done: %v", ops)
	}
	for _, kind := range []netcfg.OpKind{netcfg.OpLinkUp, netcfg.OpAddrAdd, netcfg.OpRouteReplace} {
		if err := k.Do(netcfg.Op{Kind: kind, Link: "absent"}); err == nil {
			t.Errorf("kind %d on an absent link was accepted", kind)
		}
	}
	if err := k.Do(netcfg.Op{Kind: netcfg.OpAddrDel, Link: "absent", Addr: netip.MustParsePrefix("192.0.2.1/24")}); err != nil {
		t.Errorf("removal from an absent link: %v", err)
	}
}

func TestWatch(t *testing.T) {
	nstest.Require(t, nstest.Net)
	k := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	changed := k.Watch(ctx)
	<-changed // the one at the start
	veth(t, "eth0", "peer0")
	<-changed
	cancel()
	for range changed { // closes, or the test hangs
	}
}

func TestVMDummyLink(t *testing.T) {
	nstest.Require(t, nstest.Net|nstest.VM)
	k := open(t)
	target := func(absent bool) func(netcfg.State) netcfg.Want {
		return func(netcfg.State) netcfg.Want {
			return netcfg.Want{ARPIgnore: true, Links: []netcfg.WantLink{{
				Name: "ksolo0", Kind: "dummy", Absent: absent, Addrs: []netip.Prefix{netip.MustParsePrefix("10.40.0.1/32")},
				Routes: []netcfg.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Metric: 1 << 30, Protocol: netcfg.ProtoStatic}},
			}}}
		}
	}
	for _, step := range []struct {
		absent bool
		ops    int
	}{{false, 5}, {false, 0}, {true, 1}, {true, 0}} {
		ops, err := netcfg.Converge(k, target(step.absent))
		if err != nil || len(ops) != step.ops {
			t.Fatalf("absent %v: %v %v, want %d changes", step.absent, ops, err, step.ops)
		}
	}
}

// A node forwards, so the kernel did not ask for routers when the link went up.
func TestRoutersAreAskedForOnALinkThatIsUp(t *testing.T) {
	nstest.Require(t, nstest.Net)
	for path, value := range map[string]string{"default/accept_ra": "1", "all/forwarding": "1"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+path, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	veth(t, "eth0", "peer0")
	l, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
	for ready := false; !ready; time.Sleep(20 * time.Millisecond) { // until its address is known to be unique
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
		if err != nil {
			t.Fatal(err)
		}
		ready = len(addrs) == 1 && addrs[0].Flags&unix.IFA_F_TENTATIVE == 0
	}
	heard, err := net.ListenPacket("ip6:ipv6-icmp", "::") // peer0 is a router too: it listens to ff02::2
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	settle(t, open(t), netcfg.Link{ID: "eth0"})
	heard.SetReadDeadline(time.Now().Add(time.Minute)) // for a hang
	const solicitation = 133
	for buf := make([]byte, 256); ; {
		n, from, err := heard.ReadFrom(buf)
		if err != nil {
			t.Fatalf("nobody asked for routers: %v", err)
		}
		if n >= 16 && buf[0] == solicitation && strings.HasSuffix(from.String(), "%peer0") {
			if own := l.Attrs().HardwareAddr.String(); net.HardwareAddr(buf[10:16]).String() != own {
				t.Errorf("asked as %x, want %s", buf[8:16], own)
			}
			return
		}
	}
}
