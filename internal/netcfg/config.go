package netcfg

import (
	"fmt"
	"net/netip"
	"path"
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
	DHCP6    bool `json:"dhcp6,omitempty"`
	// AcceptRA: addresses and routes from router advertisements; nil leaves
	// it to the kernel.
	AcceptRA *bool `json:"accept-ra,omitempty"`
	// LinkLocal is IPv4 link-local (RFC 3927) as a fallback when DHCPv4 does
	// not answer; nil is on for a DHCPv4 link without a static address.
	LinkLocal *bool `json:"link-local,omitempty"`
	// At most one of these: the entry then makes the link, named ID.
	Bond   *Bond   `json:"bond,omitempty"`
	Bridge *Bridge `json:"bridge,omitempty"`
	VLAN   *VLAN   `json:"vlan,omitempty"`
}

// Bond makes one link of several. Ports name entries by ID, else links by
// name; the rest are the kernel's options (Documentation/networking/bonding.rst).
type Bond struct {
	Ports              []string `json:"ports"`
	Mode               string   `json:"mode"`
	MIIMonitor         int      `json:"mii-monitor-interval,omitempty"` // ms
	LACPRate           string   `json:"lacp-rate,omitempty"`
	TransmitHashPolicy string   `json:"transmit-hash-policy,omitempty"`
	Primary            string   `json:"primary,omitempty"`
	MinLinks           int      `json:"min-links,omitempty"`
	UpDelay            int      `json:"up-delay,omitempty"`   // ms
	DownDelay          int      `json:"down-delay,omitempty"` // ms
}

// Bridge joins its ports into one segment. Ports are named as in [Bond].
type Bridge struct {
	Ports        []string `json:"ports"`
	STP          *bool    `json:"stp,omitempty"`
	ForwardDelay int      `json:"forward-delay,omitempty"` // s
	Priority     int      `json:"priority,omitempty"`
}

// VLAN is a tagged network (IEEE 802.1Q) on Link, which is named as a port of
// a [Bond] is.
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

// selects reports whether the entry configures that link, one of have.
func (l Link) selects(s LinkState, have State) bool {
	if !l.matches(s) || !l.First {
		return l.matches(s)
	}
	first := LinkState{}
	for _, x := range have.Links {
		if l.matches(x) && (first.Name == "" || x.Carrier && !first.Carrier) {
			first = x
		}
	}
	return first.Name == s.Name
}

func (l Link) matches(s LinkState) bool {
	m := l.Match
	if m == (Match{}) {
		return s.Name == l.ID
	}
	return (m.Name == "" || globs(m.Name, s.Name)) &&
		(m.MAC == "" || strings.EqualFold(m.MAC, s.MAC)) &&
		(m.Driver == "" || globs(m.Driver, s.Driver)) &&
		// A port of a bond carries the bond's own hardware address, and an
		// SR-IOV function that of its synthetic device: only a match by name
		// can mean the port itself.
		(m.Name != "" || s.Master == 0) &&
		(!m.Physical || s.Physical)
}

func globs(pattern, s string) bool {
	ok, err := path.Match(pattern, s)
	return err == nil && ok
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
	if l.DHCP4 {
		parts = append(parts, "dhcp4")
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
