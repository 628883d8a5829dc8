package sshd

import (
	"net/netip"
	"sync"
	"time"
)

// Limits for those who have not logged in.
const (
	maxPending  = 4                // connections that are logging in at one time
	loginLimit  = 10 * time.Second // from the connection to the login
	freeTries   = 3                // failed logins of a source without a pause
	firstPause  = time.Second      // after the next one; doubles with each
	longPause   = time.Minute
	forgetAfter = 10 * time.Minute // since the source's last failed login
	logEvery    = time.Minute      // refusals of a source that are one line
	maxSources  = 64               // that are told apart; all others are one
)

// guard decides who may try to log in, and which refusals are worth a line in
// the log. Public keys are not guessed: its purpose is that those who try
// neither keep others out nor fill the log.
type guard struct {
	mu      sync.Mutex
	pending int
	sources map[netip.Prefix]*source
}

// source is an IPv4 address or an IPv6 network of 64 bits.
type source struct {
	failures int
	failed   time.Time // the last time
	until    time.Time // not admitted before
	logged   time.Time
	unlogged int // refusals since
}

func newGuard() *guard { return &guard{sources: map[netip.Prefix]*source{}} }

// admit takes one of the places for those who log in, to be given back with
// done, or says why not.
func (g *guard) admit(from netip.Addr) (refusal string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sources[prefix(from)]; s != nil && time.Now().Before(s.until) {
		return "too many failed logins from there"
	}
	if g.pending >= maxPending {
		return "too many connections are logging in"
	}
	g.pending++
	return ""
}

// outcome of an admitted connection.
type outcome int

const (
	loggedIn outcome = iota
	failedLogin
	neither // ended before it offered a key: a port check
)

// done gives the place back.
func (g *guard) done(from netip.Addr, o outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending--
	switch o {
	case loggedIn:
		if s := g.sources[prefix(from)]; s != nil {
			s.failures, s.until = 0, time.Time{}
		}
	case failedLogin:
		s := g.source(from)
		s.failures++
		s.failed = time.Now()
		if over := s.failures - freeTries; over > 0 {
			// Beyond six doublings the pause is at its longest.
			s.until = s.failed.Add(min(firstPause<<min(over-1, 6), longPause))
		}
	}
}

// worthALine counts a refusal. It tells whether to log it, and how many of the
// same source there were since the last line.
func (g *guard) worthALine(from netip.Addr) (since int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, now := g.source(from), time.Now()
	if !s.logged.IsZero() && now.Sub(s.logged) < logEvery {
		s.unlogged++
		return 0, false
	}
	since, s.unlogged, s.logged = s.unlogged, 0, now
	return since, true
}

// source finds or makes an entry, with mu held. When the table is full of
// sources that are still of interest, all new ones share one entry, for the log
// alone: a flood from many addresses must not keep out a new one.
func (g *guard) source(from netip.Addr) *source {
	p := prefix(from)
	if s := g.sources[p]; s != nil {
		if time.Since(s.failed) > forgetAfter {
			s.failures = 0
		}
		return s
	}
	if len(g.sources) >= maxSources {
		for other, s := range g.sources {
			if time.Since(s.failed) > forgetAfter && time.Since(s.logged) > logEvery {
				delete(g.sources, other)
			}
		}
	}
	if len(g.sources) >= maxSources {
		p = netip.Prefix{}
	}
	if g.sources[p] == nil {
		g.sources[p] = &source{}
	}
	return g.sources[p]
}

func prefix(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64 // what one site has to give away
	}
	p, err := a.Prefix(bits)
	if err != nil { // no address at all
		return netip.Prefix{}
	}
	return p
}
