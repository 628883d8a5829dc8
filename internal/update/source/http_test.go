package source

import (
	"bytes"
	"encoding/pem"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestHTTPTarget(t *testing.T) {
	const size = 1 << 20
	data := randomBytes(size)
	longer, shorter := append(bytes.Clone(data), "and more"...), data[:size-10]
	whole := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		offset  int64
		kind    error
		text    string
	}{
		{"whole", file(data), 0, nil, ""},
		{"part", file(data), 12345, nil, ""},
		{"last byte", file(data), size - 1, nil, ""},
		{"nothing left", status(500), size, nil, ""},
		{"before the beginning", file(data), -1, ErrRefused, "offset -1"},
		{"behind the end", file(data), size + 1, ErrRefused, "offset"},
		{"no length said", chunked(data), 0, nil, ""},
		{"shorter", file(shorter), 0, ErrLength, "has 1048566 bytes of it, not 1048576"},
		{"shorter, in part", file(shorter), 10, ErrLength, "has 1048566 bytes"},
		{"shorter than the offset", file(data[:5]), 10, ErrLength, "has 5 bytes"},
		{"shorter, no length said", chunked(shorter), 0, io.ErrUnexpectedEOF, "10 bytes are missing"},
		{"longer", file(longer), 0, ErrLength, "has 1048584 bytes"},
		{"longer, in part", file(longer), 10, ErrLength, "has 1048584 bytes"},
		{"longer, no length said", chunked(longer), 0, ErrLength, "goes on after its end"},
		{"cut at 10 %", cut(data, size/10), 0, io.ErrUnexpectedEOF, ""},
		{"cut at 50 %", cut(data, size/2), 0, io.ErrUnexpectedEOF, ""},
		{"cut at 99 %", cut(data, size/100*99), 0, io.ErrUnexpectedEOF, ""},
		{"all of it instead of a part", whole, 4096, nil, ""},
		{"all of it, cut in what is skipped", cut(data, 100), 4096, io.ErrUnexpectedEOF, ""},
		{"part that was not asked for", sayRange("bytes 0-99/1048576", data[:100]), 0, ErrNoResume, "bytes 0-99"},
		{"another part", sayRange("bytes 0-1048575/1048576", data), 4096, ErrNoResume, "bytes 0-1048575"},
		{"part of another file", sayRange("bytes 4096-9999/10000", data[4096:10000]), 4096, ErrLength, "has 10000 bytes"},
		{"part of a longer file", sayRange("bytes 4096-1048583/*", longer[4096:]), 4096, ErrNoResume, "bytes 4096-1048583"},
		{"part without a name", sayRange("", data[4096:]), 4096, ErrNoResume, `""`},
		{"part in other units", sayRange("lines 1-2/3", data[4096:]), 4096, ErrNoResume, "lines"},
		{"part of another length", sayRange("bytes 4096-1048575/1048576", data[:9]), 4096, ErrNoResume, "9 bytes"},
		{"smaller part than asked for", sayRange("bytes 4096-8191/1048576", data[4096:8192]), 4096, io.ErrUnexpectedEOF, "missing"},
		{"part of a total that is not said", sayRange("bytes 4096-1048575/*", data[4096:]), 4096, nil, ""},
		{"416", status(416), 4096, ErrNoResume, "416"},
		{"not there", http.NotFound, 0, fs.ErrNotExist, targetName},
		{"gone", status(410), 0, fs.ErrNotExist, ""},
		{"forbidden", status(403), 0, fs.ErrNotExist, "not for us"},
		{"log in", status(401), 0, ErrRefused, "401"},
		{"not modified", status(304), 0, ErrRefused, "304"},
		{"busy", status(429), 0, nil, "429"},
		{"server error", status(503), 0, nil, "503"},
		{"packed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(data)
		}, 0, ErrRefused, "packed"},
		{"no HTTP", func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = c.Write([]byte("+OK pop3 ready\r\n"))
				_ = c.Close()
			}
		}, 0, nil, "malformed HTTP"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHTTP(t, serve(t, test.handler).URL+"/repository/", HTTPOptions{})
			got, err := read(t, h, size, test.offset)
			wantError(t, err, test.kind, test.text)
			// Whatever came, it is of the right place.
			if test.offset >= 0 && test.offset <= size && !bytes.HasPrefix(data[test.offset:], got) {
				t.Errorf("%d bytes are not those of offset %d", len(got), test.offset)
			}
			if err == nil && int64(len(got)) != size-test.offset {
				t.Errorf("%d bytes, want %d", len(got), size-test.offset)
			}
			if temporary := test.kind == nil || test.kind == ErrNoResume || test.kind == io.ErrUnexpectedEOF; err != nil && Permanent(err) == temporary {
				t.Errorf("permanent: %v", !temporary)
			}
		})
	}
}

