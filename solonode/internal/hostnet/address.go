package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is one network link of the host.
type Link struct {
	Name         string
	MTU          int
	Up           bool
	Addresses    []netip.Addr // IPv4
	DefaultRoute bool         // carries the default route with the lowest metric
	Source       netip.Addr   // source address of that route, if it names one
}

// fallbackAddress is used on a host without any usable address: the API server
// refuses to publish a loopback address as its endpoint.
func fallbackAddress() netip.Addr { return netip.AddrFrom4([4]byte{10, 40, 0, 1}) }

// Choice is the node's address and what is known about it.
type Choice struct {
	Address netip.Addr
	MTU     int  // of the link it is on, 0 when unknown
	Foreign bool // no link has it: Adopt must be called
	Reason  string
}

// Choose picks the node's address. A wanted address is taken as it is, even
// when no link has it: the node keeps its address for life, a DHCP server does
// not promise that.
func Choose(wanted netip.Addr, links []Link) Choice {
	mtu := uplinkMTU(links)
	if wanted.IsValid() {
		for _, link := range links {
			if slices.Contains(link.Addresses, wanted) {
				return Choice{Address: wanted, MTU: mtu, Reason: "configured, on " + link.Name}
			}
		}
		return Choice{Address: wanted, MTU: mtu, Foreign: true, Reason: "configured, on no link"}
	}
	for _, usable := range []func(Link) bool{
		func(link Link) bool { return link.DefaultRoute },
		func(link Link) bool { return link.Up },
	} {
		for _, link := range links {
			if ownedByPods(link.Name) || !usable(link) {
				continue
			}
			if link.Source.IsValid() && link.DefaultRoute {
				return Choice{Address: link.Source, MTU: mtu, Reason: "source of the default route on " + link.Name}
			}
			for _, addr := range link.Addresses {
				if !addr.IsLoopback() && !addr.IsLinkLocalUnicast() {
					return Choice{Address: addr, MTU: mtu, Reason: "first address of " + link.Name}
				}
			}
		}
	}
	return Choice{Address: fallbackAddress(), MTU: mtu, Foreign: true, Reason: "no link has a usable address"}
}

// ownedByPods tells links made by the pod network, which are no uplinks.
func ownedByPods(name string) bool {
	for _, prefix := range []string{"cni", "veth", "docker", "kube-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "lo"
}

func uplinkMTU(links []Link) int {
	for _, link := range links {
		if link.DefaultRoute {
			return link.MTU
		}
	}
	return 0
}

// Snapshot reads the links from the kernel.
func Snapshot() ([]Link, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("network links: %w", err)
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	var uplink *netlink.Route
	for _, route := range routes {
		isDefault := route.Dst == nil || route.Dst.IP.IsUnspecified()
		if isDefault && (uplink == nil || route.Priority < uplink.Priority) {
			uplink = &route
		}
	}
	var result []Link
	for _, link := range links {
		attrs := link.Attrs()
		item := Link{Name: attrs.Name, MTU: attrs.MTU, Up: attrs.Flags&net.FlagUp != 0}
		addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			return nil, fmt.Errorf("addresses of %s: %w", attrs.Name, err)
		}
		for _, address := range addresses {
			if addr, ok := netip.AddrFromSlice(address.IP.To4()); ok {
				item.Addresses = append(item.Addresses, addr)
			}
		}
		if uplink != nil && uplink.LinkIndex == attrs.Index {
			item.DefaultRoute = true
			if addr, ok := netip.AddrFromSlice(uplink.Src.To4()); ok {
				item.Source = addr
			}
		}
		result = append(result, item)
	}
	return result, nil
}

// Adopt gives the loopback link a foreign address, so that it answers on this
// host. Other hosts must not hear of it, because it may be theirs by now: ARP
// answers are limited to addresses of the asked link.
func Adopt(addr netip.Addr) error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("adopt %s: %w", addr, err)
	}
	for name, value := range map[string]string{"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2"} {
		if err := writeSysctl(name, value); err != nil {
			return fmt.Errorf("adopt %s: %w", addr, err)
		}
	}
	prefix := net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(32, 32)}
	err = netlink.AddrAdd(loopback, &netlink.Addr{IPNet: &prefix})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adopt %s: %w", addr, err)
	}
	return nil
}
