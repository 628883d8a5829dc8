package cloudinit

import (
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/netcfg"
)

// versionHint is for those who come from network configuration version 1.
const versionHint = "write version: 2 (netplan: ethernets, bonds, bridges, vlans)"

// network reads network configuration version 2 (netplan's format).
func (w *walker) network(n *yaml.Node, at string) *netcfg.Config {
	c := &netcfg.Config{}
	if v := child(n, "version"); v != nil && v.Value == "1" && child(n, "config") != nil {
		w.errorf(v, "%s.version: 1 is not supported; %s", at, versionHint)
		return c
	}
	lines := map[string]*yaml.Node{} // of the entries that are right so far
	entries := func(kind string, read func(n *yaml.Node, l *netcfg.Link, at string) []key) func(*yaml.Node) {
		at := at + "." + kind
		return func(n *yaml.Node) {
			w.entries(n, at, validID, func(id string, k, v *yaml.Node) {
				at := at + "." + shown(id)
				if isNull(v) {
					w.warnf(k, "%s has no value; the link is only set up", at)
					v = &yaml.Node{Kind: yaml.MappingNode, Line: k.Line}
				}
				l, before := netcfg.Link{ID: id}, len(w.problems)
				w.mapping(v, at, append(w.linkKeys(&l, at), read(v, &l, at)...)...)
				if len(w.problems) == before {
					lines[id] = k
				}
				c.Links = append(c.Links, l)
			})
		}
	}
	version := false
	w.mapping(n, at,
		key{name: "version", doc: "2; there is no other.", read: func(n *yaml.Node) {
			version = true
			if v, ok := w.number(n, at+".version"); ok && v != 2 {
				w.errorf(n, "%s.version: %d is not supported; %s", at, v, versionHint)
			}
		}},
		key{name: "ethernets", doc: "Links that the machine has.", read: entries("ethernets", w.ethernet)},
		key{name: "bonds", doc: "Links made of several, by name.", read: entries("bonds", w.bond)},
		key{name: "bridges", doc: "Links that join others into one segment, by name.", read: entries("bridges", w.bridge)},
		key{name: "vlans", doc: "Tagged networks (IEEE 802.1Q) on other links, by name.", read: entries("vlans", w.vlan)},
		key{name: "renderer", later: true},
	)
	if n.Kind == yaml.MappingNode && !version {
		w.warnf(n, "%s has no version; it is read as version 2", at)
	}
	w.together(*c, at, lines)
	return c
}

// together checks how the entries fit each other.
func (w *walker) together(c netcfg.Config, at string, lines map[string]*yaml.Node) {
	for _, p := range config.CheckNetwork(c) {
		if k := lines[p.ID]; k != nil { // else it has messages of its own
			w.errorf(k, "%s: %s: %v", at, shown(p.ID), p.Err)
		}
	}
	if len(c.Links) > config.MostLinks {
		return
	}
	for _, holder := range c.Links {
		var ports []string
		switch {
		case holder.Bond != nil:
			ports = holder.Bond.Ports
		case holder.Bridge != nil:
			ports = holder.Bridge.Ports
		}
		for _, l := range c.Links {
			if k := lines[l.ID]; k != nil && slices.Contains(ports, l.ID) && (l.DHCP4 || l.DHCP6 || len(l.Addresses)+len(l.Routes) > 0) {
				w.warnf(k, "%s: %s is a port of %s; its addresses and routes have no effect, give them to %s",
					at, shown(l.ID), shown(holder.ID), shown(holder.ID))
			}
		}
	}
}

func validID(id string) error {
	if id == "" {
		return errors.New("an entry needs a name")
	}
	return nil
}

