package gobuild_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/image/gobuild"
	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/stamp"
	"kubesolo.io/os/internal/image/tool"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBuildOnlyWhatChanged(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	write(t, filepath.Join(src, "go.mod"), "module example.org/x\n\ngo 1.24\n")
	write(t, filepath.Join(src, "lib/lib.go"), "package lib\n\nconst Text = \"one\"\n")
	write(t, filepath.Join(src, "cmd/x/main.go"), "package main\n\nimport \"example.org/x/lib\"\n\nfunc main() { println(lib.Text) }\n")
	var log bytes.Buffer
	b := gobuild.Builder{Run: tool.New(&log, time.Unix(1, 0)), Stamps: stamp.Store{Dir: filepath.Join(dir, "stamps")},
		Out: filepath.Join(dir, "bin"), Lock: &inputs.Lock{}}
	program := gobuild.Program{Name: "x", Dir: src, Package: "./cmd/x"}
	built := func() int {
		t.Helper()
		log.Reset()
		if _, err := b.Build(context.Background(), program); err != nil {
			t.Fatal(err)
		}
		return strings.Count(log.String(), "+ go build")
	}
	if built() != 1 {
		t.Error("the first time it was not built")
	}
	if built() != 0 {
		t.Error("nothing changed, but it was built")
	}
	write(t, filepath.Join(src, "lib/lib_test.go"), "package lib\n")
	write(t, filepath.Join(src, "other/other.go"), "package other\n")
	if built() != 0 {
		t.Error("a test and a foreign package changed, but it was built")
	}
	write(t, filepath.Join(src, "lib/lib.go"), "package lib\n\nconst Text = \"two\"\n")
	if built() != 1 {
		t.Error("a package it uses changed, but it was not built")
	}
	out, err := exec.Command(filepath.Join(dir, "bin/x")).CombinedOutput()
	if err != nil || string(out) != "two\n" {
		t.Errorf("it says %q, %v", out, err)
	}
}
