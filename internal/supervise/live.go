package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// A Protocol is how a running service shows that it still works.
type Protocol string

const (
	// HTTP2 is a gRPC server: the connection preface is answered by a
	// SETTINGS frame (RFC 9113, section 3.4).
	HTTP2 Protocol = "http2"
	// TLS is a TLS server: a ClientHello that no server of today accepts is
	// answered by an alert (RFC 8446, section 4.2.1), without a key being used.
	TLS Protocol = "tls"
	// Heartbeat is a service that calls Supervisor.Beat in some way. It is
	// watched from its first beat on.
	Heartbeat Protocol = "heartbeat"
)

// Liveness says how a hung service is noticed: one that runs, was ready, and
// answers nothing. Asked is the address of the service's Ready probe. The probe
// never begins before the service was ready, and does not count when the
// machine is so slow that the one who asks was late himself.
type Liveness struct {
	Protocol Protocol
	Every    time.Duration // between two questions; 0: 20 s
	Limit    time.Duration // for the answer; 0: 15 s
	Failures int           // questions without answer, in a row; 0: 4
}

func (l Liveness) withDefaults() Liveness {
	l.Every, l.Limit = orElse(l.Every, 20*time.Second), orElse(l.Limit, 15*time.Second)
	if l.Failures == 0 {
		l.Failures = 4
	}
	return l
}

func (l Liveness) String() string {
	if l.Protocol == "" {
		return "not asked"
	}
	l = l.withDefaults()
	if l.Protocol == Heartbeat {
		return fmt.Sprintf("heartbeat, looked for every %v, hung at %d misses", l.Every, l.Failures)
	}
	return fmt.Sprintf("%s every %v, answer within %v, hung at %d misses", l.Protocol, l.Every, l.Limit, l.Failures)
}

// errNoBeat is the miss of a heartbeat.
var errNoBeat = errors.New("no heartbeat")

// watch asks as long as ctx lives. The channel gives the last error once the
// service is hung.
func (a *actor) watch(ctx context.Context) <-chan error {
	if a.svc.Live.Protocol == "" {
		return nil
	}
	live := a.svc.Live.withDefaults()
	hung := make(chan error, 1)
	go func() {
		misses, beats := 0, a.beats.Load()
		first := beats
		for {
			due := time.Now().Add(live.Every)
			select {
			case <-time.After(live.Every):
			case <-ctx.Done():
				return
			}
			var err error
			if live.Protocol == Heartbeat {
				now := a.beats.Load()
				if now == beats && now != first {
					err = errNoBeat
				}
				beats = now
				due = due.Add(-live.Limit) // it waits for no answer
			} else {
				err = a.svc.Ready.converse(ctx, live)
			}
			if ctx.Err() != nil {
				return
			}
			misses = live.count(misses, err, time.Since(due.Add(live.Limit)))
			if misses >= live.Failures {
				hung <- err
				return
			}
		}
	}()
	return hung
}

// count gives the misses in a row after one more question. One that failed does
// not count when its end came late: this loop did not run when it should have,
// and neither may the service have.
func (l Liveness) count(misses int, err error, late time.Duration) int {
	switch {
	case err == nil:
		return 0
	case late > l.Limit/5:
		return misses
	}
	return misses + 1
}

// endHung ends a service that does not answer. SIGQUIT first: a Go program
// writes what each of its goroutines waits for into its log, which is all that
// will ever be known of this hang.
func (a *actor) endHung(cause error) (reason string, ended bool) {
	reason = fmt.Sprintf("hung: %d probes in a row without an answer: %v", a.svc.Live.withDefaults().Failures, cause)
	_ = a.proc.Signal(unix.SIGQUIT) // has ended: seen below
	exit, ok := a.exitWithin(5 * time.Second)
	if !ok {
		_ = a.proc.Kill() // what it could not do is seen below
		exit, ok = a.exitWithin(5 * time.Second)
	}
	if !ok {
		a.set(Running, reason+"; "+ErrNotStopped.Error())
		return "", false
	}
	return reason + "; " + exit.Reason, true
}

// converse connects, says what the protocol begins with, and reads the start of
// the answer.
func (p Probe) converse(ctx context.Context, live Liveness) error {
	question, right := live.Protocol.question()
	ctx, cancel := context.WithTimeout(ctx, live.Limit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, p.Network, p.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write(question); err != nil {
		return err
	}
	answer := make([]byte, 5)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if !right(answer) {
		return fmt.Errorf("%s does not speak %s: it answers % x", p, live.Protocol, answer)
	}
	return nil
}

// question gives the first bytes of a client, and what is a server's answer by
// its first five.
func (p Protocol) question() (bytes []byte, right func([]byte) bool) {
	if p == HTTP2 {
		const settings = 4 // frame type, after 24 bits of length
		return []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
			func(b []byte) bool { return b[3] == settings }
	}
	// TLS 1.0 and the one cipher suite that is none.
	hello := []byte{22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1}
	hello = append(hello, make([]byte, 32)...)       // random
	hello = append(hello, 0, 0, 2, 0x00, 0xff, 1, 0) // session, suites, compression
	const alert, handshake = 21, 22                  // record types
	return hello, func(b []byte) bool { return (b[0] == alert || b[0] == handshake) && b[1] == 3 }
}
