package netcfg_test

import (
	"fmt"
	"net/netip"
	"slices"

	"kubesolo.io/os/internal/netcfg"
)

// model is as much of the kernel as Diff must know: what goes away along with
// an address, what replaces what, and which gateways are reachable.
type model struct{ state netcfg.State }

func (m *model) Snapshot() (netcfg.State, error) {
	s := netcfg.State{ARPIgnore: m.state.ARPIgnore}
	for _, l := range m.state.Links {
		l.Addrs, l.Routes = slices.Clone(l.Addrs), slices.Clone(l.Routes)
		s.Links = append(s.Links, l)
	}
	return s, nil
}

func (m *model) Do(op netcfg.Op) error {
	if op.Kind == netcfg.OpARPIgnore {
		m.state.ARPIgnore = 1
		return nil
	}
	i := slices.IndexFunc(m.state.Links, func(l netcfg.LinkState) bool { return l.Name == op.Link })
	if op.Kind == netcfg.OpLinkAdd {
		if i >= 0 {
			return fmt.Errorf("EEXIST")
		}
		return m.create(op)
	}
	if i < 0 {
		return fmt.Errorf("ENODEV")
	}
	l := &m.state.Links[i]
	switch op.Kind {
	case netcfg.OpLinkDel:
		m.remove(i)
	case netcfg.OpLinkMTU:
		return m.setMTU(l, op.MTU)
	case netcfg.OpBridgeSet:
		l.Bridge = op.Bridge
	case netcfg.OpAcceptRA:
		l.AcceptRA = &op.AcceptRA
	case netcfg.OpLinkMaster:
		return m.setMaster(l, op.Master)
	case netcfg.OpBondPrimary:
		if port, _ := m.state.Link(op.Port); op.Port != "" && port.Master != l.Index {
			return fmt.Errorf("not a port")
		}
		l.Bond.Primary = op.Port
	case netcfg.OpLinkDown:
		l.Up, l.Routes = false, nil
		for i := range m.state.Links {
			if x := &m.state.Links[i]; x.VLAN != nil && x.VLAN.Link == l.Name {
				x.Up = false
			}
		}
	case netcfg.OpLinkUp:
		if l.VLAN != nil {
			if below, _ := m.state.Link(l.VLAN.Link); !below.Up {
				return fmt.Errorf("ENETDOWN")
			}
		}
		l.Up = true
	case netcfg.OpAddrAdd:
		if !slices.ContainsFunc(l.Addrs, func(a netcfg.Addr) bool { return a.Prefix == op.Addr }) {
			l.Addrs = append(l.Addrs, netcfg.Addr{Prefix: op.Addr, Ours: true})
		}
	case netcfg.OpAddrDel:
		m.delAddr(l, op.Addr)
	case netcfg.OpRouteDel:
		n := len(l.Routes)
		l.Routes = slices.DeleteFunc(l.Routes, func(r netcfg.Route) bool { return r == op.Route })
		if len(l.Routes) == n {
			return fmt.Errorf("ESRCH")
		}
	case netcfg.OpRouteReplace:
		return m.replace(l, op.Route)
	}
	return nil
}

// delAddr: the first address of a subnet takes the others of it along, and
// the routes through it.
func (m *model) delAddr(l *netcfg.LinkState, p netip.Prefix) {
	first := slices.IndexFunc(l.Addrs, func(a netcfg.Addr) bool { return a.Prefix.Masked() == p.Masked() })
	primary := first >= 0 && l.Addrs[first].Prefix == p
	l.Addrs = slices.DeleteFunc(l.Addrs, func(a netcfg.Addr) bool {
		return a.Prefix == p || primary && a.Prefix.Addr().Is4() && a.Prefix.Masked() == p.Masked()
	})
	if primary {
		l.Routes = slices.DeleteFunc(l.Routes, func(r netcfg.Route) bool { return r.Via.IsValid() && p.Contains(r.Via) })
	}
}

func (m *model) replace(l *netcfg.LinkState, r netcfg.Route) error {
	covers := func(a netcfg.Addr) bool { return a.Prefix.Contains(r.Via) }
	if !l.Up || r.Via.IsValid() && !r.OnLink && !slices.ContainsFunc(l.Addrs, covers) {
		return fmt.Errorf("ENETUNREACH")
	}
	for i := range m.state.Links {
		x := &m.state.Links[i]
		x.Routes = slices.DeleteFunc(x.Routes, func(o netcfg.Route) bool {
			return o.Dst == r.Dst && o.Metric == r.Metric && (o.Dst.Addr().Is4() || x.Name == l.Name)
		})
	}
	l.Routes = append(l.Routes, r)
	return nil
}

func (m *model) create(op netcfg.Op) error {
	l := netcfg.LinkState{Index: 100, Name: op.Link, Kind: op.LinkKind, MTU: 1500, Made: true, AcceptRA: new(1)}
	for _, x := range m.state.Links {
		l.Index = max(l.Index, x.Index+1)
	}
	switch {
	case op.Bond != nil:
		b := *op.Bond
		b.Primary = ""
		l.Bond = &b
	case op.VLAN != nil:
		below, ok := m.state.Link(op.VLAN.Link)
		if !ok {
			return fmt.Errorf("ENODEV: %s", op.VLAN.Link)
		}
		l.VLAN, l.MTU = op.VLAN, below.MTU
	case op.LinkKind == netcfg.KindBridge:
		l.Bridge = &netcfg.Bridge{STP: new(false), ForwardDelay: 15, Priority: 32768}
	}
	m.state.Links = append(m.state.Links, l)
	return nil
}

// remove takes the VLANs on the link along and lets its ports go.
func (m *model) remove(i int) {
	gone := m.state.Links[i]
	m.state.Links = slices.Delete(m.state.Links, i, i+1)
	m.state.Links = slices.DeleteFunc(m.state.Links, func(l netcfg.LinkState) bool { return l.VLAN != nil && l.VLAN.Link == gone.Name })
	for i := range m.state.Links {
		if l := &m.state.Links[i]; l.Master == gone.Index {
			m.release(l, gone)
		}
	}
}

func (m *model) release(l *netcfg.LinkState, from netcfg.LinkState) {
	l.Master = 0
	if from.Kind == netcfg.KindBond {
		l.Up, l.Routes = false, nil
	}
}

func (m *model) setMaster(l *netcfg.LinkState, name string) error {
	for _, x := range m.state.Links {
		if x.Index == l.Master {
			m.release(l, x)
			break
		}
	}
	if name == "" {
		return nil
	}
	master, ok := m.state.Link(name)
	if !ok {
		return fmt.Errorf("ENODEV: %s", name)
	}
	if master.Kind == netcfg.KindBond {
		if l.Up {
			return fmt.Errorf("EPERM: a bond takes no port that is up")
		}
		l.Up, l.MTU = true, master.MTU
	}
	l.Master = master.Index
	return nil
}

func (m *model) setMTU(l *netcfg.LinkState, mtu int) error {
	if l.VLAN != nil {
		if below, _ := m.state.Link(l.VLAN.Link); below.MTU < mtu {
			return fmt.Errorf("ERANGE")
		}
	}
	l.MTU = mtu
	for i := range m.state.Links {
		x := &m.state.Links[i]
		if l.Kind == netcfg.KindBond && x.Master == l.Index {
			x.MTU = mtu
		}
		if x.VLAN != nil && x.VLAN.Link == l.Name {
			x.MTU = min(x.MTU, mtu)
		}
	}
	return nil
}
