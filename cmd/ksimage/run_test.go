package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// On a machine without QEMU each run says so with the names of Debian's packages, before
// it makes or looks for anything.
func TestRunAsksForWhatItNeeds(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no program at all, and no apt-get
	build := t.TempDir()
	for line, want := range map[string]string{
		"":                   "run: program is not installed: Debian has it in qemu-system-x86;",
		"--disk":             "run: program is not installed: Debian has it in qemu-system-x86 qemu-utils;",
		"--detach":           "run: program is not installed: Debian has it in qemu-system-x86;",
		"--console":          "run: program is not installed: Debian has it in qemu-system-x86;",
		"--detach --console": "run: --detach goes neither with --console",
	} {
		var stdout, stderr bytes.Buffer
		err := runVerb(t.Context(), append([]string{"--build", build}, strings.Fields(line)...), &stdout, &stderr)
		if err == nil || !strings.HasPrefix(err.Error(), want) || stdout.Len() > 0 {
			t.Errorf("run %s: %v, want %q; it said %q", line, err, want, stdout.String())
		}
	}
	if made, err := os.ReadDir(build); err != nil || len(made) > 0 {
		t.Errorf("%v was made, %v", made, err)
	}
}

// What make run is to need is asked for before the build, which is long.
func TestBuildAsksForWhatARunNeeds(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv("SOURCE_DATE_EPOCH", "1800000000")
	out := filepath.Join(dir, "out")
	err := build(t.Context(), []string{"--quiet", "--out", out, "--need", "qemu-system-x86_64 qemu-img ", "--need", "/no/such/file"})
	for _, want := range []string{"/no/such/file", "qemu-system-x86 qemu-utils", "xorriso"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}
