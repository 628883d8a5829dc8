package netcfg

import (
	"cmp"
	"reflect"
	"slices"
)

// The rtnl kinds of links that this program makes.
const (
	KindBond   = "bond"
	KindBridge = "bridge"
	KindVLAN   = "vlan"
	KindDummy  = "dummy"
)

// Module names the kernel module that links of the kind need, and its
// parameters. Without max_bonds=0 the module makes a bond0 of its own.
func Module(kind string) (name, params string) {
	switch kind {
	case KindBond:
		return "bonding", "max_bonds=0"
	case KindVLAN:
		return "8021q", ""
	}
	return kind, ""
}

// Defaults of the kernel (drivers/net/bonding/bond_main.c, net/bridge/br_device.c)
// where they are not zero, and of this program.
const (
	defaultBondMode     = "balance-rr"
	defaultHashPolicy   = "layer2"
	defaultLACPRate     = "slow"
	modeLACP            = "802.3ad"
	defaultMIIMonitor   = 100
	defaultForwardDelay = 15
	defaultPriority     = 32768
)

// Effective is the bond with its defaults filled in and in the form in which
// the kernel reports it; without its ports, which are links of their own.
func (b Bond) Effective() Bond {
	b.Ports = nil
	b.Mode = cmp.Or(b.Mode, defaultBondMode)
	b.MIIMonitor = cmp.Or(b.MIIMonitor, defaultMIIMonitor)
	b.TransmitHashPolicy = cmp.Or(b.TransmitHashPolicy, defaultHashPolicy)
	if b.Mode == modeLACP {
		b.LACPRate = cmp.Or(b.LACPRate, defaultLACPRate)
	} else {
		b.LACPRate = ""
	}
	if !slices.Contains([]string{"active-backup", "balance-tlb", "balance-alb"}, b.Mode) {
		b.Primary = ""
	}
	b.UpDelay -= b.UpDelay % b.MIIMonitor
	b.DownDelay -= b.DownDelay % b.MIIMonitor
	return b
}

// Effective is the bridge with its defaults filled in, without its ports.
func (b Bridge) Effective() Bridge {
	if b.STP == nil {
		b.STP = new(len(b.Ports) > 1)
	}
	b.Ports = nil
	b.ForwardDelay = cmp.Or(b.ForwardDelay, defaultForwardDelay)
	b.Priority = cmp.Or(b.Priority, defaultPriority)
	return b
}

// stacked adds to have the links that the configuration makes and that do not
// exist, as far as the links below them exist or will.
func (c Config) stacked(have State) State {
	out := State{Links: slices.Clone(have.Links), ARPIgnore: have.ARPIgnore}
	for range c.Links { // each round can add the link that another waits for
		for _, l := range c.Links {
			_, exists := out.Link(l.ID)
			switch {
			case l.Kind() == "" || exists:
			case l.VLAN != nil && c.below(l, out) == "":
			default:
				out.Links = append(out.Links, LinkState{Name: l.ID, Kind: l.Kind(), Made: true})
			}
		}
	}
	return out
}

// below names the link that the VLAN is on, when there is one in have.
func (c Config) below(l Link, have State) string {
	for _, name := range c.named(l.VLAN.Link, have) {
		if _, ok := have.Link(name); ok && name != l.ID {
			return name
		}
	}
	return ""
}

// floats reports whether a VLAN is on nothing: the link below is not there, or
// VLANs are on each other in a circle.
func (c Config) floats(l Link, have State) bool {
	for range len(c.Links) + 1 {
		if l.VLAN == nil {
			return false
		}
		below, _ := have.Link(c.below(l, have))
		if below.Name == "" {
			return true
		}
		l, _ = c.entry(below, have)
	}
	return true
}

// make fills in what the entry makes the link of.
func (t *WantLink) make(c Config, l Link, have State) {
	t.Kind = l.Kind()
	switch {
	case l.Bond != nil:
		t.Bond = new(l.Bond.Effective())
		t.Bond.Primary = ""
		if names := c.named(l.Bond.Effective().Primary, have); len(names) > 0 {
			t.Bond.Primary = names[0]
		}
	case l.Bridge != nil:
		t.Bridge = new(l.Bridge.Effective())
	case l.VLAN != nil:
		t.VLAN = &VLAN{ID: l.VLAN.ID, Link: c.below(l, have)}
	}
}