func TestHTTPWholeFileInsteadOfAPartIsNotReadForNothing(t *testing.T) {
	const size = maxDiscard + 1000
	var sent int64
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, _ := io.Copy(w, io.LimitReader(zeros{}, size))
		sent += n
	}))
	h := newHTTP(t, server.URL, HTTPOptions{})
	_, err := read(t, h, size, maxDiscard+1)
	wantError(t, err, ErrNoResume, "whole file")
	server.Close() // and with it the handler
	if sent >= size {
		t.Errorf("%d bytes were taken", sent)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestHTTPMetadata(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		limit   int64
		kind    error
		text    string
	}{
		{"good", file([]byte("{}")), 2, nil, ""},
		{"no length said", chunked([]byte("{}")), 2, nil, ""},
		{"too long", file([]byte("{} ")), 2, ErrLength, "longer than 2 bytes"},
		{"too long, no length said", chunked([]byte("{} ")), 2, ErrLength, "longer than 2 bytes"},
		{"endless", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, zeros{}) }, 1 << 20, ErrLength, "longer"},
		{"cut", cut([]byte("{ }"), 1), 9, io.ErrUnexpectedEOF, ""},
		{"not there", http.NotFound, 9, fs.ErrNotExist, "/metadata/timestamp.json"},
		{"not asked for", sayRange("bytes 0-1/2", []byte("{}")), 9, ErrRefused, "206"},
		{"server error", status(502), 9, nil, "502"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHTTP(t, serve(t, test.handler).URL, HTTPOptions{})
			data, err := h.Metadata(t.Context(), "timestamp.json", test.limit)
			wantError(t, err, test.kind, test.text)
			if err == nil && string(data) != "{}" {
				t.Errorf("got %q", data)
			}
		})
	}
}

func TestHTTPServerErrorThenFine(t *testing.T) {
	data, calls := randomBytes(100), 0
	h := newHTTP(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls <= 2 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		file(data)(w, r)
	})).URL, HTTPOptions{})
	for range 2 {
		_, err := read(t, h, 100, 50)
		wantError(t, err, nil, "502")
	}
	if got, err := read(t, h, 100, 50); err != nil || !bytes.Equal(got, data[50:]) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestHTTPRedirects(t *testing.T) {
	data := randomBytes(1000)
	plain := serve(t, file(data))
	hops := 0
	var referer string
	tls := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("to") {
		case "plain":
			http.Redirect(w, r, plain.URL+"/x?key=secret", http.StatusFound)
		case "ftp":
			http.Redirect(w, r, "ftp://example.org/x", http.StatusFound)
		case "loop":
			hops++
			http.Redirect(w, r, r.URL.Path+"?to=loop", http.StatusTemporaryRedirect)
		case "once":
			http.Redirect(w, r, "/y", http.StatusMovedPermanently)
		default:
			referer = r.Referer()
			file(data)(w, r)
		}
	}))
	t.Cleanup(tls.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		to   string
		kind error
		text string
	}{
		{"once", nil, ""},
		{"plain", ErrRefused, "redirect from https to http://127.0.0.1"},
		{"ftp", ErrRefused, "redirect to ftp:"},
		{"loop", ErrRefused, "more than 5 redirects"},
	} {
		t.Run(test.to, func(t *testing.T) {
			h := newHTTP(t, tls.URL+"?to="+test.to, HTTPOptions{CAFile: ca})
			got, err := read(t, h, 1000, 10)
			wantError(t, err, test.kind, test.text)
			if err == nil && !bytes.Equal(got, data[10:]) {
				t.Error("other bytes than those of the file")
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q says what is secret", err)
			}
		})
	}
	if hops != maxRedirects+1 {
		t.Errorf("%d requests, want %d", hops, maxRedirects+1)
	}
	if referer != "" {
		t.Errorf("referer %q was sent", referer)
	}
	_, err := read(t, newHTTP(t, tls.URL, HTTPOptions{}), 1000, 0)
	wantError(t, err, nil, "certificate signed by unknown authority")
}

