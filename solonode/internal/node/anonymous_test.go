package node

import (
	"context"
	"crypto/tls"
	"net/http"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// anonymousGetsHealthOnly asks as a caller without credentials does: even what
// the cluster's roles show to all is refused, and so is old TLS.
func anonymousGetsHealthOnly(ctx context.Context, t *testing.T, path string) {
	t.Helper()
	admin, err := clientcmd.BuildConfigFromFlags("", filepath.Join(path, "pki", "admin", "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(rest.AnonymousClientConfig(admin))
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]int{
		"/livez": http.StatusOK, "/readyz": http.StatusOK, "/healthz": http.StatusOK,
		"/version": http.StatusUnauthorized, "/api": http.StatusUnauthorized, "/metrics": http.StatusUnauthorized,
		"/readyz/../api/v1/secrets": http.StatusUnauthorized,
	} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, admin.Host+url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		if response.StatusCode != want {
			t.Errorf("%s without credentials: status %d, want %d", url, response.StatusCode, want)
		}
	}
	address := admin.Host[len("https://"):]
	for name, config := range map[string]*tls.Config{
		"TLS 1.1":  {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"AES CBC":  {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}},
		"RSA only": {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}},
	} {
		config.InsecureSkipVerify = true
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
		if err == nil {
			t.Errorf("%s is accepted", name)
			_ = conn.Close()
		}
	}
}
