package netcfg

import (
	"fmt"
	"net/netip"
	"strings"
)

// Config is the wanted network, independent of which links exist.
// The zero value configures nothing; see [Default].
type Config struct {
	Links []Link `json:"links,omitempty"`
}

// Link configures every network link that Match selects. When several entries
// select one link, the first wins.
type Link struct {
	// ID is the name of the entry in its source. It is the link's name when
	// Match is empty.
	ID    string `json:"id"`
	Match Match  `json:"match,omitzero"`
	DHCP4 bool   `json:"dhcp4,omitempty"`
	DHCP6 bool   `json:"dhcp6,omitempty"`
	// AcceptRA: take addresses, routes and name servers from IPv6 routers; nil
	// means yes.
	AcceptRA *bool `json:"accept-ra,omitempty"`
	// LinkLocal: an IPv4 link-local address (RFC 3927) as a fallback when no
	// DHCPv4 server answers; nil means yes on a DHCPv4 link without a static
	// IPv4 address.
	LinkLocal *bool `json:"link-local,omitempty"`
	// Addresses hold the host part: 192.0.2.10/24.
	Addresses   []netip.Prefix `json:"addresses,omitempty"`
	Routes      []Route        `json:"routes,omitempty"`
	Nameservers []netip.Addr   `json:"nameservers,omitempty"`
	Search      []string       `json:"search,omitempty"`
	// MTU in bytes; 0 leaves the link's own, or what DHCP says.
	MTU int `json:"mtu,omitempty"`
	// First: of all the links that match, only one gets the configuration:
	// the first with a carrier, else the first.
	First bool `json:"first,omitempty"`
	// Optional links are not waited for.
	Optional bool `json:"optional,omitempty"`
	// At most one of these is set: the entry then makes the link, named ID.
	Bond   *Bond   `json:"bond,omitempty"`
	Bridge *Bridge `json:"bridge,omitempty"`
	VLAN   *VLAN   `json:"vlan,omitempty"`
}

// Bond joins several links into one. Ports name entries by ID, else links by
// name. What is empty or 0 is the kernel's default, except MIIMonitor.
type Bond struct {
	Ports []string `json:"ports"`
	// Mode is one of the kernel's seven: balance-rr, active-backup,
	// balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb.
	Mode string `json:"mode"`
	// MIIMonitor in ms; 0 means 100, since a bond that does not look at its
	// links does not notice that one fails.
	MIIMonitor int `json:"mii-monitor-interval,omitempty"`
	// LACPRate is slow or fast; it counts in mode 802.3ad only.
	LACPRate           string `json:"lacp-rate,omitempty"`
	TransmitHashPolicy string `json:"transmit-hash-policy,omitempty"`
	// Primary is one of Ports; it counts in the modes active-backup,
	// balance-tlb and balance-alb.
	Primary  string `json:"primary,omitempty"`
	MinLinks int    `json:"min-links,omitempty"`
	// UpDelay and DownDelay in ms; the kernel rounds them down to multiples
	// of MIIMonitor.
	UpDelay   int `json:"up-delay,omitempty"`
	DownDelay int `json:"down-delay,omitempty"`
}

// Bridge switches between its ports, which are named as those of a [Bond].
type Bridge struct {
	Ports []string `json:"ports"`
	// STP: nil means yes with two or more ports. Two cables into one switch
	// would otherwise be a loop that takes the whole LAN down; with one port
	// there is nothing to protect, and STP would delay the link by 30 s.
	STP *bool `json:"stp,omitempty"`
	// ForwardDelay in s; 0 means 15.
	ForwardDelay int `json:"forward-delay,omitempty"`
	// Priority; 0 means 32768.
	Priority int `json:"priority,omitempty"`
}

// VLAN is the part of Link's traffic that is tagged with ID (IEEE 802.1Q).
// Link names an entry by ID, else a link by name.
type VLAN struct {
	ID   int    `json:"id"`
	Link string `json:"link"`
}

// Match selects links. All the fields that are set must hold. The zero value
// selects by Link.ID.
type Match struct {
	// Name is a glob over the link's name, as in path.Match: "en*".
	Name string `json:"name,omitempty"`
	// MAC is compared without regard to case: "52:54:00:12:34:56".
	MAC string `json:"mac,omitempty"`
	// Driver is a glob over the kernel driver's name: "virtio_net".
	Driver string `json:"driver,omitempty"`
	// Physical selects Ethernet links that are backed by a device: never lo,
	// veth, bridges, tunnels, dummies or ports of another link.
	Physical bool `json:"physical,omitempty"`
}

