package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
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
	served.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(served)
	defer server.Close()
	text, err := httpGet(t.Context(), server.URL+"/box.yaml?mac=x")
	if err != nil || string(text) != "#cloud-config\r\n\r\nhostname: a\n" {
		t.Errorf("%q, %v", text, err)
	}
	for path, want := range map[string]string{"/long": "longer than", "/moved": "302", "/absent": "404"} {
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
