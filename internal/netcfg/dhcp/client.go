package dhcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"kubesolo.io/os/internal/atomicfile"
)

// Retry pauses after an unanswered exchange (RFC 2131 §4.1: doubled up to 64 s,
// give or take a second).
const (
	minPause = 2 * time.Second
	maxPause = 64 * time.Second
)

// minRenew is the shortest pause between tries of a renewal (RFC 2131 §4.4.5).
const minRenew = time.Minute

// Options configure a Client.
type Options struct {
	Link     string
	Hostname string // sent to the server; empty sends none
	Dir      string // holds <link>.json over reboots; empty keeps nothing
	Log      *slog.Logger
	// Changed is called with every new lease, and with nil when the address
	// must not be used any more, from the client's goroutine. When it returns
	// the address should be on the link: a renewal is sent from it.
	Changed func(*Lease)
}

// Client keeps a lease for one link.
type Client struct {
	o       Options
	carrier chan bool // holds the newest state only
	lease   *Lease
	since   time.Time // of lease; monotonic
	rebound bool      // every server was asked to go on with lease
	refused bool      // by any server since the link came up
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
// first. When the carrier goes, the lease is kept until it expires, and asked
// for again when the carrier is back: the cable may be in another network.
func (c *Client) Run(ctx context.Context) {
	up, pause := false, minPause
	due := time.Now() // of act, when up
	act := c.acquire
	for ctx.Err() == nil {
		var timer <-chan time.Time
		if up {
			timer = time.After(time.Until(due))
		} else if c.lease != nil {
			timer = time.After(c.left(c.lease.Lifetime))
		}
		select {
		case <-ctx.Done():
			return
		case now := <-c.carrier:
			if now && !up {
				due, pause, act, c.refused = time.Now(), minPause, c.acquire, false
			}
			up = now
			continue
		case <-timer:
		}
		if !up {
			c.drop("it expired while the link was away")
			continue
		}
		if c.lease != nil && c.left(c.lease.Lifetime) <= 0 {
			c.drop("it expired")
			act = c.acquire
		}
		err := c.whileUp(ctx, &up, act)
		var wait time.Duration
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			pause = minPause
			act, wait = c.next()
		case errors.Is(err, errRefused):
			c.drop(err.Error())
			c.refused, act, wait = true, c.acquire, jitter(pause)
			pause = min(2*pause, maxPause)
		case c.lease != nil:
			c.o.Log.Warn("lease is not renewed yet", "link", c.o.Link, "error", err)
			act, wait = c.next()
		default:
			wait = jitter(pause)
			pause = min(2*pause, maxPause)
			c.o.Log.Warn("no lease", "link", c.o.Link, "error", err, "next", wait.Round(time.Second))
		}
		due = time.Now().Add(wait)
	}
}

// whileUp runs one exchange and ends it early when the carrier goes.
func (c *Client) whileUp(ctx context.Context, up *bool, act func(context.Context) (Lease, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		lease Lease
		err   error
	}
	done := make(chan result, 1)
	go func() {
		l, err := guarded(ctx, act)
		done <- result{l, err}
	}()
	for {
		select {
		case *up = <-c.carrier:
			if !*up {
				cancel()
			}
		case r := <-done:
			if r.err != nil {
				return r.err
			}
			c.keep(r.lease)
			return nil
		}
	}
}

// guarded turns a panic of the packet library into an error: in PID 1 it would
// be a kernel panic, and the packets come from the network.
func guarded(ctx context.Context, act func(context.Context) (Lease, error)) (l Lease, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the DHCP exchange crashed: %v", p)
		}
	}()
	return act(ctx)
}

