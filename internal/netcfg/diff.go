package netcfg

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// OpKind says what an [Op] does.
type OpKind uint8

// The kinds, in the order the kernel needs them: what goes away first, since
// removing the first address of a subnet takes its other addresses and its
// routes along (net.ipv4.conf.*.promote_secondaries is 0); a link before its
// addresses; an address before the routes whose gateway it makes reachable.
const (
	OpRouteDel OpKind = iota + 1
	OpAddrDel
	OpLinkDel
	OpARPIgnore
	OpLinkAdd
	OpLinkMTU
	OpLinkUp
	OpAddrAdd
	OpRouteReplace
)

// Op is one change. Which fields count depends on Kind.
type Op struct {
	Kind     OpKind
	Link     string
	LinkKind string       // OpLinkAdd
	MTU      int          // OpLinkMTU
	Addr     netip.Prefix // OpAddrAdd, OpAddrDel
	Route    Route        // OpRouteReplace, OpRouteDel
}

// String prints the change as the ip(8) or sysctl(8) command that would make it.
func (o Op) String() string {
	switch o.Kind {
	case OpRouteDel:
		return fmt.Sprintf("route del %s dev %s", o.Route, o.Link)
	case OpAddrDel:
		return fmt.Sprintf("addr del %s dev %s", o.Addr, o.Link)
	case OpLinkDel:
		return fmt.Sprintf("link del %s", o.Link)
	case OpARPIgnore:
		return "sysctl net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"
	case OpLinkAdd:
		return fmt.Sprintf("link add %s type %s", o.Link, o.LinkKind)
	case OpLinkMTU:
		return fmt.Sprintf("link set %s mtu %d", o.Link, o.MTU)
	case OpLinkUp:
		return fmt.Sprintf("link set %s up", o.Link)
	case OpAddrAdd:
		return fmt.Sprintf("addr add %s dev %s", o.Addr, o.Link)
	case OpRouteReplace:
		return fmt.Sprintf("route replace %s dev %s", o.Route, o.Link)
	}
	return fmt.Sprintf("unknown change %d", o.Kind)
}

// Diff returns the changes that lead from have to want, in an order the kernel
// accepts. Links that want does not mention are not touched, and neither are
// addresses and routes that are not ours. Applying the result and asking again
// gives an empty list, unless the kernel refused something.
func Diff(want Want, have State) []Op {
	var ops []Op
	if want.ARPIgnore && have.ARPIgnore < 1 {
		ops = append(ops, Op{Kind: OpARPIgnore})
	}
	for _, w := range want.Links {
		ops = append(ops, diffLink(w, have)...)
	}
	// Stable: within one kind the order of the configuration stays.
	slices.SortStableFunc(ops, func(a, b Op) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(gatewayed(a), gatewayed(b)))
	})
	return ops
}

// gatewayed puts routes through a gateway after the directly connected ones
// that make the gateway reachable.
func gatewayed(o Op) int {
	if o.Kind == OpRouteReplace && o.Route.Via.IsValid() {
		return 1
	}
	return 0
}

func diffLink(w WantLink, have State) []Op {
	l, exists := have.Link(w.Name)
	switch {
	case w.Absent && exists && l.Kind == w.Kind && w.Kind != "":
		return []Op{{Kind: OpLinkDel, Link: w.Name}}
	case w.Absent, !exists && w.Kind == "":
		return nil
	}
	var ops []Op
	add := func(o Op) { o.Link = w.Name; ops = append(ops, o) }
	if !exists {
		add(Op{Kind: OpLinkAdd, LinkKind: w.Kind})
	}
	if w.MTU != 0 && w.MTU != l.MTU {
		add(Op{Kind: OpLinkMTU, MTU: w.MTU})
	}
	if !l.Up {
		add(Op{Kind: OpLinkUp})
	}

	lost := map[bool]bool{} // by "is IPv6": an address goes, and maybe routes with it
	for _, a := range l.Addrs {
		if a.Ours && !slices.Contains(w.Addrs, a.Prefix) {
			add(Op{Kind: OpAddrDel, Addr: a.Prefix})
			lost[a.Prefix.Addr().Is6()] = true
		}
	}
	for _, p := range w.Addrs {
		if lost[p.Addr().Is6()] || !slices.ContainsFunc(l.Addrs, func(a Addr) bool { return a.Prefix == p }) {
			add(Op{Kind: OpAddrAdd, Addr: p})
		}
	}
	for _, r := range l.Routes {
		if r.Protocol.ours() && !slices.Contains(w.Routes, r) && !replaced(r, w.Routes) {
			add(Op{Kind: OpRouteDel, Route: r})
		}
	}
	for _, r := range w.Routes {
		// A link that was down has lost its routes whatever the snapshot says.
		if lost[r.Dst.Addr().Is6()] || !l.Up || !slices.Contains(l.Routes, r) {
			add(Op{Kind: OpRouteReplace, Route: r})
		}
	}
	return ops
}

// replaced reports whether replacing one of the wanted routes overwrites r.
// IPv4 routes are keyed by destination and metric (net/ipv4/fib_trie.c); IPv6
// ones also by gateway, so they must be removed.
func replaced(r Route, want []Route) bool {
	return r.Dst.Addr().Is4() && slices.ContainsFunc(want, func(w Route) bool {
		return w.Dst == r.Dst && w.Metric == r.Metric
	})
}
