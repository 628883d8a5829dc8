package cloudinit

import (
	"fmt"
	"net"
	"net/netip"
	"path"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/netcfg"
)

// network reads network configuration version 2 (netplan's format).
func (w *walker) network(n *yaml.Node) *netcfg.Config {
	c := &netcfg.Config{}
	version := false
	w.mapping(n, "network",
		key{name: "version", read: func(n *yaml.Node) {
			version = true
			if v, ok := w.number(n, "network.version"); ok && v != 2 {
				w.errorf(n, "network.version: %d is not supported; write version: 2", v)
			}
		}},
		key{name: "ethernets", read: func(n *yaml.Node) {
			w.entries(n, "network.ethernets", func(id string, k, v *yaml.Node) {
				at := "network.ethernets." + shown(id)
				if isNull(v) {
					w.warnf(k, "%s has no value; the link is only set up", at)
					v = &yaml.Node{Kind: yaml.MappingNode, Line: k.Line}
				}
				c.Links = append(c.Links, w.ethernet(v, id, at))
			})
		}},
		key{name: "bonds", later: true},
		key{name: "bridges", later: true},
		key{name: "vlans", later: true},
		key{name: "renderer", later: true},
	)
	if n.Kind == yaml.MappingNode && !version {
		w.warnf(n, "network has no version; it is read as version 2")
	}
	return c
}

func (w *walker) ethernet(n *yaml.Node, id, at string) netcfg.Link {
	l := netcfg.Link{ID: id}
	flag := func(dst *bool, name string) func(*yaml.Node) {
		return func(n *yaml.Node) { *dst, _ = w.boolean(n, at+"."+name) }
	}
	w.mapping(n, at,
		key{name: "match", read: func(n *yaml.Node) { l.Match = w.match(n, at+".match") }},
		key{name: "dhcp4", read: flag(&l.DHCP4, "dhcp4")},
		key{name: "addresses", read: func(n *yaml.Node) {
			w.list(n, at+".addresses", func(e *yaml.Node) {
				if p, ok := w.hostPrefix(e, at+".addresses"); ok {
					l.Addresses = append(l.Addresses, p)
				}
			})
		}},
		key{name: "routes", read: func(n *yaml.Node) {
			w.list(n, at+".routes", func(e *yaml.Node) {
				if r, ok := w.route(e, at+".routes"); ok {
					l.Routes = append(l.Routes, r)
				}
			})
		}},
		key{name: "gateway4", read: w.gateway(&l, at+".gateway4", "IPv4", netip.Addr.Is4)},
		key{name: "gateway6", read: w.gateway(&l, at+".gateway6", "IPv6", netip.Addr.Is6)},
		key{name: "nameservers", read: func(n *yaml.Node) { w.nameservers(n, &l, at+".nameservers") }},
		key{name: "mtu", read: func(n *yaml.Node) {
			var mtu *int
			w.intoNumber(&mtu, at+".mtu", config.ValidMTU)(n)
			if mtu != nil {
				l.MTU = *mtu
			}
		}},
		key{name: "optional", read: flag(&l.Optional, "optional")},
		key{name: "dhcp6", later: true},
		key{name: "accept-ra", later: true},
		key{name: "set-name", later: true},
		key{name: "macaddress", later: true},
		key{name: "wakeonlan", later: true},
		key{name: "link-local", later: true},
		key{name: "dhcp-identifier", later: true},
		key{name: "dhcp4-overrides", later: true},
		key{name: "routing-policy", later: true},
	)
	return l
}

func (w *walker) match(n *yaml.Node, at string) netcfg.Match {
	var name, mac, driver *string
	w.mapping(n, at,
		key{name: "name", read: w.intoText(&name, at+".name", validGlob)},
		key{name: "macaddress", read: w.intoText(&mac, at+".macaddress", validMAC)},
		key{name: "driver", read: w.intoText(&driver, at+".driver", validGlob)},
	)
	var m netcfg.Match
	for _, f := range []struct{ dst, src *string }{{&m.Name, name}, {&m.MAC, mac}, {&m.Driver, driver}} {
		if f.src != nil {
			*f.dst = *f.src
		}
	}
	if n.Kind == yaml.MappingNode && m == (netcfg.Match{}) {
		w.errorf(n, "%s selects nothing: give name, macaddress or driver", at)
	}
	return m
}

func validGlob(s string) error {
	if _, err := path.Match(s, ""); err != nil || s == "" {
		return fmt.Errorf("%s is not a pattern such as eth0 or en*", shown(s))
	}
	return nil
}

func validMAC(s string) error {
	if m, err := net.ParseMAC(s); err != nil || len(m) != 6 {
		return fmt.Errorf("%s is not a hardware address such as 52:54:00:12:34:56", shown(s))
	}
	return nil
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

func (w *walker) gateway(l *netcfg.Link, at, family string, is func(netip.Addr) bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		a, ok := w.addr(n, at)
		if ok && !is(a) {
			w.errorf(n, "%s: %s is not an %s address", at, a, family)
		} else if ok {
			l.Routes = append(l.Routes, config.DefaultRoute(a))
		}
	}
}

func (w *walker) nameservers(n *yaml.Node, l *netcfg.Link, at string) {
	w.mapping(n, at,
		key{name: "addresses", read: func(n *yaml.Node) {
			w.list(n, at+".addresses", func(e *yaml.Node) {
				if a, ok := w.addr(e, at+".addresses"); ok {
					l.Nameservers = append(l.Nameservers, a)
				}
			})
		}},
		key{name: "search", read: func(n *yaml.Node) {
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
		key{name: "to", read: func(n *yaml.Node) { to, _ = w.text(n, at+".to") }},
		key{name: "via", read: func(n *yaml.Node) { r.Via, _ = w.addr(n, at+".via") }},
		key{name: "metric", read: w.intoNumber(&metric, at+".metric", func(v int) error {
			if v < 0 {
				return fmt.Errorf("%d is negative", v)
			}
			return nil
		})},
		key{name: "on-link", read: func(n *yaml.Node) { r.OnLink, _ = w.boolean(n, at+".on-link") }},
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
