package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/cloudinit"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/klog"
	"kubesolo.io/os/internal/nstest"
	"kubesolo.io/os/internal/supervise"
)

// planted is in every value that must stay secret.
const planted = "PLANTED-7f3a"

// lines is a buffer that many may write to.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// observed is a node of which everything that is said can be read.
func observed(t *testing.T) (n *node, said func() string) {
	t.Helper()
	var screen, log lines
	n = newNode(&screen)
	t.Cleanup(n.reaper.Close)
	level := &slog.LevelVar{}
	level.Set(slog.LevelDebug)
	n.log = slog.New(klog.NewHandler(&log, "ksinit", level))
	var host lines
	n.events.Attach(event.NewStream(nopCloser{&host}, 4096))
	return n, func() string {
		n.console.wait()
		return "console:\n" + screen.String() + "log:\n" + log.String() + "host:\n" + host.String()
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// TestSecretsAreNotSaid plants an edge key, an environment and a file with a
// password, reads and applies them with the debug log on, and lets a service
// with all of them die. What they are for must have them, and nothing else.
func TestSecretsAreNotSaid(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	mountAt(t, "tmpfs", "/run", "tmpfs", 0) // files may be written there
	if err := os.Mkdir(config.EffectiveDir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := "/run/certs/hosts.toml"
	document := filepath.Join(t.TempDir(), "cloud-init.yaml")
	auth := `{"auths": {"r.example": {"password": "` + planted + `-auth"}}}`
	text := "#cloud-config\nupdate: {registry-auth: '" + auth + "'}\nportainer:\n  edge-id: edge-1\n  edge-key: " + planted + "-key\n" +
		"kubesolo:\n  extra-env: {HTTPS_PROXY: \"http://user:" + planted + "-env@proxy:3128\"}\n" +
		"write_files:\n  - path: " + file + "\n    permissions: '0600'\n    content: " + planted + "-file\n"
	if err := os.WriteFile(document, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n, said := observed(t)
	n.args.CloudInit, n.args.Raw = document, "kubesolo.cloudinit="+document
	if err := n.run(t.Context(), []boot.Step{
		{Name: "config", OnError: boot.Degrade, Run: n.readConfig},
		{Name: "settings", Needs: []string{"config"}, OnError: boot.Degrade, Run: n.applySettings},
	}); err != nil {
		t.Fatal(err)
	}
	env := config.KubeSoloEnv(n.config, netip.MustParseAddr("192.0.2.1"))
	for _, want := range []string{"KUBESOLO_PORTAINER_EDGE_KEY=" + planted + "-key", "HTTPS_PROXY=http://user:" + planted + "-env@proxy:3128"} {
		if !slices.Contains(env, want) {
			t.Errorf("kubesolo is not told %s", want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), planted) {
		t.Errorf("%s: %q, %v", file, b, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}

	if s, err := config.ReadRegistryAuth(config.EffectiveDir); err != nil || s.Reveal() != auth {
		t.Errorf("the agent reads %q, %v", s.Reveal(), err)
	}
	for _, name := range []string{"config.json", "origins.json"} {
		if b, err := os.ReadFile(filepath.Join(config.EffectiveDir, name)); err != nil || bytes.Contains(b, []byte(planted)) {
			t.Errorf("%s holds a secret, or %v", name, err)
		}
	}

	logs := t.TempDir()
	host := supervise.Host{Reaper: n.reaper, LogDir: logs, Log: n.log}
	supervisor, err := supervise.Start(host, n, supervise.Service{
		Name: "kubesolo", Argv: []string{"/bin/sh", "-c", "exit 3"}, Env: env, Restart: supervise.RestartPolicy{Min: time.Hour, Max: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if strings.Contains(said(), "exit status 3") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := supervisor.Stop(ctx, "kubesolo"); err != nil {
		t.Error(err)
	}
	all := said()
	for _, want := range []string{"exit status 3", document, "origins"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q was not said: the search would prove nothing", want)
		}
	}
	if i := strings.Index(all, planted); i >= 0 {
		t.Errorf("a secret is told: %s", all[max(i-200, 0):min(i+50, len(all))])
	}
	entries, err := os.ReadDir(logs)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if b, err := os.ReadFile(filepath.Join(logs, e.Name())); err != nil || bytes.Contains(b, []byte(planted)) {
			t.Errorf("log %s holds a secret, or %v", e.Name(), err)
		}
	}
}

// TestMistakesBesideSecrets: an error quotes what is wrong, which must not be a
// secret that stands in the wrong form or beside the mistake.
func TestMistakesBesideSecrets(t *testing.T) {
	for name, text := range map[string]string{
		"a list as key":        "portainer:\n  edge-id: e\n  edge-key: [" + planted + "]\n",
		"a map as key":         "portainer:\n  edge-id: e\n  edge-key: {" + planted + ": 1}\n",
		"a list as value":      "kubesolo:\n  extra-env: {TOKEN: [" + planted + "]}\n",
		"a list of variables":  "kubesolo:\n  extra-env: [TOKEN=" + planted + "]\n",
		"text as environment":  "kubesolo:\n  extra-env: TOKEN=" + planted + "\n",
		"a bad variable name":  "kubesolo:\n  extra-env: {\"1 X\": " + planted + "}\n",
		"open quote":           "portainer:\n  edge-id: e\n  edge-key: \"" + planted + "\n",
		"bad indent":           "portainer:\n    edge-key: " + planted + "\n  edge-id: e\n",
		"tab":                  "portainer:\n\tedge-key: " + planted + "\n",
		"key twice":            "portainer:\n  edge-key: " + planted + "\n  edge-key: " + planted + "\n",
		"misspelt":             "portainer:\n  edge-id: e\n  egde-key: " + planted + "\n",
		"a number beside it":   "portainer:\n  edge-id: e\n  edge-key: " + planted + "\n  async: perhaps\n",
		"no colon":             "portainer:\n  edge-key " + planted + "\n",
		"the file as a string": planted + "\n",
		"bad file content":     "write_files:\n  - path: /run/x\n    encoding: b64\n    content: " + planted + "!\n",
		"JSON as a mapping":    "update:\n  registry-auth: {auths: {r: {password: " + planted + "}}}\n",
		"damaged JSON":         "update:\n  registry-auth: '{\"auths\": {\"r\": {\"password\": " + planted + "}}}'\n",
		"a bad auth":           "update:\n  registry-auth: '{\"auths\": {\"r\": {\"auth\": \"" + planted + "\"}}}'\n",
		"user in the source":   "update:\n  source: https://user:" + planted + "@updates.example/\n",
		"user in the probe":    "update:\n  probe: https://user:" + planted + "@app.example/\n",
		"a private cosign key": "update:\n  cosign-key: |\n    -----BEGIN PRIVATE KEY-----\n    " + planted + "\n    -----END PRIVATE KEY-----\n",
		"content as a list":    "write_files:\n  - path: /run/x\n    content: [" + planted + "]\n",
	} {
		t.Run(name, func(t *testing.T) {
			n, said := observed(t)
			if err := n.run(t.Context(), []boot.Step{{Name: "config", OnError: boot.Degrade, Run: func(ctx context.Context) error {
				return n.addDocument(ctx, document{name: "test", kind: cloudinit.CloudConfig, origin: "cloud-init.yaml", text: []byte("#cloud-config\n" + text)})
			}}}); err != nil {
				t.Fatal(err)
			}
			all := said()
			if !strings.Contains(all, "cloud-init.yaml") {
				t.Errorf("nothing is said of the mistake:\n%s", all)
			}
			if strings.Contains(all, planted) {
				t.Errorf("the secret is told:\n%s", all)
			}
		})
	}
}
