package manager

import (
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"

	"kubesolo.io/os/internal/netcfg"
	"kubesolo.io/os/internal/netcfg/rdnss"
)

// runner is the state that only Run's goroutine touches.
type runner struct {
	m       *Manager
	config  netcfg.Config  // the one in force
	trial   *trial         // nil while none runs
	wg      sync.WaitGroup // of the clients
	clients map[string]*client
	// advertised is what routers say, by the index of the link.
	advertised map[int]rdnss.Names
	settled    bool   // no more waiting: the node gets an address now
	anyLink    bool   // a link that the configuration means was seen
	refused    string // the last error of Converge
	unkept     string // the last error of a file
	node       node
	// rejected says why the configuration of this boot is not in force.
	rejected string
	files    map[string]string // what was written last, by path
}

// step does everything once, from a fresh look at the kernel.
func (r *runner) step(ctx context.Context) {
	ops, err := netcfg.Converge(r.m.kernel, r.target)
	for _, op := range ops {
		r.m.o.Log.Debug("network", "change", op.String())
	}
	r.note(err)
	have, err := r.m.kernel.Snapshot()
	if err != nil {
		r.note(err)
		return
	}
	r.reconcile(ctx, have)
	s := r.look(have)
	if !r.node.addr.IsValid() && (s.Ready || r.settled) {
		r.choose(have)
		ops, err := netcfg.Converge(r.m.kernel, r.target)
		for _, op := range ops {
			r.m.o.Log.Debug("network", "change", op.String())
		}
		r.note(err)
		if have, err = r.m.kernel.Snapshot(); err != nil {
			r.note(err)
			return
		}
		s = r.look(have)
	}
	r.write(s)
	if reflect.DeepEqual(s, r.m.Status()) {
		return
	}
	r.m.o.Log.Debug("network", "status", s.String())
	r.m.publish(s)
}

// note keeps an error and logs it when it is another one.
func (r *runner) note(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != r.refused {
		r.m.o.Log.Warn("network change refused", "error", text)
	}
	r.refused = text
}

// target is the configuration applied to what is there, with the dummy link
// when the node needs it.
func (r *runner) target(have netcfg.State) netcfg.Want {
	want := netcfg.Resolve(r.config, have, r.leases())
	dummy := r.node.dummy(want, have)
	want.ARPIgnore = len(dummy.Addrs) > 0
	want.Links = append(want.Links, dummy)
	return want
}

// look derives the Status.
func (r *runner) look(have netcfg.State) Status {
	s := Status{NodeIP: r.node.addr, NodeIPSource: r.node.source}
	want := netcfg.Resolve(r.config, have, r.leases())
	address, gateway := r.addresses(&s, want, have)
	r.names(&s, have)
	s.Missing = r.missing(have, address, gateway)
	s.Ready = len(s.Missing) == 0
	s.Warnings = append(collisions(want), r.config.Absent(have)...)
	for _, w := range []string{r.refused, r.unkept, r.rejected} {
		if w != "" {
			s.Warnings = append(s.Warnings, w)
		}
	}
	if r.trial != nil {
		s.TrialUntil = r.trial.until
	}
	return s
}

// addresses fills in links, addresses and the gateway; it reports whether there
// is an address beyond the links themselves, and an IPv4 default route that
// leads out.
func (r *runner) addresses(s *Status, want netcfg.Want, have netcfg.State) (address, gateway bool) {
	metric := 0
	for _, w := range want.Links {
		l, ok := have.Link(w.Name)
		if !ok || l.Name == loopback {
			continue
		}
		for _, route := range l.Routes {
			if route.IsDefault() && route.Dst.Addr().Is4() && (!gateway || route.Metric < metric) {
				gateway, metric, s.Gateway = true, route.Metric, route.Via
			}
		}
		for _, a := range l.Addrs {
			if a.Prefix.Addr().IsGlobalUnicast() {
				address = true
			}
			s.Addresses = append(s.Addresses, a.Prefix)
		}
		l.Routes = nil
		s.Links = append(s.Links, l)
	}
	return address, gateway
}

