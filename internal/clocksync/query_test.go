package clocksync

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kubesolo.io/os/internal/nstest"
	"kubesolo.io/os/internal/ntptest"
)

// TestRealServers asks chrony servers of which one lies, one is not
// synchronised and one is not there.
func TestRealServers(t *testing.T) {
	nstest.Require(t, nstest.Mount) // the tier that has Debian's packages
	honest, other, liar := ntptest.Start(t, true), ntptest.Start(t, true), ntptest.Start(t, true)
	liar.SetTime(t, time.Now().AddDate(3, 0, 0))
	asleep := ntptest.Start(t, false)
	var all []Measurement
	for _, s := range []*ntptest.Server{honest, other, liar} {
		sample, err := Query(t.Context(), netip.MustParseAddrPort(s.Address), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %+v", s.Address, sample)
		all = append(all, Measurement{s.Address, sample})
	}
	// They read the same clock as we do, so the truth is known: 0.
	for _, m := range all[:2] {
		if m.Offset.Abs() > m.Distance {
			t.Errorf("offset %v is not within %v", m.Offset, m.Distance)
		}
	}
	if years := all[2].Offset.Hours() / 24 / 365; years < 2.9 || years > 3.1 {
		t.Errorf("the liar is %.2f years ahead, not 3", years)
	}
	c, err := Choose(all)
	if err != nil || len(c.Agree) != 2 || len(c.Refused) != 1 || c.Refused[0].Server != liar.Address {
		t.Errorf("choice %+v, %v", c, err)
	}
	if _, err := Query(t.Context(), netip.MustParseAddrPort(asleep.Address), time.Now()); err == nil ||
		!strings.Contains(err.Error(), "not synchronised") && !strings.Contains(err.Error(), "kiss code") {
		t.Errorf("a server that is not synchronised: %v", err)
	}
	if _, err := Query(t.Context(), netip.MustParseAddrPort("127.0.0.1:9"), time.Now()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody there: %v", err)
	}
}

// respond answers each request with what reply makes of it, on loopback.
func respond(t *testing.T, reply func(request []byte) [][]byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1024)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, b := range reply(buf[:n]) {
				if _, err := conn.WriteToUDPAddrPort(b, from); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// Everything but the answer to this very request is passed over.
func TestForeignAnswers(t *testing.T) {
	received := make(chan []byte, 2)
	server := respond(t, func(b []byte) [][]byte {
		received <- slices.Clone(b)
		p, err := decode(b)
		if err != nil || p.mode != modeClient || p.version != 4 {
			t.Errorf("request %+v, %v", p, err)
		}
		good := answerTo(p.transmit, time.Now().Add(time.Hour))
		forged := slices.Clone(good)
		forged[1], forged[30] = 0, forged[30]+1
		copy(forged[12:], "DENY")
		return [][]byte{nil, []byte("hello"), b, forged, append(good, "and a MAC that nobody asked for"...)}
	})
	for range 2 {
		s, err := Query(t.Context(), server, time.Now())
		if err != nil || (s.Offset-time.Hour).Abs() > s.Distance {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	requests := [][]byte{<-received, <-received}
	for _, b := range requests {
		// Nothing of the client is in it: no time, no version of the system.
		if len(b) != packetSize || strings.Trim(string(b[1:40]), "\x00") != "" {
			t.Errorf("request % x", b)
		}
	}
	if string(requests[0][40:]) == string(requests[1][40:]) {
		t.Error("two requests have the same cookie")
	}
}

func TestRefusals(t *testing.T) {
	server := respond(t, func(b []byte) [][]byte {
		answer := answerTo(fromStamp(b[40:]), time.Now())
		answer[1] = 0
		copy(answer[12:], "RATE")
		return [][]byte{answer}
	})
	_, err := Query(t.Context(), server, time.Now())
	var kiss KissError
	if !errors.As(err, &kiss) || kiss.Code != "RATE" || !strings.Contains(err.Error(), server.String()) {
		t.Errorf("%v", err)
	}
	// Whoever waits for an answer that does not come can be stopped.
	silent := respond(t, func([]byte) [][]byte { return nil })
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := Query(ctx, silent, time.Now()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := Query(t.Context(), silent, time.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
