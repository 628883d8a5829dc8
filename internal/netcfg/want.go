package netcfg

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// DHCPMetric is the metric of routes from DHCP, as other network managers use:
// a static default route (metric 0) wins. Of two links with a lease the one
// whose entry comes first in the configuration is preferred (entryStep), and of
// two links of one entry the one that appeared first: the link's index is added.
const (
	DHCPMetric = 1024
	entryStep  = 100
)

// Want is the concrete target for links that exist or are to be made.
type Want struct {
	Links []WantLink
	// ARPIgnore: answer ARP only for addresses of the asking link. Needed as
	// soon as a dummy link holds an address of the LAN, which the kernel would
	// otherwise claim on the LAN too.
	ARPIgnore bool
}

// WantLink is the target for one link.
type WantLink struct {
	Name string
	// Kind "" is an existing link that is only configured; otherwise the link
	// is made and, with Absent, removed. One of the three is set for its kind.
	Kind   string
	Absent bool
	Bond   *Bond // Primary is the name of a link
	Bridge *Bridge
	VLAN   *VLAN // Link is the name of a link
	// Master is the bond or bridge that the link is a port of.
	Master string
	// AcceptRA: nil leaves it as it is.
	AcceptRA *bool
	MTU      int
	Addrs    []netip.Prefix
	Routes   []Route
}

// Lease is what a link was given by others.
type Lease struct {
	// Address, Routes and MTU are from DHCPv4; an Address that is not valid is
	// no lease. Protocol and Metric of routes are set by Resolve.
	Address netip.Prefix
	Routes  []Route
	MTU     int
	// IPv6 are addresses from DHCPv6, of 128 bits: which others are on the link
	// is for routers to say (RFC 8415 §18.2.10.1).
	IPv6 []netip.Prefix
	// LinkLocal is the fallback of a link where no DHCPv4 server answers.
	LinkLocal netip.Prefix
}

// Resolve applies the configuration to the links that exist and to those that
// it makes, with the leases (by link name) they have. Unselected links are not
// in the result; loopback is always set up.
func Resolve(c Config, have State, leases map[string]Lease) Want {
	have = c.stacked(have)
	var w Want
	var links []LinkState
	var entries []Link // of links
	for _, l := range have.Links {
		if l.Name == "lo" {
			// The kernel gives it 127.0.0.1/8 and ::1 when it goes up.
			w.Links = append(w.Links, WantLink{Name: l.Name})
		} else if entry, ok := c.Select(l, have); ok && !c.floats(entry, have) {
			links, entries = append(links, l), append(entries, entry)
		}
	}
	// By entry: which route gives way to which must not depend on which link
	// was found first. Ports without an entry come before (place -1).
	taken := map[routeKey]bool{}
	for place := -1; place < len(c.Links); place++ {
		for i, l := range links {
			if c.position(entries[i].ID) == place {
				w.Links = append(w.Links, c.target(l, entries[i], have, leases[l.Name], DHCPMetric+entryStep*max(place, 0), taken))
			}
		}
	}
	w.order()
	return w
}

// target is what one link should be; its routes from DHCP have the metric, and
// the link's index in addition.
func (c Config) target(l LinkState, entry Link, have State, lease Lease, metric int, taken map[routeKey]bool) WantLink {
	t := WantLink{Name: l.Name, MTU: entry.MTU, Addrs: slices.Clone(entry.Addresses)}
	t.make(c, entry, have)
	if master, ok := c.master(l, have); ok {
		t.Master = master.ID
	}
	t.AcceptRA = new(entry.WantsRA())
	for _, r := range entry.Routes {
		r.Protocol = ProtoStatic
		t.addRoute(r, taken)
	}
	t.addLease(lease, entry, metric+min(l.Index, entryStep-1), taken)
	return t
}

func (t *WantLink) addLease(lease Lease, conf Link, metric int, taken map[routeKey]bool) {
	if conf.DHCP6 {
		t.Addrs = append(t.Addrs, lease.IPv6...)
	}
	if lease.LinkLocal.IsValid() && conf.WantsLinkLocal() {
		t.Addrs = append(t.Addrs, lease.LinkLocal)
	}
	if !conf.DHCP4 || !lease.Address.IsValid() {
		return
	}
	if t.MTU == 0 {
		t.MTU = lease.MTU
	}
	if !slices.Contains(t.Addrs, lease.Address) {
		t.Addrs = append(t.Addrs, lease.Address)
	}
	for _, r := range lease.Routes {
		r.Protocol, r.Metric = ProtoDHCP, metric
		t.addRoute(r, taken)
	}
}

// routeKey is what the kernel replaces routes by, on whatever link they are
// (net/ipv4/fib_trie.c, fib_table_insert).
type routeKey struct {
	dst    netip.Prefix
	metric int
}

// addRoute adds a route as the kernel will list it, so that Diff finds it
// again. Two links cannot have the same destination and metric, since each
// would replace the other's for ever: the later link's metric is raised.
func (t *WantLink) addRoute(r Route, taken map[routeKey]bool) {
	r.Dst = r.Dst.Masked()
	if r.Dst.Addr().Is6() && r.Metric == 0 {
		r.Metric = 1024 // IP6_RT_PRIO_USER, include/net/ip6_route.h
	}
	if r.Via.IsValid() && !r.OnLink {
		// RFC 3442 and cloud networks hand out gateways outside of the subnet;
		// without the flag the kernel answers ENETUNREACH.
		r.OnLink = !r.Via.IsLinkLocalUnicast() && !slices.ContainsFunc(t.Addrs, func(p netip.Prefix) bool { return p.Contains(r.Via) })
	}
	same := func(x Route) bool { return x.Dst == r.Dst && x.Metric == r.Metric }
	if slices.ContainsFunc(t.Routes, same) {
		return
	}
	for taken[routeKey{r.Dst, r.Metric}] {
		r.Metric++
	}
	taken[routeKey{r.Dst, r.Metric}] = true
	t.Routes = append(t.Routes, r)
}

// String prints one line per link.
func (w Want) String() string {
	var lines []string
	for _, l := range w.Links {
		if l.Absent {
			lines = append(lines, l.Name+": absent")
			continue
		}
		s := l.Name + ":"
		if l.Kind != "" {
			s += " type " + l.Kind
		}
		if l.Master != "" {
			s += " port of " + l.Master
		}
		if l.MTU != 0 {
			s += fmt.Sprintf(" mtu %d", l.MTU)
		}
		for _, a := range l.Addrs {
			s += " " + a.String()
		}
		for _, r := range l.Routes {
			s += " [" + r.String() + "]"
		}
		lines = append(lines, s)
	}
	return strings.Join(lines, "\n")
}
