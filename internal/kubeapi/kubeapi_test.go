package kubeapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair makes a self-signed client certificate, PEM encoded.
func pair(t *testing.T) (cert, key []byte) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "kubernetes-admin", Organization: []string{"system:masters"}},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// serve starts an API server that asks for that client certificate, and
// returns the kubeconfig for it.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	cert, key := pair(t)
	srv := httptest.NewUnstartedServer(handler)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: kubernetes-admin@kubesolo
contexts:
- {name: other, context: {cluster: nowhere, user: nobody}}
- {name: kubernetes-admin@kubesolo, context: {cluster: kubesolo, user: kubernetes-admin}}
clusters:
- {name: kubesolo, cluster: {server: %s, certificate-authority-data: %s}}
users:
- {name: kubernetes-admin, user: {client-certificate-data: %s, client-key-data: %s}}
`, srv.URL, b64(ca), b64(cert), b64(key))
}

func load(t *testing.T, config string) *Client {
	t.Helper()
	c, err := Load([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestRequests(t *testing.T) {
	c := load(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 || r.TLS.PeerCertificates[0].Subject.CommonName != "kubernetes-admin" {
			t.Error("no client certificate")
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		switch r.Method + " " + r.URL.RequestURI() {
		case "GET /readyz":
			fmt.Fprint(w, "ok")
		case "POST /api/v1/namespaces/default/configmaps":
			if r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("content type %q", r.Header.Get("Content-Type"))
			}
			w.WriteHeader(http.StatusCreated)
			w.Write(body)
		case "PATCH /api/v1/nodes/n":
			if r.Header.Get("Content-Type") != "application/merge-patch+json" {
				t.Errorf("content type %q", r.Header.Get("Content-Type"))
			}
			w.Write(body)
		case "DELETE /api/v1/namespaces/default/pods/p":
			fmt.Fprint(w, `{"kind":"Pod"}`)
		case "GET /api/v1/namespaces/default/pods/p/log?container=c":
			fmt.Fprint(w, "hello\n")
		case "GET /api/v1/nodes/none":
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"kind":"Status","reason":"NotFound","message":"nodes \"none\" not found"}`)
		default:
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, "[-]etcd failed\n")
		}
	}))
	ctx := t.Context()
	var text string
	if err := c.Get(ctx, "/readyz", &text); err != nil || text != "ok" {
		t.Errorf("readyz: %q, %v", text, err)
	}
	var echo struct{ Data map[string]string }
	in := map[string]any{"data": map[string]string{"a": "b"}}
	if err := c.Create(ctx, "/api/v1/namespaces/default/configmaps", in, &echo); err != nil || echo.Data["a"] != "b" {
		t.Errorf("create: %v, %v", echo, err)
	}
	var raw []byte
	if err := c.Do(ctx, "PATCH", "/api/v1/nodes/n", []byte(`{"x":1}`), &raw); err != nil || string(raw) != `{"x":1}` {
		t.Errorf("patch: %s, %v", raw, err)
	}
	if err := c.Delete(ctx, "/api/v1/namespaces/default/pods/p"); err != nil {
		t.Error(err)
	}
	if got, err := c.Logs(ctx, "default", "p", "c"); err != nil || got != "hello\n" {
		t.Errorf("logs: %q, %v", got, err)
	}
	err := c.Get(ctx, "/api/v1/nodes/none", &echo)
	if !IsNotFound(err) || IsConflict(err) || !strings.Contains(err.Error(), `nodes "none" not found`) {
		t.Errorf("not found: %v", err)
	}
	err = c.Get(ctx, "/livez", nil)
	var status *StatusError
	if !errors.As(err, &status) || status.Code != 500 || status.Message != "[-]etcd failed" {
		t.Errorf("plain text error: %#v", err)
	}
	if err := c.Get(ctx, "/readyz", &echo); err == nil || !strings.Contains(err.Error(), "decode") {
		t.Errorf("text decoded as JSON: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.Get(cancelled, "/readyz", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestUnknownAuthorityIsRefused(t *testing.T) {
	one := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request came through") })
	two := load(t, serve(t, func(http.ResponseWriter, *http.Request) {}))
	stranger := two.WithServer(load(t, one).Server())
	var unknown x509.UnknownAuthorityError
	// httptest servers share one certificate, so give the client no roots at all.
	stranger.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: x509.NewCertPool()}}}
	if err := stranger.Get(t.Context(), "/readyz", nil); !errors.As(err, &unknown) {
		t.Errorf("got %v", err)
	}
}

func TestToken(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"))
	}))
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := load(t, fmt.Sprintf(`{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "x", "user": "u"}}],
	  "clusters": [{"name": "x", "cluster": {"server": %q, "certificate-authority": %q}}],
	  "users": [{"name": "u", "user": {"token": "secret"}}]}`, srv.URL+"/", ca))
	var got string
	if err := c.Get(t.Context(), "/", &got); err != nil || got != "Bearer secret" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLoadRejects(t *testing.T) {
	const contexts = `current-context: c
contexts: [{name: c, context: {cluster: x, user: u}}]
`
	for name, tc := range map[string]struct{ in, want string }{
		"not YAML":      {"\t", "kubeconfig"},
		"empty":         {"", "current context"},
		"no cluster":    {contexts + "users: [{name: u, user: {}}]", `cluster "x"`},
		"plain HTTP":    {contexts + "clusters: [{name: x, cluster: {server: 'http://h'}}]\nusers: [{name: u, user: {}}]", "https"},
		"bad base64":    {contexts + "clusters: [{name: x, cluster: {server: 'https://h', certificate-authority-data: '!'}}]\nusers: [{name: u, user: {}}]", "certificate-authority-data"},
		"no PEM":        {contexts + "clusters: [{name: x, cluster: {server: 'https://h', certificate-authority-data: 'aGk='}}]\nusers: [{name: u, user: {}}]", "no certificate"},
		"missing file":  {contexts + "clusters: [{name: x, cluster: {server: 'https://h', certificate-authority: /none}}]\nusers: [{name: u, user: {}}]", "/none"},
		"key alone":     {contexts + "clusters: [{name: x, cluster: {server: 'https://h'}}]\nusers: [{name: u, user: {client-key-data: aGk=}}]", "client-certificate"},
		"plugin wanted": {contexts + "clusters: [{name: x, cluster: {server: 'https://h'}}]\nusers: [{name: u, user: {exec: {command: c}}}]", "plugin"},
	} {
		if _, err := Load([]byte(tc.in)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want something about %q", name, err, tc.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("current-context: c\ncontexts: [{name: c, context: {cluster: x, user: u}}]\nclusters: [{name: x, cluster: {server: 'https://h'}}]\nusers: [{name: u, user: {token: t}}]"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if strings.Contains(string(in), "/") && !strings.Contains(string(in), "https://h") {
			return // do not open whatever file the fuzzer names
		}
		if c, err := Load(in); err == nil && !strings.HasPrefix(c.Server(), "https://") {
			t.Fatalf("server %q", c.Server())
		}
	})
}
