package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// pipeServer serves over pipes in memory, so that its time is that of synctest.
type pipeServer struct{ conns chan net.Conn }

func (p pipeServer) Accept() (net.Conn, error) {
	if c, ok := <-p.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipeServer) Close() error   { close(p.conns); return nil }
func (p pipeServer) Addr() net.Addr { return &net.UnixAddr{} }

// overPipes gives a source of a real server that is reached over them.
func overPipes(t *testing.T, handler http.HandlerFunc, o HTTPOptions) *HTTP {
	t.Helper()
	listener := pipeServer{make(chan net.Conn)}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(listener) }()
	h := newHTTP(t, "http://updates.example", o)
	transport := h.client.Transport.(*stallTransport).base.(*http.Transport)
	transport.Proxy = nil
	transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		listener.conns <- there
		return here, nil
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		synctest.Wait()
	})
	return h
}

// slowly sends ten bytes with a pause before each.
func slowly(pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		for i := range 10 {
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return
			}
			_, _ = w.Write([]byte{byte(i)})
			w.(http.Flusher).Flush()
		}
	}
}

func TestStall(t *testing.T) {
	for _, test := range []struct {
		name  string
		pause time.Duration
		stall time.Duration
		want  int // bytes
		after time.Duration
	}{
		{"slow is not stalled", 59 * time.Second, 0, 10, 590 * time.Second},
		{"stalled", 61 * time.Second, 0, 0, time.Minute},
		{"own limit", 4 * time.Second, 3 * time.Second, 0, 3 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := overPipes(t, slowly(test.pause), HTTPOptions{Stall: test.stall})
				begin := time.Now()
				got, err := read(t, h, 10, 0)
				if test.want == 10 {
					wantError(t, err, nil, "")
				} else {
					wantError(t, err, ErrStalled, "nothing came for "+test.after.String())
				}
				if took := time.Since(begin); len(got) != test.want || took != test.after || Permanent(err) {
					t.Errorf("%d bytes after %v", len(got), took)
				}
			})
		})
	}
}

func TestStallInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := overPipes(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("half."))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, HTTPOptions{})
		got, err := read(t, h, 10, 0)
		wantError(t, err, ErrStalled, "nothing came for 1m0s")
		if string(got) != "half." {
			t.Errorf("got %q", got)
		}
	})
}

// A medium that takes an hour for a block is no fault of the server.
func TestSlowReaderIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := randomBytes(100)
		h := overPipes(t, file(data), HTTPOptions{})
		body, err := h.Target(t.Context(), targetName, 100, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for range 10 {
			time.Sleep(time.Hour)
			piece := make([]byte, 10)
			if _, err := io.ReadFull(body, piece); err != nil {
				t.Fatal(err)
			}
			got = append(got, piece...)
		}
		if err := body.Close(); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%v, the same bytes: %v", err, bytes.Equal(got, data))
		}
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := overPipes(t, slowly(10*time.Second), HTTPOptions{})
		stop := errors.New("the maintenance window is over")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(15*time.Second, func() { cancel(stop) })
		body, err := h.Target(ctx, targetName, 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		wantError(t, err, stop, "")
		if err := body.Close(); err != nil || len(got) != 1 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// On real sockets, where the wait is in the kernel.
func TestStallOnASocket(t *testing.T) {
	done := make(chan struct{})
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body/targets/"+targetName {
			w.Header().Set("Content-Length", "10")
			w.(http.Flusher).Flush()
		}
		select {
		case <-r.Context().Done():
		case <-done:
		}
	}))
	t.Cleanup(func() { close(done) })
	for _, where := range []string{"/head", "/body"} {
		_, err := read(t, newHTTP(t, server.URL+where, HTTPOptions{Stall: 50 * time.Millisecond}), 10, 0)
		wantError(t, err, ErrStalled, "nothing came for 50ms")
	}
}
