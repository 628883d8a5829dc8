package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/registrytest"
	"kubesolo.io/os/internal/update/source"
)

// A node reads what was pushed; a second time nothing is sent.
func TestPush(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1800000000")
	reference := registrytest.Start(t, registrytest.Options{}) + "/os:stable"
	dir := t.TempDir()
	for name, text := range map[string]string{"metadata/timestamp.json": "{}", "targets/00ff.kubesolo-os-0.2.0-amd64.slot": "a slot"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"sent", "there"} {
		var out bytes.Buffer
		if err := push(t.Context(), []string{reference, "--repository", dir}, &out); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(out.String(), want); lines != 2 || !strings.Contains(out.String(), reference+" is sha256:") {
			t.Errorf("push %d:\n%s", i+1, out.String())
		}
	}
	s, err := source.NewOCI(reference, source.OCIOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := s.Metadata(t.Context(), "timestamp.json", 9); err != nil || string(text) != "{}" {
		t.Errorf("%q %v", text, err)
	}
	if err := push(t.Context(), []string{"--repository", dir}, &bytes.Buffer{}); !errors.Is(err, errUsage) {
		t.Errorf("without a reference: %v", err)
	}
	if err := push(t.Context(), []string{"--repository", filepath.Join(dir, "none"), reference}, &bytes.Buffer{}); err == nil {
		t.Error("a repository that is not there was pushed")
	}
}
