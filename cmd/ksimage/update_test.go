package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/image"
	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/squashfs"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/image/tree"
	"kubesolo.io/os/internal/tufrepo"
)

// slot makes a slot image as the image build does, with tiny files.
func slot(t *testing.T, name, version string) {
	t.Helper()
	text, err := json.Marshal(image.SlotInfo{Format: 1, Version: version, Architecture: "amd64",
		Files: map[string]inputs.Input{"vmlinuz": {}, "kubesolo-os.gz": {}}})
	if err != nil {
		t.Fatal(err)
	}
	tr := tree.New()
	for name, content := range map[string]string{"vmlinuz": "kernel", "kubesolo-os.gz": "initramfs of " + version, "slot.json": string(text)} {
		if err := tr.File(name, 0o444, tree.Bytes(content), ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := squashfs.Pack(context.Background(), tool.New(nil, time.Unix(fallbackEpoch, 0)), tr, name, squashfs.Options{Stored: true}); err != nil {
		t.Fatal(err)
	}
}

// run runs a command line, "update" or "keys" first, and returns what it prints.
func run(t *testing.T, line ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	var err error
	if line[0] == "keys" {
		err = keys(line[1:], &out)
	} else {
		err = update(t.Context(), line[1:], &out)
	}
	return out.String(), err
}

func want(t *testing.T, parts []string, line ...string) {
	t.Helper()
	out, err := run(t, line...)
	if err != nil {
		t.Fatalf("ksimage %s: %v", strings.Join(line, " "), err)
	}
	flat := strings.Join(strings.Fields(out), " ")
	for _, part := range parts {
		if !strings.Contains(flat, part) {
			t.Errorf("ksimage %s does not print %q:\n%s", strings.Join(line, " "), part, out)
		}
	}
}

func refused(t *testing.T, text string, line ...string) {
	t.Helper()
	_, err := run(t, line...)
	if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
		t.Errorf("ksimage %s: error %v, want one line with %q", strings.Join(line, " "), err, text)
	}
}

func TestUpdateWithTestKeys(t *testing.T) {
	out := t.TempDir()
	slot(t, filepath.Join(out, "slot.squashfs"), "0.1.0")
	want(t, []string{"test keys everybody has them", "root version 1", "0.1.0 amd64 stable any"}, "update", "--out", out)
	slot(t, filepath.Join(out, "slot.squashfs"), "0.2.0")
	want(t, []string{"0.1.0 amd64 stable any", "0.2.0 amd64 beta,nightly 0.1.0"},
		"update", "--out", out, "--channel", "beta,nightly", "--min-version", "0.1.0", "--notes", "second\nmore")
	want(t, []string{"0.2.0"}, "update", "refresh", "--out", out)
	text, err := run(t, "update", "withdraw", "0.1.0", "--out", out, "-o", "json")
	var status tufrepo.Status
	if err != nil || json.Unmarshal([]byte(text), &status) != nil || len(status.Targets) != 1 || status.Targets[0].Notes != "second\nmore" || !status.Root.TestKeys {
		t.Errorf("%s, %v", text, err)
	}
	for _, name := range []string{"1.root.json", "4.snapshot.json", "3.targets.json", "timestamp.json"} {
		if _, err := os.Stat(filepath.Join(out, "repository/metadata", name)); err != nil {
			t.Error(err)
		}
	}
	if files, err := filepath.Glob(filepath.Join(out, "repository/targets/*.kubesolo-os-0.*.0-amd64.slot")); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestUpdateRefuses(t *testing.T) {
	out := t.TempDir()
	image := filepath.Join(out, "slot.squashfs")
	refused(t, "build an image first (make image), or name it with --slot", "update", "--out", out)
	if err := os.WriteFile(image, []byte("not a squashfs"), 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, "is no slot image: no slot.json can be read from it", "update", "--out", out)
	if err := os.Truncate(image, 1<<30); err != nil {
		t.Fatal(err)
	}
	refused(t, "has 1073741824 bytes, a slot of a node holds 536870912", "update", "--out", out)
	if err := os.Remove(image); err != nil {
		t.Fatal(err)
	}
	slot(t, image, "my-build")
	refused(t, `version "my-build" is none like 1.2.3`, "update", "--out", out)
	slot(t, image, "0.1.0")
	want(t, nil, "update", "--out", out)
	want(t, nil, "keys", "init", filepath.Join(out, "others"))
	refused(t, "it was not signed with the keys in", "update", "--out", out, "--keys", filepath.Join(out, "others"))
	refused(t, "there is no 1.root.json; ksimage keys init", "update", "--out", out, "--keys", out)
	refused(t, "is not empty", "keys", "init", filepath.Join(out, "others"))
	refused(t, "add --role root", "keys", "rotate", "--threshold", "1", filepath.Join(out, "others"))
	for _, line := range [][]string{{"update", "publish"}, {"update", "withdraw"}, {"update", "refresh", "0.1.0"}, {"update", "--expire", "timestamp=3"},
		{"keys"}, {"keys", "delete", "x"}, {"keys", "init"}, {"keys", "show", "a", "b"}, {"keys", "init", "--expire", "root=0d", "x"}} {
		if _, err := run(t, line...); !errors.Is(err, errUsage) {
			t.Errorf("ksimage %s: error %v", strings.Join(line, " "), err)
		}
	}
}

// The ceremony of docs/updates.md.
func TestKeysCeremony(t *testing.T) {
	dir := t.TempDir()
	release, image, repository := filepath.Join(dir, "keys"), filepath.Join(dir, "slot"), filepath.Join(dir, "repository")
	want(t, []string{"root version 1", "(365 days)", "root 2 of 3", "targets 1 of 1", "timestamp 1 of 1"}, "keys", "init", release)
	slot(t, image, "1.0.0")
	want(t, []string{"1.0.0 amd64 stable"}, "update", "--keys", release, "--repository", repository, "--slot", image)
	var sticks []string
	files, err := filepath.Glob(filepath.Join(release, "root-*.pem"))
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		stick := t.TempDir()
		sticks = append(sticks, stick)
		if err := os.Rename(file, filepath.Join(stick, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	want(t, []string{"not here"}, "keys", "show", release)
	refused(t, "2 of its keys must sign the next one, and 1 are here", "keys", "rotate", "--role", "timestamp", "--with", sticks[0], release)
	want(t, []string{"root version 2"}, "keys", "rotate", "--role", "timestamp", "--role", "targets", "--with", sticks[0], "--with", sticks[2], release)
	want(t, []string{"root version 3", "(730 days)"}, "keys", "rotate", "--with", sticks[1], "--with", sticks[2], "--expire", "root=730d", release)
	want(t, []string{"root version 1", "1.0.0 amd64 stable", "root version 3 is not published yet"}, "update", "show", "--keys", release, "--repository", repository)
	want(t, []string{"root version 3", "1.0.0 amd64 stable"}, "update", "refresh", "--keys", release, "--repository", repository)
	want(t, []string{"root version 2"}, "keys", "show", filepath.Join(release, "2.root.json"))
	text, err := run(t, "keys", "show", "-o", "json", release)
	if err != nil || !strings.Contains(text, `"version": 3`) || !strings.Contains(text, `"files": {`) {
		t.Errorf("%s, %v", text, err)
	}
}
