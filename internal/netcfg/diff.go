package netcfg

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
)

// OpKind says what an [Op] does.
type OpKind uint8

// The kinds, in the order the kernel needs them: what goes away first, since
// removing the first address of a subnet takes its other addresses and its
// routes along (net.ipv4.conf.*.promote_secondaries is 0); a link before its
// addresses; an address before the routes whose gateway it makes reachable. A
// bond takes no port that is up, and gives its MTU to those it takes.
const (
	OpRouteDel OpKind = iota + 1
	OpAddrDel
	OpLinkDel
	OpARPIgnore
	OpLinkAdd
	OpBridgeSet
	OpLinkMTU
	OpLinkDown
	OpLinkMaster
	OpBondPrimary
	OpAcceptRA
	OpLinkUp
	OpAddrAdd
	OpRouteReplace
)

// Op is one change. Which fields count depends on Kind.
type Op struct {
	Kind     OpKind
	Link     string
	LinkKind string       // OpLinkAdd
	Bond     *Bond        // OpLinkAdd of a bond
	Bridge   *Bridge      // OpBridgeSet
	VLAN     *VLAN        // OpLinkAdd of a VLAN
	Master   string       // OpLinkMaster: "" is none
	Port     string       // OpBondPrimary: "" is none
	AcceptRA int          // OpAcceptRA
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
		switch {
		case o.Bond != nil:
			return fmt.Sprintf("link add %s type bond mode %s miimon %d", o.Link, o.Bond.Mode, o.Bond.MIIMonitor)
		case o.VLAN != nil:
			return fmt.Sprintf("link add link %s name %s type vlan id %d", o.VLAN.Link, o.Link, o.VLAN.ID)
		}
		return fmt.Sprintf("link add %s type %s", o.Link, o.LinkKind)
	case OpBridgeSet:
		return fmt.Sprintf("link set %s type bridge stp_state %t forward_delay %ds priority %d", o.Link, *o.Bridge.STP, o.Bridge.ForwardDelay, o.Bridge.Priority)
	case OpAcceptRA:
		return fmt.Sprintf("sysctl net.ipv6.conf.%s.accept_ra=%d", o.Link, o.AcceptRA)
	case OpLinkDown:
		return fmt.Sprintf("link set %s down", o.Link)
	case OpLinkMaster:
		if o.Master == "" {
			return fmt.Sprintf("link set %s nomaster", o.Link)
		}
		return fmt.Sprintf("link set %s master %s", o.Link, o.Master)
	case OpBondPrimary:
		return fmt.Sprintf("link set %s type bond primary %s", o.Link, cmp.Or(o.Port, "none"))
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
// accepts. Links that want does not mention are not touched unless this program
// made them, and neither are addresses and routes that are not ours. Applying
// the result and asking again gives an empty list, unless the kernel refused
// something.
func Diff(want Want, have State) []Op {
	ops, have := remove(want, have)
	have = closed(want, have)
	if want.ARPIgnore && have.ARPIgnore < 1 {
		ops = append(ops, Op{Kind: OpARPIgnore})
	}
	for _, w := range want.Links {
		ops = append(ops, diffLink(w, want, have)...)
	}
	for _, l := range have.Links {
		// A port that no entry means any more. Others may put their links into
		// a bridge of ours (taps, veth pairs of pods): hardware is what only
		// we would.
		if master := have.index(l.Master); l.Physical && master.Made && !want.has(l.Name) {
			ops = append(ops, Op{Kind: OpLinkMaster, Link: l.Name})
		}
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

func diffLink(w WantLink, want Want, have State) []Op {
	l, exists := have.Link(w.Name)
	if w.Absent || !exists && w.Kind == "" {
		return nil
	}
	create := Op{Kind: OpLinkAdd, Link: w.Name, LinkKind: w.Kind, Bond: w.Bond, VLAN: w.VLAN}
	if exists && w.Kind != "" && (w.Kind != l.Kind || w.Kind != KindDummy && !l.Made) {
		return []Op{create} // to be refused by name: it is somebody else's
	}
	var ops []Op
	add := func(o Op) { o.Link = w.Name; ops = append(ops, o) }
	if !exists {
		add(create)
	}
	if w.Bridge != nil && (l.Bridge == nil || !reflect.DeepEqual(w.Bridge.Effective(), l.Bridge.Effective())) {
		add(Op{Kind: OpBridgeSet, Bridge: w.Bridge})
	}
	if w.MTU != 0 && w.MTU != l.MTU {
		add(Op{Kind: OpLinkMTU, MTU: w.MTU})
	}
	ops = append(ops, diffMaster(w, l, want, have)...)
	if w.Bond != nil {
		ops = append(ops, diffPrimary(w, l, want, have)...)
	}
	if ra := acceptRA(w); w.AcceptRA != nil && (!exists || l.AcceptRA != nil && *l.AcceptRA != ra) {
		add(Op{Kind: OpAcceptRA, AcceptRA: ra})
	}
	if !l.Up || have.index(l.Master).Kind == KindBond && w.Master != have.index(l.Master).Name { // which closes what it lets go
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

// acceptRA is the kernel's value: 1 would mean "not while this host forwards",
// and a node always does (Documentation/networking/ip-sysctl.rst). It is set
// before the link goes up, when the kernel asks for routers.
func acceptRA(w WantLink) int {
	if w.AcceptRA != nil && *w.AcceptRA {
		return 2
	}
	return 0
}

// diffMaster makes the link a port, or frees it from a master of ours.
func diffMaster(w WantLink, l LinkState, want Want, have State) []Op {
	master := have.index(l.Master)
	if w.Master == master.Name || w.Master == "" && !master.Made {
		return nil
	}
	ops := []Op{{Kind: OpLinkMaster, Link: w.Name, Master: w.Master}}
	if m, _ := want.link(w.Master); m.Kind == KindBond && l.Up {
		ops = append(ops, Op{Kind: OpLinkDown, Link: w.Name})
	}
	return ops
}

// diffPrimary names the primary port of a bond once the bond has it.
func diffPrimary(w WantLink, l LinkState, want Want, have State) []Op {
	current := ""
	if l.Bond != nil {
		current = l.Bond.Primary
	}
	if w.Bond.Primary == current {
		return nil
	}
	_, exists := have.Link(w.Bond.Primary)
	if port, _ := want.link(w.Bond.Primary); w.Bond.Primary != "" && (!exists || port.Master != w.Name) {
		return nil
	}
	return []Op{{Kind: OpBondPrimary, Link: w.Name, Port: w.Bond.Primary}}
}
