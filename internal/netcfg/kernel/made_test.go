package kernel_test

import (
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/kmod"
	"kubesolo.io/os/internal/netcfg"
	"kubesolo.io/os/internal/netcfg/kernel"
	"kubesolo.io/os/internal/nstest"
)

// settle converges to the configuration, demands that a second time changes
// nothing, and returns the changes and the state.
func settle(t *testing.T, k *kernel.Kernel, links ...netcfg.Link) ([]netcfg.Op, netcfg.State) {
	t.Helper()
	target := func(s netcfg.State) netcfg.Want { return netcfg.Resolve(netcfg.Config{Links: links}, s, nil) }
	ops, err := netcfg.Converge(k, target)
	if err != nil {
		t.Fatal(err)
	}
	again, err := netcfg.Converge(k, target)
	if err != nil || len(again) != 0 {
		t.Errorf("a second time: %v %v\nthe first: %v", again, err, ops)
	}
	s, err := k.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return ops, s
}

// link returns the link, which must be there.
func link(t *testing.T, s netcfg.State, name string) netcfg.LinkState {
	t.Helper()
	l, ok := s.Link(name)
	if !ok {
		t.Fatalf("there is no %s in\n%s", name, s)
	}
	return l
}

func TestBridge(t *testing.T) {
	nstest.Require(t, nstest.Net)
	veth(t, "eth0", "peer0")
	veth(t, "eth1", "peer1")
	k := open(t)
	address := []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}
	settle(t, k, netcfg.Link{ID: "eth0", Addresses: address})

	lan := netcfg.Link{ID: "lan", Addresses: address, Bridge: &netcfg.Bridge{Ports: []string{"eth0", "first"}, ForwardDelay: 4, Priority: 4096}}
	first := netcfg.Link{ID: "first", Match: netcfg.Match{Name: "eth1"}, MTU: 1400}
	_, s := settle(t, k, first, lan)
	bridge := link(t, s, "lan")
	if b := bridge.Bridge; !bridge.Made || !*b.STP || b.ForwardDelay != 4 || b.Priority != 4096 || len(bridge.Addrs) != 1 {
		t.Errorf("bridge %+v: %+v", bridge, b)
	}
	for _, name := range []string{"eth0", "eth1"} {
		if l := link(t, s, name); l.Master != bridge.Index || len(l.Addrs) != 0 || !l.Up {
			t.Errorf("port %s", l)
		}
	}
	// Somebody else's link in our bridge stays, and the bridge is changed in place.
	veth(t, "tap0", "peer2")
	tap, err := netlink.LinkByName("tap0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetMasterByIndex(tap, bridge.Index); err != nil {
		t.Fatal(err)
	}
	lan.Bridge = &netcfg.Bridge{Ports: []string{"eth0"}}
	ops, s := settle(t, k, first, lan)
	if now := link(t, s, "lan"); now.Index != bridge.Index || *now.Bridge.STP || now.Bridge.Priority != 32768 {
		t.Errorf("bridge %s after %v", now, ops)
	}
	if link(t, s, "eth1").Master != 0 || link(t, s, "eth0").Master != bridge.Index || link(t, s, "tap0").Master != bridge.Index {
		t.Errorf("ports after %v:\n%s", ops, s)
	}
	// Not wanted any more; a second program instance knows its links too.
	_, s = settle(t, open(t), netcfg.Link{ID: "eth0", Addresses: address})
	if _, there := s.Link("lan"); there || link(t, s, "eth0").Addrs[0].Prefix != address[0] {
		t.Errorf("after the end of the bridge:\n%s", s)
	}
}

func TestForeignBridgeIsNotTaken(t *testing.T) {
	nstest.Require(t, nstest.Net)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "lan"
	foreign := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(foreign); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(foreign); err != nil {
		t.Fatal(err)
	}
	k := open(t)
	for _, l := range []netcfg.Link{{ID: "lan", Bridge: &netcfg.Bridge{}}, {ID: "lan", Bond: &netcfg.Bond{}}} {
		l.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}
		_, err := netcfg.Converge(k, func(s netcfg.State) netcfg.Want {
			return netcfg.Resolve(netcfg.Config{Links: []netcfg.Link{l}}, s, nil)
		})
		if err == nil || !strings.Contains(err.Error(), "link add lan") {
			t.Errorf("%s: %v", l, err)
		}
	}
	if s, err := k.Snapshot(); err != nil || len(link(t, s, "lan").Addrs) != 0 {
		t.Errorf("the foreign bridge was configured: %v\n%s", err, s)
	}
}

// modules loads what links of the kinds need, as the node does.
func modules(t *testing.T, kinds ...string) {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	tree, err := kmod.Open("/", unix.ByteSliceToString(u.Release[:]))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		if err := tree.Load(netcfg.Module(kind)); err != nil {
			t.Fatal(err)
		}
	}
}

// Without their modules bonds and VLANs are refused with the name of what is
// missing; the driver of bonds must not make one of its own.
func TestVMModulesOfLinks(t *testing.T) {
	nstest.Require(t, nstest.Net|nstest.VM)
	if _, err := os.Stat("/sys/module/bonding"); err == nil {
		t.Fatal("bonding is loaded already")
	}
	k := open(t)
	add := netcfg.Op{Kind: netcfg.OpLinkAdd, Link: "uplink", LinkKind: netcfg.KindBond, Bond: new(netcfg.Bond{}.Effective())}
	if err := k.Do(add); err == nil || !strings.Contains(err.Error(), "module bonding is not loaded") {
		t.Errorf("error: %v", err)
	}
	modules(t, netcfg.KindBond, netcfg.KindVLAN)
	if _, err := os.Stat("/proc/1/root/sys/class/net/bond0"); err == nil {
		t.Error("the driver made a bond of its own")
	}
	if err := k.Do(add); err != nil {
		t.Error(err)
	}
}

