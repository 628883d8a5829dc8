package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/nstest"
)

// httpGet against a real server.
func TestHTTPGet(t *testing.T) {
	served := http.NewServeMux()
	served.HandleFunc("/box.yaml", func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "" || r.URL.RawQuery != "mac=x" {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		_, _ = w.Write([]byte("#cloud-config\r\n\r\nhostname: a\n"))
	})
	served.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxConfig+1)) })
	served.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/box.yaml", http.StatusFound) })
	served.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-length", "100")
		_, _ = w.Write([]byte("#cloud-config\nhostname: a\n"))
	})
	served.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(served)
	defer server.Close()
	text, err := httpGet(t.Context(), server.URL+"/box.yaml?mac=x")
	if err != nil || string(text) != "#cloud-config\r\n\r\nhostname: a\n" {
		t.Errorf("%q, %v", text, err)
	}
	for path, want := range map[string]string{"/long": "longer than", "/moved": "302", "/absent": "404", "/short": "26 of 100 bytes"} {
		if _, err := httpGet(t.Context(), server.URL+path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := httpGet(ctx, server.URL+"/slow"); err == nil {
		t.Error("a server that never answers was waited for, and gave something")
	}
	for _, address := range []string{"https://x/y", "ftp://x/y", "http://", "http://%zz"} {
		if _, err := httpGet(t.Context(), address); err == nil {
			t.Errorf("%s was fetched", address)
		}
	}
}

const (
	provenText = "#cloud-config\nhostname: proven\nkubesolo: {extra-sans: [box.example]}\n" +
		"registries: {docker.io: {mirrors: [\"https://m.example\"]}}\nnetwork: {version: 2, ethernets: {eth0: {dhcp4: true}}}\n"
	newText = "#cloud-config\nhostname: new\n"
)

// keepGood leaves in dir what a boot leaves that became healthy with a document
// of address, on 2026-03-01.
func keepGood(t *testing.T, dir, address string) {
	t.Helper()
	n := testNode(dir)
	if err := n.addDocument(t.Context(), document{name: "url", kind: "cloud-config", origin: address, text: []byte(provenText)}); err != nil {
		t.Fatal(err)
	}
	n.keepConfig()
	then := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if err := os.Chtimes(n.goodPath("url"), then, then); err != nil {
		t.Fatal(err)
	}
}

// deadServer is an address where nothing listens: the port is taken, so that
// nobody else comes to listen there.
func deadServer(t *testing.T) (address string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("http://127.0.0.1:%d/box.yaml", name.(*unix.SockaddrInet4).Port)
}

// said is a message as it is in the document: the server has a name there.
func said(err error, address string) string {
	if err == nil {
		return ""
	}
	host := strings.TrimSuffix(strings.TrimPrefix(address, "http://"), "/box.yaml")
	return strings.ReplaceAll(err.Error(), host, "192.168.10.2:8080")
}

const (
	deadWithGood = "kubesolo.cloudinit=http://192.168.10.2:8080/box.yaml: dial tcp 192.168.10.2:8080: connect: connection refused, 4 tries; " +
		"the last good one, of 2026-03-01, is used; see that the server answers, then restart the node"
	deadWithout = "kubesolo.cloudinit=http://192.168.10.2:8080/box.yaml: dial tcp 192.168.10.2:8080: connect: connection refused, 4 tries; " +
		"no earlier good one is there, the weaker sources stand; see that the server answers, then restart the node"
)

// A server that does not give its document is asked again, and then the last
// good document of this address stands in, as for a file.
func TestRemoteDocument(t *testing.T) {
	drop := func(w http.ResponseWriter) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	fail := func(w http.ResponseWriter) { http.Error(w, "no disk yet", http.StatusServiceUnavailable) }
	text := func(text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { _, _ = w.Write([]byte(text)) }
	}
	const none, here, elsewhere = 0, 1, 2 // of which address there is a good one
	for name, test := range map[string]struct {
		good     int
		answers  []func(http.ResponseWriter) // the last one again and again; none: nothing listens
		tries    int
		hostname string
		said     []string
	}{
		"it answers":                      {here, []func(http.ResponseWriter){text(newText)}, 1, "new", nil},
		"dead, with a good one":           {here, nil, 0, "proven", []string{deadWithGood}},
		"dead, without one":               {none, nil, 0, "weaker", []string{deadWithout}},
		"dead, with one of another place": {elsewhere, nil, 0, "weaker", []string{deadWithout}},
		"it comes up":                     {here, []func(http.ResponseWriter){drop, text(newText)}, 2, "new", nil},
		"what is behind it comes up":      {here, []func(http.ResponseWriter){fail, fail, text(newText)}, 3, "new", nil},
		"errors only": {here, []func(http.ResponseWriter){fail}, 4, "proven", []string{
			`kubesolo.cloudinit=http://192.168.10.2:8080/box.yaml: the server says "HTTP/1.0 503 Service Unavailable", 4 tries; ` +
				"the last good one, of 2026-03-01, is used; see that the server answers, then restart the node"}},
		"it has no such document": {here, []func(http.ResponseWriter){func(w http.ResponseWriter) { http.Error(w, "?", http.StatusNotFound) }}, 1, "proven", []string{
			`kubesolo.cloudinit=http://192.168.10.2:8080/box.yaml: the server says "HTTP/1.0 404 Not Found"; ` +
				"the last good one, of 2026-03-01, is used; mend the address or what is there, then restart the node"}},
		"a page for people": {here, []func(http.ResponseWriter){text("<html>please log in</html>\n")}, 1, "proven", []string{
			`http://192.168.10.2:8080/box.yaml: line 1: the first line must be "#cloud-config", but it is "<html>please log in</html>"`,
			"http://192.168.10.2:8080/box.yaml is not used; the last configuration that led to a healthy node is"}},
		"it would change the network": {none, []func(http.ResponseWriter){text(provenText)}, 1, "proven", []string{
			"http://192.168.10.2:8080/box.yaml: network has no effect here, since the network brought this document"}},
	} {
		t.Run(name, func(t *testing.T) {
			var tries atomic.Int32
			address := deadServer(t)
			if len(test.answers) > 0 {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					test.answers[min(int(tries.Add(1)), len(test.answers))-1](w)
				}))
				defer server.Close()
				address = server.URL + "/box.yaml"
			}
			n := testNode(t.TempDir())
			switch test.good {
			case here:
				keepGood(t, n.good, address)
			case elsewhere:
				keepGood(t, n.good, "http://192.0.2.9/box.yaml")
			}
			n.args.CloudInit = address
			n.parts = []config.Part{config.Defaults(), {Source: "data", Hostname: new("weaker")}}
			err := n.addRemote(t.Context(), 0, 0, 0)
			var got []string
			if err != nil {
				got = strings.Split(said(err, address), "\n")
			}
			if !slices.Equal(got, test.said) {
				t.Errorf("it says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.said, "\n"))
			}
			if int(tries.Load()) != test.tries {
				t.Errorf("%d tries, want %d", tries.Load(), test.tries)
			}
			c, origins := config.Merge(n.parts...)
			if c.Hostname != test.hostname || origins["network"] != "defaults" {
				t.Errorf("host name %q from %s, network from %s", c.Hostname, origins["hostname"], origins["network"])
			}
			if proven := test.hostname == "proven"; proven != (len(c.Registries) == 1) || proven != slices.Equal(c.KubeSolo.ExtraSANs, []string{"box.example"}) {
				t.Errorf("registries %v, names %v", c.Registries, c.KubeSolo.ExtraSANs)
			}
			// Only what was fetched may be kept as good.
			if _, fresh := n.fresh["url"]; fresh != (tries.Load() > 0 && (test.hostname == "new" || test.good == none)) {
				t.Errorf("fresh is %v", n.fresh)
			}
		})
	}
}

