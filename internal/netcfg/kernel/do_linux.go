package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/netcfg"
)

// Do makes one change. What is done already (EEXIST on add) or gone already
// (ESRCH, EADDRNOTAVAIL, ENODEV on removal) is no error.
func (k *Kernel) Do(op netcfg.Op) error {
	switch op.Kind {
	case netcfg.OpARPIgnore:
		return arpIgnore()
	case netcfg.OpLinkAdd:
		return k.addLink(op)
	}
	link, err := k.h.LinkByName(op.Link)
	if err != nil || link == nil { // a nil Link in a later call would panic PID 1
		if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) && removes(op.Kind) {
			return nil
		}
		return fmt.Errorf("link %s: %w", op.Link, err)
	}
	switch op.Kind {
	case netcfg.OpLinkDel:
		return ignore(k.h.LinkDel(link), unix.ENODEV)
	case netcfg.OpBridgeSet:
		return setBridge(op)
	case netcfg.OpLinkMaster:
		return k.setMaster(link, op.Master)
	case netcfg.OpBondPrimary:
		return setPrimary(op)
	case netcfg.OpAcceptRA:
		return acceptRA(link.Attrs(), op.AcceptRA)
	case netcfg.OpLinkDown:
		return k.h.LinkSetDown(link)
	case netcfg.OpLinkMTU:
		return k.h.LinkSetMTU(link, op.MTU)
	case netcfg.OpLinkUp:
		return k.h.LinkSetUp(link)
	case netcfg.OpAddrAdd:
		if err := ignore(k.h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(op.Addr), Flags: addrFlags(op)}), unix.EEXIST); err != nil {
			return err
		}
		k.own(op.Link, op.Addr, true)
		return nil
	case netcfg.OpAddrDel:
		if err := ignore(k.h.AddrDel(link, &netlink.Addr{IPNet: ipNet(op.Addr)}), unix.EADDRNOTAVAIL); err != nil {
			return err
		}
		k.own(op.Link, op.Addr, false)
		return nil
	case netcfg.OpRouteReplace:
		return k.h.RouteReplace(toNetlink(op.Route, link.Attrs().Index))
	case netcfg.OpRouteDel:
		return ignore(k.h.RouteDel(toNetlink(op.Route, link.Attrs().Index)), unix.ESRCH)
	}
	return fmt.Errorf("unknown change %d", op.Kind)
}

func removes(kind netcfg.OpKind) bool {
	return kind == netcfg.OpLinkDel || kind == netcfg.OpAddrDel || kind == netcfg.OpRouteDel
}

func ignore(err error, harmless unix.Errno) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

// addrFlags skips duplicate address detection for IPv6 addresses that an
// operator wrote down or a DHCPv6 server keeps account of: while it runs (1 s)
// the address cannot be bound, and on a link without carrier it never ends.
func addrFlags(op netcfg.Op) int {
	if op.Addr.Addr().Is6() {
		return unix.IFA_F_NODAD
	}
	return 0
}

// arpIgnore answers ARP only for addresses of the asking link, and asks with
// such an address only.
func arpIgnore() error {
	for name, value := range map[string]string{"arp_ignore": "1", "arp_announce": "2"} {
		if err := os.WriteFile(filepath.Join(procIPv4All, name), []byte(value), 0o644); err != nil {
			return fmt.Errorf("sysctl net.ipv4.conf.all.%s: %w", name, err)
		}
	}
	return nil
}

func toNetlink(r netcfg.Route, index int) *netlink.Route {
	out := &netlink.Route{
		LinkIndex: index, Dst: ipNet(r.Dst), Priority: r.Metric, Protocol: netlink.RouteProtocol(r.Protocol),
		Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Family: netlink.FAMILY_V4,
	}
	if r.Dst.Addr().Is6() {
		out.Family = netlink.FAMILY_V6
	}
	if r.Via.IsValid() {
		out.Gw = r.Via.AsSlice()
	} else if r.Dst.Addr().Is4() {
		out.Scope = netlink.SCOPE_LINK
	}
	if r.OnLink {
		out.Flags = onlinkFlag
	}
	return out
}
