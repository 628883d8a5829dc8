package source_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"

	"kubesolo.io/os/internal/registrytest"
	"kubesolo.io/os/internal/update/source"
	"kubesolo.io/os/internal/updatepush"
)

const targetName = "0011223344556677.kubesolo-os-0.2.0-amd64.slot"

// repository makes a directory with two files of metadata and one target.
func repository(t *testing.T, timestamp string, target []byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"metadata/1.root.json": []byte(`{"root":1}`), "metadata/timestamp.json": []byte(timestamp), "targets/" + targetName: target,
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func push(t *testing.T, dir, reference string, key *ecdsa.PrivateKey, o source.OCIOptions) digest.Digest {
	t.Helper()
	id, err := updatepush.Push(t.Context(), updatepush.Options{Dir: dir, Reference: reference, Registry: o, Key: key, Created: time.Unix(1_800_000_000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func open(t *testing.T, reference string, o source.OCIOptions) *source.OCI {
	t.Helper()
	s, err := source.NewOCI(reference, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readTarget(t *testing.T, s source.Source, size, offset int64) ([]byte, error) {
	t.Helper()
	body, err := s.Target(t.Context(), targetName, size, offset)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	return data, errors.Join(err, body.Close())
}

// want checks an error: none for kind nil and an empty text.
func want(t *testing.T, err, kind error, text string) {
	t.Helper()
	switch {
	case kind == nil && text == "":
		if err != nil {
			t.Errorf("error %v, want none", err)
		}
	case err == nil:
		t.Errorf("no error, want %v, %q", kind, text)
	case kind != nil && !errors.Is(err, kind) || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n"):
		t.Errorf("error %q, want %v, %q in one line", err, kind, text)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func someBytes(t *testing.T, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOCI(t *testing.T) {
	data := someBytes(t, 300_000)
	reference := registrytest.Start(t, registrytest.Options{}) + "/plant/kubesolo-os:stable"
	push(t, repository(t, "{}", data), reference, nil, source.OCIOptions{})
	s := open(t, "oci://"+reference, source.OCIOptions{})
	if s.String() != "oci://"+reference {
		t.Errorf("called %q", s)
	}
	if got, err := s.Metadata(t.Context(), "timestamp.json", 2); err != nil || string(got) != "{}" {
		t.Errorf("%q, %v", got, err)
	}
	_, err := s.Metadata(t.Context(), "timestamp.json", 1)
	want(t, err, source.ErrLength, "longer than 1 bytes")
	_, err = s.Metadata(t.Context(), "2.root.json", 9)
	want(t, err, fs.ErrNotExist, "metadata/2.root.json")
	_, err = s.Metadata(t.Context(), "../targets/x", 9)
	want(t, err, source.ErrRefused, "not the name of a file")
	for _, offset := range []int64{0, 1, 150_000, 299_999, 300_000} {
		if got, err := readTarget(t, s, 300_000, offset); err != nil || !bytes.Equal(got, data[offset:]) {
			t.Errorf("from %d: %d bytes, %v", offset, len(got), err)
		}
	}
	_, err = readTarget(t, s, 300_001, 0)
	want(t, err, source.ErrLength, "has 300000 bytes of it, not 300001")
	_, err = s.Target(t.Context(), "ff"+targetName, 9, 0)
	want(t, err, fs.ErrNotExist, "targets/ff")
	_, err = open(t, strings.Replace(reference, "stable", "beta", 1), source.OCIOptions{}).Metadata(t.Context(), "timestamp.json", 9)
	want(t, err, fs.ErrNotExist, "beta")
}

func TestOCITagMoves(t *testing.T) {
	older, newer := someBytes(t, 1000), someBytes(t, 1000)
	reference := registrytest.Start(t, registrytest.Options{}) + "/os:stable"
	push(t, repository(t, "1", older), reference, nil, source.OCIOptions{})
	s := open(t, reference, source.OCIOptions{})
	if got, err := readTarget(t, s, 1000, 0); err != nil || !bytes.Equal(got, older) {
		t.Fatal(len(got), err)
	}
	push(t, repository(t, "2", newer), reference, nil, source.OCIOptions{})
	if got, err := readTarget(t, s, 1000, 500); err != nil || !bytes.Equal(got, older[500:]) {
		t.Error("a download did not go on with what it began with", err)
	}
	if got, err := s.Metadata(t.Context(), "timestamp.json", 9); err != nil || string(got) != "2" {
		t.Errorf("metadata %q, %v", got, err)
	}
	if got, err := readTarget(t, s, 1000, 0); err != nil || !bytes.Equal(got, newer) {
		t.Error("the new target was not read", err)
	}
}

func TestOCILogin(t *testing.T) {
	const user, password = "node", "correct horse"
	config := func(host, user, password string) string {
		file := filepath.Join(t.TempDir(), "config.json")
		text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	basic := registrytest.Start(t, registrytest.Options{User: user, Password: password})
	token := registrytest.Start(t, registrytest.Options{Around: bearer(user, password)})
	for name, host := range map[string]string{"basic": basic, "token": token} {
		t.Run(name, func(t *testing.T) {
			reference := host + "/os:stable"
			good := source.OCIOptions{AuthFile: config(host, user, password)}
			push(t, repository(t, "{}", []byte("slot")), reference, nil, good)
			s := open(t, reference, good)
			if got, err := s.Metadata(t.Context(), "timestamp.json", 9); err != nil || string(got) != "{}" {
				t.Errorf("%q, %v", got, err)
			}
			if got, err := readTarget(t, s, 4, 2); err != nil || string(got) != "ot" {
				t.Errorf("%q, %v", got, err)
			}
			for why, file := range map[string]string{"no credentials": "", "of another host": config("registry.example", user, password), "wrong password": config(host, user, "wrong")} {
				t.Run(why, func(t *testing.T) {
					_, err := open(t, reference, source.OCIOptions{AuthFile: file}).Metadata(t.Context(), "timestamp.json", 9)
					want(t, err, source.ErrRefused, "the registry")
					if err != nil && strings.Contains(err.Error(), "wrong") {
						t.Errorf("error %q says the password", err)
					}
				})
			}
		})
	}
	_, err := source.NewOCI(basic+"/os:stable", source.OCIOptions{AuthFile: "/not/there"})
	want(t, err, fs.ErrNotExist, "credentials for the registry")
}

// bearer is a token service and a registry that wants its tokens.
func bearer(user, password string) func(http.Handler) http.Handler {
	return func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch gotUser, gotPassword, _ := r.BasicAuth(); {
			case r.URL.Path == "/token" && gotUser == user && gotPassword == password:
				_, _ = io.WriteString(w, `{"token":"let-me-in"}`)
			case r.URL.Path == "/token":
				w.WriteHeader(http.StatusUnauthorized)
			case r.Header.Get("Authorization") != "Bearer let-me-in":
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="updates"`, r.Host))
				w.WriteHeader(http.StatusUnauthorized)
			default:
				r.Header.Del("Authorization")
				registry.ServeHTTP(w, r)
			}
		})
	}
}

func TestOCISignature(t *testing.T) {
	ours, theirs := newKey(t), newKey(t)
	host := registrytest.Start(t, registrytest.Options{})
	dir := repository(t, "{}", []byte("slot"))
	signed := push(t, dir, host+"/os:signed", ours, source.OCIOptions{})
	push(t, repository(t, "[]", []byte("slot")), host+"/os:unsigned", nil, source.OCIOptions{})
	push(t, repository(t, "[1]", []byte("slot")), host+"/os:other-key", theirs, source.OCIOptions{})
	// A signature of one artifact, put beside another.
	moved := push(t, repository(t, "[2]", []byte("slot")), host+"/os:moved", nil, source.OCIOptions{})
	repo, err := source.Connect(host+"/os", source.OCIOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oras.Tag(t.Context(), repo, source.CosignTag(signed), source.CosignTag(moved)); err != nil {
		t.Fatal(err)
	}
	// Something else where signatures are.
	empty := push(t, repository(t, "[3]", []byte("slot")), host+"/os:odd", nil, source.OCIOptions{})
	if _, err := oras.Tag(t.Context(), repo, "unsigned", source.CosignTag(empty)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		tag  string
		keys []*ecdsa.PublicKey
		kind error
		text string
	}{
		{"signed", []*ecdsa.PublicKey{&ours.PublicKey}, nil, ""},
		{"signed", []*ecdsa.PublicKey{&theirs.PublicKey, &ours.PublicKey}, nil, ""},
		{"signed", []*ecdsa.PublicKey{&theirs.PublicKey}, source.ErrRefused, "not of a key that we know"},
		{"unsigned", nil, nil, ""},
		{"unsigned", []*ecdsa.PublicKey{&ours.PublicKey}, source.ErrRefused, "has no cosign signature"},
		{"other-key", []*ecdsa.PublicKey{&ours.PublicKey}, source.ErrRefused, "not of a key that we know"},
		{"moved", []*ecdsa.PublicKey{&ours.PublicKey}, source.ErrRefused, "what is signed is another artifact"},
		{"odd", []*ecdsa.PublicKey{&ours.PublicKey}, source.ErrRefused, "no good cosign signature"},
	} {
		t.Run(fmt.Sprintf("%s with %d keys", test.tag, len(test.keys)), func(t *testing.T) {
			s := open(t, host+"/os:"+test.tag, source.OCIOptions{Keys: test.keys})
			_, err := s.Metadata(t.Context(), "timestamp.json", 9)
			want(t, err, test.kind, test.text)
			_, err = readTarget(t, s, 4, 0)
			want(t, err, test.kind, test.text)
		})
	}
}

func TestOCIOtherArtifacts(t *testing.T) {
	host := registrytest.Start(t, registrytest.Options{})
	repo, err := source.Connect(host+"/os", source.OCIOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pack := func(tag, artifactType string, titles ...string) {
		var layers []ocispec.Descriptor
		for _, title := range titles {
			layer, err := oras.PushBytes(t.Context(), repo, source.MediaTypeMetadata, []byte(title))
			if err != nil {
				t.Fatal(err)
			}
			layer.Annotations = map[string]string{ocispec.AnnotationTitle: title}
			layers = append(layers, layer)
		}
		made, err := oras.PackManifest(t.Context(), repo, oras.PackManifestVersion1_1, artifactType, oras.PackManifestOptions{Layers: layers})
		if err == nil {
			err = repo.Tag(t.Context(), made, tag)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	pack("chart", "application/vnd.cncf.helm.chart", "metadata/timestamp.json")
	pack("twice", source.ArtifactType, "metadata/timestamp.json", "metadata/timestamp.json")
	for tag, text := range map[string]string{"chart": "it is no update repository", "twice": "two layers are titled"} {
		_, err := open(t, host+"/os:"+tag, source.OCIOptions{}).Metadata(t.Context(), "timestamp.json", 99)
		want(t, err, source.ErrRefused, text)
	}
}