// next is what is to be done with the lease at hand, and when (RFC 2131 §4.4.5).
// After T1 it is half of the time to T2, after T2 half of the time to expiry, but
// not sooner than minRenew; the first rebind is at T2 sharp: in a lease of two
// minutes there is no later one.
func (c *Client) next() (func(context.Context) (Lease, error), time.Duration) {
	l := *c.lease
	e := c.exchange()
	renew := func(ctx context.Context) (Lease, error) { return e.renew(ctx, l) }
	rebind := func(ctx context.Context) (Lease, error) { c.rebound = true; return e.rebind(ctx, l) }
	switch {
	case c.left(l.T1) > 0:
		return renew, c.left(l.T1)
	case c.left(l.T2) >= 2*minRenew:
		return renew, c.left(l.T2) / 2
	case !c.rebound:
		return rebind, c.left(l.T2) // below zero when T2 passed while it was being renewed
	}
	left := c.left(l.Lifetime)
	return rebind, max(left/2, min(minRenew, left))
}

func (c *Client) left(d time.Duration) time.Duration { return d - time.Since(c.since) }

func (c *Client) exchange() exchange {
	return exchange{link: c.o.Link, hostname: c.o.Hostname}
}

// acquire asks for the address that this boot or the last one had, then for
// any.
func (c *Client) acquire(ctx context.Context) (Lease, error) {
	e := c.exchange()
	addr, known := c.known()
	if known && !c.refused {
		l, err := e.reboot(ctx, addr)
		if err == nil || ctx.Err() != nil {
			return l, err
		}
		c.o.Log.Info("the address of the last lease is not confirmed", "link", c.o.Link, "address", addr, "error", err)
		if errors.Is(err, errRefused) {
			c.refused = true
			if c.lease != nil {
				return Lease{}, err // the caller drops it, then asks afresh
			}
			addr = netip.Addr{}
		}
	}
	if c.refused {
		addr = netip.Addr{}
	}
	return e.request(ctx, addr)
}

func (c *Client) known() (netip.Addr, bool) {
	if c.lease != nil {
		return c.lease.Address.Addr(), true
	}
	l, err := c.load()
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.o.Log.Warn("the kept lease is not used", "link", c.o.Link, "error", err)
		}
		return netip.Addr{}, false
	}
	return l.Address.Addr(), true
}

func (c *Client) keep(l Lease) {
	c.since = time.Now()
	if c.lease == nil || c.lease.Address != l.Address {
		c.o.Log.Info("lease", "link", c.o.Link, "lease", l.String())
	}
	c.lease, c.rebound = &l, false
	if err := c.save(l); err != nil {
		c.o.Log.Warn("the lease is not kept over a reboot", "link", c.o.Link, "error", err)
	}
	given := l
	c.o.Changed(&given)
}

func (c *Client) drop(why string) {
	if c.lease == nil {
		return
	}
	c.o.Log.Warn("lease is gone", "link", c.o.Link, "address", c.lease.Address, "why", why)
	c.lease = nil
	c.o.Changed(nil)
}

func (c *Client) path() string { return filepath.Join(c.o.Dir, c.o.Link+".json") }

func (c *Client) save(l Lease) error {
	if c.o.Dir == "" {
		return nil
	}
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.o.Dir, 0o755); err != nil {
		return err
	}
	return atomicfile.Write(c.path(), append(b, '\n'), 0o644)
}

// load trusts only the address in the file: a server confirms it before it is
// used, so a clock that was wrong then or is wrong now does no harm.
func (c *Client) load() (Lease, error) {
	if c.o.Dir == "" {
		return Lease{}, fs.ErrNotExist
	}
	b, err := os.ReadFile(c.path())
	if err != nil {
		return Lease{}, err
	}
	var l Lease
	if err := json.Unmarshal(b, &l); err != nil {
		return Lease{}, fmt.Errorf("%s: %w", c.path(), err)
	}
	if !l.Address.IsValid() || !l.Address.Addr().Is4() {
		return Lease{}, fmt.Errorf("%s: no address in it", c.path())
	}
	return l, nil
}

// jitter spreads clients that lost power together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(2*time.Second))) - time.Second
}