// order puts each link after the one it is on: a VLAN can be made and set up
// only when the link below exists and is up. Links below that no entry
// configures are added, to be set up.
func (w *Want) order() {
	for _, l := range w.Links {
		if l.VLAN != nil && !w.has(l.VLAN.Link) {
			w.Links = append(w.Links, WantLink{Name: l.VLAN.Link})
		}
	}
	depth := map[string]int{}
	for range w.Links {
		for _, l := range w.Links {
			if l.VLAN != nil {
				depth[l.Name] = depth[l.VLAN.Link] + 1
			}
		}
	}
	var ordered []WantLink
	for d := 0; len(ordered) < len(w.Links); d++ {
		for _, l := range w.Links {
			if depth[l.Name] == d {
				ordered = append(ordered, l)
			}
		}
	}
	w.Links = ordered
}

func (w Want) link(name string) (WantLink, bool) {
	for _, l := range w.Links {
		if l.Name == name {
			return l, true
		}
	}
	return WantLink{}, false
}

func (w Want) has(name string) bool {
	_, ok := w.link(name)
	return ok
}

// remove returns the removal of links that are ours and not wanted, or not in
// that form, and the state without them. What a bond or VLAN is set to is
// changed by making it anew: most of it cannot be changed while it is in use.
func remove(want Want, have State) ([]Op, State) {
	gone := map[string]bool{}
	foreign := map[string]bool{}
	for _, l := range have.Links { // a VLAN comes after the link below it
		w, wanted := want.link(l.Name)
		switch {
		case wanted && w.Absent:
			gone[l.Name] = l.Kind == w.Kind && w.Kind != ""
		case !wanted:
			gone[l.Name] = l.Made
		case l.Made || idle(l, have):
			gone[l.Name] = w.Kind != "" && w.differs(l)
		}
		if l.VLAN != nil && gone[l.VLAN.Link] && !gone[l.Name] { // the kernel takes it along
			gone[l.Name], foreign[l.Name] = true, !l.Made
		}
	}
	var ops []Op
	left := State{ARPIgnore: have.ARPIgnore}
	for _, l := range slices.Backward(have.Links) {
		if gone[l.Name] && !foreign[l.Name] {
			ops = append(ops, Op{Kind: OpLinkDel, Link: l.Name})
		}
	}
	for _, l := range have.Links {
		if gone[l.Name] {
			continue
		}
		if master := have.index(l.Master); gone[master.Name] {
			l.Master = 0
			if master.Kind == KindBond { // which closes what it lets go
				l.Up, l.Routes = false, nil
			}
		}
		left.Links = append(left.Links, l)
	}
	return ops, left
}

// differs reports whether the link must be made anew.
func (w WantLink) differs(l LinkState) bool {
	switch {
	case w.Kind != l.Kind:
		return true
	case w.Kind == KindDummy:
		return false
	case !l.Made: // an idle one: made anew it carries our mark
		return true
	case w.VLAN != nil && (l.VLAN == nil || *w.VLAN != *l.VLAN):
		return true
	case w.Bond != nil && l.Bond != nil:
		a, b := w.Bond.Effective(), l.Bond.Effective()
		a.Primary, b.Primary = "", "" // can be changed
		return !reflect.DeepEqual(a, b)
	}
	return false
}

// idle reports whether nobody uses the link, although we did not mark it: the
// bond0 that the kernel makes with the driver, or one that was made right
// before the power went.
func idle(l LinkState, have State) bool {
	used := l.Up || len(l.Addrs) > 0 || !slices.Contains([]string{KindBond, KindBridge, KindVLAN}, l.Kind)
	return !used && !slices.ContainsFunc(have.Links, func(x LinkState) bool { return x.Master == l.Index })
}

// closed returns the state in which VLANs are down that the way of the link
// below into or out of a bond closes.
func closed(want Want, have State) State {
	links := slices.Clone(have.Links)
	for i, l := range links {
		if l.VLAN == nil {
			continue
		}
		below, _ := have.Link(l.VLAN.Link)
		w, wanted := want.link(below.Name)
		from := have.index(below.Master)
		if to, _ := want.link(w.Master); wanted && w.Master != from.Name && (to.Kind == KindBond || from.Kind == KindBond) {
			links[i].Up, links[i].Routes = false, nil
		}
	}
	have.Links = links
	return have
}
