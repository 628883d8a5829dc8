package cloudinit

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/netcfg"
)

// linkKeys are the keys of every kind of link.
func (w *walker) linkKeys(l *netcfg.Link, at string) []key {
	flag := func(dst *bool, name, doc string) key {
		return key{name: name, doc: doc, read: func(n *yaml.Node) { *dst, _ = w.boolean(n, at+"."+name) }}
	}
	return []key{
		flag(&l.DHCP4, "dhcp4", "IPv4 address by DHCP. Default: false."),
		flag(&l.DHCP6, "dhcp6", "IPv6 address by DHCPv6. Default: false."),
		{name: "accept-ra", doc: "IPv6 addresses, routes and name servers from router advertisements. Default: true.", read: w.intoBool(&l.AcceptRA, at+".accept-ra")},
		{name: "link-local", doc: "ipv4: an address of 169.254/16 when DHCP does not answer. Default: with dhcp4 and no address.",
			read: func(n *yaml.Node) { w.linkLocal(n, l, at+".link-local") }},
		{name: "addresses", doc: "Static addresses with their mask: 192.0.2.10/24.", read: func(n *yaml.Node) {
			w.list(n, at+".addresses", func(e *yaml.Node) {
				if p, ok := w.hostPrefix(e, at+".addresses"); ok {
					l.Addresses = append(l.Addresses, p)
				}
			})
		}},
		{name: "routes", doc: "Static routes.", read: func(n *yaml.Node) {
			w.list(n, at+".routes", func(e *yaml.Node) {
				if r, ok := w.route(e, at+".routes"); ok {
					l.Routes = append(l.Routes, r)
				}
			})
		}},
		{name: "gateway4", doc: "The IPv4 default route.", read: w.gateway(l, at+".gateway4", "IPv4 address; an IPv6 gateway is gateway6", netip.Addr.Is4)},
		{name: "gateway6", doc: "The IPv6 default route.", read: w.gateway(l, at+".gateway6", "IPv6 address; an IPv4 gateway is gateway4", netip.Addr.Is6)},
		{name: "nameservers", doc: "DNS of this link.", read: func(n *yaml.Node) { w.nameservers(n, l, at+".nameservers") }},
		{name: "mtu", doc: "Largest packet in bytes. Default: that of the link, or of the lease.", read: func(n *yaml.Node) {
			var mtu *int
			w.intoRange(&mtu, at+".mtu", config.MinMTU, config.MaxMTU)(n)
			if mtu != nil {
				l.MTU = *mtu
			}
		}},
		flag(&l.Optional, "optional", "The boot does not wait for this link. Default: false."),
		{name: "macaddress", later: true},
		{name: "dhcp-identifier", later: true},
		{name: "dhcp4-overrides", later: true},
		{name: "dhcp6-overrides", later: true},
		{name: "ipv6-privacy", later: true},
		{name: "routing-policy", later: true},
	}
}

// linkLocal reads netplan's list of families. IPv6 link-local addresses are
// there in any case.
func (w *walker) linkLocal(n *yaml.Node, l *netcfg.Link, at string) {
	var families []string
	w.list(n, at, func(e *yaml.Node) {
		if s, ok := w.choice(e, at, []string{"ipv4", "ipv6"}); ok {
			families = append(families, s)
		}
	})
	l.LinkLocal = new(slices.Contains(families, "ipv4"))
}

func (w *walker) hostPrefix(n *yaml.Node, at string) (netip.Prefix, bool) {
	s, ok := w.text(n, at)
	if !ok {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		hint := "it must be like 192.0.2.10/24"
		if a, err := netip.ParseAddr(s); err == nil {
			hint = fmt.Sprintf("the number of mask bits is missing, as in %s/24", a)
		}
		w.errorf(n, "%s: %s is not an address with a mask; %s", at, shown(s), hint)
		return p, false
	}
	if p.Addr().IsUnspecified() || p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().Is4In6() {
		w.errorf(n, "%s: %s is not the address of a host", at, p)
		return p, false
	}
	if what := config.InCluster(p.Addr()); what != "" {
		w.warnf(n, "%s: %s is in the range of %s, which the cluster uses itself; the site needs another one", at, p, what)
	}
	return p, true
}

