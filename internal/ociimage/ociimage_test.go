package ociimage

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"kubesolo.io/os/internal/imagelist"
)

const busybox = "/bin/busybox" // Debian package busybox-static

// programs makes a directory with stand-ins for the programs: a static one
// under each name, as only their bytes matter here.
func programs(t *testing.T) string {
	t.Helper()
	body, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatalf("%v: install the Debian package busybox-static", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"pause", "coredns", "local-path-provisioner"} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func build(t *testing.T, bin string) (string, []Entry) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "images")
	entries, err := Build(t.Context(), Options{Bin: bin, Busybox: busybox, Out: out, Time: time.Unix(1700000000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return out, entries
}

func TestSameInputsSameBytes(t *testing.T) {
	bin := programs(t)
	a, entries := build(t, bin)
	// Times and modes on the build host must not get in.
	if err := os.Chtimes(filepath.Join(bin, "pause"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(bin, "coredns"), 0o700); err != nil {
		t.Fatal(err)
	}
	b, _ := build(t, bin)
	names := []string{imagelist.FileName}
	for _, e := range entries {
		names = append(names, e.File)
	}
	for _, name := range names {
		x, err := os.ReadFile(filepath.Join(a, name))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(b, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x, y) {
			t.Errorf("%s: two builds differ", name)
		}
	}
}

func TestArchivesAreValidImages(t *testing.T) {
	out, entries := build(t, programs(t))
	for _, ref := range []string{
		"registry.k8s.io/pause:3.10", "registry.k8s.io/coredns/coredns:v1.14.4",
		"docker.io/rancher/local-path-provisioner:v0.0.30", "docker.io/library/busybox:latest",
	} {
		if !slices.ContainsFunc(entries, func(e Entry) bool { return e.Ref == ref }) {
			t.Errorf("no entry for %s", ref)
		}
	}
	for _, e := range entries {
		dir := unpack(t, filepath.Join(out, e.File))
		index, err := layout.ImageIndexFromPath(dir)
		if err != nil {
			t.Fatal(err)
		}
		// Fast: the full check only knows compressed layers; checkBlobs does
		// what it leaves out.
		if err := validate.Index(index, validate.Fast); err != nil {
			t.Errorf("%s: %v", e.File, err)
		}
		checkBlobs(t, dir)
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(manifest.Manifests, func(d descriptor) bool {
			return d.Annotations["io.containerd.image.name"] == e.Ref
		})
		if i < 0 {
			t.Errorf("%s: its index does not name %s", e.File, e.Ref)
			continue
		}
		if got := manifest.Manifests[i].Digest.String(); got != e.Digest {
			t.Errorf("%s: digest %s in the index, %s in the list", e.Ref, got, e.Digest)
		}
		if st, err := os.Stat(filepath.Join(out, e.File)); err != nil || st.Size() != e.Size {
			t.Errorf("%s: size %v (%v), the list says %d", e.File, st.Size(), err, e.Size)
		}
	}
}

// checkBlobs compares the content of every blob with its name.
func checkBlobs(t *testing.T, dir string) {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(blobs) != 3 {
		t.Errorf("%d blobs, want manifest, config and one layer", len(blobs))
	}
	for _, name := range blobs {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(body)); got != filepath.Base(name) {
			t.Errorf("blob %s has the digest %s", filepath.Base(name), got)
		}
	}
}

func TestLayer(t *testing.T) {
	when := time.Unix(1700000000, 0)
	im := image{files: []file{
		{path: "usr/bin/x", mode: 0o755, body: "x"},
		{path: "tmp", mode: 0o777 | os.ModeSticky, dir: true},
		{path: "a", mode: 0o777, link: "usr/bin/x"},
	}}
	layer, err := im.layer(when)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(when) {
			t.Errorf("%s: owner %d:%d, time %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		got = append(got, h.FileInfo().Mode().String()+" "+h.Name)
	}
	want := []string{"Lrwxrwxrwx a", "dtrwxrwxrwx tmp/", "drwxr-xr-x usr/", "drwxr-xr-x usr/bin/", "-rwxr-xr-x usr/bin/x"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	im.files = append(im.files, file{path: "a", body: "again"})
	if _, err := im.layer(when); err == nil {
		t.Error("a path that is there twice was accepted")
	}
}

func TestBusyboxHasAShell(t *testing.T) {
	out, _ := build(t, programs(t))
	root := t.TempDir()
	dir := unpack(t, filepath.Join(out, "busybox.tar"))
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	im, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := im.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	untar(t, r, root)
	cmd := exec.Command(filepath.Join(root, "bin/sh"), "-c", `mkdir -m 0777 -p "$0/data/v" && ls "$0/data"`, root)
	cmd.Env = []string{"PATH=" + filepath.Join(root, "bin")}
	got, err := cmd.CombinedOutput()
	if err != nil || string(got) != "v\n" {
		t.Errorf("the helper pod's kind of command gave %q, %v", got, err)
	}
}

func TestBuildNamesEveryMissingProgram(t *testing.T) {
	bin := programs(t)
	if err := os.Remove(filepath.Join(bin, "coredns")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "pause"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Build(t.Context(), Options{Bin: bin, Busybox: busybox, Out: t.TempDir(), Time: time.Unix(0, 0)})
	if err == nil {
		t.Fatal("built without its programs")
	}
	for _, part := range []string{"coredns", "no such file", "pause", "not a program"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestDynamicProgramIsRefused(t *testing.T) {
	if _, err := readStatic("/bin/bash"); err == nil || !strings.Contains(err.Error(), "dynamically linked") {
		t.Errorf("got %v", err)
	}
}
