package manager

import (
	"net/netip"
	"slices"
	"strings"
)

// Limits of resolv.conf: MAXNS of glibc and musl, and a search list that also
// old resolvers take (MAXDNSRCH). Kubernetes adds three domains of its own.
const (
	maxServers = 3
	maxSearch  = 6
)

// metadataDNS is the one link-local server that KubeSolo accepts.
func metadataDNS() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 169, 254}) }

// usable keeps the name servers that pods can use too: KubeSolo refuses a
// resolv.conf in which one is not global unicast, such as 127.0.0.53 or
// fe80::1, and would then use public servers. IPv4 first: pods have no IPv6.
func usable(in []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range unique(in) {
		if a.IsGlobalUnicast() && a.Zone() == "" || a == metadataDNS() {
			out = append(out, a.Unmap())
		}
	}
	slices.SortStableFunc(out, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return out[:min(len(out), maxServers)]
}

// Resolv is the content of resolv.conf.
//
// Without a known server it names the node itself. An empty file makes
// KubeSolo fall back on 8.8.8.8 and 1.1.1.1, which a closed network must not
// be sent to, and keeps CoreDNS from starting; a server that is not there makes
// each foreign name wait for a time-out. On the node's own address nothing
// listens on port 53, so a foreign name fails at once and nothing leaves the
// node; and if someone does run a name server there, it is used.
func Resolv(dns []netip.Addr, search []string, nodeIP netip.Addr) string {
	var b strings.Builder
	b.WriteString("# written by ksinit from the network configuration; changes here are lost\n")
	if len(dns) == 0 && nodeIP.IsValid() {
		b.WriteString("# no name server is known: only the names of the cluster resolve\n")
		dns = []netip.Addr{nodeIP}
	}
	for _, a := range dns {
		b.WriteString("nameserver " + a.String() + "\n")
	}
	if len(search) > 0 {
		b.WriteString("search " + strings.Join(search[:min(len(search), maxSearch)], " ") + "\n")
	}
	return b.String()
}

// Hosts is the content of the hosts file. The host name always resolves: to the
// node's address, or to 127.0.1.1 while there is none.
func Hosts(hostname string, nodeIP netip.Addr) string {
	var b strings.Builder
	b.WriteString("# written by ksinit; changes here are lost\n127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	if hostname != "" {
		ip := "127.0.1.1"
		if nodeIP.IsValid() {
			ip = nodeIP.String()
		}
		names := hostname
		if short, _, dotted := strings.Cut(hostname, "."); dotted {
			names += " " + short
		}
		b.WriteString(ip + " " + names + "\n")
	}
	return b.String()
}

// write brings the files up to date. resolv.conf is not written before it has
// something usable to say, which is at the latest when the node has an address.
func (r *runner) write(s Status) {
	r.file(r.m.o.HostsPath, Hosts(r.m.o.Hostname, s.NodeIP))
	if len(s.DNS) > 0 || s.NodeIP.IsValid() {
		r.file(r.m.o.ResolvPath, Resolv(s.DNS, s.Search, s.NodeIP))
	}
}

func (r *runner) file(path, content string) {
	if path == "" || r.files[path] == content {
		return
	}
	if err := writeFile(path, content); err != nil {
		r.m.o.Log.Warn("file is not written", "error", err)
		return
	}
	if r.files == nil {
		r.files = map[string]string{}
	}
	r.files[path] = content
}
