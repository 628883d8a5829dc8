package netcfg_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/netcfg"
)

// randomStack adds bonds, bridges and VLANs to a configuration, and such links,
// ours and foreign ones, to what there is.
func randomStack(rng *rand.Rand, m *model, c *netcfg.Config) {
	make := func(l netcfg.LinkState) {
		l.Index, l.MTU = 60+len(m.state.Links), 1500
		m.state.Links = append(m.state.Links, l)
	}
	if rng.IntN(2) == 0 {
		make(netcfg.LinkState{
			Name: "bond0", Kind: netcfg.KindBond, Made: rng.IntN(3) > 0,
			Bond: &netcfg.Bond{Mode: pick(rng, "balance-rr", "802.3ad"), MIIMonitor: 100, TransmitHashPolicy: "layer2", LACPRate: "slow"},
		})
		bond := &m.state.Links[len(m.state.Links)-1]
		bond.Up = bond.Made // one that is not ours is idle, as the kernel's own
		if bond.Made && rng.IntN(2) == 0 {
			m.state.Links[2].Master, m.state.Links[2].Up = bond.Index, true // eth1
		}
	}
	if rng.IntN(2) == 0 {
		make(netcfg.LinkState{Name: "lan", Kind: pick(rng, netcfg.KindBridge, "bond"), Made: true, Up: true, Bond: &netcfg.Bond{}, Bridge: &netcfg.Bridge{STP: new(false)}})
	}
	if rng.IntN(2) == 0 {
		make(netcfg.LinkState{Name: "v5", Kind: netcfg.KindVLAN, Made: true, Up: true, VLAN: &netcfg.VLAN{ID: pick(rng, 5, 6), Link: pick(rng, "eth0", "eth1")}})
	}
	add := func(l netcfg.Link) {
		if rng.IntN(3) == 0 {
			return
		}
		l.DHCP4, l.MTU = rng.IntN(2) == 0, pick(rng, 0, 1400)
		if rng.IntN(2) == 0 {
			l.Addresses = []netip.Prefix{netip.MustParsePrefix("10.1.0.5/16")}
			l.Routes = []netcfg.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.1.0.1")}}
		}
		at := rng.IntN(len(c.Links) + 1)
		c.Links = slices.Insert(c.Links, at, l)
	}
	add(netcfg.Link{ID: "bond0", Bond: &netcfg.Bond{
		Ports: pick(rng, []string{"eth0", "eth1"}, []string{"eth1"}, []string{"eth9", "eth1"}), Primary: pick(rng, "", "eth1", "eth9"),
		Mode: pick(rng, "", "active-backup", "802.3ad"), UpDelay: pick(rng, 0, 250), LACPRate: pick(rng, "", "fast"),
	}})
	add(netcfg.Link{ID: "lan", Bridge: &netcfg.Bridge{Ports: pick(rng, []string{"eth0"}, []string{"eth0", "v5"}), Priority: pick(rng, 0, 4096)}})
	add(netcfg.Link{ID: "v5", VLAN: &netcfg.VLAN{ID: 5, Link: pick(rng, "bond0", "eth0", "v7")}})
	add(netcfg.Link{ID: "v7", VLAN: &netcfg.VLAN{ID: 7, Link: pick(rng, "lan", "eth1", "v5")}})
}

func diff(c netcfg.Config, have netcfg.State) string {
	var out []string
	for _, op := range netcfg.Diff(netcfg.Resolve(c, have, nil), have) {
		out = append(out, op.String())
	}
	return strings.Join(out, "\n")
}

func nic(index int, name, mac string) netcfg.LinkState {
	return netcfg.LinkState{Index: index, Name: name, MAC: mac, MTU: 1500, Physical: true, Up: true, Carrier: true}
}

