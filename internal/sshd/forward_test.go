package sshd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// apiServer is a TLS server in the place of the API server, and kubectl's way
// of speaking to it.
func apiServer(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestForwardToTheAPI(t *testing.T) {
	file, line := newKey(t)
	api := apiServer(t)
	target := api.Listener.Addr().String()
	_, port, err := net.SplitHostPort(target)
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, target, nil, line)
	for _, name := range []string{"127.0.0.1", "localhost"} {
		local := freePort(t)
		cmd := n.client(file, "-N", "-L", "127.0.0.1:"+local+":"+name+":"+port, "-o", "ExitOnForwardFailure=yes", "root@127.0.0.1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		client := api.Client() // knows the certificate, which is for 127.0.0.1
		for i := range 5 {
			if got := get(t, client, fmt.Sprintf("https://127.0.0.1:%s/readyz/%d", local, i)); got != fmt.Sprintf("GET /readyz/%d", i) {
				t.Errorf("%q", got)
			}
			client.CloseIdleConnections()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// get asks until the client listens.
func get(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err == nil {
			defer response.Body.Close()
			b, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Everything else that a client can ask to be connected with is refused.
func TestForwardElsewhereIsRefused(t *testing.T) {
	file, line := newKey(t)
	other := apiServer(t)
	target := other.Listener.Addr().String()
	n := start(t, "127.0.0.1:6443", nil, line)
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"another port":    {[]string{"-W", target, "root@127.0.0.1"}, "administratively prohibited"},
		"another host":    {[]string{"-W", "192.0.2.1:6443", "root@127.0.0.1"}, "only 127.0.0.1:6443 can be forwarded"},
		"another form":    {[]string{"-W", "127.1:6443", "root@127.0.0.1"}, "administratively prohibited"},
		"nobody there":    {[]string{"-W", "127.0.0.1:6443", "root@127.0.0.1"}, "connection refused"},
		"remote port":     {[]string{"-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:" + target, "root@127.0.0.1"}, "remote port forwarding failed"},
		"a remote socket": {[]string{"-N", "-o", "ExitOnForwardFailure=yes", "-R", "/tmp/kstest:" + target, "root@127.0.0.1"}, "remote port forwarding failed"},
	} {
		out, errText, status := result(t, n.client(file, tc.args...))
		if out != "" || status == 0 || !strings.Contains(errText, tc.want) {
			t.Errorf("%s: %q %d %s", name, out, status, errText)
		}
	}
}

// A socket of the node is no target either: containerd's would do for root.
func TestForwardToASocketIsRefused(t *testing.T) {
	file, line := newKey(t)
	n := start(t, "127.0.0.1:6443", nil, line)
	local := freePort(t)
	cmd := n.client(file, "-N", "-L", "127.0.0.1:"+local+":/run/containerd/containerd.sock", "root@127.0.0.1")
	said := newText()
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	n.log.after(t, "ssh: login")
	for {
		conn, err := net.Dial("tcp", "127.0.0.1:"+local)
		if err == nil {
			if b, err := io.ReadAll(conn); len(b) > 0 || err != nil {
				t.Errorf("%q %v", b, err)
			}
			conn.Close()
			break
		}
		time.Sleep(20 * time.Millisecond) // until the client listens
	}
	said.after(t, "unknown channel type: not supported by this server")
}
