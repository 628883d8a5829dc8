package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A machine without QEMU says so at the beginning, before an image is looked for, and
// with all that is missing: a bench takes long.
func TestBenchAsksForWhatItNeeds(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir) // no other program, and no apt-get
	for ready, want := range map[bool]string{
		true:  "mtools qemu-system-x86 squashfs-tools;", // dosfstools is found in /usr/sbin, or is named too
		false: "qemu-system-x86 squashfs-tools;",
	} {
		b := &bench{build: filepath.Join(dir, "none"), log: io.Discard}
		if err := b.run(t.Context(), ready); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with boots to Ready %v: %v, want an error with %q", ready, err, want)
		}
	}
}
