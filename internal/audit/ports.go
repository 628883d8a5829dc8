package audit

import (
	"fmt"
	"slices"
	"strings"
)

// A Port is a socket that the node is known to have.
type Port struct {
	Protocol string
	Number   uint16 // 0: whichever the kernel gave
	Owner    string
	Loopback bool // must not be reachable from outside
	What     string
}

// Ports is the whole list: a socket that is not in it fails the audit. The DHCP
// client has a packet socket, which takes what its filter lets through.
func Ports() []Port {
	return []Port{
		{"tcp", 6443, "kubesolo", false, "Kubernetes API: TLS, client certificate or token; anonymous callers get health only"},
		{"tcp", 10250, "kubesolo", false, "kubelet (logs, exec, metrics): TLS, asks the API server who may"},
		{"tcp", 10256, "kubesolo", false, "kube-proxy's health, for load balancers: says only whether Services work"},
		{"tcp", 10248, "kubesolo", true, "kubelet's health"},
		{"tcp", 10249, "kubesolo", true, "kube-proxy's metrics"},
		{"tcp", 9105, "kubesolo", true, "metrics of the node engine, only when asked for (KUBESOLO_METRICS_SERVER)"},
		{"tcp", 22, "ksagent", false, "SSH, only when the configuration has keys: public keys of root, see docs/ssh.md"},
		{"tcp", 9186, "ksagent", true, "metrics of the node and its updates (/metrics), see docs/updates-use.md"},
		{"udp", 546, "ksinit", false, "answers to the DHCPv6 client, only where the configuration has dhcp6"},
		{"tcp", 0, "containerd", true, "streams of exec, attach and port-forward, each with a token of the kubelet's"},
	}
}

func ports() []Check {
	return []Check{
		{Group: "port", Name: "known sockets only", Source: "/proc/1/net/{tcp,tcp6,udp,udp6}, /proc/PID/fd", Want: "each in the list of docs/hardening.md",
			Why: "nothing else of the node can be reached; sockets of pods on the host's network are theirs", Reference: "CIS", judge: knownPorts},
		{Group: "port", Name: "datastore has no port", Source: "/proc/1/net/tcp{,6}", Want: "nothing at 2379 or 2380",
			Why: "the datastore, with every Secret in it, is a Unix socket with mode 0600: no pod reaches it, on the host's network or not", judge: noDatastorePort},
	}
}

func knownPorts(s Snapshot) verdict {
	if _, missing := s.text(socketsRead); missing != nil {
		return *missing
	}
	var unknown []string
	for _, socket := range s.Sockets {
		if socket.Owner != podOwner && !slices.ContainsFunc(Ports(), func(p Port) bool { return p.covers(socket) }) {
			unknown = append(unknown, socket.String())
		}
	}
	if len(unknown) > 0 {
		return fail(strings.Join(unknown, ", "), "not in the list")
	}
	return pass(fmt.Sprintf("%d sockets", len(s.Sockets)))
}

func noDatastorePort(s Snapshot) verdict {
	if _, missing := s.text(socketsRead); missing != nil {
		return *missing
	}
	for _, socket := range s.Sockets {
		if p := socket.Address.Port(); socket.Protocol == "tcp" && (p == 2379 || p == 2380) && socket.Owner != podOwner {
			return fail(socket.String(), "KubeSolo releases serve their datastore there without a password: every pod on the host's network can read all Secrets")
		}
	}
	return pass("nothing")
}

func (p Port) covers(s Socket) bool {
	return p.Protocol == s.Protocol && p.Owner == s.Owner && (p.Number == 0 || p.Number == s.Address.Port()) &&
		(!p.Loopback || s.Address.Addr().Unmap().IsLoopback())
}

func (s Socket) String() string {
	owner := s.Owner
	if owner == "" {
		owner = "nobody known"
	}
	return fmt.Sprintf("%s %s of %s", s.Protocol, s.Address, owner)
}