func TestHTTPRequest(t *testing.T) {
	var got *http.Request
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r; _, _ = w.Write([]byte("{}")) }))
	h := newHTTP(t, strings.Replace(server.URL, "http://", "http://user:word@", 1)+"/base%20dir?key=1", HTTPOptions{Version: "0.1.0"})
	if _, err := h.Metadata(t.Context(), "a+b%2f.json", 9); err != nil {
		t.Fatal(err)
	}
	user, word, _ := got.BasicAuth()
	if got.URL.Path != "/base dir/metadata/a+b%2f.json" || got.URL.RawQuery != "key=1" || user != "user" || word != "word" ||
		got.UserAgent() != "kubesolo-os/0.1.0" || got.Header.Get("Accept-Encoding") != "" {
		t.Errorf("request %v %q %q %v", got.URL, user, word, got.Header)
	}
	if s := h.String(); s != server.URL+"/base%20dir" {
		t.Errorf("called %q", s)
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", `a\b`, ".hidden", "a\nb", "a b", strings.Repeat("x", 256)} {
		got = nil
		_, err := h.Metadata(t.Context(), name, 9)
		wantError(t, err, ErrRefused, "not the name of a file")
		_, err = h.Target(t.Context(), name, 9, 0)
		wantError(t, err, ErrRefused, "not the name of a file")
		if got != nil {
			t.Errorf("%q was asked for", name)
		}
	}
}

func TestNewHTTPRefuses(t *testing.T) {
	for _, address := range []string{"", "example.org/x", "/srv/repository", "ftp://example.org", "https://", "https://user:pass word@[::1"} {
		_, err := NewHTTP(address, HTTPOptions{})
		wantError(t, err, nil, "write https://")
		if err != nil && strings.Contains(err.Error(), "word") {
			t.Errorf("error %q says what is secret", err)
		}
	}
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := NewHTTP("https://example.org", HTTPOptions{CAFile: empty})
	wantError(t, err, nil, "no certificate")
	_, err = NewHTTP("https://example.org", HTTPOptions{CAFile: empty + "-not"})
	wantError(t, err, fs.ErrNotExist, "certificate authorities")
}

// net/http reads the environment once and never for this machine's own
// addresses, so the request is one of another process to another name.
func TestHTTPProxy(t *testing.T) {
	const variable = "KS_TEST_PROXIED"
	if os.Getenv(variable) != "" {
		data, err := newHTTP(t, "http://updates.invalid/repository", HTTPOptions{}).Metadata(t.Context(), "timestamp.json", 9)
		if err != nil || string(data) != "{}" {
			t.Errorf("%q, %v", data, err)
		}
		return
	}
	var asked string
	proxy := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked = r.RequestURI; _, _ = w.Write([]byte("{}")) }))
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHTTPProxy$")
	cmd.Env = append(os.Environ(), variable+"=1", "HTTP_PROXY="+proxy.URL)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if asked != "http://updates.invalid/repository/metadata/timestamp.json" {
		t.Errorf("the proxy was asked for %q", asked)
	}
}
