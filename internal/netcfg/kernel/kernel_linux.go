// Package kernel is netcfg's seam to Linux: it reads the state of the network
// and makes single changes by rtnetlink.
//
// It owns the netlink handle, the memory of which addresses this program
// added, and the subscription to changes. It decides nothing: what to change
// comes from netcfg.Diff. It never touches IPv6 link-local addresses, tables
// other than main, or anything in another namespace.
//
// Tests run on the real kernel over veth pairs in a network namespace.
package kernel

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/netcfg"
)

const (
	sysClassNet   = "/sys/class/net"
	procIPv4All   = "/proc/sys/net/ipv4/conf/all"
	dumpRetries   = 5
	onlinkFlag    = int(netlink.FLAG_ONLINK)
	familyBoth    = netlink.FAMILY_ALL
	etherEncap    = "ether"
	driverInSysfs = "device/driver"
)

// Kernel implements netcfg.Kernel. Its methods may be called from several
// goroutines.
type Kernel struct {
	h *netlink.Handle

	mu   sync.Mutex
	ours map[owned]bool // the addresses that Do added
}

type owned struct {
	link string
	addr netip.Prefix
}

// Open opens the netlink socket in the namespace of the calling thread.
func Open() (*Kernel, error) {
	// Without an argument the library opens XFRM and NETFILTER too, and fails
	// on a kernel that lacks one of them.
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return &Kernel{h: h, ours: map[owned]bool{}}, nil
}

// Close closes the socket.
func (k *Kernel) Close() { k.h.Close() }

// dump runs a list operation again when the kernel says that the list changed
// while it was read (NLM_F_DUMP_INTR): the partial data is dropped.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	var out []T
	var err error
	for range dumpRetries {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return nil, err
}

// Snapshot reads all links, their addresses, and the unicast routes of the
// main table.
func (k *Kernel) Snapshot() (netcfg.State, error) {
	links, err := dump(k.h.LinkList)
	if err != nil {
		return netcfg.State{}, fmt.Errorf("list links: %w", err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return k.h.AddrList(nil, familyBoth) })
	if err != nil {
		return netcfg.State{}, fmt.Errorf("list addresses: %w", err)
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
		return k.h.RouteListFiltered(familyBoth, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
	})
	if err != nil {
		return netcfg.State{}, fmt.Errorf("list routes: %w", err)
	}

	var s netcfg.State
	at := make(map[int]int, len(links)) // link index to place in s.Links
	byIndex := make(map[int]netlink.Link, len(links))
	names := make(map[int]string, len(links))
	for _, l := range links {
		if l != nil && l.Attrs() != nil {
			byIndex[l.Attrs().Index], names[l.Attrs().Index] = l, l.Attrs().Name
		}
	}
	// Old kernels list by a hash of the index. The order of appearance puts
	// each VLAN after the link below it.
	for _, index := range slices.Sorted(maps.Keys(byIndex)) {
		at[index] = len(s.Links)
		s.Links = append(s.Links, linkState(byIndex[index], names))
	}
	for _, a := range addrs {
		p, ok := prefix(a.IPNet)
		i, known := at[a.LinkIndex]
		if !ok || !known || p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() {
			continue
		}
		l := &s.Links[i]
		l.Addrs = append(l.Addrs, netcfg.Addr{Prefix: p, Ours: k.isOurs(l.Name, p)})
	}
	for _, r := range routes {
		i, known := at[r.LinkIndex]
		if route, ok := fromNetlink(r); ok && known {
			s.Links[i].Routes = append(s.Links[i].Routes, route)
		}
	}
	s.ARPIgnore = readInt(filepath.Join(procIPv4All, "arp_ignore"))
	return s, nil
}

// linkState reads one link; names are those of all links by index.
func linkState(l netlink.Link, names map[int]string) netcfg.LinkState {
	a := l.Attrs()
	s := netcfg.LinkState{
		Index: a.Index, Name: a.Name, MAC: a.HardwareAddr.String(), MTU: a.MTU, Master: a.MasterIndex,
		Made: a.Alias == alias, PermMAC: permMAC(a),
		Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
	}
	if t := l.Type(); t != "device" { // what the library calls a link without a kind
		s.Kind = t
	}
	describe(&s, l, names)
	if ra, err := strconv.Atoi(readText(acceptRAPath(a.Name))); err == nil {
		s.AcceptRA = &ra
	}
	dir := filepath.Join(sysClassNet, a.Name)
	if driver, err := os.Readlink(filepath.Join(dir, driverInSysfs)); err == nil {
		s.Driver = filepath.Base(driver)
	}
	s.Physical = s.Kind == "" && a.EncapType == etherEncap && exists(filepath.Join(dir, "device")) && !exists(filepath.Join(dir, "phy80211"))
	if s.Physical && s.Carrier {
		// The same figures as by ethtool's generic netlink family, without
		// 132 KiB of code. Virtual machines say -1 and "unknown".
		s.Speed = max(0, readInt(filepath.Join(dir, "speed")))
		if d := readText(filepath.Join(dir, "duplex")); d != "unknown" {
			s.Duplex = d
		}
	}
	return s
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// readInt is 0 for what cannot be read or is no number.
func readInt(path string) int {
	n, err := strconv.Atoi(readText(path))
	if err != nil {
		return 0
	}
	return n
}

func (k *Kernel) isOurs(link string, p netip.Prefix) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ours[owned{link, p}]
}

func (k *Kernel) own(link string, p netip.Prefix, yes bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if yes {
		k.ours[owned{link, p}] = true
		return
	}
	delete(k.ours, owned{link, p})
}

// prefix keeps the host part.
func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr.Unmap(), ones), true
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func fromNetlink(r netlink.Route) (netcfg.Route, bool) {
	out := netcfg.Route{Metric: r.Priority, OnLink: r.Flags&onlinkFlag != 0, Protocol: netcfg.Protocol(r.Protocol)}
	if r.Dst != nil {
		p, ok := prefix(r.Dst)
		if !ok {
			return out, false
		}
		out.Dst = p
	} else if r.Family == unix.AF_INET6 {
		out.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	} else {
		out.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if via, ok := netip.AddrFromSlice(r.Gw); ok {
		out.Via = via.Unmap()
	}
	return out, true
}