func TestVLANOverBond(t *testing.T) {
	have := netcfg.State{Links: []netcfg.LinkState{nic(2, "enp1s0", "52:54:00:00:00:01"), nic(3, "enp2s0", "52:54:00:00:00:02")}}
	have.Links[0].Addrs = []netcfg.Addr{{Prefix: netip.MustParsePrefix("192.0.2.9/24"), Ours: true}}
	c := netcfg.Config{Links: []netcfg.Link{
		{ID: "mgmt", VLAN: &netcfg.VLAN{ID: 5, Link: "uplink"}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")}},
		{ID: "left", Match: netcfg.Match{MAC: "52:54:00:00:00:01"}, DHCP4: true},
		{ID: "uplink", MTU: 9000, Bond: &netcfg.Bond{Ports: []string{"left", "enp2s0", "gone0"}, Mode: "active-backup", Primary: "left"}},
	}}
	want := strings.Join([]string{
		"addr del 192.0.2.9/24 dev enp1s0",
		"link add uplink type bond mode active-backup miimon 100",
		"link add link uplink name mgmt type vlan id 5",
		"link set uplink mtu 9000",
		"link set enp2s0 down",
		"link set enp1s0 down",
		"link set enp2s0 master uplink",
		"link set enp1s0 master uplink",
		"link set uplink type bond primary enp1s0",
		"sysctl net.ipv6.conf.uplink.accept_ra=2",
		"sysctl net.ipv6.conf.mgmt.accept_ra=2",
		"link set uplink up",
		"link set mgmt up",
		"addr add 192.0.2.9/24 dev mgmt",
	}, "\n")
	if got := diff(c, have); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := strings.Join(c.Absent(have), "\n"); got != "uplink: there is no link for its port gone0" {
		t.Errorf("absent: %s", got)
	}
	// Inside the bond both carry its hardware address, and the entry by MAC
	// still means its own.
	for i := range have.Links {
		have.Links[i].Master, have.Links[i].PermMAC, have.Links[i].MAC = 9, have.Links[i].MAC, "52:54:00:00:00:02"
	}
	have.Links = append(have.Links, netcfg.LinkState{Index: 9, Name: "uplink", Kind: netcfg.KindBond, Made: true, MAC: "52:54:00:00:00:02"})
	for name, id := range map[string]string{"enp1s0": "left", "enp2s0": "enp2s0", "uplink": "uplink"} {
		l, _ := have.Link(name)
		got, ok := c.Select(l, have)
		if !ok || got.ID != id || got.DHCP4 {
			t.Errorf("%s is configured by %s", name, got)
		}
	}
}

// What is not ours is not taken over, not changed and not removed; what is ours
// and not wanted any more goes, with its ports let free.
func TestOnlyOurLinksAreRemoved(t *testing.T) {
	have := netcfg.State{Links: []netcfg.LinkState{
		nic(2, "eth0", ""), nic(3, "eth1", ""), nic(4, "eth2", ""),
		{Index: 10, Name: "cni0", Kind: netcfg.KindBridge, Up: true},
		{Index: 11, Name: "lan", Kind: netcfg.KindBridge, Up: true},
		{Index: 12, Name: "old", Kind: netcfg.KindBond, Up: true, Made: true},
		{Index: 13, Name: "old.5", Kind: netcfg.KindVLAN, Up: true, Made: true, VLAN: &netcfg.VLAN{ID: 5, Link: "old"}},
		{Index: 14, Name: "br1", Kind: netcfg.KindBridge, Up: true, Made: true, Bridge: &netcfg.Bridge{STP: new(false)}},
		{Index: 15, Name: "veth7", Kind: "veth", Up: true, Master: 14},
		{Index: 16, Name: "wan", Kind: netcfg.KindBond},
	}}
	have.Links[0].Master, have.Links[1].Master, have.Links[2].Master = 12, 14, 10
	c := netcfg.Config{Links: []netcfg.Link{
		{ID: "lan", Bridge: &netcfg.Bridge{}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")}},
		{ID: "br1", Bridge: &netcfg.Bridge{Priority: 4096}},
		{ID: "eth0"},
		{ID: "wan", Bond: &netcfg.Bond{Mode: "802.3ad"}},
	}}
	want := strings.Join([]string{
		"link del wan", // the kernel's own: nobody uses it
		"link del old.5",
		"link del old",
		"link add lan type bridge", // the kernel will refuse it, by name
		"link add wan type bond mode 802.3ad miimon 100",
		"link set br1 type bridge stp_state false forward_delay 15s priority 4096",
		"link set eth1 nomaster",
		"sysctl net.ipv6.conf.wan.accept_ra=2",
		"link set eth0 up",
		"link set wan up",
	}, "\n")
	if got := diff(c, have); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Two links with a default route each: the entry that comes first wins, whatever
// was found first; what the configuration says in numbers wins over both.
func TestDefaultRoutesHaveAnOrder(t *testing.T) {
	have := netcfg.State{Links: []netcfg.LinkState{nic(2, "eth0", ""), nic(3, "eth1", ""), nic(400, "eth2", "")}}
	gateway := func(via string, metric int) netcfg.Route {
		return netcfg.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr(via), Metric: metric}
	}
	leases := map[string]netcfg.Lease{}
	for i, name := range []string{"eth0", "eth1", "eth2"} {
		net := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(i), 9}), 24)
		leases[name] = netcfg.Lease{Address: net, Routes: []netcfg.Route{gateway(netip.AddrFrom4([4]byte{192, 0, byte(i), 1}).String(), 0)}}
	}
	c := netcfg.Config{Links: []netcfg.Link{
		{ID: "eth2", DHCP4: true},
		{ID: "lan", Match: netcfg.Match{Name: "eth[01]"}, DHCP4: true, Routes: []netcfg.Route{gateway("192.0.0.254", 2000)}},
	}}
	metrics := map[int]string{}
	var order []int
	for _, l := range netcfg.Resolve(c, have, leases).Links {
		for _, r := range l.Routes {
			if other, taken := metrics[r.Metric]; taken {
				t.Errorf("%s and %s have the metric %d", other, l.Name, r.Metric)
			}
			metrics[r.Metric] = l.Name + " " + r.Protocol.String()
			order = append(order, r.Metric)
		}
	}
	slices.Sort(order)
	var got []string
	for _, m := range order {
		got = append(got, metrics[m])
	}
	if s := strings.Join(got, ", "); s != "eth2 dhcp, eth0 dhcp, eth1 dhcp, eth0 static, eth1 static" {
		t.Errorf("order %s", s)
	}
}
