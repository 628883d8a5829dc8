package netcfg_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/netcfg"
)

// The property: whatever there was, after one round of changes the kernel has
// all that was wanted, nothing is left to do, and foreign things still stand.
func TestDiffConvergesAndIsIdempotent(t *testing.T) {
	for seed := range uint64(5000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := &model{state: randomState(rng)}
		foreign := foreignRoutes(m.state)
		conf, leases := randomConfig(rng)
		randomStack(rng, m, &conf)
		target := func(s netcfg.State) netcfg.Want {
			w := netcfg.Resolve(conf, s, leases)
			d := netcfg.WantLink{Name: "ksolo0", Kind: "dummy", Absent: seed%3 == 0}
			if !d.Absent {
				d.Addrs = []netip.Prefix{netip.MustParsePrefix("10.40.0.1/32")}
				d.Routes = []netcfg.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Metric: 1 << 30, Protocol: netcfg.ProtoStatic}}
				w.ARPIgnore = true
			}
			w.Links = append(w.Links, d)
			return w
		}
		before := m.state.String()
		have, _ := m.Snapshot()
		ops := netcfg.Diff(target(have), have)
		for _, op := range ops {
			if err := m.Do(op); err != nil {
				t.Fatalf("seed %d: %s: %v\nbefore\n%s\nall: %v", seed, op, err, before, ops)
			}
		}
		have, _ = m.Snapshot()
		if again := netcfg.Diff(target(have), have); len(again) != 0 {
			t.Fatalf("seed %d: not idempotent: %v\nfirst: %v\nbefore\n%s\nafter\n%s", seed, again, ops, before, have)
		}
		after := foreignRoutes(have)
		for _, r := range foreign {
			// The routes of a link go when it becomes the port of a bond.
			closed := slices.ContainsFunc(ops, func(o netcfg.Op) bool { return o.Kind == netcfg.OpLinkDown && strings.HasPrefix(r, o.Link+" ") })
			if !slices.Contains(after, r) && !closed {
				t.Fatalf("seed %d: foreign %s is gone: %v", seed, r, ops)
			}
		}
	}
}

