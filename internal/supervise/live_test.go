package supervise

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
)

// The two questions, put to real servers, to one that accepts and says
// nothing, and to one that says something else.
func TestConverse(t *testing.T) {
	dir := t.TempDir()
	listen := func(name string) net.Listener {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	rpc := grpc.NewServer()
	t.Cleanup(rpc.Stop)
	rpcListener := listen("grpc")
	go func() { _ = rpc.Serve(rpcListener) }()
	web := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	silent, other := listen("silent"), listen("other")
	go func() {
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("SSH-2.0-x\r\n"))
		}
	}()
	for _, tc := range []struct {
		name     string
		listener net.Listener
		protocol Protocol
		limit    time.Duration
		want     string
	}{
		{"gRPC", rpcListener, HTTP2, time.Minute, ""},
		{"TLS", web.Listener, TLS, time.Minute, ""},
		{"silent HTTP/2", silent, HTTP2, 50 * time.Millisecond, "i/o timeout"},
		{"silent TLS", silent, TLS, 50 * time.Millisecond, "i/o timeout"},
		{"not HTTP/2", other, HTTP2, time.Minute, "does not speak http2"},
		{"not TLS", other, TLS, time.Minute, "does not speak tls"},
	} {
		p := Probe{Network: tc.listener.Addr().Network(), Address: tc.listener.Addr().String()}
		err := p.converse(t.Context(), Liveness{Protocol: tc.protocol, Limit: tc.limit})
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestCount(t *testing.T) {
	l := Liveness{}.withDefaults()
	miss := errors.New("timeout")
	for _, tc := range []struct {
		before int
		err    error
		late   time.Duration
		want   int
	}{
		{0, miss, -l.Limit, 1}, // refused at once
		{2, miss, time.Millisecond, 3},
		{2, miss, 4 * time.Second, 2}, // the machine is slow
		{3, nil, 0, 0},
		{3, nil, time.Minute, 0},
	} {
		if got := l.count(tc.before, tc.err, tc.late); got != tc.want {
			t.Errorf("%+v: got %d", tc, got)
		}
	}
}

// A service is watched from its first heartbeat on; when they end it is asked
// for its stacks, killed, and started again.
func TestHeartbeatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &history{}
		var signals []string
		r := newScript(func(_ string, _ int, p *scripted) error {
			go func() {
				for sig := range p.signals {
					signals = append(signals, sig)
					if sig != "SIGQUIT" {
						p.exit <- Exit{Reason: sig}
						return
					}
				}
			}()
			return nil
		})
		service := svc("a")
		service.Live = Liveness{Protocol: Heartbeat, Every: 10 * time.Second, Failures: 3}
		s := mustStart(t, r, h, service)
		s.Beat("nobody")
		time.Sleep(time.Hour) // it has never given one: not watched yet
		for range 10 {
			s.Beat("a")
			time.Sleep(9 * time.Second)
		}
		if got := h.of("a"); got != "starting running ready" {
			t.Fatalf("got %s", got)
		}
		time.Sleep(45 * time.Second)
		if st := s.Status()[0]; st.Starts != 2 || !strings.HasPrefix(st.LastExit, "hung: 3 probes in a row without an answer: no heartbeat; kill") {
			t.Errorf("%+v", st)
		}
		if got := h.of("a"); got != "starting running ready exited backoff starting running ready" {
			t.Errorf("got %s", got)
		}
		time.Sleep(time.Hour) // the new process has given no heartbeat
		if err := s.Stop(context.Background(), "a"); err != nil {
			t.Error(err)
		}
		if got := strings.Join(signals, " "); got != "SIGQUIT kill SIGTERM" {
			t.Errorf("signals %s", got)
		}
	})
}
