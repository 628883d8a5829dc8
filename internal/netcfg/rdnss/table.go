package rdnss

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Names are what the routers of one link say, those heard first in front.
type Names struct {
	DNS    []netip.Addr
	Search []string
}

// Run follows the routers of all links until ctx ends or messages is closed.
// messages are bodies of RTM_NEWNDUSEROPT; changed gets what is in force, by the
// index of the link, whenever that is something else, and must not keep Run
// waiting for long: the kernel's buffer is small.
func Run(ctx context.Context, messages <-chan []byte, log *slog.Logger, changed func(map[int]Names)) {
	known := table{}
	before := known.names()
	for {
		var expiry <-chan time.Time
		if next, ok := known.next(); ok {
			expiry = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case b, open := <-messages:
			if !open {
				return
			}
			a, err := parse(b)
			if err != nil {
				log.Debug("router advertisement", "error", err)
				continue
			}
			known.hear(a, time.Now())
		case <-expiry:
		}
		known.expire(time.Now())
		if now := known.names(); !maps.EqualFunc(now, before, Names.equal) {
			before = now
			changed(now)
		}
	}
}

func (n Names) equal(other Names) bool {
	return slices.Equal(n.DNS, other.DNS) && slices.Equal(n.Search, other.Search)
}

// table is what is in force, by the index of the link.
type table map[int][]entry

// entry is a server or a domain that one router named: what two name lasts as
// long as one of them means it.
type entry struct {
	router netip.Addr
	server netip.Addr
	domain string
	until  time.Time
}

// hear takes what a router says. What it said before and does not repeat stays
// for its time.
func (t table) hear(a advertisement, now time.Time) {
	for _, o := range a.options {
		e := entry{router: a.router, until: now.Add(o.lifetime)}
		for _, e.server = range o.servers {
			t.renew(a.link, e)
		}
		e.server = netip.Addr{}
		for _, e.domain = range o.domains {
			t.renew(a.link, e)
		}
	}
}

// renew keeps the place of an entry that is known: advertisements come every few
// minutes, and must not change who is asked first. A new one that has no room
// is left out.
func (t table) renew(link int, e entry) {
	list := t[link]
	for i, old := range list {
		if old.router == e.router && old.server == e.server && old.domain == e.domain {
			list[i] = e
			return
		}
	}
	if len(list) < maxEntries {
		t[link] = append(list, e)
	}
}

func (t table) expire(now time.Time) {
	for link, list := range t {
		t[link] = slices.DeleteFunc(list, func(e entry) bool { return !e.until.After(now) })
		if len(t[link]) == 0 {
			delete(t, link)
		}
	}
}

// next is when the next entry ends.
func (t table) next() (at time.Time, ok bool) {
	for _, list := range t {
		for _, e := range list {
			if !ok || e.until.Before(at) {
				at, ok = e.until, true
			}
		}
	}
	return at, ok
}

func (t table) names() map[int]Names {
	out := make(map[int]Names, len(t))
	for link, list := range t {
		var n Names
		for _, e := range list {
			switch {
			case e.domain != "" && !slices.Contains(n.Search, e.domain):
				n.Search = append(n.Search, e.domain)
			case e.domain == "" && !slices.Contains(n.DNS, e.server):
				n.DNS = append(n.DNS, e.server)
			}
		}
		out[link] = n
	}
	return out
}
