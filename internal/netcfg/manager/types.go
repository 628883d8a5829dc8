package manager

import (
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"kubesolo.io/os/internal/netcfg"
)

// Options configure a Manager. Paths that are empty switch that output off.
type Options struct {
	// Config is the wanted network; without any link in it [netcfg.Default]
	// is used.
	Config netcfg.Config
	// Hostname goes into the hosts file and into DHCP requests.
	Hostname string
	// NodeIP, when valid, is the node's address by configuration; it wins over
	// the stored one.
	NodeIP netip.Addr
	// NodeIPPath keeps the chosen node address: /var/lib/network/node-ip.
	NodeIPPath string
	// LeaseDir keeps one file per link: /var/lib/network/leases.
	LeaseDir string
	// TrialPath keeps a configuration that was tried and not confirmed:
	// /var/lib/network/trial.json.
	TrialPath string
	// ResolvPath and HostsPath: /run/etc/resolv.conf, /run/etc/hosts.
	ResolvPath string
	HostsPath  string
	// NoLinkGrace is how long WaitReady waits for a first link to appear on a
	// machine that has none; 0 means 3 s.
	NoLinkGrace time.Duration
	// LinkLocalAfter is how long a link with a carrier waits for DHCPv4 before
	// it takes a link-local address; 0 means 10 s.
	LinkLocalAfter time.Duration
	// LoadModule, if set, is called before a link of a kind is made that the
	// kernel may have in a module.
	LoadModule func(name, params string) error
	// Log gets one line per change of state; nil means slog.Default().
	Log *slog.Logger
	// Notify, if set, is called with every changed Status, from the manager's
	// goroutine: it must not block.
	Notify func(Status)
}

// Status is the network as the rest of the node sees it.
type Status struct {
	// Ready: an IPv4 address and a default route are there, or all that was
	// configured is.
	Ready bool `json:"ready"`
	// Missing says in words what is not there yet, when not Ready.
	Missing []string           `json:"missing,omitempty"`
	Links   []netcfg.LinkState `json:"links"`
	// Addresses of the managed links, IPv4 link-local ones too.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateway   netip.Addr     `json:"gateway,omitzero"`
	DNS       []netip.Addr   `json:"dns,omitempty"`
	Search    []string       `json:"search,omitempty"`
	NTP       []netip.Addr   `json:"ntp,omitempty"`
	// NodeIP is Kubernetes' address of this node. Once valid it never changes
	// while the manager lives.
	NodeIP netip.Addr `json:"node-ip,omitzero"`
	// NodeIPSource is one of: configured, kept, chosen, none (a dummy address,
	// since there is no network).
	NodeIPSource string `json:"node-ip-source,omitempty"`
	// TrialUntil is when a configuration on trial is taken back, zero while none
	// is; see [Manager.Try].
	TrialUntil time.Time `json:"trial-until,omitzero"`
	// Warnings: refused operations, ranges that collide with those of pods
	// and services, a configuration that was not confirmed.
	Warnings []string `json:"warnings,omitempty"`
}

// String is one line for a console.
func (s Status) String() string {
	var parts []string
	if s.Ready {
		parts = append(parts, "ready")
	} else {
		parts = append(parts, "not ready ("+strings.Join(s.Missing, "; ")+")")
	}
	for _, a := range s.Addresses {
		parts = append(parts, a.String())
	}
	if s.Gateway.IsValid() {
		parts = append(parts, "via "+s.Gateway.String())
	}
	for _, d := range s.DNS {
		parts = append(parts, "dns "+d.String())
	}
	if s.NodeIP.IsValid() {
		parts = append(parts, "node "+s.NodeIP.String()+" ("+s.NodeIPSource+")")
	}
	if !s.TrialUntil.IsZero() {
		parts = append(parts, "on trial until "+s.TrialUntil.UTC().Format(time.RFC3339))
	}
	return strings.Join(parts, " ")
}
