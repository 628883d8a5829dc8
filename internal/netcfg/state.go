package netcfg

import (
	"fmt"
	"net/netip"
	"strings"
)

// State is what the kernel has: a snapshot.
type State struct {
	Links []LinkState `json:"links"`
	// ARPIgnore is net.ipv4.conf.all.arp_ignore: 0 answers ARP on any link
	// for any local address, 1 only for addresses of that link.
	ARPIgnore int `json:"arp-ignore"`
}

// LinkState is one link with its addresses and its unicast routes of the main
// table.
type LinkState struct {
	Index int    `json:"index"`
	Name  string `json:"name"`
	// Kind is the kernel's rtnl link kind: "" for hardware, "veth", "dummy".
	Kind   string `json:"kind,omitempty"`
	Driver string `json:"driver,omitempty"`
	MAC    string `json:"mac,omitempty"`
	MTU    int    `json:"mtu"`
	// PermMAC is the address of the hardware itself, where another one is in
	// use: the ports of a bond all carry that of the bond.
	PermMAC string `json:"perm-mac,omitempty"`
	// Master is the index of the bridge or bond the link is a port of, or 0.
	Master int `json:"master,omitempty"`
	// Made: the link's alias says that this program made it, so it may change
	// and remove it.
	Made bool `json:"made,omitempty"`
	// What a link of that kind is set to; ports are told by their Master.
	Bond   *Bond   `json:"bond,omitempty"`
	Bridge *Bridge `json:"bridge,omitempty"`
	VLAN   *VLAN   `json:"vlan,omitempty"` // Link is the name of the link below
	// Physical: wired Ethernet, backed by a device.
	Physical bool `json:"physical,omitempty"`
	Up       bool `json:"up"`
	Carrier  bool `json:"carrier"`
	// Speed in Mbit/s and Duplex ("full", "half") of a physical link with a
	// carrier; 0 and "" when the driver does not say.
	Speed  int    `json:"speed,omitempty"`
	Duplex string `json:"duplex,omitempty"`
	// AcceptRA is net.ipv6.conf.*.accept_ra; nil without IPv6.
	AcceptRA *int    `json:"-"`
	Addrs    []Addr  `json:"addrs,omitempty"`
	Routes   []Route `json:"-"`
}

// Addr is an address on a link.
type Addr struct {
	Prefix netip.Prefix `json:"prefix"`
	// Ours: this program put it there, so it may take it away.
	Ours bool `json:"ours,omitempty"`
}

// Link finds a link by name.
func (s State) Link(name string) (LinkState, bool) {
	for _, l := range s.Links {
		if l.Name == name {
			return l, true
		}
	}
	return LinkState{}, false
}

// index finds a link by index; the zero LinkState is none.
func (s State) index(i int) LinkState {
	for _, l := range s.Links {
		if i != 0 && l.Index == i {
			return l
		}
	}
	return LinkState{}
}

// String prints one line for the link.
func (l LinkState) String() string {
	parts := []string{l.Name + ":"}
	switch {
	case !l.Up:
		parts = append(parts, "down")
	case !l.Carrier:
		parts = append(parts, "no carrier")
	default:
		parts = append(parts, "up")
	}
	if l.MAC != "" {
		parts = append(parts, l.MAC)
	}
	if l.Driver != "" {
		parts = append(parts, l.Driver)
	}
	if l.Speed > 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d Mbit/s %s", l.Speed, l.Duplex)))
	}
	parts = append(parts, fmt.Sprintf("mtu %d", l.MTU))
	for _, a := range l.Addrs {
		parts = append(parts, a.Prefix.String())
	}
	return strings.Join(parts, " ")
}

// String prints one line per link.
func (s State) String() string {
	lines := make([]string, 0, len(s.Links))
	for _, l := range s.Links {
		lines = append(lines, l.String())
	}
	return strings.Join(lines, "\n")
}
