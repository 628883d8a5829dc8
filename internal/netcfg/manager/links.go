package manager

import (
	"context"
	"net/netip"
	"time"

	"kubesolo.io/os/internal/netcfg"
	"kubesolo.io/os/internal/netcfg/dhcp"
	"kubesolo.io/os/internal/netcfg/dhcp6"
	"kubesolo.io/os/internal/netcfg/linklocal"
	"kubesolo.io/os/internal/netcfg/rdnss"
)

// defaultLinkLocalAfter: a server that is slow (relays, switch ports that learn
// for 30 s) does no harm, the address goes when the lease comes.
const defaultLinkLocalAfter = 10 * time.Second

// change comes from another goroutine: do runs in the manager's, and applied is
// closed when the kernel has been brought to it.
type change struct {
	do      func(*runner)
	applied chan struct{}
}

// client is all that runs for one link, and what it has.
type client struct {
	index   int
	asks    asks
	carrier bool
	// answered: DHCPv4 gave or confirmed a lease since the carrier came. One
	// from before, for another network perhaps, is no answer.
	answered bool
	waiting  time.Time // since when there is a carrier and no answer
	ctx      context.Context
	stop     context.CancelFunc
	v4       *dhcp.Client
	v6       *dhcp6.Client
	lease    *dhcp.Lease
	lease6   *dhcp6.Lease

	linkLocal     netip.Prefix
	stopLinkLocal context.CancelFunc // nil while it does not run
}

// asks is what a link asks the network for.
type asks struct{ v4, v6, linkLocal bool }

func wishes(l netcfg.Link) asks { return asks{l.DHCP4, l.DHCP6, l.WantsLinkLocal()} }

// reconcile starts and stops clients as links and their configuration come and
// go.
func (r *runner) reconcile(ctx context.Context, have netcfg.State) {
	for name, c := range r.clients {
		l, ok := have.Link(name)
		conf, selected := r.config.Select(l, have)
		if ok && selected && wishes(conf) == c.asks && l.Index == c.index {
			continue
		}
		c.stop()
		delete(r.clients, name)
	}
	for _, l := range have.Links {
		conf, ok := r.config.Select(l, have)
		if !ok {
			continue
		}
		r.anyLink = true
		if wishes(conf) == (asks{}) {
			continue
		}
		c, ok := r.clients[l.Name]
		if !ok {
			c = r.start(ctx, l, wishes(conf))
			r.clients[l.Name] = c
		}
		r.follow(c, l)
	}
}

// follow tells the clients of a link about its carrier, and starts and ends the
// fallback.
func (r *runner) follow(c *client, l netcfg.LinkState) {
	if up := l.Up && l.Carrier; up != c.carrier {
		c.carrier, c.answered, c.waiting = up, false, time.Now()
		if c.v4 != nil {
			c.v4.SetCarrier(up)
		}
		if c.v6 != nil {
			c.v6.SetCarrier(up)
		}
	}
	wanted := c.asks.linkLocal && c.carrier && !c.answered
	switch {
	case !wanted:
		c.endLinkLocal()
	case c.stopLinkLocal == nil && time.Since(c.waiting) >= r.m.o.LinkLocalAfter:
		r.startLinkLocal(c, l.Name)
	}
}

// fallback is when the next link gives up waiting; nil when none waits.
func (r *runner) fallback() <-chan time.Time {
	var next <-chan time.Time
	least := time.Duration(-1)
	for _, c := range r.clients {
		if !c.asks.linkLocal || !c.carrier || c.answered || c.stopLinkLocal != nil {
			continue
		}
		if left := r.m.o.LinkLocalAfter - time.Since(c.waiting); least < 0 || left < least {
			least = max(0, left)
			next = time.After(least)
		}
	}
	return next
}

func (r *runner) start(ctx context.Context, l netcfg.LinkState, a asks) *client {
	ctx, cancel := context.WithCancel(ctx)
	c := &client{index: l.Index, asks: a, ctx: ctx, stop: cancel}
	m := r.m
	if a.v4 {
		c.v4 = dhcp.New(dhcp.Options{
			Link: l.Name, Hostname: m.o.Hostname, Dir: m.o.LeaseDir, Log: m.o.Log,
			Changed: func(lease *dhcp.Lease) {
				m.send(ctx, func(*runner) {
					c.lease, c.answered, c.waiting = lease, lease != nil, time.Now()
					if lease != nil {
						c.endLinkLocal()
					}
				})
			},
		})
		r.wg.Go(func() { m.guarded(func() { c.v4.Run(ctx) }) })
	}
	if a.v6 {
		c.v6 = dhcp6.New(dhcp6.Options{Link: l.Name, Log: m.o.Log, Changed: func(lease *dhcp6.Lease) {
			m.send(ctx, func(*runner) { c.lease6 = lease })
		}})
		r.wg.Go(func() { m.guarded(func() { c.v6.Run(ctx) }) })
	}
	return c
}

// listen follows what routers say about names, on all links: which of them count
// is decided when the names are put together.
func (r *runner) listen(ctx context.Context) {
	m := r.m
	messages := m.kernel.RouterOptions(ctx) // subscribed before the first link is set up
	r.wg.Go(func() {
		m.guarded(func() {
			rdnss.Run(ctx, messages, m.o.Log, func(names map[int]rdnss.Names) {
				m.send(ctx, func(*runner) { r.advertised = names })
			})
		})
	})
}

func (r *runner) startLinkLocal(c *client, link string) {
	ctx, cancel := context.WithCancel(c.ctx)
	c.stopLinkLocal = cancel
	m := r.m
	r.wg.Go(func() {
		m.guarded(func() {
			linklocal.Run(ctx, linklocal.Options{Link: link, Log: m.o.Log, Changed: func(p netip.Prefix) {
				m.send(ctx, func(*runner) {
					if ctx.Err() == nil {
						c.linkLocal = p
					}
				})
			}})
		})
	})
}

func (c *client) endLinkLocal() {
	if c.stopLinkLocal != nil {
		c.stopLinkLocal()
	}
	c.stopLinkLocal, c.linkLocal = nil, netip.Prefix{}
}

// send has the manager's goroutine do something, and returns when the kernel
// has been brought to it or ctx ends.
func (m *Manager) send(ctx context.Context, do func(*runner)) {
	c := change{do: do, applied: make(chan struct{})}
	select {
	case m.changes <- c:
	case <-ctx.Done():
		return
	}
	select {
	case <-c.applied:
	case <-ctx.Done():
	}
}

// leases is what the links were given, by their names.
func (r *runner) leases() map[string]netcfg.Lease {
	out := make(map[string]netcfg.Lease, len(r.clients))
	for name, c := range r.clients {
		var l netcfg.Lease
		if c.lease != nil {
			l = c.lease.ForLink()
		}
		if c.lease6 != nil {
			for _, a := range c.lease6.Addresses {
				l.IPv6 = append(l.IPv6, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		l.LinkLocal = c.linkLocal
		out[name] = l
	}
	return out
}
