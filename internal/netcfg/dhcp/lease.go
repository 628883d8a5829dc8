// Package dhcp is a DHCPv4 client for one link (RFC 2131, 2132, 3442, 3397).
//
// It owns the life of a lease: ask, renew at T1, rebind at T2, drop at expiry
// or refusal, ask again after the link was away, and remember it over a
// reboot. It never configures the link: a lease goes to the owner, who puts
// the address there.
//
// Reading an answer ([Parse]) is pure and fuzzed; the exchanges are tested
// against dnsmasq over a veth pair and against a server in the test that gives
// refusals and odd answers.
package dhcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"kubesolo.io/os/internal/netcfg"
)

// Bounds on what a server may say.
const (
	minLease   = time.Minute // shorter ones would make renewals a flood
	maxLease   = 1<<32*time.Second - time.Second
	lostLease  = time.Hour // without option 51, which RFC 2131 demands
	minMTU     = 576       // RFC 2132 §5.1 allows 68; below 576 IPv4 hosts are not required to work
	maxServers = 8
)

// Lease is what a server gave, in the form the node uses.
type Lease struct {
	Address netip.Prefix   `json:"address"`
	Server  netip.Addr     `json:"server,omitzero"`
	Routes  []netcfg.Route `json:"routes,omitempty"`
	MTU     int            `json:"mtu,omitempty"`
	DNS     []netip.Addr   `json:"dns,omitempty"`
	NTP     []netip.Addr   `json:"ntp,omitempty"`
	// Search holds the search list (option 119), else the domain (option 15).
	Search   []string `json:"search,omitempty"`
	Hostname string   `json:"hostname,omitempty"`
	// Lifetime, T1 (renew) and T2 (rebind) count from the answer; 0 < T1 < T2
	// < Lifetime.
	Lifetime time.Duration `json:"lifetime"`
	T1       time.Duration `json:"t1"`
	T2       time.Duration `json:"t2"`
	// ACK is the raw answer; a renewal is made from it.
	ACK []byte `json:"ack"`
}

// Parse reads a DHCPACK. Only an answer that cannot be used at all is an
// error; odd options are left out.
func Parse(ack *dhcpv4.DHCPv4) (Lease, error) {
	if t := ack.MessageType(); t != dhcpv4.MessageTypeAck {
		return Lease{}, fmt.Errorf("not a DHCPACK but %s", t)
	}
	addr, ok := host(ack.YourIPAddr)
	if !ok {
		return Lease{}, fmt.Errorf("the server gave %s, which is not a host's address", ack.YourIPAddr)
	}
	bits, err := maskBits(ack.SubnetMask(), addr)
	if err != nil {
		return Lease{}, err
	}
	l := Lease{Address: netip.PrefixFrom(addr, bits), Hostname: ack.HostName(), ACK: ack.ToBytes()}
	l.Server, _ = host(ack.ServerIdentifier())
	l.DNS = hosts(ack.DNS())
	l.NTP = hosts(ack.NTPServers())
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options); err == nil && mtu >= minMTU {
		l.MTU = int(mtu)
	}
	l.Routes = routes(ack)
	l.Search = search(ack)
	l.Lifetime = ack.IPAddressLeaseTime(lostLease)
	l.Lifetime = min(max(l.Lifetime, minLease), maxLease)
	l.T1 = ack.IPAddressRenewalTime(l.Lifetime / 2)
	l.T2 = ack.IPAddressRebindingTime(l.Lifetime / 8 * 7)
	if l.T1 <= 0 || l.T1 >= l.T2 || l.T2 >= l.Lifetime {
		l.T1, l.T2 = l.Lifetime/2, l.Lifetime/8*7 // RFC 2131 §4.4.5
	}
	return l, nil
}

// FromBytes reads a raw DHCPACK.
func FromBytes(b []byte) (Lease, error) {
	ack, err := dhcpv4.FromBytes(b)
	if err != nil {
		return Lease{}, fmt.Errorf("malformed DHCP answer: %w", err)
	}
	return Parse(ack)
}

// host is the zero Addr and false for what cannot be the address of a host.
func host(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || !a.IsGlobalUnicast() {
		return netip.Addr{}, false
	}
	return a, true
}

func hosts(ips []net.IP) []netip.Addr {
	var out []netip.Addr
	for _, ip := range ips {
		if a, ok := host(ip); ok && !slices.Contains(out, a) && len(out) < maxServers {
			out = append(out, a)
		}
	}
	return out
}

// maskBits falls back on the class of the address when there is no mask: such
// servers are from before RFC 950.
func maskBits(m net.IPMask, addr netip.Addr) (int, error) {
	if len(m) == 0 {
		m = net.IP(addr.AsSlice()).DefaultMask()
	}
	ones, bits := m.Size()
	if bits != 32 || ones == 0 {
		return 0, errors.New("the server gave the subnet mask " + m.String() + ", which is not contiguous")
	}
	return ones, nil
}

// routes follows RFC 3442: with classless static routes the router option must
// be ignored.
func routes(ack *dhcpv4.DHCPv4) []netcfg.Route {
	var out []netcfg.Route
	add := func(dst netip.Prefix, via netip.Addr) {
		dst = dst.Masked()
		if !slices.ContainsFunc(out, func(r netcfg.Route) bool { return r.Dst == dst }) {
			out = append(out, netcfg.Route{Dst: dst, Via: via})
		}
	}
	if classless := ack.ClasslessStaticRoute(); len(classless) > 0 {
		for _, r := range classless {
			ip, ok := netip.AddrFromSlice(r.Dest.IP.To4())
			ones, bits := r.Dest.Mask.Size()
			via, usable := host(r.Router)
			if !ok || bits != 32 || !usable && !r.Router.IsUnspecified() {
				continue
			}
			if !usable {
				via = netip.Addr{} // 0.0.0.0: the subnet is on this link
			}
			add(netip.PrefixFrom(ip, ones), via)
		}
		return out
	}
	for _, r := range hosts(ack.Router()) {
		add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), r) // the first is preferred, RFC 2132 §3.5
	}
	return out
}

// search keeps names that can stand in resolv.conf: what a server says goes
// into a file whose syntax it must not be able to change.
func search(ack *dhcpv4.DHCPv4) []string {
	var names []string
	if labels := ack.DomainSearch(); labels != nil {
		names = labels.Labels
	}
	if len(names) == 0 {
		names = strings.Fields(ack.DomainName())
	}
	var out []string
	for _, n := range names {
		n = strings.TrimSuffix(strings.TrimRight(n, "\x00"), ".")
		if netcfg.ValidDomain(n) && !slices.Contains(out, n) && len(out) < maxServers {
			out = append(out, n)
		}
	}
	return out
}

// ForLink is the part of the lease that configures the link.
func (l Lease) ForLink() netcfg.Lease {
	return netcfg.Lease{Address: l.Address, Routes: slices.Clone(l.Routes), MTU: l.MTU}
}

// String is one line for a log.
func (l Lease) String() string {
	s := fmt.Sprintf("%s from %s for %s", l.Address, l.Server, l.Lifetime)
	for _, r := range l.Routes {
		s += ", " + r.String()
	}
	for _, d := range l.DNS {
		s += ", dns " + d.String()
	}
	return s
}
