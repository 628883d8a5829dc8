package image

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/image/kconfig"
	"kubesolo.io/os/internal/image/kernel"
)

// complete is a configuration with all that the checkout's list asks for.
func complete(t *testing.T) string {
	t.Helper()
	f, err := os.Open("../../kernel/required.options")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // read only
	list, err := kconfig.ParseRequirements(f)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range list {
		if r.Want != "!y" {
			b.WriteString("CONFIG_" + r.Option + "=y\n")
		}
	}
	return b.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAuditFile(t *testing.T) {
	all := complete(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(all)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{".config": all, "config.gz": packed.String()} {
		if left, err := AuditFile("../..", write(t, name, text)); err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", name, left, err)
		}
	}
	left, err := AuditFile("../..", write(t, ".config", strings.Replace(all, "CONFIG_SQUASHFS=y\n", "", 1)))
	if err != nil || len(left) != 1 || left[0].Option != "SQUASHFS" || left[0].Have != "not set" {
		t.Errorf("without squashfs: %v, %v", left, err)
	}

	none := filepath.Join(t.TempDir(), "none")
	if _, err := AuditFile("../..", none); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), none+": no such file or directory: "+kernel.GiveConfig) {
		t.Errorf("no file: %v", err)
	}
	text := write(t, "vmlinuz", "an image")
	if _, err := AuditFile("../..", text); !errors.Is(err, kconfig.ErrNotConfig) || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), kernel.GiveConfig) {
		t.Errorf("no configuration: %v", err)
	}
	if _, err := AuditFile(t.TempDir(), text); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "kernel/required.options: no such file or directory: it is in the checkout") {
		t.Errorf("no list: %v", err)
	}
}

func TestAuditOfABuild(t *testing.T) {
	config := write(t, ".config", complete(t))
	lacking := write(t, "config-6.6.8-mine", "CONFIG_NET=y\n")
	text := write(t, "text", "no option")
	for _, c := range []struct {
		given, used    string // configuration
		errors, warned []string
	}{
		{config, config, nil, nil},
		{"", config, nil, nil},
		{"", "", nil, []string{"kernel 6.6.8-mine (file bzImage)", "KERNEL_CONFIG=FILE"}},
		{"", lacking, []string{"kernel 6.6.8-mine (file bzImage)", "by " + lacking, "CONFIG_SQUASHFS", "KERNEL_IMAGE="}, nil},
		{text, text, []string{"KERNEL_CONFIG: " + text, kernel.GiveConfig}, nil},
		{"", text, []string{"kernel 6.6.8-mine: " + text, "KERNEL_CONFIG=FILE"}, nil},
	} {
		var said strings.Builder
		b := Builder{c: Config{Repo: "../..", KernelImage: "bzImage", KernelConfig: c.given, Progress: &said},
			kernel: kernel.Kernel{Image: "bzImage", Release: "6.6.8-mine", Config: c.used, Origin: "file bzImage"}}
		err := b.audit()
		if (err != nil) != (c.errors != nil) {
			t.Errorf("%+v: %v", c, err)
		}
		for _, want := range c.errors {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %v, want one with %q", c, err, want)
			}
		}
		warned := strings.Join(b.warnings, "\n")
		if (warned != "") != (c.warned != nil) {
			t.Errorf("%+v: warnings %q", c, warned)
		}
		for _, want := range c.warned {
			if !strings.Contains(warned, want) || !strings.Contains(said.String(), want) {
				t.Errorf("%+v: warnings %q, said %q, want %q", c, warned, said.String(), want)
			}
		}
		if err == nil && c.used != "" && !strings.Contains(said.String(), c.used) {
			t.Errorf("%+v: which configuration was used is not said: %q", c, said.String())
		}
	}
}

// A warning in the middle of an hour's lines is not read: the last line is.
func TestWarningsEndTheOutput(t *testing.T) {
	r := Result{Sizes: Sizes{Parts: []Part{{Name: "kernel"}}}, Warnings: []string{"give KERNEL_CONFIG=FILE"}}
	var out strings.Builder
	if err := r.Print(&out); err != nil || !strings.HasSuffix(out.String(), "\nwarning: give KERNEL_CONFIG=FILE\n") || !strings.Contains(out.String(), "kernel ") {
		t.Errorf("%v: %q", err, out.String())
	}
	out.Reset()
	if err := (Result{Warnings: r.Warnings}).Print(&out); err != nil || out.String() != "\nwarning: give KERNEL_CONFIG=FILE\n" {
		t.Errorf("stopped early: %v: %q", err, out.String())
	}
}

// What comes after the build is asked for together with what the build needs, before it.
func TestToolsAreAskedForBeforeTheBuild(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no program at all, and no apt-get
	c := Config{Base: "debian", Out: filepath.Join(t.TempDir(), "out"), Need: []string{"qemu-system-x86_64", "/no/such/file"}}
	_, err := Build(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "https://go.dev/dl") {
		t.Errorf("no Go: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	_, err = Build(t.Context(), c)
	for _, want := range []string{"tools: ", "/no/such/file", "qemu-system-x86 ", "squashfs-tools", "xorriso"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}
