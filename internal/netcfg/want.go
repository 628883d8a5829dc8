package netcfg

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// DHCPMetric is the metric of routes from DHCP, as other network managers use:
// a static default route (metric 0) wins. The link's index is added so that two
// links with a lease have a defined order that lasts as long as the links do.
const DHCPMetric = 1024

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
	// is made ("dummy") and, with Absent, removed.
	Kind   string
	Absent bool
	MTU    int
	Addrs  []netip.Prefix
	Routes []Route
}

// Lease is what a DHCP exchange gives to a link.
type Lease struct {
	Address netip.Prefix
	Routes  []Route // Protocol and Metric are set by Resolve
	MTU     int
}

// Resolve applies the configuration to the links that exist, with the leases
// (by link name) they have. Unselected links are not in the result; loopback is
// always set up.
func Resolve(c Config, have State, leases map[string]Lease) Want {
	var w Want
	taken := map[routeKey]bool{}
	for _, l := range have.Links {
		if l.Name == "lo" {
			// The kernel gives it 127.0.0.1/8 and ::1 when it goes up.
			w.Links = append(w.Links, WantLink{Name: l.Name})
			continue
		}
		conf, ok := c.Select(l, have)
		if !ok {
			continue
		}
		t := WantLink{Name: l.Name, MTU: conf.MTU, Addrs: slices.Clone(conf.Addresses)}
		for _, r := range conf.Routes {
			r.Protocol = ProtoStatic
			t.addRoute(r, taken)
		}
		if lease, ok := leases[l.Name]; ok && conf.DHCP4 {
			if t.MTU == 0 {
				t.MTU = lease.MTU
			}
			if !slices.Contains(t.Addrs, lease.Address) {
				t.Addrs = append(t.Addrs, lease.Address)
			}
			for _, r := range lease.Routes {
				r.Protocol, r.Metric = ProtoDHCP, DHCPMetric+l.Index
				t.addRoute(r, taken)
			}
		}
		w.Links = append(w.Links, t)
	}
	return w
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

// Select returns the entry that configures the link, one of have. Loopback is
// never configured.
func (c Config) Select(s LinkState, have State) (Link, bool) {
	if s.Name == "lo" {
		return Link{}, false
	}
	for _, l := range c.Links {
		if l.selects(s, have) {
			return l, true
		}
	}
	return Link{}, false
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
