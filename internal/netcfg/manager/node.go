package manager

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/netcfg"
)

const (
	loopback = "lo"
	// DummyLink holds the node's address while no other link has it.
	DummyLink = "ksolo0"
	// lastResort is the metric of the default route through the dummy link: it
	// only makes addresses routable, so that connecting to a service address
	// reaches kube-proxy's rules and does not end in ENETUNREACH.
	lastResort = 1 << 30
)

// fallbackIP is the node's address when there is no network and none was chosen
// before. It is not kept: the first boot with a network chooses a real one.
func fallbackIP() netip.Addr { return netip.AddrFrom4([4]byte{10, 40, 0, 1}) }

// node is the node's address; invalid until it is chosen.
type node struct {
	addr   netip.Addr
	source string
}

// Sources of the node's address, as in Status.NodeIPSource.
const (
	sourceConfigured = "configured"
	sourceKept       = "kept"
	sourceChosen     = "chosen"
	sourceNone       = "none"
)

// chooseNode: what is configured, then what was kept, then the best address
// there is, then the fallback.
func chooseNode(configured, kept netip.Addr, want netcfg.Want, have netcfg.State) node {
	if configured.IsValid() {
		return node{configured, sourceConfigured}
	}
	if fit(kept) {
		return node{kept, sourceKept}
	}
	type candidate struct {
		addr   netip.Addr
		metric int // of the link's default route
	}
	var all []candidate
	for _, w := range want.Links {
		l, ok := have.Link(w.Name)
		if !ok || l.Name == loopback || l.Name == DummyLink {
			continue
		}
		metric := lastResort
		for _, r := range l.Routes {
			if r.IsDefault() && r.Dst.Addr().Is4() {
				metric = min(metric, r.Metric)
			}
		}
		for _, a := range l.Addrs {
			if fit(a.Prefix.Addr()) {
				all = append(all, candidate{a.Prefix.Addr(), metric})
			}
		}
	}
	if len(all) == 0 {
		return node{fallbackIP(), sourceNone}
	}
	public := func(a netip.Addr) int {
		if a.IsPrivate() {
			return 0
		}
		return 1
	}
	best := slices.MinFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.metric, b.metric), cmp.Compare(public(a.addr), public(b.addr)))
	})
	return node{best.addr, sourceChosen}
}

// fit reports whether an address can be the node's.
func fit(a netip.Addr) bool {
	if !a.Is4() || !a.IsGlobalUnicast() || a == fallbackIP() {
		return false
	}
	for _, r := range lanRanges() {
		if r.Contains(a) {
			return false
		}
	}
	return true
}

// dummy is the target for the dummy link: it holds the node's address when no
// link has it (another lease, no network), and a default route of last resort
// when there is no other.
func (n node) dummy(want netcfg.Want, have netcfg.State) netcfg.WantLink {
	out := netcfg.WantLink{Name: DummyLink, Kind: "dummy"}
	if !n.addr.IsValid() {
		out.Absent = true
		return out
	}
	held, routed := false, false
	managed := map[string]bool{}
	for _, w := range want.Links {
		managed[w.Name] = true
		held = held || slices.ContainsFunc(w.Addrs, func(p netip.Prefix) bool { return p.Addr() == n.addr })
		routed = routed || slices.ContainsFunc(w.Routes, isDefault4)
	}
	for _, l := range have.Links {
		if l.Name == DummyLink {
			continue
		}
		for _, a := range l.Addrs {
			held = held || !a.Ours && a.Prefix.Addr() == n.addr
		}
		for _, r := range l.Routes {
			foreign := r.Protocol != netcfg.ProtoDHCP && r.Protocol != netcfg.ProtoStatic || !managed[l.Name]
			routed = routed || foreign && isDefault4(r)
		}
	}
	if !held {
		out.Addrs = []netip.Prefix{netip.PrefixFrom(n.addr, 32)}
	}
	if !routed {
		out.Routes = []netcfg.Route{{
			Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Metric: lastResort, Protocol: netcfg.ProtoStatic,
		}}
	}
	out.Absent = held && routed
	return out
}

func isDefault4(r netcfg.Route) bool { return r.IsDefault() && r.Dst.Addr().Is4() }

// choose fixes the node's address and keeps a newly chosen one.
func (r *runner) choose(have netcfg.State) {
	o := r.m.o
	kept, err := readNodeIP(o.NodeIPPath)
	if err != nil {
		o.Log.Warn("the kept node address is not used", "error", err)
	}
	r.node = chooseNode(o.NodeIP, kept, netcfg.Resolve(r.config, have, r.leases()), have)
	o.Log.Info("node address", "address", r.node.addr, "source", r.node.source)
	if r.node.source != sourceChosen || o.NodeIPPath == "" {
		return
	}
	if err := writeFile(o.NodeIPPath, r.node.addr.String()+"\n"); err != nil {
		r.unkept = "the node address is not kept: " + err.Error()
		o.Log.Warn("the node address is not kept over a reboot", "error", err)
	}
}

func readNodeIP(path string) (netip.Addr, error) {
	if path == "" {
		return netip.Addr{}, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return netip.Addr{}, nil
	}
	if err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(strings.TrimSpace(string(b)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s holds no address; remove it to choose a new one", path)
	}
	if !fit(a) {
		return netip.Addr{}, fmt.Errorf("%s: %s cannot be a node's address", path, a)
	}
	return a, nil
}

func writeFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, []byte(content), 0o644)
}