// The time for all tries ends, and then what is there is used, in a step that is
// degraded and not failed: the services start.
func TestDeadServerIsAppliedFromTheGoodOne(t *testing.T) {
	nstest.Require(t, nstest.Mount|nstest.UTS)
	for _, dir := range []string{"/run", "/etc"} { // it writes there
		mountAt(t, "tmpfs", dir, "tmpfs", 0)
	}
	for _, dir := range []string{config.EffectiveDir, "/run/etc"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n := testNode(t.TempDir())
	n.args.CloudInit = deadServer(t)
	keepGood(t, n.good, n.args.CloudInit)
	n.parts = []config.Part{config.Defaults()}
	n.config.Hostname = config.DefaultHostname
	sequence, err := boot.New(boot.Step{Name: "remote-config", Timeout: time.Minute, Run: func(ctx context.Context) error {
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond) // ends within the first pause
		defer cancel()
		return n.fetchConfig(short)
	}})
	if err != nil {
		t.Fatal(err)
	}
	results, err := sequence.Run(t.Context(), func(boot.Result) {})
	if err != nil || results[0].State != boot.DegradedRun || !strings.Contains(results[0].Err.Error(), "; the last good one, of 2026-03-01, is used; ") {
		t.Errorf("%v, %+v", err, results)
	}
	if strings.Contains(results[0].Err.Error(), "\n") {
		t.Errorf("more than one line: %v", results[0].Err)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil || unix.ByteSliceToString(name.Nodename[:]) != "proven" {
		t.Errorf("the host name is %s, %v", name.Nodename, err)
	}
	if c, _, err := config.ReadEffective(config.EffectiveDir); err != nil || !slices.Equal(c.KubeSolo.ExtraSANs, []string{"box.example"}) {
		t.Errorf("%v, names %v", err, c.KubeSolo.ExtraSANs)
	}
	if text, err := os.ReadFile(filepath.Join(config.RegistryDir, "docker.io", "hosts.toml")); err != nil || !strings.Contains(string(text), "https://m.example") {
		t.Errorf("%v, %s", err, text)
	}
}

// The document shows what the console does.
func TestDeadServerIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil || !strings.Contains(string(text), "degraded  remote-config: "+deadWithGood+"\n") {
		t.Errorf("docs/configuration.md does not show\n%s\n%v", deadWithGood, err)
	}
}