// names collects name servers, search domains and time servers: what is
// configured first, then what DHCPv4 says, then DHCPv6, then routers (RFC 8106
// §5.3.1: DHCP before them). Each in the order of
// the entries of the configuration, and links of one entry by name: which link
// the kernel found first must not decide who is asked for names.
func (r *runner) names(s *Status, have netcfg.State) {
	links := r.ordered(have)
	var dns []netip.Addr
	for _, l := range links {
		dns = append(dns, l.conf.Nameservers...)
		s.Search = append(s.Search, l.conf.Search...)
	}
	for _, l := range links {
		if l.client != nil && l.client.lease != nil {
			dns = append(dns, l.client.lease.DNS...)
			s.Search = append(s.Search, l.client.lease.Search...)
			s.NTP = append(s.NTP, l.client.lease.NTP...)
		}
	}
	for _, l := range links {
		if l.client != nil && l.client.lease6 != nil {
			dns = append(dns, l.client.lease6.DNS...)
			s.Search = append(s.Search, l.client.lease6.Search...)
			s.NTP = append(s.NTP, l.client.lease6.NTP...)
		}
	}
	for _, l := range links {
		if l.conf.WantsRA() {
			dns = append(dns, r.advertised[l.index].DNS...)
			s.Search = append(s.Search, r.advertised[l.index].Search...)
		}
	}
	s.DNS = usable(dns)
	s.Search = unique(s.Search)
	s.NTP = unique(s.NTP)
}

type orderedLink struct {
	index  int
	conf   netcfg.Link
	client *client
}

func (r *runner) ordered(have netcfg.State) []orderedLink {
	byName := map[string]orderedLink{}
	for _, l := range have.Links {
		if conf, ok := r.config.Select(l, have); ok {
			byName[l.Name] = orderedLink{l.Index, conf, r.clients[l.Name]}
		}
	}
	names := slices.Sorted(maps.Keys(byName))
	var out []orderedLink
	for _, entry := range r.config.Links {
		for _, name := range names {
			if byName[name].conf.ID == entry.ID {
				out = append(out, byName[name])
			}
		}
	}
	return out
}

// missing says what the node still waits for; nothing when an address and a
// default route are there, or when all there is to expect has come.
func (r *runner) missing(have netcfg.State, address, gateway bool) []string {
	if address && gateway {
		return nil
	}
	var out []string
	expected := false
	found := map[string]bool{} // entries that select a link, by ID
	for _, l := range have.Links {
		conf, ok := r.config.Select(l, have)
		if !ok {
			continue
		}
		found[conf.ID] = true
		if !conf.DHCP4 && !conf.DHCP6 || conf.Optional {
			continue
		}
		expected = true
		switch c := r.clients[l.Name]; {
		case !l.Carrier:
			out = append(out, l.Name+" has no carrier (is the cable in?)")
		case conf.DHCP4 && (c == nil || c.lease == nil):
			out = append(out, l.Name+" has no DHCP lease yet")
		case !conf.DHCP4 && (c == nil || c.lease6 == nil):
			out = append(out, l.Name+" has no DHCPv6 lease yet")
		}
	}
	if address && !expected {
		return nil // static, and no gateway was asked for
	}
	if address && len(out) == 0 {
		return nil // leases without a router: an isolated network
	}
	for _, l := range r.config.Links {
		if !found[l.ID] && !l.Optional {
			out = append(out, "there is no link for "+l.String())
		}
	}
	if len(out) == 0 {
		out = append(out, "no address is configured")
	}
	return out
}

// collisions names networks of this node that overlap those of pods and
// services: traffic to them would never leave the node.
func collisions(want netcfg.Want) []string {
	var out []string
	for _, w := range want.Links {
		nets := slices.Clone(w.Addrs)
		for _, route := range w.Routes {
			if !route.IsDefault() {
				nets = append(nets, route.Dst)
			}
		}
		for _, n := range nets {
			for use, r := range lanRanges() {
				if n.Overlaps(r) {
					out = append(out, w.Name+": the network "+n.Masked().String()+" collides with the range of "+use+", "+r.String()+": hosts in it cannot be reached from this node")
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func unique[T comparable](in []T) []T {
	var out []T
	for _, v := range in {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
