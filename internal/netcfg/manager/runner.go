package manager

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"sync"

	"kubesolo.io/os/internal/netcfg"
	"kubesolo.io/os/internal/netcfg/dhcp"
)

// runner is the state that only Run's goroutine touches.
type runner struct {
	m       *Manager
	wg      sync.WaitGroup // of the DHCP clients
	clients map[string]*client
	settled bool   // no more waiting: the node gets an address now
	anyLink bool   // a link that the configuration means was seen
	refused string // the last error of Converge
	unkept  string // the last error of a file
	node    node
	files   map[string]string // what was written last, by path
}

// client is a DHCP client and what it has.
type client struct {
	index   int
	carrier bool
	lease   *dhcp.Lease
	stop    context.CancelFunc
	dhcp    *dhcp.Client
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

func (r *runner) leases() map[string]netcfg.Lease {
	out := make(map[string]netcfg.Lease, len(r.clients))
	for name, c := range r.clients {
		if c.lease != nil {
			out[name] = c.lease.ForLink()
		}
	}
	return out
}

// target is the configuration applied to what is there, with the dummy link
// when the node needs it.
func (r *runner) target(have netcfg.State) netcfg.Want {
	want := netcfg.Resolve(r.m.o.Config, have, r.leases())
	dummy := r.node.dummy(want, have)
	want.ARPIgnore = len(dummy.Addrs) > 0
	want.Links = append(want.Links, dummy)
	return want
}

// reconcile starts and stops DHCP clients as links come and go.
func (r *runner) reconcile(ctx context.Context, have netcfg.State) {
	for name, c := range r.clients {
		l, ok := have.Link(name)
		conf, selected := r.m.o.Config.Select(l, have)
		if ok && selected && conf.DHCP4 && l.Index == c.index {
			continue
		}
		c.stop()
		delete(r.clients, name)
	}
	for _, l := range have.Links {
		conf, ok := r.m.o.Config.Select(l, have)
		if !ok {
			continue
		}
		r.anyLink = true
		if !conf.DHCP4 {
			continue
		}
		c, ok := r.clients[l.Name]
		if !ok {
			c = r.start(ctx, l)
			r.clients[l.Name] = c
		}
		if up := l.Up && l.Carrier; up != c.carrier {
			c.carrier = up
			c.dhcp.SetCarrier(up)
		}
	}
}

func (r *runner) start(ctx context.Context, l netcfg.LinkState) *client {
	ctx, cancel := context.WithCancel(ctx)
	c := &client{index: l.Index, stop: cancel}
	m := r.m
	c.dhcp = dhcp.New(dhcp.Options{
		Link: l.Name, Hostname: m.o.Hostname, Dir: m.o.LeaseDir, Log: m.o.Log,
		Changed: func(lease *dhcp.Lease) {
			change := leaseChange{client: c, lease: lease, applied: make(chan struct{})}
			select {
			case m.leases <- change:
			case <-ctx.Done():
				return
			}
			select {
			case <-change.applied:
			case <-ctx.Done():
			}
		},
	})
	r.wg.Go(func() { m.guarded(func() { c.dhcp.Run(ctx) }) })
	return c
}

// look derives the Status.
func (r *runner) look(have netcfg.State) Status {
	s := Status{NodeIP: r.node.addr, NodeIPSource: r.node.source}
	want := netcfg.Resolve(r.m.o.Config, have, r.leases())
	gateway := r.addresses(&s, want, have)
	r.names(&s, have)
	s.Missing = r.missing(have, len(s.Addresses) > 0, gateway)
	s.Ready = len(s.Missing) == 0
	s.Warnings = append(collisions(want), r.m.o.Config.Absent(have)...)
	if r.refused != "" {
		s.Warnings = append(s.Warnings, r.refused)
	}
	if r.unkept != "" {
		s.Warnings = append(s.Warnings, r.unkept)
	}
	return s
}

// addresses fills in links, addresses and the gateway; it reports whether there
// is an IPv4 default route that leads out.
func (r *runner) addresses(s *Status, want netcfg.Want, have netcfg.State) bool {
	gateway, metric := false, 0
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
				s.Addresses = append(s.Addresses, a.Prefix)
			}
		}
		l.Routes = nil
		s.Links = append(s.Links, l)
	}
	return gateway
}

// names collects name servers, search domains and time servers: what is
// configured first, then what leases say, in the order of the links.
func (r *runner) names(s *Status, have netcfg.State) {
	var dns []netip.Addr
	for _, leased := range []bool{false, true} {
		for _, l := range have.Links {
			conf, ok := r.m.o.Config.Select(l, have)
			switch {
			case !ok:
			case !leased:
				dns = append(dns, conf.Nameservers...)
				s.Search = append(s.Search, conf.Search...)
			case r.clients[l.Name] != nil && r.clients[l.Name].lease != nil:
				lease := r.clients[l.Name].lease
				dns = append(dns, lease.DNS...)
				s.Search = append(s.Search, lease.Search...)
				s.NTP = append(s.NTP, lease.NTP...)
			}
		}
	}
	s.DNS = usable(dns)
	s.Search = unique(s.Search)
	s.NTP = unique(s.NTP)
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
		conf, ok := r.m.o.Config.Select(l, have)
		if !ok {
			continue
		}
		found[conf.ID] = true
		if !conf.DHCP4 || conf.Optional {
			continue
		}
		expected = true
		if c := r.clients[l.Name]; !l.Carrier {
			out = append(out, l.Name+" has no carrier (is the cable in?)")
		} else if c == nil || c.lease == nil {
			out = append(out, l.Name+" has no DHCP lease yet")
		}
	}
	if address && !expected {
		return nil // static, and no gateway was asked for
	}
	if address && len(out) == 0 {
		return nil // leases without a router: an isolated network
	}
	for _, l := range r.m.o.Config.Links {
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
