package hostnet

import (
	"net/netip"
	"strings"
)

// maxNameservers is what resolvers use of a resolv.conf.
const maxNameservers = 3

// Nameservers gives the servers of a resolv.conf that pods can use: no
// loopback (that would be the pod itself), no link-local with a zone, no
// duplicates. The metadata server 169.254.169.254 of clouds is usable.
func Nameservers(resolvConf string) []netip.Addr {
	var servers []netip.Addr
	seen := map[netip.Addr]bool{}
	for line := range strings.Lines(resolvConf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		addr, err := netip.ParseAddr(fields[1])
		if err != nil || seen[addr] || addr.Zone() != "" {
			continue
		}
		metadata := addr == netip.AddrFrom4([4]byte{169, 254, 169, 254})
		if !addr.IsGlobalUnicast() && !metadata {
			continue
		}
		seen[addr] = true
		if servers = append(servers, addr); len(servers) == maxNameservers {
			break
		}
	}
	return servers
}
