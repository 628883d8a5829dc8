package clocksync

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"time"
)

// A Sample is what one server said, or the best of several answers.
type Sample struct {
	Offset   time.Duration // to be added to the local clock
	Delay    time.Duration // of the way to the server and back
	Distance time.Duration // the true offset is at most this far from Offset
}

const (
	// answerLimit is long enough for a satellite.
	answerLimit = 3 * time.Second
	// burstSize and burstPause: ntpd's and chrony's rate limits let this
	// pass, and the best of four is hardly ever one that waited in a queue.
	burstSize  = 4
	burstPause = 2 * time.Second
	// clockError is the error of reading the clock in user space here and
	// there, for a server whose precision is better than that.
	clockError = time.Millisecond / 10
)

// Query asks a server once. Pivot is a time within 68 years of the true one:
// messages do not say which era they are of.
func Query(ctx context.Context, server netip.AddrPort, pivot time.Time) (Sample, error) {
	var d net.Dialer
	// A new socket for each request has a new random port.
	conn, err := d.DialContext(ctx, "udp", server.String())
	if err != nil {
		return Sample{}, fmt.Errorf("time server: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	s, err := exchange(conn, pivot)
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // our own address and port help nobody
	}
	if ctx.Err() != nil {
		err = ctx.Err() // and not that the socket is closed
	}
	if err != nil {
		return Sample{}, fmt.Errorf("time server %s: %w", server, err)
	}
	return s, nil
}

func exchange(conn net.Conn, pivot time.Time) (Sample, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return Sample{}, err
	}
	cookie := fromStamp(random[:])
	if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return Sample{}, err
	}
	sent := time.Now()
	if _, err := conn.Write(request(cookie)); err != nil {
		return Sample{}, err
	}
	buf := make([]byte, 1024)
	for {
		n, err := conn.Read(buf)
		// By the monotonic clock: the wall clock may be set meanwhile.
		took := time.Since(sent)
		if err != nil {
			return Sample{}, err
		}
		p, err := decode(buf[:n])
		if err == nil {
			err = p.check(cookie)
		}
		switch {
		case err == nil:
			return p.sample(sent, took, pivot), nil
		case !errors.Is(err, errNotOurs) && n >= packetSize:
			return Sample{}, err
		}
		// Else wait on for the answer, until the deadline.
	}
}

// sample computes RFC 5905 §8: sent and sent+took are of the local clock.
func (p packet) sample(sent time.Time, took time.Duration, pivot time.Time) Sample {
	receive, transmit := p.receive.near(pivot), p.transmit.near(pivot)
	// Below zero when the server took longer than all of it did here: its
	// clock is being slewed.
	delay := max(took-transmit.Sub(receive), 0)
	there, back := receive.Sub(sent), transmit.Sub(sent.Add(took))
	precision := time.Duration(math.Ldexp(float64(time.Second), int(min(p.precision, 0))))
	return Sample{
		Offset: there/2 + back/2, Delay: delay,
		Distance: delay/2 + p.distance() + max(precision, clockError),
	}
}

// burst asks several times and keeps the answer that was quickest: its offset
// is bent least by queues. The spread of the others widens its distance.
func burst(ctx context.Context, ask func(context.Context) (Sample, error)) (Sample, error) {
	var got []Sample
	var last error
	for i := range burstSize {
		if i > 0 {
			select {
			case <-ctx.Done():
				return Sample{}, ctx.Err()
			case <-time.After(burstPause):
			}
		}
		s, err := ask(ctx)
		var kiss KissError
		switch {
		case errors.As(err, &kiss):
			return Sample{}, err // not one request more
		case err != nil && len(got) == 0 && i == 1:
			return Sample{}, err // twice in a row: not there
		case err != nil:
			last = err
		default:
			got = append(got, s)
		}
	}
	if len(got) == 0 {
		return Sample{}, last
	}
	return best(got), nil
}

func best(samples []Sample) Sample {
	b := samples[0]
	for _, s := range samples[1:] {
		if s.Delay < b.Delay {
			b = s
		}
	}
	// Root mean square of the differences: RFC 5905 §10, jitter.
	var sum float64
	for _, s := range samples {
		d := (s.Offset - b.Offset).Seconds()
		sum += d * d
	}
	b.Distance += time.Duration(math.Sqrt(sum/float64(len(samples))) * float64(time.Second))
	return b
}

// splitServer reads a server of the configuration: a name or an address, with a
// port after a colon if it is not 123.
func splitServer(server string) (host, port string) {
	if host, port, err := net.SplitHostPort(server); err == nil {
		return host, port
	}
	return server, "123"
}
