package config_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	hosts "github.com/containerd/containerd/v2/core/remotes/docker/config"

	"kubesolo.io/os/internal/config"
)

// installed writes the files as a boot does, below a directory of the test, and
// gives containerd's own way from a registry's name to the servers it asks.
func installed(t *testing.T, registries map[string]config.Registry) docker.RegistryHosts {
	t.Helper()
	root := t.TempDir()
	for _, f := range config.RegistryFiles(registries) {
		name, ok := strings.CutPrefix(f.Path, config.RegistryDir+"/")
		if !ok || config.ValidFilePath(f.Path) != nil {
			t.Fatalf("%s is not where containerd looks", f.Path)
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Content, f.Permissions); err != nil {
			t.Fatal(err)
		}
	}
	return hosts.ConfigureHosts(t.Context(), hosts.HostOptions{HostDir: hosts.HostDirFromRoot(root)})
}

func TestContainerdObeysRegistries(t *testing.T) {
	ask := installed(t, map[string]config.Registry{
		"docker.io":             {Mirrors: []string{"https://mirror.plant.example", "http://192.0.2.5:5000/cache", "https://harbor.example/v2/hub"}},
		"registry.example:5000": {SkipVerify: true},
		"_default":              {Mirrors: []string{"https://all.example"}},
	})
	for registry, want := range map[string][]string{
		"docker.io": {"https://mirror.plant.example/v2", "http://192.0.2.5:5000/cache/v2", "https://harbor.example/v2/hub",
			"https://registry-1.docker.io/v2"},
		"registry.example:5000": {"https://registry.example:5000/v2"},
		"quay.io":               {"https://all.example/v2", "https://quay.io/v2"},
	} {
		servers, err := ask(registry)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range servers {
			got = append(got, s.Scheme+"://"+s.Host+s.Path)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: containerd asks %v, want %v", registry, got, want)
		}
	}
}

func TestContainerdTrustsTheCA(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	if err := config.ValidCA(ca); err != nil {
		t.Fatal(err)
	}
	address, host := server.URL, strings.TrimPrefix(server.URL, "https://")
	for name, test := range map[string]struct {
		registries map[string]config.Registry
		of         string
		trusted    bool
	}{
		"mirror with its CA":   {map[string]config.Registry{"docker.io": {Mirrors: []string{address}, CA: ca}}, "docker.io", true},
		"mirror unknown":       {map[string]config.Registry{"docker.io": {Mirrors: []string{address}}}, "docker.io", false},
		"mirror not verified":  {map[string]config.Registry{"docker.io": {Mirrors: []string{address}, SkipVerify: true}}, "docker.io", true},
		"registry with its CA": {map[string]config.Registry{"registry.example": {Mirrors: []string{address}, CA: ca}}, "registry.example", true},
	} {
		servers, err := installed(t, test.registries)(test.of)
		if err != nil {
			t.Fatal(err)
		}
		if servers[0].Host != host {
			t.Fatalf("%s: the first server is %s", name, servers[0].Host)
		}
		answer, err := servers[0].Client.Get(address)
		if (err == nil) != test.trusted {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = answer.Body.Close()
		}
	}
}

func TestRegistryValues(t *testing.T) {
	for s, valid := range map[string]bool{
		"docker.io": true, "registry.example:5000": true, "192.0.2.1": true, "[2001:db8::1]:5000": true, "_default": true,
		"": false, "https://docker.io": false, "docker.io/library": false, "a b": false, "../etc": false, "..": false, "x:y": false,
		"x:70000": false, "UPPER.example": false, "user@docker.io": false, "docker.io:": false,
	} {
		if err := config.ValidRegistryHost(s); (err == nil) != valid {
			t.Errorf("registry %q: %v", s, err)
		}
	}
	for s, valid := range map[string]bool{
		"https://m.example": true, "http://192.0.2.5:5000": true, "https://m.example/v2/hub": true,
		"m.example": false, "ftp://m.example": false, "https://": false, "https://m.example/?x": false, "https://u:p@m.example": false,
		"https://m.example/\"": false, "https://m.example/a\nb": false, "": false,
	} {
		if err := config.ValidMirror(s); (err == nil) != valid {
			t.Errorf("mirror %q: %v", s, err)
		} else if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("password printed: %v", err)
		}
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("geheim")})
	for _, s := range []string{"", "x", string(key), "-----BEGIN CERTIFICATE-----\nAAAA\n"} {
		if err := config.ValidCA(s); err == nil || strings.Contains(err.Error(), "Z2VoZWlt") {
			t.Errorf("CA %q: %v", s, err)
		}
	}
}
