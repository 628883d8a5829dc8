package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/netcfg"
)

// alias is the mark of a link that this program made (IFLA_IFALIAS, shown by
// "ip link"). The kernel keeps it as long as the link, so it is still there
// after a restart of the program, and it does not take part in any name.
const alias = "kubesolo-os"

// userHZ is the unit of a bridge's times in sysfs: 1/100 s on every
// architecture (include/asm-generic/param.h).
const userHZ = 100

// describe fills in what a bond, bridge or VLAN is set to.
func describe(s *netcfg.LinkState, l netlink.Link, names map[int]string) {
	dir := filepath.Join(sysClassNet, s.Name)
	switch l := l.(type) {
	case *netlink.Bond:
		s.Bond = &netcfg.Bond{
			Mode: l.Mode.String(), MIIMonitor: max(0, l.Miimon), LACPRate: l.LacpRate.String(), TransmitHashPolicy: l.XmitHashPolicy.String(),
			MinLinks: max(0, l.MinLinks), UpDelay: max(0, l.UpDelay), DownDelay: max(0, l.DownDelay),
			Primary: readText(filepath.Join(dir, "bonding/primary")),
		}
	case *netlink.Bridge:
		dir = filepath.Join(dir, "bridge")
		s.Bridge = &netcfg.Bridge{
			STP:          new(readInt(filepath.Join(dir, "stp_state")) != 0),
			ForwardDelay: readInt(filepath.Join(dir, "forward_delay")) / userHZ,
			Priority:     readInt(filepath.Join(dir, "priority")),
		}
	case *netlink.Vlan:
		s.VLAN = &netcfg.VLAN{ID: l.VlanId, Link: names[l.ParentIndex]}
	}
}

// permMAC is the hardware's own address when another one is in use.
func permMAC(a *netlink.LinkAttrs) string {
	own := a.PermHWAddr
	if port, ok := a.Slave.(*netlink.BondSlave); ok {
		own = port.PermHardwareAddr
	}
	if len(own) == 0 || own.String() == a.HardwareAddr.String() {
		return ""
	}
	return own.String()
}

func readText(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// addLink makes a link and marks it. Between the two it is down and has no
// ports: if the power goes then, netcfg.Diff takes it for unused.
func (k *Kernel) addLink(op netcfg.Op) error {
	link, err := k.newLink(op)
	if err != nil {
		return err
	}
	switch err := k.h.LinkAdd(link); {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: the name is taken by a link, or the VLAN number on its link, that is not from this configuration", err)
	case errors.Is(err, unix.EOPNOTSUPP):
		module, _ := netcfg.Module(op.LinkKind)
		return fmt.Errorf("%w: the kernel module %s is not loaded", err, module)
	case err != nil:
		return err
	}
	made, err := k.h.LinkByName(op.Link)
	if err != nil {
		return fmt.Errorf("find the new link: %w", err)
	}
	return k.h.LinkSetAlias(made, alias)
}

func (k *Kernel) newLink(op netcfg.Op) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs() // a literal would set a queue length of 0
	attrs.Name = op.Link
	switch {
	case op.LinkKind == netcfg.KindDummy:
		return &netlink.Dummy{LinkAttrs: attrs}, nil
	case op.LinkKind == netcfg.KindBridge:
		return &netlink.Bridge{LinkAttrs: attrs}, nil
	case op.VLAN != nil:
		below, err := k.h.LinkByName(op.VLAN.Link)
		if err != nil {
			return nil, fmt.Errorf("link below %s: %w", op.VLAN.Link, err)
		}
		attrs.ParentIndex = below.Attrs().Index
		return &netlink.Vlan{LinkAttrs: attrs, VlanId: op.VLAN.ID, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}, nil
	case op.Bond != nil:
		return newBond(attrs, *op.Bond)
	}
	return nil, fmt.Errorf("links of type %q cannot be made by this version", op.LinkKind)
}

func newBond(attrs netlink.LinkAttrs, b netcfg.Bond) (netlink.Link, error) {
	bond := netlink.NewLinkBond(attrs) // in a literal each 0 would be set, and refused
	bond.Mode = netlink.StringToBondMode(b.Mode)
	if bond.Mode == netlink.BOND_MODE_UNKNOWN {
		return nil, fmt.Errorf("there is no bond mode %q", b.Mode)
	}
	bond.XmitHashPolicy = netlink.StringToBondXmitHashPolicy(b.TransmitHashPolicy)
	if bond.XmitHashPolicy == netlink.BOND_XMIT_HASH_POLICY_UNKNOWN {
		return nil, fmt.Errorf("there is no transmit hash policy %q", b.TransmitHashPolicy)
	}
	switch b.LACPRate {
	case "":
	case netlink.BOND_LACP_RATE_SLOW.String():
		bond.LacpRate = netlink.BOND_LACP_RATE_SLOW
	case netlink.BOND_LACP_RATE_FAST.String():
		bond.LacpRate = netlink.BOND_LACP_RATE_FAST
	default:
		return nil, fmt.Errorf("the LACP rate is slow or fast, not %q", b.LACPRate)
	}
	bond.Miimon, bond.MinLinks = b.MIIMonitor, b.MinLinks
	bond.UpDelay, bond.DownDelay = b.UpDelay, b.DownDelay
	return bond, nil
}

// setBridge writes what rtnetlink's library has no fields for. The delay comes
// first: with STP on the kernel takes only 2 to 30 s.
func setBridge(op netcfg.Op) error {
	stp := "0"
	if *op.Bridge.STP {
		stp = "1"
	}
	for _, f := range []struct{ name, value string }{
		{"forward_delay", strconv.Itoa(op.Bridge.ForwardDelay * userHZ)},
		{"priority", strconv.Itoa(op.Bridge.Priority)},
		{"stp_state", stp},
	} {
		if err := writeFile(filepath.Join(sysClassNet, op.Link, "bridge", f.name), f.value); err != nil {
			return err
		}
	}
	return nil
}

func setPrimary(op netcfg.Op) error {
	return writeFile(filepath.Join(sysClassNet, op.Link, "bonding/primary"), op.Port+"\n")
}

// writeFile does not truncate: sysfs has no use for it.
func writeFile(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func (k *Kernel) setMaster(port netlink.Link, master string) error {
	if master == "" {
		return k.h.LinkSetNoMaster(port)
	}
	m, err := k.h.LinkByName(master)
	if err != nil {
		return fmt.Errorf("link %s: %w", master, err)
	}
	return k.h.LinkSetMaster(port, m)
}
