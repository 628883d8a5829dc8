package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Pauses after an unanswered exchange: doubled up to two minutes, give or take
// a second. RFC 8415 §7.6 allows an hour, but a server may come back any time
// and one small message costs nothing.
const (
	minPause = 2 * time.Second
	maxPause = 2 * time.Minute
	minRenew = time.Minute
)

// Options configure a Client.
type Options struct {
	Link string
	Log  *slog.Logger
	// Changed is called with every new lease, and with nil when its addresses
	// must not be used any more, from the client's goroutine.
	Changed func(*Lease)
}

// Client keeps a lease for one link.
type Client struct {
	o       Options
	carrier chan bool // holds the newest state only
	lease   *Lease
	since   time.Time // of lease; monotonic
}

// New makes a client; Run does the work.
func New(o Options) *Client {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Client{o: o, carrier: make(chan bool, 1)}
}

// SetCarrier tells the client the state of the link. It does not block. It
// must be called from one goroutine at a time.
func (c *Client) SetCarrier(up bool) {
	select {
	case <-c.carrier:
	default:
	}
	c.carrier <- up
}

// Run asks for and keeps a lease until ctx ends. It waits for SetCarrier(true)
// first. After the carrier was away it asks afresh, for the addresses that it
// has: the cable may be in another network.
func (c *Client) Run(ctx context.Context) {
	up, pause, due, fresh := false, minPause, time.Now(), true
	for ctx.Err() == nil {
		var timer <-chan time.Time
		switch {
		case up && c.lease != nil:
			timer = time.After(min(time.Until(due), c.left(c.lease.Lifetime)))
		case up:
			timer = time.After(time.Until(due))
		case c.lease != nil:
			timer = time.After(c.left(c.lease.Lifetime))
		}
		select {
		case <-ctx.Done():
			return
		case now := <-c.carrier:
			if now && !up {
				due, pause, fresh = time.Now(), minPause, true
			}
			up = now
			continue
		case <-timer:
		}
		if c.lease != nil && c.left(c.lease.Lifetime) <= 0 {
			c.drop("it expired")
			fresh = true
		}
		if !up || time.Now().Before(due) {
			continue
		}
		l, err := c.act(ctx, fresh)
		refused := statusError{}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			c.keep(l)
			pause, fresh = minPause, false
			due = time.Now().Add(c.left(l.T1))
			continue
		case errors.As(err, &refused) && c.lease != nil && !fresh:
			c.drop(err.Error())
			fresh = true
		case c.lease != nil && !fresh:
			c.o.Log.Warn("IPv6 lease is not renewed yet", "link", c.o.Link, "error", err)
			due = time.Now().Add(untilNext(c.left(c.lease.T2), c.left(c.lease.Lifetime)))
			continue
		}
		wait := pause + time.Duration(rand.Int64N(int64(2*time.Second))) - time.Second
		c.o.Log.Warn("no IPv6 lease", "link", c.o.Link, "error", err, "next", wait.Round(time.Second))
		due, pause = time.Now().Add(wait), min(2*pause, maxPause)
	}
}

// untilNext is how long after a failed try the next one is: a quarter of the rest
// of the lease and not less than minRenew, but from T2 on every server is asked
// (RFC 8415 §18.2.5), and a lease of two minutes has time for that once.
func untilNext(t2, lifetime time.Duration) time.Duration {
	next := max(minRenew, lifetime/4)
	if t2 > 0 {
		next = min(next, t2)
	}
	return next
}

// act runs the exchange that is due. A panic in PID 1 would be a kernel panic,
// and the messages come from the network.
func (c *Client) act(ctx context.Context, fresh bool) (l Lease, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the DHCPv6 exchange crashed: %v", p)
		}
	}()
	e, err := open(ctx, c.o.Link)
	if err != nil {
		return Lease{}, err
	}
	defer e.conn.Close()
	switch {
	case fresh || len(c.lease.Addresses) == 0:
		return c.acquire(ctx, e)
	case c.left(c.lease.T2) > 0:
		return e.renew(ctx, *c.lease)
	}
	return e.rebind(ctx, *c.lease)
}

// acquire asks for addresses, and where the servers have none for the names.
func (c *Client) acquire(ctx context.Context, e *exchange) (Lease, error) {
	var held Lease
	if c.lease != nil {
		held = *c.lease
	}
	l, err := e.solicit(ctx, held.Addresses)
	if err == nil || ctx.Err() != nil {
		return l, err
	}
	if l, informErr := e.inform(ctx); informErr == nil {
		return l, nil
	}
	return Lease{}, err
}

func (c *Client) left(d time.Duration) time.Duration { return d - time.Since(c.since) }

func (c *Client) keep(l Lease) {
	if c.lease != nil {
		l.inherit(*c.lease)
	}
	if c.lease == nil || c.lease.String() != l.String() {
		c.o.Log.Info("IPv6 lease", "link", c.o.Link, "lease", l.String())
	}
	c.lease, c.since = &l, time.Now()
	given := l
	c.o.Changed(&given)
}

// inherit keeps the names of the lease before when an answer has none: servers
// may leave out of a renewal what did not change.
func (l *Lease) inherit(before Lease) {
	if len(l.DNS)+len(l.Search)+len(l.NTP) == 0 {
		l.DNS, l.Search, l.NTP = before.DNS, before.Search, before.NTP
	}
}

func (c *Client) drop(why string) {
	if c.lease == nil {
		return
	}
	c.o.Log.Warn("IPv6 lease is gone", "link", c.o.Link, "lease", c.lease.String(), "why", why)
	c.lease = nil
	c.o.Changed(nil)
}
