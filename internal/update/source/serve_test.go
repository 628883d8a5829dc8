package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const targetName = "0011223344556677.kubesolo-os-0.2.0-amd64.slot"

// randomBytes is a file that no range of is like another.
func randomBytes(size int) []byte {
	data := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	if _, err := random.Read(data); err != nil {
		panic(err)
	}
	return data
}

func serve(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func newHTTP(t *testing.T, address string, o HTTPOptions) *HTTP {
	t.Helper()
	h, err := NewHTTP(address, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// file is a good server of one file.
func file(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

// sayRange answers with a part under a name of its own.
func sayRange(contentRange string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", contentRange)
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(body)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// chunked sends the body without telling its length.
func chunked(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(body)
	}
}

// cut promises the whole body and drops the connection after n bytes.
func cut(body []byte, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body[:n])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// read reads a target to its end.
func read(t *testing.T, s Source, size, offset int64) ([]byte, error) {
	t.Helper()
	body, err := s.Target(t.Context(), targetName, size, offset)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	return data, errors.Join(err, body.Close())
}

// wantError checks kind and text of an error; none is wanted for kind nil and
// an empty text.
func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	switch {
	case kind == nil && text == "":
		if err != nil {
			t.Errorf("error %v, want none", err)
		}
	case err == nil:
		t.Errorf("no error, want %v, %q", kind, text)
	case kind != nil && !errors.Is(err, kind):
		t.Errorf("error %v, want %v", err, kind)
	case !strings.Contains(err.Error(), text):
		t.Errorf("error %q does not say %q", err, text)
	case strings.Contains(err.Error(), "\n"):
		t.Errorf("error %q is more than a line", err)
	}
}
