package config_test

import (
	"strings"
	"testing"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/netcfg"
)

func bond(id, mode string, ports ...string) netcfg.Link {
	return netcfg.Link{ID: id, Bond: &netcfg.Bond{Mode: mode, Ports: ports}}
}

func bridge(id string, ports ...string) netcfg.Link {
	return netcfg.Link{ID: id, Bridge: &netcfg.Bridge{Ports: ports}}
}

func vlan(id string, tag int, link string) netcfg.Link {
	return netcfg.Link{ID: id, VLAN: &netcfg.VLAN{ID: tag, Link: link}}
}

func TestCheckNetwork(t *testing.T) {
	with := func(l netcfg.Link, change func(*netcfg.Bond)) netcfg.Link { change(l.Bond); return l }
	for _, test := range []struct {
		name  string
		links []netcfg.Link
		want  []string
	}{
		{"VLANs and a bridge over a bond", []netcfg.Link{
			{ID: "eth0"}, {ID: "eth1"},
			with(bond("bond0", "802.3ad", "eth0", "eth1"), func(b *netcfg.Bond) { b.LACPRate, b.MinLinks = "fast", 1 }),
			vlan("office", 10, "bond0"), vlan("plant", 20, "bond0"), bridge("br0", "office"),
		}, nil},
		{"two of one name", []netcfg.Link{{ID: "a"}, {ID: "a"}}, []string{"a: this name is there twice"}},
		{"options of another mode", []netcfg.Link{with(bond("b", "balance-rr", "x"), func(b *netcfg.Bond) {
			b.LACPRate, b.MinLinks, b.Primary, b.UpDelay = "fast", 1, "y", 5
		})}, []string{"lacp-rate", "min-links", "primary works", "primary y is not", "up-delay"}},
		{"no such mode", []netcfg.Link{bond("b", "lacp", "x")}, []string{`"lacp" is no mode of a bond`}},
		{"empty bond", []netcfg.Link{bond("b", "802.3ad")}, []string{"needs interfaces"}},
		{"one port, two masters", []netcfg.Link{bond("b", "802.3ad", "x"), bridge("c", "x", "x")}, []string{"c: x is a port of b", "c: x is a port of b"}},
		{"bond of bonds", []netcfg.Link{bond("a", "802.3ad", "x"), bond("b", "802.3ad", "a")}, []string{"cannot be made of bonds"}},
		{"VLAN twice", []netcfg.Link{vlan("a", 5, "x"), vlan("b", 5, "x")}, []string{"b: a is VLAN 5 on x already"}},
		{"bad tag, no link", []netcfg.Link{vlan("a", 4095, "")}, []string{"4095", "needs link"}},
		{"itself", []netcfg.Link{vlan("a", 5, "a")}, []string{"a: it is built upon itself: a on a"}},
		{"a loop of three", []netcfg.Link{bridge("br", "v"), vlan("v", 5, "b"), bond("b", "802.3ad", "br")}, []string{"b: it is built upon itself: b on br on v on b"}},
		{"a way into a loop", []netcfg.Link{vlan("a", 5, "b"), vlan("b", 6, "c"), vlan("c", 7, "b")}, []string{"b: it is built upon itself: b on c on b"}},
		{"a name too long", []netcfg.Link{bridge("bridge-of-the-plant")}, []string{"cannot be the name"}},
		{"two kinds", []netcfg.Link{{ID: "x", Bridge: &netcfg.Bridge{Priority: 70000, ForwardDelay: 1}, VLAN: &netcfg.VLAN{ID: 1, Link: "y"}}},
			[]string{"forward-delay", "priority", "only one of them"}},
		{"more than anybody has", make([]netcfg.Link, 300), []string{"more than 256"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, p := range config.CheckNetwork(netcfg.Config{Links: test.links}) {
				got = append(got, p.ID+": "+p.Err.Error())
			}
			if len(got) != len(test.want) {
				t.Fatalf("got %d problems\n%s\nwant %d", len(got), strings.Join(got, "\n"), len(test.want))
			}
			for i, want := range test.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got %s, want %s", got[i], want)
				}
			}
		})
	}
}