func (w *walker) addr(n *yaml.Node, at string) (netip.Addr, bool) {
	s, ok := w.text(n, at)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Is4In6() || a.Zone() != "" {
		w.errorf(n, "%s: %s is not an address", at, shown(s))
		return netip.Addr{}, false
	}
	return a, true
}

func (w *walker) gateway(l *netcfg.Link, at, want string, is func(netip.Addr) bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		a, ok := w.addr(n, at)
		if ok && !is(a) {
			w.errorf(n, "%s: %s is not an %s", at, a, want)
		} else if ok {
			l.Routes = append(l.Routes, config.DefaultRoute(a))
		}
	}
}

func (w *walker) nameservers(n *yaml.Node, l *netcfg.Link, at string) {
	w.mapping(n, at,
		key{name: "addresses", doc: "Addresses of name servers.", read: func(n *yaml.Node) {
			w.list(n, at+".addresses", func(e *yaml.Node) {
				if a, ok := w.addr(e, at+".addresses"); ok {
					l.Nameservers = append(l.Nameservers, a)
				}
			})
		}},
		key{name: "search", doc: "Domains in which short names are looked for.", read: func(n *yaml.Node) {
			l.Search = w.texts(n, at+".search", func(s string) error {
				if !netcfg.ValidDomain(s) {
					return fmt.Errorf("%s is not a domain", shown(s))
				}
				return nil
			})
		}},
	)
}

func (w *walker) route(n *yaml.Node, at string) (netcfg.Route, bool) {
	before := len(w.problems)
	var r netcfg.Route
	var to string
	var metric *int
	w.mapping(n, at,
		key{name: "to", must: true, doc: "default, a range such as 198.51.100.0/24, or one address.", read: func(n *yaml.Node) { to, _ = w.text(n, at+".to") }},
		key{name: "via", doc: "The gateway.", read: func(n *yaml.Node) { r.Via, _ = w.addr(n, at+".via") }},
		key{name: "metric", doc: "Of two routes to one place the lower metric wins.", read: w.intoRange(&metric, at+".metric", 0, math.MaxInt32)},
		key{name: "on-link", doc: "The gateway is on this link though no address covers it. Default: false.", read: func(n *yaml.Node) { r.OnLink, _ = w.boolean(n, at+".on-link") }},
		key{name: "table", later: true},
		key{name: "type", later: true},
		key{name: "scope", later: true},
		key{name: "from", later: true},
	)
	if len(w.problems) > before || n.Kind != yaml.MappingNode {
		return r, false
	}
	if metric != nil {
		r.Metric = *metric
	}
	dst, err := destination(to, r.Via)
	if err != nil {
		w.errorf(n, "%s: %v", at, err)
		return r, false
	}
	r.Dst = dst
	return r, true
}

func destination(to string, via netip.Addr) (netip.Prefix, error) {
	if to == "" {
		return netip.Prefix{}, fmt.Errorf("a route needs to: default, or a range such as 198.51.100.0/24")
	}
	if to == "default" {
		if !via.IsValid() {
			return netip.Prefix{}, fmt.Errorf("a default route needs via:, the gateway")
		}
		return config.DefaultRoute(via).Dst, nil
	}
	dst, err := netip.ParsePrefix(to)
	if a, addrErr := netip.ParseAddr(to); err != nil && addrErr == nil {
		dst, err = netip.PrefixFrom(a, a.BitLen()), nil // one host
	}
	if err != nil || dst.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%s is not a range such as 198.51.100.0/24", shown(to))
	}
	if via.IsValid() && via.Is4() != dst.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("the route to %s has a gateway of the other family: %s", dst, via)
	}
	return dst.Masked(), nil
}
