package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// script answers as a test wants.
type script func(context.Context, Request, func(any) error) error

func (s script) Handle(ctx context.Context, r Request, send func(any) error) error {
	return s(ctx, r, send)
}

func listen(t *testing.T, h Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "control.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- Serve(l, h) }()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return path
}

func call(t *testing.T, path string, r Request) (got []string, err error) {
	t.Helper()
	err = Call(t.Context(), path, r, func(data json.RawMessage) error {
		got = append(got, string(data))
		return nil
	})
	return got, err
}

func TestCall(t *testing.T) {
	path := listen(t, script(func(_ context.Context, r Request, send func(any) error) error {
		switch r.Verb {
		case VerbRestart:
			return errors.Join(send("first"), send(r), errors.New("no such service"))
		case VerbReboot:
			panic("boom")
		case VerbTimeline:
			return send(strings.Repeat("x", 1<<20))
		}
		return nil
	}))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v: want 0600", info.Mode(), err)
	}
	got, err := call(t, path, Request{Verb: VerbRestart, Service: "a"})
	if !errors.Is(err, ErrRefused) || !strings.HasSuffix(err.Error(), "no such service") || len(got) != 2 || got[1] != `{"verb":"restart","service":"a"}` {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := call(t, path, Request{Verb: VerbPowerOff}); err != nil || got != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := call(t, path, Request{Verb: VerbReboot}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "internal error: boom") {
		t.Errorf("a panic is answered with %v", err)
	}
	var long string
	if err := Get(t.Context(), path, VerbTimeline, &long); err != nil || len(long) != 1<<20 {
		t.Errorf("a long answer has %d bytes, %v", len(long), err)
	}
}

func TestCallWithoutNode(t *testing.T) {
	dir := t.TempDir()
	if _, err := call(t, dir+"/none", Request{Verb: VerbStatus}); !errors.Is(err, ErrNoNode) {
		t.Errorf("no socket: %v", err)
	}
	l, err := Listen(dir + "/dead")
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := call(t, dir+"/dead", Request{Verb: VerbStatus}); err == nil || !strings.Contains(err.Error(), "nobody listens") {
		t.Errorf("nobody listens: %v", err)
	}
	if l, err = Listen(dir + "/dead"); err != nil { // a stale file is no obstacle
		t.Fatal(err)
	}
	_ = l.Close()
}

// The server must not be filled by clients that never ask, and must serve again
// once they are gone.
func TestServeBoundsConnections(t *testing.T) {
	path := listen(t, script(func(_ context.Context, _ Request, send func(any) error) error { return send("hello") }))
	var hung []net.Conn
	for range maxConnections {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		hung = append(hung, conn)
	}
	if _, err := call(t, path, Request{Verb: VerbStatus}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "16 connections") {
		t.Fatalf("one too many: %v", err)
	}
	for _, conn := range hung {
		_ = conn.Close()
	}
	for { // their places are free when the server has noticed
		got, err := call(t, path, Request{Verb: VerbStatus})
		if err == nil && len(got) == 1 {
			return
		}
		if !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
	}
}

// A request over the limit, and half of one, are refused; so is what follows.
func TestServeRefuses(t *testing.T) {
	path := listen(t, script(func(context.Context, Request, func(any) error) error { return nil }))
	for _, line := range []string{
		`{"verb":"restart","service":"` + strings.Repeat("x", maxRequest) + "\"}\n",
		"{\"verb\":\"format\"}\n",
		"GET / HTTP/1.1\r\n",
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(line))
		answer, _ := io.ReadAll(conn) // reset: the rest of the line was not read
		var r Reply
		if err := json.Unmarshal(answer, &r); err != nil || !r.End || !strings.Contains(r.Error, ErrRequest.Error()) {
			t.Errorf("%.40q is answered with %q, %v", line, answer, err)
		}
	}
}

// A follower that hangs up gives its place back although nothing happens.
func TestServeNoticesHangUp(t *testing.T) {
	gone := make(chan struct{})
	path := listen(t, script(func(ctx context.Context, _ Request, send func(any) error) error {
		defer close(gone)
		err := send("one")
		<-ctx.Done()
		return err
	}))
	stop := errors.New("enough")
	err := Call(t.Context(), path, Request{Verb: VerbEvents, Follow: true}, func(json.RawMessage) error { return stop })
	if !errors.Is(err, stop) {
		t.Error(err)
	}
	<-gone
}

// Who does not read is cut off: without it, the write would never end.
func TestServeCutsOffWhoDoesNotRead(t *testing.T) {
	ended := make(chan error, 1)
	path := listen(t, script(func(_ context.Context, _ Request, send func(any) error) error {
		for {
			if err := send(strings.Repeat("x", 64<<10)); err != nil {
				ended <- err
				return err
			}
		}
	}))
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(`{"verb":"events"}` + "\n")); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ended by %v", err)
	}
}

// An order that is half said, or said with another verb, is none.
func TestDecodeOrder(t *testing.T) {
	whole := Request{Verb: VerbOrder, Order: Order{Verb: "apply", Version: "0.2.0", Channel: "stable", Source: "https://u", Window: "01:00-05:00", Force: true, By: "ksctl"}}
	line, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Decode(line); err != nil || r != whole {
		t.Errorf("%s is %+v, %v", line, r, err)
	}
	for _, test := range []struct{ line, want string }{
		{`{"verb":"update-order"}`, "wants an order"},
		{`{"verb":"update-order","order":{}}`, "wants an order"},
		{`{"verb":"update-order","order":{"verb":"apply"}}`, "who wants it"},
		{`{"verb":"update-order","order":{"by":"ksctl"}}`, "what is to be done"},
		{`{"verb":"update-order","order":{"verb":"apply","by":"ksctl","at":"noon"}}`, `unknown field "at"`},
		{`{"verb":"update-order","order":{"verb":"apply","by":"ksctl"},"slot":"A"}`, "wants a slot"},
		{`{"verb":"update-order","order":"apply"}`, "cannot unmarshal"},
		{`{"verb":"update","order":{"verb":"apply","by":"ksctl"}}`, "nothing else does"},
		{`{"verb":"reboot","order":{"force":true}}`, "nothing else does"},
	} {
		if r, err := Decode([]byte(test.line)); !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), test.want) || r != (Request{}) {
			t.Errorf("%s: %+v, %v; want something about %q", test.line, r, err, test.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"verb":"status"}`, `{"verb":"restart","service":"a"}`, `{"verb":"events","follow":true}`,
		`{"verb":"status","x":1}`, `{"verb":"status"} {}`, `{"verb":"restart"}`, `[]`, ``, `null`, `{"verb":"status","follow":true}`,
		`{"verb":"network-try","file":"/x","seconds":60}`, `{"verb":"network-try","file":"/x"}`, `{"verb":"status","seconds":-1}`,
		`{"verb":"update-order","order":{"verb":"apply","version":"0.2.0","channel":"c","source":"s","window":"w","force":true,"by":"ksctl"}}`,
		`{"verb":"update-order","order":{"verb":"apply"}}`, `{"verb":"update","order":{"by":"x"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := Decode(line)
		if err != nil {
			if !errors.Is(err, ErrRequest) || r != (Request{}) {
				t.Errorf("%q: %+v, %v", line, r, err)
			}
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := Decode(again); err != nil || same != r {
			t.Errorf("%q: %+v, then %+v, %v", line, r, same, err)
		}
	})
}