// foreignRoutes lists directly connected foreign routes: one through a gateway
// may go with our own address, as the kernel does it.
func foreignRoutes(s netcfg.State) []string {
	var out []string
	for _, l := range s.Links {
		for _, r := range l.Routes {
			if r.Protocol != netcfg.ProtoDHCP && r.Protocol != netcfg.ProtoStatic {
				out = append(out, l.Name+" "+r.String())
			}
		}
	}
	return out
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

func randomState(rng *rand.Rand) netcfg.State {
	s := netcfg.State{Links: []netcfg.LinkState{{Index: 1, Name: "lo"}}}
	for i, name := range []string{"eth0", "eth1", "cni0"} {
		l := netcfg.LinkState{Index: i + 2, Name: name, MTU: 1500, Up: rng.IntN(2) == 0, Carrier: true, Physical: name != "cni0", AcceptRA: pick(rng, nil, new(1), new(2))}
		for _, p := range []string{"192.0.2.5/24", "192.0.2.7/24", "198.51.100.1/25", "2001:db8::5/64"} {
			if rng.IntN(3) == 0 {
				l.Addrs = append(l.Addrs, netcfg.Addr{Prefix: netip.MustParsePrefix(p), Ours: rng.IntN(2) == 0})
			}
		}
		if l.Up && i == 0 {
			l.Routes = append(l.Routes, netcfg.Route{Dst: netip.MustParsePrefix("203.0.113.0/24"), Protocol: 3})
		}
		if l.Up && rng.IntN(2) == 0 && name != "cni0" {
			l.Routes = append(l.Routes, netcfg.Route{
				Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1"), OnLink: true, Metric: 7 + i, Protocol: netcfg.ProtoStatic,
			})
		}
		s.Links = append(s.Links, l)
	}
	if rng.IntN(2) == 0 {
		s.Links = append(s.Links, netcfg.LinkState{Index: 50, Name: "ksolo0", Kind: "dummy", MTU: 1500, Up: true})
	}
	return s
}

func randomConfig(rng *rand.Rand) (netcfg.Config, map[string]netcfg.Lease) {
	var c netcfg.Config
	leases := map[string]netcfg.Lease{}
	for _, id := range []string{"eth0", "eth1", "eth9"} {
		l := netcfg.Link{ID: id, MTU: pick(rng, 0, 1400, 1500), DHCP4: rng.IntN(2) == 0}
		for _, p := range []string{"192.0.2.5/24", "192.0.2.7/24", "2001:db8::5/64"} {
			if rng.IntN(2) == 0 {
				l.Addresses = append(l.Addresses, netip.MustParsePrefix(p))
			}
		}
		if rng.IntN(2) == 0 {
			l.Routes = append(l.Routes,
				netcfg.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.254"), Metric: pick(rng, 0, 7)},
				netcfg.Route{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fe80::1"), OnLink: true},
				netcfg.Route{Dst: netip.MustParsePrefix("198.18.0.0/15")})
		}
		if rng.IntN(2) == 0 {
			leases[id] = netcfg.Lease{
				Address: netip.MustParsePrefix(pick(rng, "192.0.2.8/24", "198.51.100.9/25")), MTU: pick(rng, 0, 1450),
				Routes: []netcfg.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1")}},
			}
		}
		l.AcceptRA, l.DHCP6 = pick(rng, nil, new(false)), rng.IntN(2) == 0
		if rng.IntN(3) == 0 {
			lease := leases[id]
			lease.IPv6 = []netip.Prefix{netip.MustParsePrefix("2001:db8:1::7/128")}
			lease.LinkLocal = netip.MustParsePrefix("169.254.7.7/16")
			leases[id] = lease
		}
		c.Links = append(c.Links, l)
	}
	return c, leases
}

func TestDiffOrder(t *testing.T) {
	have := netcfg.State{Links: []netcfg.LinkState{{Index: 1, Name: "lo"}, {
		Index: 2, Name: "eth0", MTU: 1500, Up: true, Physical: true, Carrier: true,
		Addrs:  []netcfg.Addr{{Prefix: netip.MustParsePrefix("192.0.2.9/24"), Ours: true}, {Prefix: netip.MustParsePrefix("192.0.2.50/32")}},
		Routes: []netcfg.Route{{Dst: netip.MustParsePrefix("198.51.100.0/24"), Protocol: netcfg.ProtoDHCP}, {Dst: netip.MustParsePrefix("203.0.113.0/24"), Protocol: 2}},
	}}}
	conf := netcfg.Config{Links: []netcfg.Link{{
		ID: "any", Match: netcfg.Match{Physical: true}, MTU: 9000,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("2001:db8::2/64")},
		Routes:    []netcfg.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.1.0.1")}, {Dst: netip.MustParsePrefix("10.1.0.0/16")}},
	}}}
	want := netcfg.Resolve(conf, have, nil)
	want.ARPIgnore = true
	want.Links = append(want.Links, netcfg.WantLink{Name: "ksolo0", Kind: "dummy", Addrs: []netip.Prefix{netip.MustParsePrefix("10.40.0.1/32")}})
	var got []string
	for _, op := range netcfg.Diff(want, have) {
		got = append(got, op.String())
	}
	expect := []string{
		"route del 198.51.100.0/24 proto dhcp dev eth0",
		"addr del 192.0.2.9/24 dev eth0",
		"sysctl net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
		"link add ksolo0 type dummy",
		"link set eth0 mtu 9000",
		"link set lo up",
		"link set ksolo0 up",
		"addr add 10.0.0.2/32 dev eth0",
		"addr add 2001:db8::2/64 dev eth0",
		"addr add 10.40.0.1/32 dev ksolo0",
		"route replace 10.1.0.0/16 proto static dev eth0",
		"route replace default via 10.1.0.1 proto static onlink dev eth0",
	}
	if strings.Join(got, "\n") != strings.Join(expect, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestSelect(t *testing.T) {
	have := netcfg.State{Links: []netcfg.LinkState{
		{Index: 1, Name: "lo"},
		{Index: 2, Name: "eth0", MAC: "52:54:00:00:00:01", Driver: "virtio_net", Physical: true},
		{Index: 3, Name: "eth1", MAC: "52:54:00:00:00:02", Driver: "igb", Physical: true, Carrier: true},
		{Index: 4, Name: "veth1", Kind: "veth", Carrier: true},
		{Index: 5, Name: "port0", MAC: "52:54:00:00:00:02", Master: 9},
	}}
	for _, tc := range []struct {
		link netcfg.Link
		want string
	}{
		{netcfg.Link{ID: "eth1"}, "eth1"},
		{netcfg.Link{ID: "x", Match: netcfg.Match{Physical: true}}, "eth0 eth1"},
		{netcfg.Link{ID: "x", First: true, Match: netcfg.Match{Physical: true}}, "eth1"},
		{netcfg.Link{ID: "x", Match: netcfg.Match{Name: "eth*", Driver: "virtio*"}}, "eth0"},
		{netcfg.Link{ID: "x", Match: netcfg.Match{MAC: "52:54:00:00:00:02"}}, "eth1"},
		{netcfg.Link{ID: "x", Match: netcfg.Match{Name: "*"}}, "eth0 eth1 veth1 port0"},
		{netcfg.Link{ID: "lo"}, ""},
	} {
		var got []string
		for _, l := range have.Links {
			if _, ok := (netcfg.Config{Links: []netcfg.Link{tc.link}}).Select(l, have); ok {
				got = append(got, l.Name)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s selects %v, want %s", tc.link, got, tc.want)
		}
	}
}
