package source

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"
)

func TestParseReference(t *testing.T) {
	const id = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for reference, want := range map[string]struct {
		where string
		plain bool
	}{
		"registry.example/os:stable":              {"registry.example/os:stable", false},
		"oci://registry.example:5000/a/b/os:1.0":  {"registry.example:5000/a/b/os:1.0", false},
		"http://registry.example/os:stable":       {"registry.example/os:stable", true},
		"oci://http://registry.example/os:stable": {"registry.example/os:stable", true},
		"localhost:5000/os:stable":                {"localhost:5000/os:stable", true},
		"127.0.0.1/os:stable":                     {"127.0.0.1/os:stable", true},
		"[::1]:5000/os:stable":                    {"[::1]:5000/os:stable", true},
		"https://localhost/os:stable":             {"localhost/os:stable", false},
		"localhost.example/os:stable":             {"localhost.example/os:stable", false},
		"registry.example/os@" + id:               {"registry.example/os@" + id, false},
	} {
		where, plain, err := parseReference(reference)
		if err != nil || where.String() != want.where || plain != want.plain {
			t.Errorf("%s: %s, plain %v, %v", reference, where, plain, err)
		}
	}
	for _, reference := range []string{"", "os", "os:stable", "registry.example/OS:stable", "registry.example/os:", "registry.example/os:a b",
		"https://node:password@registry.example/os:stable", "registry.example/os@sha256:12", "ftp://registry.example/os:stable"} {
		_, err := NewOCI(reference, OCIOptions{})
		if err == nil || strings.Contains(err.Error(), "password") || !strings.Contains(err.Error(), ":TAG") {
			t.Errorf("%s: %v", reference, err)
		}
	}
	if _, err := NewOCI("registry.example/os", OCIOptions{}); err == nil || !strings.Contains(err.Error(), "write registry.example/os:TAG") {
		t.Errorf("without a tag: %v", err)
	}
}

func basic(pair string) string {
	return `{"auth":"` + base64.StdEncoding.EncodeToString([]byte(pair)) + `"}`
}

func TestParseDockerConfig(t *testing.T) {
	known, err := parseDockerConfig([]byte(`{"auths":{
		"registry.example:5000":` + basic("node:a:b") + `,
		"https://index.docker.io/v1/":` + basic("hub:pw\x00") + `,
		"plain.example":{"username":"u","password":"p"},
		"token.example":{"identitytoken":"refresh"},
		"bearer.example":{"registrytoken":"access"},
		"empty.example":{},
		"quay.example/one/repository":` + basic("other:pw") + `},
		"credsStore":"desktop","HttpHeaders":{"a":"b"}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]auth.Credential{
		"registry.example:5000": {Username: "node", Password: "a:b"},
		"registry-1.docker.io":  {Username: "hub", Password: "pw"},
		"plain.example":         {Username: "u", Password: "p"},
		"token.example":         {RefreshToken: "refresh"},
		"bearer.example":        {AccessToken: "access"},
	}
	for host, c := range want {
		if known[host] != c {
			t.Errorf("%s: %+v", host, known[host])
		}
	}
	if len(known) != len(want) {
		t.Errorf("known: %+v", known)
	}
	for text, says := range map[string]string{
		"":                                    "not a docker configuration",
		`{"auths":[]}`:                        "not a docker configuration",
		`{"auths":{"x":{"auth":"secret!"}}}`:  `entry of "x"`,
		`{"auths":{"x":{"auth":"c2VjcmV0"}}}`: `entry of "x"`,
		`{"auths":{"x":{}},"credsStore":"d"}`: "docker-credential-d",
	} {
		_, err := parseDockerConfig([]byte(text))
		wantError(t, err, nil, says)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("error %q says what is secret", err)
		}
	}
}

func FuzzParseDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"registry.example:5000":` + basic("a:b") + `,"https://h/v2/":{"identitytoken":"x"}},"credsStore":"y"}`))
	f.Add([]byte(`{"auths":{"://":{"auth":"Og=="},"":{"username":"u"}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		known, err := parseDockerConfig(text)
		if err != nil && known != nil {
			t.Error("credentials and an error")
		}
		for host, c := range known {
			if host == "" || strings.Contains(host, "/") || c == auth.EmptyCredential {
				t.Errorf("%q: %+v", host, c)
			}
		}
	})
}

func FuzzParseArtifact(f *testing.F) {
	good := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ArtifactType, Layers: []ocispec.Descriptor{
		{Digest: digest.FromString("x"), Size: 1, Annotations: map[string]string{ocispec.AnnotationTitle: "metadata/timestamp.json"}},
	}}
	text, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(strings.Replace(string(text), "sha256", "sha512", 1)))
	f.Add([]byte(strings.Replace(string(text), `"size":1`, `"size":-1`, 1)))
	f.Add([]byte(`{"artifactType":"` + ArtifactType + `","layers":[{},{}]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		layers, err := parseArtifact(ocispec.MediaTypeImageManifest, text)
		if err != nil && !Permanent(err) {
			t.Errorf("%v would be tried again", err)
		}
		for title, layer := range layers {
			if layer.Size < 0 || layer.Digest.Validate() != nil || len(layer.Digest.Encoded()) != 64 {
				t.Errorf("%q: %+v", title, layer)
			}
		}
	})
}
