package inputs_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/image/inputs"
)

// self is a small real ELF program.
func self(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("/usr/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func archive(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg})
	if err == nil {
		_, err = w.Write(data)
	}
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func hash(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func TestReleaseFromAServer(t *testing.T) {
	data := archive(t, "kubesolo", self(t))
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		if r.URL.Path != "/dl/v1.2.0/kubesolo-v1.2.0-linux-amd64-musl.tar.gz" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	defer server.Close()
	r := inputs.Release{BaseURL: server.URL + "/dl/", Tag: "v1.2.0", SHA256: hash(data), Cache: t.TempDir()}
	for range 2 { // the second time from the cache
		file, err := r.Fetch(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "kubesolo")
		in, err := inputs.KubeSoloFile(file, r.SHA256, out)
		if err != nil || in.SHA256 != r.SHA256 {
			t.Fatalf("%+v, %v", in, err)
		}
	}
	if requests != 1 {
		t.Errorf("%d requests, want 1", requests)
	}

	wrong := r
	wrong.SHA256, wrong.Cache = strings.Repeat("0", 64), t.TempDir()
	if _, err := wrong.Fetch(context.Background()); !errors.Is(err, inputs.ErrHash) || !strings.Contains(err.Error(), "KUBESOLO_SHA256") {
		t.Errorf("wrong hash: %v", err)
	}
	none := r
	none.Tag, none.Cache = "v9.9.9", t.TempDir()
	if _, err := none.Fetch(context.Background()); err == nil || !strings.Contains(err.Error(), "404") || !strings.Contains(err.Error(), "KUBESOLO=FILE") {
		t.Errorf("no such release: %v", err)
	}
	none.SHA256 = ""
	if _, err := none.Fetch(context.Background()); err == nil || !strings.Contains(err.Error(), "KUBESOLO_SHA256") {
		t.Errorf("no hash: %v", err)
	}
}

func TestKubeSoloFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	binary := self(t)
	for _, c := range []struct{ name, file, want string }{
		{"binary", write("kubesolo", binary), ""},
		{"archive", write("a.tar.gz", archive(t, "./kubesolo", binary)), ""},
		{"archive of something else", write("b.tar.gz", archive(t, "README", binary)), "no file named kubesolo"},
		{"cut archive", write("c.tar.gz", archive(t, "kubesolo", binary)[:5000]), "damaged archive"},
		{"text", write("d", []byte("#!/bin/sh\n")), "not an ELF program"},
		{"not there", filepath.Join(dir, "none"), "source"},
	} {
		out := filepath.Join(t.TempDir(), "out")
		_, err := inputs.KubeSoloFile(c.file, "", out)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error = %v, want %q", c.name, err, c.want)
			}
			continue
		}
		got, readErr := os.ReadFile(out)
		if err != nil || readErr != nil || !bytes.Equal(got, binary) {
			t.Errorf("%s: %v, %v", c.name, err, readErr)
		}
	}
}

func TestLock(t *testing.T) {
	var l inputs.Lock
	l.Add(inputs.Input{Name: "b", Kind: "file", Origin: "b"})
	l.Add(inputs.Input{Name: "a", Kind: "file", Origin: "a", SHA256: "00"})
	l.Add(inputs.Input{Name: "b", Kind: "file", Origin: "b"})
	got, err := l.Encode(7)
	const want = `{
  "version": 1,
  "sourceDateEpoch": 7,
  "inputs": [
    {
      "name": "a",
      "kind": "file",
      "origin": "a",
      "sha256": "00"
    },
    {
      "name": "b",
      "kind": "file",
      "origin": "b"
    }
  ]
}
`
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
}
