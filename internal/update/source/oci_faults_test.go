package source_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"kubesolo.io/os/internal/registrytest"
	"kubesolo.io/os/internal/update/source"
)

func TestOCIMisbehaviour(t *testing.T) {
	const size = 100_000
	data := someBytes(t, size)
	type spoiler func(w http.ResponseWriter, r *http.Request, registry http.Handler)
	var spoiled atomic.Pointer[spoiler]
	host := registrytest.Start(t, registrytest.Options{Around: func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if spoil := spoiled.Load(); spoil != nil && *spoil != nil && r.Method == http.MethodGet {
				(*spoil)(w, r, registry)
				return
			}
			registry.ServeHTTP(w, r)
		})
	}})
	push(t, repository(t, "{}", data), host+"/os:stable", nil, source.OCIOptions{})
	isBlob := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }
	var calls atomic.Int32
	for _, test := range []struct {
		name  string
		spoil spoiler
		kind  error
		text  string
	}{
		{"none", nil, nil, ""},
		{"no ranges", func(w http.ResponseWriter, r *http.Request, registry http.Handler) {
			r.Header.Del("Range")
			registry.ServeHTTP(w, r)
		}, nil, ""},
		{"another range", func(w http.ResponseWriter, r *http.Request, registry http.Handler) {
			if r.Header.Get("Range") != "" {
				r.Header.Set("Range", "bytes=7-")
			}
			registry.ServeHTTP(w, r)
		}, source.ErrNoResume, "bytes 7-99999/100000"},
		{"cut", func(w http.ResponseWriter, r *http.Request, registry http.Handler) {
			if !isBlob(r) {
				registry.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Range", "bytes 50000-99999/100000")
			w.Header().Set("Content-Length", "50000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data[50_000:60_000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, io.ErrUnexpectedEOF, ""},
		{"stalls", func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }, source.ErrStalled, "nothing came"},
		{"errors, then fine", func(w http.ResponseWriter, r *http.Request, registry http.Handler) {
			if calls.Add(1) <= 2 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			registry.ServeHTTP(w, r)
		}, nil, "502"},
		{"too many requests", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusTooManyRequests)
		}, nil, "429"},
		{"forbidden", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusForbidden) }, source.ErrRefused, "403"},
		{"an image index", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			_, _ = io.WriteString(w, `{"schemaVersion":2,"manifests":[]}`)
		}, source.ErrRefused, "no update repository"},
		{"a manifest of another digest", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", digest.FromString("x").String())
			_, _ = io.WriteString(w, "{}")
		}, nil, "digest"},
		{"an endless manifest", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", digest.FromString("x").String())
			w.Header().Set("Content-Length", "5000000")
			_, _ = w.Write(make([]byte, 5_000_000))
		}, source.ErrLength, "manifest: longer than"},
		{"a web page", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			_, _ = io.WriteString(w, "<html>log in to the hotel's network</html>")
		}, source.ErrRefused, "no update repository, but \"text/html"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spoiled.Store(&test.spoil)
			var o source.OCIOptions
			if test.kind == source.ErrStalled {
				o.Stall = 100 * time.Millisecond
			}
			s := open(t, host+"/os:stable", o)
			got, err := readTarget(t, s, size, 50_000)
			want(t, err, test.kind, test.text)
			if !bytes.HasPrefix(data[50_000:], got) || err == nil && len(got) != 50_000 {
				t.Errorf("%d bytes are not those of the offset", len(got))
			}
			if test.name == "errors, then fine" {
				for range 2 {
					got, err = readTarget(t, s, size, 50_000)
				}
				if err != nil || !bytes.Equal(got, data[50_000:]) {
					t.Errorf("then %v", err)
				}
			}
		})
	}
	// Metadata that were changed on the way are noticed before they are parsed.
	flip := spoiler(func(w http.ResponseWriter, r *http.Request, registry http.Handler) {
		if !isBlob(r) {
			registry.ServeHTTP(w, r)
			return
		}
		_, _ = io.WriteString(w, "[]")
	})
	spoiled.Store(&flip)
	_, err := open(t, host+"/os:stable", source.OCIOptions{}).Metadata(t.Context(), "timestamp.json", 9)
	want(t, err, nil, "digest")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = open(t, host+"/os:stable", source.OCIOptions{}).Metadata(ctx, "timestamp.json", 9)
	want(t, err, context.Canceled, "")
}