func TestVMBondModes(t *testing.T) {
	nstest.Require(t, nstest.Net|nstest.VM)
	modules(t, netcfg.KindBond)
	veth(t, "eth0", "peer0")
	veth(t, "eth1", "peer1")
	k := open(t)
	_, before := settle(t, k)
	for _, b := range []netcfg.Bond{
		{Mode: "balance-rr", UpDelay: 250, DownDelay: 200},
		{Mode: "active-backup", Primary: "eth1", MIIMonitor: 50},
		{Mode: "balance-xor", TransmitHashPolicy: "layer3+4"},
		{Mode: "broadcast"},
		{Mode: "802.3ad", LACPRate: "fast", MinLinks: 1, TransmitHashPolicy: "layer2+3"},
		{Mode: "balance-tlb", Primary: "eth0"},
		{Mode: "balance-alb"},
	} {
		b.Ports = []string{"eth0", "eth1"}
		_, s := settle(t, k, netcfg.Link{ID: "bond0", MTU: 1450, Bond: &b})
		bond := link(t, s, "bond0")
		want := b.Effective()
		if !reflect.DeepEqual(bond.Bond.Effective(), want) {
			t.Errorf("%s: the kernel has %+v, want %+v", b.Mode, bond.Bond.Effective(), want)
		}
		for _, name := range b.Ports {
			p := link(t, s, name)
			if p.Master != bond.Index || p.MTU != 1450 || !p.Up {
				t.Errorf("%s: port %s", b.Mode, p)
			}
			if own := link(t, before, name).MAC; p.MAC != own && p.PermMAC != own {
				t.Errorf("%s: %s had %s, now %s and %s", b.Mode, name, own, p.MAC, p.PermMAC)
			}
		}
	}
	_, s := settle(t, k)
	if _, there := s.Link("bond0"); there || link(t, s, "eth0").Master != 0 {
		t.Errorf("after the end of the bond:\n%s", s)
	}
}

func TestVMVLANOverBond(t *testing.T) {
	nstest.Require(t, nstest.Net|nstest.VM)
	modules(t, netcfg.KindBond, netcfg.KindVLAN)
	veth(t, "eth0", "peer0")
	veth(t, "eth1", "peer1")
	k := open(t)
	_, before := settle(t, k)
	byMAC := func(id, name string) netcfg.Link {
		return netcfg.Link{ID: id, Match: netcfg.Match{MAC: link(t, before, name).MAC}, DHCP4: true}
	}
	links := []netcfg.Link{
		{ID: "storage", VLAN: &netcfg.VLAN{ID: 7, Link: "mgmt"}, MTU: 1400},
		{ID: "mgmt", VLAN: &netcfg.VLAN{ID: 5, Link: "uplink"}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")},
			Routes: []netcfg.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1")}}},
		byMAC("left", "eth0"), byMAC("right", "eth1"),
		{ID: "uplink", Bond: &netcfg.Bond{Ports: []string{"left", "right"}, Mode: "active-backup"}},
	}
	check := func(id int) {
		t.Helper()
		_, s := settle(t, k, links...)
		bond, mgmt := link(t, s, "uplink"), link(t, s, "mgmt")
		if link(t, s, "eth0").Master != bond.Index || link(t, s, "eth1").Master != bond.Index || !bond.Carrier {
			t.Errorf("ports:\n%s", s)
		}
		if *mgmt.VLAN != (netcfg.VLAN{ID: id, Link: "uplink"}) || !mgmt.Up || len(mgmt.Addrs) != 1 || !slices.ContainsFunc(mgmt.Routes, netcfg.Route.IsDefault) {
			t.Errorf("VLAN %+v %+v", mgmt, mgmt.VLAN)
		}
		if s := link(t, s, "storage"); *s.VLAN != (netcfg.VLAN{ID: 7, Link: "mgmt"}) || !s.Up || s.MTU != 1400 {
			t.Errorf("VLAN on the VLAN %+v", s)
		}
	}
	check(5)
	links[1].VLAN = &netcfg.VLAN{ID: 6, Link: "uplink"}
	check(6) // made anew, with what is on it
	links[4].Bond = &netcfg.Bond{Ports: []string{"left", "right"}, Mode: "802.3ad"}
	check(6) // all three made anew

	// A number that is taken on that link, by somebody else's VLAN.
	below, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	settle(t, k, netcfg.Link{ID: "eth0"})
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = "theirs", below.Attrs().Index
	if err := netlink.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: 9, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}); err != nil {
		t.Fatal(err)
	}
	ours := netcfg.Config{Links: []netcfg.Link{{ID: "ours", VLAN: &netcfg.VLAN{ID: 9, Link: "eth0"}}}}
	if _, err := netcfg.Converge(k, func(s netcfg.State) netcfg.Want { return netcfg.Resolve(ours, s, nil) }); err == nil || !strings.Contains(err.Error(), "id 9") {
		t.Errorf("error: %v", err)
	}
	if s, err := k.Snapshot(); err != nil || !slices.ContainsFunc(s.Links, func(l netcfg.LinkState) bool { return l.Name == "theirs" }) {
		t.Errorf("the foreign VLAN: %v\n%s", err, s)
	}
}
