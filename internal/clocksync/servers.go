package clocksync

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// lookupLimit bounds the question for a server's address.
	lookupLimit = 10 * time.Second
	// shownErrors: without a network the four names of the pool fail alike.
	shownErrors = 2
	// rateMin and rateMax bound the back-off after the kiss code RATE, which
	// doubles with each; denied is how long DENY and RSTR are obeyed: whoever
	// said it by mistake can take it back.
	rateMin = 128 * time.Second
	rateMax = 36 * time.Hour
	denied  = 24 * time.Hour
)

var errNoAnswer = errors.New("no time server answers")

// server is one name of the list, with one vote whatever it resolves to.
type server struct {
	name      string
	addresses []netip.AddrPort // left to try; the first is asked
	resume    time.Time        // not to be asked before
	rate      time.Duration    // the last back-off after RATE
}

// answer is what asking a server gave.
type answer struct {
	address netip.AddrPort
	Measurement
	err error
}

// pool keeps what is known of the servers from round to round.
type pool struct {
	ask    func(context.Context, netip.AddrPort, time.Time) (Sample, error)
	lookup func(context.Context, string) ([]netip.Addr, error)
	list   map[string]*server
}

// round asks all servers at the same time and gives what is worth comparing.
func (p *pool) round(ctx context.Context, names []string, pivot time.Time) ([]Measurement, error) {
	list := make(map[string]*server, len(names))
	answers := make([]answer, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		s := p.list[name]
		if s == nil {
			s = &server{name: name}
		}
		list[name] = s
		wg.Go(func() { answers[i] = p.measure(ctx, s, pivot) })
	}
	wg.Wait()
	p.list = list
	var all []Measurement
	var errs []string
	seen := map[netip.AddrPort]bool{}
	for _, a := range answers {
		switch {
		case a.err != nil:
			errs = append(errs, a.err.Error())
		case !seen[a.address]: // two names of one machine are one vote
			seen[a.address] = true
			all = append(all, a.Measurement)
		}
	}
	if len(all) == 0 {
		if more := len(errs) - shownErrors; more > 0 {
			errs = append(errs[:shownErrors], fmt.Sprintf("and %d others", more))
		}
		return nil, fmt.Errorf("%w: %s", errNoAnswer, strings.Join(errs, "; "))
	}
	return all, nil
}

func (p *pool) measure(ctx context.Context, s *server, pivot time.Time) answer {
	if left := time.Until(s.resume); left > 0 {
		return answer{err: fmt.Errorf("%s asked not to be asked for another %v", s.name, left.Round(time.Second))}
	}
	if len(s.addresses) == 0 {
		var err error
		if s.addresses, err = p.resolve(ctx, s.name); err != nil {
			return answer{err: err}
		}
	}
	address := s.addresses[0]
	sample, err := burst(ctx, func(ctx context.Context) (Sample, error) { return p.ask(ctx, address, pivot) })
	var kiss KissError
	switch {
	case err == nil:
		s.rate = 0
	case errors.As(err, &kiss) && kiss.Code == "RATE":
		s.rate = min(max(2*s.rate, rateMin), rateMax)
		s.resume = time.Now().Add(s.rate)
	case errors.As(err, &kiss) && (kiss.Code == "DENY" || kiss.Code == "RSTR"):
		s.resume = time.Now().Add(denied)
		s.addresses = nil
	default:
		s.addresses = s.addresses[1:] // another one next time, or a new look-up
	}
	name := s.name
	if host, _ := splitServer(name); host != address.Addr().String() {
		name += " (" + address.Addr().String() + ")"
	}
	return answer{address, Measurement{name, sample}, err}
}

func (p *pool) resolve(ctx context.Context, name string) ([]netip.AddrPort, error) {
	host, service := splitServer(name)
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("time server %q: port %q is no number from 0 to 65535", name, service)
	}
	if address, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(address, uint16(port))}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	found, err := p.lookup(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("time server %s: %w", name, err)
	}
	list := make([]netip.AddrPort, 0, len(found))
	for _, a := range found {
		list = append(list, netip.AddrPortFrom(a.Unmap(), uint16(port)))
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("time server %s has no address", host)
	}
	return list, nil
}

func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
