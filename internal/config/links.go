package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kubesolo.io/os/internal/netcfg"
)

// NetworkProblem is a mistake in the entry ID that shows only when the network
// is seen as a whole, or when the fields of a bond are seen together.
type NetworkProblem struct {
	ID  string
	Err error
}

// BondModes are the kernel's, in the order of their numbers.
func BondModes() []string {
	return []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}
}

// TransmitHashPolicies are those of the kernel since 5.12.
func TransmitHashPolicies() []string {
	return []string{"layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"}
}

// LACPRates say how often a bond of mode 802.3ad speaks to the switch: every
// 30 s or every second.
func LACPRates() []string { return []string{"slow", "fast"} }

// ValidVLAN checks the number of a VLAN; 0 and 4095 are reserved (IEEE 802.1Q).
func ValidVLAN(id int) error {
	if id < 1 || id > 4094 {
		return fmt.Errorf("%d is not the number of a VLAN: 1 to 4094", id)
	}
	return nil
}

// ValidLinkName checks the name of a link that is to be made (dev_valid_name
// of the kernel: 15 bytes, since IFNAMSIZ counts the final NUL).
func ValidLinkName(s string) error {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' }
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsFunc(s, bad) {
		return fmt.Errorf("%.40q cannot be the name of a link: 1 to 15 characters without space, / and :", s)
	}
	return nil
}

// CheckNetwork returns the mistakes in the entries that make links, and in how
// entries refer to each other.
func CheckNetwork(c netcfg.Config) []NetworkProblem {
	if len(c.Links) > MostLinks {
		return []NetworkProblem{{c.Links[MostLinks].ID, fmt.Errorf("more than %d links; select several by one match, such as name: \"eth*\"", MostLinks)}}
	}
	n := network{byID: map[string]netcfg.Link{}, holder: map[string]string{}, tags: map[netcfg.VLAN]string{}}
	for _, l := range c.Links {
		if _, twice := n.byID[l.ID]; twice {
			n.problem(l.ID, errors.New("this name is there twice; give each link a name of its own"))
		}
		n.byID[l.ID] = l
	}
	for _, l := range c.Links {
		n.check(l)
	}
	for _, l := range c.Links {
		// Once for each loop: from its first name.
		if path := n.loop(l.ID); path != nil && l.ID == slices.Min(path) {
			n.problem(l.ID, fmt.Errorf("it is built upon itself: %s", strings.Join(append(path, path[0]), " on ")))
		}
	}
	return n.problems
}

// MostLinks is how many entries a network may have; it bounds the work of
// looking for loops.
const MostLinks = 256

type network struct {
	byID     map[string]netcfg.Link
	holder   map[string]string // of ports
	tags     map[netcfg.VLAN]string
	problems []NetworkProblem
}

func (n *network) problem(id string, err error) {
	n.problems = append(n.problems, NetworkProblem{id, err})
}

func (n *network) check(l netcfg.Link) {
	kinds := 0
	if l.Bond != nil {
		kinds++
		n.bond(l.ID, *l.Bond)
		n.ports(l.ID, l.Bond.Ports)
	}
	if l.Bridge != nil {
		kinds++
		n.bridge(l.ID, *l.Bridge)
		n.ports(l.ID, l.Bridge.Ports)
	}
	if l.VLAN != nil {
		kinds++
		n.vlan(l.ID, *l.VLAN)
	}
	if kinds > 1 {
		n.problem(l.ID, errors.New("a link is a bond, a bridge or a VLAN, only one of them"))
	}
	if kinds > 0 {
		if err := ValidLinkName(l.ID); err != nil {
			n.problem(l.ID, err)
		}
	}
}

func (n *network) bond(id string, b netcfg.Bond) {
	if !slices.Contains(BondModes(), b.Mode) {
		n.problem(id, fmt.Errorf("%.40q is no mode of a bond: %s", b.Mode, strings.Join(BondModes(), ", ")))
		return
	}
	if len(b.Ports) == 0 {
		n.problem(id, errors.New("a bond needs interfaces: the links that it is made of"))
	}
	lacp := b.Mode == "802.3ad"
	if b.LACPRate != "" && !lacp {
		n.problem(id, fmt.Errorf("lacp-rate works with mode 802.3ad only, and this is %s", b.Mode))
	}
	if b.MinLinks != 0 && !lacp {
		n.problem(id, fmt.Errorf("min-links works with mode 802.3ad only, and this is %s", b.Mode))
	}
	if b.Primary != "" {
		if b.Mode != "active-backup" && b.Mode != "balance-tlb" && b.Mode != "balance-alb" {
			n.problem(id, fmt.Errorf("primary works with modes active-backup, balance-tlb and balance-alb only, and this is %s", b.Mode))
		}
		if !slices.Contains(b.Ports, b.Primary) {
			n.problem(id, fmt.Errorf("primary %.40s is not among the interfaces", b.Primary))
		}
	}
	if (b.UpDelay != 0 || b.DownDelay != 0) && b.MIIMonitor == 0 {
		n.problem(id, errors.New("up-delay and down-delay need mii-monitor-interval"))
	}
}

func (n *network) bridge(id string, b netcfg.Bridge) {
	// linux/if_bridge.h and net/bridge/br_private_stp.h.
	if b.ForwardDelay != 0 && (b.ForwardDelay < 2 || b.ForwardDelay > 30) {
		n.problem(id, fmt.Errorf("forward-delay %d is not between 2 and 30 seconds", b.ForwardDelay))
	}
	if b.Priority < 0 || b.Priority > 65535 {
		n.problem(id, fmt.Errorf("priority %d is not between 0 and 65535", b.Priority))
	}
}

func (n *network) vlan(id string, v netcfg.VLAN) {
	if err := ValidVLAN(v.ID); err != nil {
		n.problem(id, err)
	}
	if v.Link == "" {
		n.problem(id, errors.New("a VLAN needs link: the link that carries it"))
		return
	}
	if other, twice := n.tags[v]; twice {
		n.problem(id, fmt.Errorf("%s is VLAN %d on %.40s already", other, v.ID, v.Link))
	}
	n.tags[v] = id
}

func (n *network) ports(id string, ports []string) {
	for _, port := range ports {
		if other, held := n.holder[port]; held {
			n.problem(id, fmt.Errorf("%.40s is a port of %s already; a link can be in one bond or bridge", port, other))
			continue
		}
		n.holder[port] = id
		if n.byID[port].Bond != nil && n.byID[id].Bond != nil {
			n.problem(id, fmt.Errorf("%.40s is a bond, and a bond cannot be made of bonds", port))
		}
	}
}

// below are the entries that the entry is made of.
func (n *network) below(id string) []string {
	l := n.byID[id]
	switch {
	case l.Bond != nil:
		return l.Bond.Ports
	case l.Bridge != nil:
		return l.Bridge.Ports
	case l.VLAN != nil:
		return []string{l.VLAN.Link}
	}
	return nil
}

// loop gives the way down from the entry back to itself, if there is one.
func (n *network) loop(id string) []string { return n.walk(id, id, nil, map[string]bool{}) }

func (n *network) walk(start, at string, path []string, seen map[string]bool) []string {
	if seen[at] {
		return nil
	}
	seen[at] = true
	path = append(path, at)
	for _, next := range n.below(at) {
		if next == start {
			return path
		}
		if found := n.walk(start, next, path, seen); found != nil {
			return found
		}
	}
	return nil
}
