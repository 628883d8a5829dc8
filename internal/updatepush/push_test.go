package updatepush

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"

	"kubesolo.io/os/internal/registrytest"
	"kubesolo.io/os/internal/update/source"
)

const target = "00ff.kubesolo-os-0.2.0-amd64.slot"

func repository(t *testing.T, timestamp string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"metadata/timestamp.json": timestamp, "metadata/1.root.json": "{}", "targets/" + target: "a slot"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func timestamp(t *testing.T, reference string, keys ...*ecdsa.PublicKey) (string, error) {
	t.Helper()
	s, err := source.NewOCI(reference, source.OCIOptions{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Metadata(t.Context(), "timestamp.json", 99)
	return string(data), err
}

func TestPush(t *testing.T) {
	reference := registrytest.Start(t, registrytest.Options{}) + "/os:stable"
	var sent []string
	o := Options{Dir: repository(t, "1"), Reference: reference, Created: time.Unix(1_800_000_000, 0), Progress: func(file string, size int64, new bool) {
		if new {
			sent = append(sent, file)
		}
	}}
	first, err := Push(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := timestamp(t, reference); err != nil || got != "1" {
		t.Errorf("%q, %v", got, err)
	}
	if want := []string{"metadata/1.root.json", "metadata/timestamp.json", "targets/" + target}; !slices.Equal(sent, want) {
		t.Errorf("sent %q", sent)
	}
	// The same again is the same, and nothing is sent twice.
	sent = nil
	if again, err := Push(t.Context(), o); err != nil || again != first || len(sent) != 0 {
		t.Errorf("again %s, not %s; sent %q, %v", again, first, sent, err)
	}
	o.Dir = repository(t, "2")
	if _, err := Push(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got, err := timestamp(t, reference); err != nil || got != "2" {
		t.Errorf("%q, %v", got, err)
	}
	if !slices.Equal(sent, []string{"metadata/timestamp.json"}) {
		t.Errorf("sent %q", sent)
	}
}

func TestPushToLayout(t *testing.T) {
	key := newKey(t)
	layout := filepath.Join(t.TempDir(), "stick/os")
	if _, err := Push(t.Context(), Options{Dir: repository(t, "1"), Reference: "oci:" + layout + ":stable", Key: key}); err != nil {
		t.Fatal(err)
	}
	// Brought to a registry by other hands, it is read as ever.
	store, err := oci.New(layout)
	if err != nil {
		t.Fatal(err)
	}
	reference := registrytest.Start(t, registrytest.Options{}) + "/os:stable"
	repo, err := source.Connect(reference, source.OCIOptions{})
	if err != nil {
		t.Fatal(err)
	}
	artifact, err := oras.Copy(t.Context(), store, "stable", repo, "", oras.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oras.Copy(t.Context(), store, source.CosignTag(artifact.Digest), repo, "", oras.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := timestamp(t, reference, &key.PublicKey); err != nil || got != "1" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSignaturesOfOthersAreKept(t *testing.T) {
	first, second := newKey(t), newKey(t)
	reference := registrytest.Start(t, registrytest.Options{}) + "/os:stable"
	o := Options{Dir: repository(t, "1"), Reference: reference}
	for _, key := range []*ecdsa.PrivateKey{first, second, first, second} {
		o.Key = key
		if _, err := Push(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []*ecdsa.PrivateKey{first, second} {
		if got, err := timestamp(t, reference, &key.PublicKey); err != nil || got != "1" {
			t.Errorf("%q, %v", got, err)
		}
	}
	repo, err := source.Connect(reference, source.OCIOptions{})
	if err != nil {
		t.Fatal(err)
	}
	artifact, err := repo.Resolve(t.Context(), "stable")
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := oras.FetchBytes(t.Context(), repo, source.CosignTag(artifact.Digest), oras.FetchBytesOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Layers) != 2 || manifest.Config.MediaType != ocispec.MediaTypeImageConfig || manifest.Layers[0].MediaType != source.CosignMediaType {
		t.Errorf("signatures: %s", text)
	}
	// What cosign wants to find in the payload.
	payload, err := content.FetchAll(t.Context(), repo, manifest.Layers[0])
	name := strings.TrimSuffix(reference, ":stable")
	if want := `{"critical":{"identity":{"docker-reference":"` + name + `"},"image":{"docker-manifest-digest":"` + artifact.Digest.String() +
		`"},"type":"cosign container image signature"},"optional":null}`; err != nil || string(payload) != want {
		t.Errorf("payload %s, %v", payload, err)
	}
}

// The tag is the last thing that changes: a push that ends early leaves the old
// artifact, signed, where it was.
func TestPushThatEndsEarlyMovesNoTag(t *testing.T) {
	key := newKey(t)
	var fail string
	host := registrytest.Start(t, registrytest.Options{Around: func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if fail != "" && r.Method == http.MethodPut && strings.Contains(r.URL.Path, fail) {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			registry.ServeHTTP(w, r)
		})
	}})
	o := Options{Dir: repository(t, "1"), Reference: host + "/os:stable", Key: key}
	if _, err := Push(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	o.Dir = repository(t, "2")
	for _, fail = range []string{"/blobs/uploads/", "/manifests/sha256:", "/manifests/sha256-", "/manifests/stable"} {
		if _, err := Push(t.Context(), o); err == nil {
			t.Errorf("no error where %s failed", fail)
		}
		if got, err := timestamp(t, o.Reference, &key.PublicKey); err != nil || got != "1" {
			t.Errorf("after a failure of %s: %q, %v", fail, got, err)
		}
	}
	fail = ""
	if _, err := Push(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got, err := timestamp(t, o.Reference, &key.PublicKey); err != nil || got != "2" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestPushRefuses(t *testing.T) {
	odd := repository(t, "1")
	if err := os.Symlink("/etc/passwd", filepath.Join(odd, "targets/link")); err != nil {
		t.Fatal(err)
	}
	none := repository(t, "1")
	if err := os.Remove(filepath.Join(none, "metadata/timestamp.json")); err != nil {
		t.Fatal(err)
	}
	good := repository(t, "1")
	for _, test := range []struct{ dir, reference, says string }{
		{good, "registry.example/os", "write HOST/REPOSITORY:TAG"},
		{good, "registry.example/os@sha256:" + strings.Repeat("0", 64), "write HOST/REPOSITORY:TAG"},
		{good, "os", "write HOST/REPOSITORY:TAG"},
		{good, "oci:/tmp/layout", "write oci:DIRECTORY:TAG"},
		{good, "oci::stable", "write oci:DIRECTORY:TAG"},
		{odd, "localhost:1/os:stable", "targets/link is not a file"},
		{none, "localhost:1/os:stable", "metadata/timestamp.json is missing"},
		{t.TempDir(), "localhost:1/os:stable", "no such file"},
		{good, "localhost:1/os:stable", "connection refused"},
	} {
		_, err := Push(t.Context(), Options{Dir: test.dir, Reference: test.reference})
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s to %s: %v, want %q", test.dir, test.reference, err, test.says)
		}
	}
}

func TestParseKey(t *testing.T) {
	key := newKey(t)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := x509.MarshalPKCS8PrivateKey(other)
	if err != nil {
		t.Fatal(err)
	}
	for kind, der := range map[string][]byte{"PRIVATE KEY": pkcs8, "EC PRIVATE KEY": sec1} {
		if got, err := ParseKey(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})); err != nil || !got.Equal(key) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for says, text := range map[string][]byte{
		"not a private key in PEM":  []byte("x"),
		"without a password":        pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("x")}),
		"private key: ":             pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
		"P-256 but *rsa.PrivateKey": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rsaKey}),
	} {
		if _, err := ParseKey(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