// child finds the value of a key.
func child(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

func (w *walker) ethernet(_ *yaml.Node, l *netcfg.Link, at string) []key {
	return []key{
		{name: "match", doc: "Which links this is for. Default: the one of this name.", read: func(n *yaml.Node) { l.Match = w.match(n, at+".match") }},
		{name: "set-name", later: true},
		{name: "wakeonlan", later: true},
	}
}

// parameters reads the mapping in which netplan keeps the options of a link.
func (w *walker) parameters(doc, at string, keys ...key) key {
	return key{name: "parameters", doc: doc, read: func(n *yaml.Node) { w.mapping(n, at, keys...) }}
}

func (w *walker) interfaces(dst *[]string, at string, must bool) key {
	return key{name: "interfaces", must: must, doc: "The links that it is made of: names of other entries, or of links.", read: func(n *yaml.Node) {
		*dst = w.texts(n, at+".interfaces", validID)
	}}
}

func (w *walker) bond(n *yaml.Node, l *netcfg.Link, at string) []key {
	// Without a monitor a bond does not see that a cable was pulled, so one
	// that is asked for nothing looks every 100 ms.
	b := &netcfg.Bond{Mode: config.BondModes()[0], MIIMonitor: 100}
	l.Bond = b
	if n.Kind == yaml.MappingNode && child(n, "interfaces") == nil {
		w.errorf(n, "%s has no interfaces; list the links that it is made of", at)
	}
	params := at + ".parameters"
	choice := func(dst *string, name, doc string, values []string) key {
		return key{name: name, doc: doc, read: func(n *yaml.Node) {
			if s, ok := w.choice(n, params+"."+name, values); ok {
				*dst = s
			}
		}}
	}
	millis := func(dst *int, name, doc string) key {
		return key{name: name, doc: doc, read: func(n *yaml.Node) {
			if v, ok := w.span(n, params+"."+name, time.Millisecond); ok {
				*dst = v
			}
		}}
	}
	return []key{
		w.interfaces(&b.Ports, at, true),
		w.parameters("Options of the bond.", params,
			choice(&b.Mode, "mode", "How the links work together. Default: balance-rr.", config.BondModes()),
			millis(&b.MIIMonitor, "mii-monitor-interval", "How often links are looked at: milliseconds, or 100ms. Default: 100."),
			choice(&b.LACPRate, "lacp-rate", "With mode 802.3ad: how often it speaks to the switch. Default: slow.", config.LACPRates()),
			choice(&b.TransmitHashPolicy, "transmit-hash-policy", "Which packets stay on one link. Default: layer2.", config.TransmitHashPolicies()),
			key{name: "primary", doc: "The link that is used whenever it works.", read: func(n *yaml.Node) {
				b.Primary, _ = w.text(n, params+".primary")
			}},
			key{name: "min-links", doc: "With mode 802.3ad: links that must work before the bond does.", read: func(n *yaml.Node) {
				var v *int
				w.intoRange(&v, params+".min-links", 0, 64)(n)
				if v != nil {
					b.MinLinks = *v
				}
			}},
			millis(&b.UpDelay, "up-delay", "How long a link must be up before it is used: milliseconds, or 200ms."),
			millis(&b.DownDelay, "down-delay", "How long a link must be down before it is left: milliseconds, or 200ms."),
			key{name: "ad-select", later: true},
			key{name: "all-members-active", later: true},
			key{name: "all-slaves-active", later: true},
			key{name: "arp-interval", later: true},
			key{name: "arp-ip-targets", later: true},
			key{name: "arp-validate", later: true},
			key{name: "arp-all-targets", later: true},
			key{name: "fail-over-mac-policy", later: true},
			key{name: "gratuitous-arp", later: true},
			key{name: "packets-per-member", later: true},
			key{name: "packets-per-slave", later: true},
			key{name: "primary-reselect-policy", later: true},
			key{name: "resend-igmp", later: true},
			key{name: "learn-packet-interval", later: true},
		),
	}
}

func (w *walker) bridge(_ *yaml.Node, l *netcfg.Link, at string) []key {
	b := &netcfg.Bridge{Ports: []string{}}
	l.Bridge = b
	params := at + ".parameters"
	return []key{
		w.interfaces(&b.Ports, at, false),
		w.parameters("Options of the bridge.", params,
			key{name: "stp", doc: "Spanning tree, against loops in the cabling.", read: w.intoBool(&b.STP, params+".stp")},
			key{name: "forward-delay", doc: "Time that a new port only listens: seconds (2 to 30), or 4s.", read: func(n *yaml.Node) {
				if v, ok := w.span(n, params+".forward-delay", time.Second); ok {
					b.ForwardDelay = v
				}
			}},
			key{name: "priority", doc: "The bridge with the lowest becomes the root of the tree.", read: func(n *yaml.Node) {
				var v *int
				w.intoRange(&v, params+".priority", 0, 65535)(n)
				if v != nil {
					b.Priority = *v
				}
			}},
			key{name: "ageing-time", later: true},
			key{name: "hello-time", later: true},
			key{name: "max-age", later: true},
			key{name: "path-cost", later: true},
			key{name: "port-priority", later: true},
		),
	}
}

func (w *walker) vlan(n *yaml.Node, l *netcfg.Link, at string) []key {
	v := &netcfg.VLAN{}
	l.VLAN = v
	for _, name := range []string{"id", "link"} {
		if n.Kind == yaml.MappingNode && child(n, name) == nil {
			w.errorf(n, "%s has no %s; a VLAN needs id: 1 to 4094, and link: what carries it", at, name)
		}
	}
	return []key{
		{name: "id", must: true, doc: "Number of the VLAN.", read: func(n *yaml.Node) {
			var id *int
			w.intoRange(&id, at+".id", 1, 4094)(n)
			if id != nil {
				v.ID = *id
			}
		}},
		{name: "link", must: true, doc: "The link that carries it: the name of another entry, or of a link.", read: func(n *yaml.Node) {
			v.Link, _ = w.checked(n, at+".link", validID)
		}},
	}
}

func (w *walker) match(n *yaml.Node, at string) netcfg.Match {
	var name, mac, driver *string
	before := len(w.problems)
	w.mapping(n, at,
		key{name: "name", doc: "Name of the link as the kernel has it, or a pattern: eth*.", read: w.intoText(&name, at+".name", validGlob)},
		key{name: "macaddress", doc: "Hardware address: 52:54:00:12:34:56.", read: w.intoText(&mac, at+".macaddress", validMAC)},
		key{name: "driver", doc: "Driver of the kernel, or a pattern: virtio*.", read: w.intoText(&driver, at+".driver", validGlob)},
	)
	var m netcfg.Match
	for _, f := range []struct{ dst, src *string }{{&m.Name, name}, {&m.MAC, mac}, {&m.Driver, driver}} {
		if f.src != nil {
			*f.dst = *f.src
		}
	}
	if n.Kind == yaml.MappingNode && len(w.problems) == before && m == (netcfg.Match{}) {
		w.errorf(n, "%s selects nothing: give name, macaddress or driver", at)
	}
	return m
}

func validGlob(s string) error {
	if _, err := path.Match(s, ""); err != nil || s == "" {
		return fmt.Errorf("%s is not a pattern such as eth0 or eth*", shown(s))
	}
	return nil
}

func validMAC(s string) error {
	if m, err := net.ParseMAC(s); err != nil || len(m) != 6 {
		return fmt.Errorf("%s is not a hardware address such as 52:54:00:12:34:56", shown(s))
	}
	return nil
}