// Protocol is the kernel's tag that says who made a route
// (linux/rtnetlink.h, RTPROT_*).
type Protocol uint8

// The tags of the routes that belong to this program; all others are foreign
// and are left alone.
const (
	ProtoStatic Protocol = 4
	ProtoDHCP   Protocol = 16
)

func (p Protocol) ours() bool { return p == ProtoStatic || p == ProtoDHCP }

// String names the tag as iproute2 does.
func (p Protocol) String() string {
	switch p {
	case ProtoStatic:
		return "static"
	case ProtoDHCP:
		return "dhcp"
	}
	return fmt.Sprintf("%d", uint8(p))
}

// Route is one unicast route of the main table.
type Route struct {
	// Dst is masked; a default route has zero bits.
	Dst netip.Prefix `json:"dst"`
	// Via is the gateway; the zero Addr is a directly connected route.
	Via netip.Addr `json:"via,omitzero"`
	// Metric: the lower one wins. For IPv6 the kernel turns 0 into 1024.
	Metric int `json:"metric,omitempty"`
	// OnLink says that Via is reachable though no address covers it.
	OnLink   bool     `json:"on-link,omitempty"`
	Protocol Protocol `json:"-"`
}

// Default is the network of a node that was told nothing: DHCPv4 on every
// physical Ethernet link.
func Default() Config {
	return Config{Links: []Link{{ID: "default", Match: Match{Physical: true}, DHCP4: true}}}
}

// IsDefault reports whether the route is a default route.
func (r Route) IsDefault() bool { return r.Dst.IsValid() && r.Dst.Bits() == 0 }

// String prints the route in iproute2's words, without the device.
func (r Route) String() string {
	var b strings.Builder
	if r.IsDefault() {
		b.WriteString("default")
		if r.Dst.Addr().Is6() {
			b.WriteString(" (ipv6)")
		}
	} else {
		b.WriteString(r.Dst.String())
	}
	if r.Via.IsValid() {
		b.WriteString(" via " + r.Via.String())
	}
	if r.Protocol != 0 {
		b.WriteString(" proto " + r.Protocol.String())
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.OnLink {
		b.WriteString(" onlink")
	}
	return b.String()
}

// String prints what selects the link.
func (m Match) String() string {
	var parts []string
	add := func(k, v string) {
		if v != "" {
			parts = append(parts, k+"="+v)
		}
	}
	add("name", m.Name)
	add("mac", m.MAC)
	add("driver", m.Driver)
	if m.Physical {
		parts = append(parts, "any physical ethernet")
	}
	return strings.Join(parts, " ")
}

// String prints the entry in one line.
func (l Link) String() string {
	parts := []string{l.ID + ":"}
	if s := l.Match.String(); s != "" {
		if l.First {
			s = "first of: " + s
		}
		parts = append(parts, "("+s+")")
	}
	if kind := l.Kind(); kind != "" {
		parts = append(parts, kind)
	}
	if l.VLAN != nil {
		parts = append(parts, fmt.Sprintf("%d of %s", l.VLAN.ID, l.VLAN.Link))
	}
	if p := l.ports(); len(p) > 0 {
		parts = append(parts, "of "+strings.Join(p, ", "))
	}
	if l.DHCP4 {
		parts = append(parts, "dhcp4")
	}
	if l.DHCP6 {
		parts = append(parts, "dhcp6")
	}
	for _, a := range l.Addresses {
		parts = append(parts, a.String())
	}
	for _, r := range l.Routes {
		parts = append(parts, "route "+r.String())
	}
	for _, n := range l.Nameservers {
		parts = append(parts, "dns "+n.String())
	}
	for _, s := range l.Search {
		parts = append(parts, "search "+s)
	}
	if l.MTU != 0 {
		parts = append(parts, fmt.Sprintf("mtu %d", l.MTU))
	}
	if l.Optional {
		parts = append(parts, "optional")
	}
	return strings.Join(parts, " ")
}

// String prints one line per entry.
func (c Config) String() string {
	lines := make([]string, 0, len(c.Links))
	for _, l := range c.Links {
		lines = append(lines, l.String())
	}
	return strings.Join(lines, "\n")
}
