package netcfg

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Select returns the entry that configures the link, one of have. Loopback is
// never configured. A port of a bond or bridge is configured by its entry too,
// but gets no address of any kind: those belong on the bond or bridge.
func (c Config) Select(s LinkState, have State) (Link, bool) {
	if s.Name == "lo" {
		return Link{}, false
	}
	l, ok := c.entry(s, have)
	if master, port := c.master(s, have); port {
		if !ok {
			l = Link{ID: s.Name}
		}
		return l.asPort(master), true
	}
	return l, ok
}

// entry is Select without regard to ports.
func (c Config) entry(s LinkState, have State) (Link, bool) {
	for _, l := range c.Links {
		if l.selects(s, have) {
			return l, true
		}
	}
	return Link{}, false
}

// position is the place of the entry in the configuration.
func (c Config) position(id string) int {
	return slices.IndexFunc(c.Links, func(l Link) bool { return l.ID == id })
}

// named returns the links that a name in the configuration means: those that
// the entry with that ID selects or makes, else the link of that name.
func (c Config) named(name string, have State) []string {
	i := c.position(name)
	if i < 0 {
		if l, ok := have.Link(name); ok && !l.Made && name != "lo" {
			return []string{name}
		}
		return nil
	}
	if c.Links[i].Kind() != "" {
		return []string{name}
	}
	var out []string
	for _, s := range have.Links {
		if l, ok := c.entry(s, have); ok && l.ID == name && s.Name != "lo" {
			out = append(out, s.Name)
		}
	}
	return out
}

// master returns the entry of the bond or bridge that the link is to be a port
// of. When two want it, the first has it.
func (c Config) master(s LinkState, have State) (Link, bool) {
	for _, l := range c.Links {
		for _, p := range l.ports() {
			if p != l.ID && slices.Contains(c.named(p, have), s.Name) {
				return l, true
			}
		}
	}
	return Link{}, false
}

// Absent says which ports and links below are named but not there.
func (c Config) Absent(have State) []string {
	var out []string
	for _, l := range c.Links {
		for _, p := range l.ports() {
			if len(c.named(p, have)) == 0 {
				out = append(out, l.ID+": there is no link for its port "+p)
			}
		}
		if l.VLAN != nil && len(c.named(l.VLAN.Link, have)) == 0 {
			out = append(out, l.ID+": there is no link "+l.VLAN.Link+" for this VLAN")
		}
	}
	return out
}

// Kind is the rtnl kind of the link that the entry makes, "" when it makes
// none.
func (l Link) Kind() string {
	switch {
	case l.Bond != nil:
		return KindBond
	case l.Bridge != nil:
		return KindBridge
	case l.VLAN != nil:
		return KindVLAN
	}
	return ""
}

// WantsRA reports whether the link takes what IPv6 routers say.
func (l Link) WantsRA() bool { return l.AcceptRA == nil || *l.AcceptRA }

func (l Link) ports() []string {
	switch {
	case l.Bond != nil:
		return l.Bond.Ports
	case l.Bridge != nil:
		return l.Bridge.Ports
	}
	return nil
}

// WantsLinkLocal reports whether the link falls back on an IPv4 link-local
// address while no DHCPv4 server answers.
func (l Link) WantsLinkLocal() bool {
	if l.LinkLocal != nil {
		return l.DHCP4 && *l.LinkLocal
	}
	return l.DHCP4 && !slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() })
}

// asPort keeps what a port can have: an MTU, and in a bond not even that, as
// the bond hands its own to its ports.
func (l Link) asPort(master Link) Link {
	p := Link{ID: l.ID, Match: l.Match, First: l.First, Optional: true, MTU: l.MTU, VLAN: l.VLAN, Bond: l.Bond, Bridge: l.Bridge}
	if master.Bond != nil {
		p.MTU = 0
	}
	p.AcceptRA, p.LinkLocal = new(false), new(false)
	return p
}

// selects reports whether the entry configures that link, one of have.
func (l Link) selects(s LinkState, have State) bool {
	if !l.matches(s, have) || !l.First {
		return l.matches(s, have)
	}
	first := LinkState{}
	for _, x := range have.Links {
		if l.matches(x, have) && (first.Name == "" || x.Carrier && !first.Carrier) {
			first = x
		}
	}
	return first.Name == s.Name
}

func (l Link) matches(s LinkState, have State) bool {
	m := l.Match
	if s.Made || l.Kind() != "" {
		return l.Kind() != "" && s.Name == l.ID
	}
	if m == (Match{}) {
		return s.Name == l.ID
	}
	mac := s.MAC
	if s.PermMAC != "" {
		mac = s.PermMAC
	}
	// A port of somebody else's bond carries the bond's hardware address, an
	// SR-IOV function that of its synthetic device, a VLAN that of the link
	// below: only a match by name can mean those.
	copies := s.Master != 0 && !have.index(s.Master).Made || slices.Contains([]string{KindBond, KindBridge, KindVLAN, "macvlan", "ipvlan"}, s.Kind)
	return (m.Name == "" || globs(m.Name, s.Name)) &&
		(m.MAC == "" || strings.EqualFold(m.MAC, mac)) &&
		(m.Driver == "" || globs(m.Driver, s.Driver)) &&
		(m.Name != "" || !copies) &&
		(!m.Physical || s.Physical && !copies)
}

func globs(pattern, s string) bool {
	ok, err := path.Match(pattern, s)
	return err == nil && ok
}
