package preload

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"kubesolo.io/os/internal/containerdtest"
	"kubesolo.io/os/internal/imagelist"
	"kubesolo.io/os/internal/nstest"
	"kubesolo.io/os/internal/ociimage"
)

const (
	pause   = "registry.k8s.io/pause:3.10"
	coredns = "registry.k8s.io/coredns/coredns:v1.14.4"
)

// makeImages builds the image's archives; their programs are stand-ins.
func makeImages(t *testing.T, epoch int64) string {
	t.Helper()
	bin, out := t.TempDir(), t.TempDir()
	for _, name := range []string{"pause", "coredns", "local-path-provisioner"} {
		if err := os.Link("/bin/busybox", filepath.Join(bin, name)); err != nil {
			body, err := os.ReadFile("/bin/busybox")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(bin, name), body, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err := ociimage.Build(t.Context(), ociimage.Options{Bin: bin, Busybox: "/bin/busybox", Out: out, Time: time.Unix(epoch, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func edit(t *testing.T, dir string, change func([]imagelist.Entry) []imagelist.Entry) {
	t.Helper()
	name := filepath.Join(dir, imagelist.FileName)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := imagelist.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if data, err = imagelist.Encode(change(entries)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func labels(t *testing.T, c *containerd.Client, ref string) map[string]string {
	t.Helper()
	im, err := c.GetImage(namespaces.WithNamespace(t.Context(), Namespace), ref)
	if err != nil {
		t.Fatal(err)
	}
	return im.Labels()
}

// TestOnce walks through the life of a node: first boot, second boot, damage,
// a system with other images. One containerd serves all, as it takes seconds
// to start.
func TestOnce(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	client := containerdtest.Start(t)
	dir := makeImages(t, 1700000000)
	o := Options{Client: client, Dir: dir}
	ctx := namespaces.WithNamespace(t.Context(), Namespace)

	first, err := Once(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Imported) < 4 || len(first.Present) != 0 {
		t.Fatalf("first pass: %+v", first)
	}
	for _, ref := range first.Imported {
		got := labels(t, client, ref)
		if got[labelManaged] != valueManaged || got[labelPinned] != valuePinned {
			t.Errorf("%s has the labels %v", ref, got)
		}
		im, err := client.GetImage(ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := im.IsUnpacked(ctx, "overlayfs"); !ok || err != nil {
			t.Errorf("%s is not unpacked: %v", ref, err)
		}
	}

	second, err := Once(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(second.Imported) != 0 || !slices.Equal(second.Present, first.Imported) {
		t.Errorf("second pass: %+v", second)
	}

	// Someone took the pin off, or the image away: only that archive is read.
	if err := client.ImageService().Delete(ctx, coredns, images.SynchronousDelete()); err != nil {
		t.Fatal(err)
	}
	third, err := Once(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(third.Imported, coredns) || !slices.Contains(third.Present, pause) {
		t.Errorf("after losing CoreDNS: %+v", third)
	}

	// The next system has no CoreDNS, and another pause under the same name.
	next := makeImages(t, 1800000000)
	edit(t, next, func(es []imagelist.Entry) []imagelist.Entry {
		return slices.DeleteFunc(es, func(e imagelist.Entry) bool { return e.File == "coredns.tar" })
	})
	fourth, err := Once(t.Context(), Options{Client: client, Dir: next})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(fourth.Imported, pause) || !slices.Contains(fourth.Unpinned, coredns) {
		t.Errorf("with the next system's list: %+v", fourth)
	}
	if got := labels(t, client, coredns); got[labelPinned] != "" || got[labelManaged] != valueManaged {
		t.Errorf("the old CoreDNS has the labels %v", got)
	}
	// And back again.
	fifth, err := Once(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := labels(t, client, coredns); got[labelPinned] != valuePinned {
		t.Errorf("after the way back: %+v, labels %v", fifth, got)
	}
}

func TestBrokenArchive(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	client := containerdtest.Start(t)
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	for name, damage := range map[string]func(t *testing.T, archive string){
		"cut": func(t *testing.T, archive string) {
			if err := os.Truncate(archive, 100_000); err != nil {
				t.Fatal(err)
			}
		},
		"bit flipped": func(t *testing.T, archive string) {
			body, err := os.ReadFile(archive)
			if err != nil {
				t.Fatal(err)
			}
			// In the largest blob, the layer: far from headers and JSON.
			i := bytes.LastIndex(body, []byte("BusyBox"))
			body[i] ^= 1
			if err := os.WriteFile(archive, body, 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"gone": func(t *testing.T, archive string) {
			if err := os.Remove(archive); err != nil {
				t.Fatal(err)
			}
		},
		"empty": func(t *testing.T, archive string) {
			if err := os.Truncate(archive, 0); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := makeImages(t, 1700000000)
			damage(t, filepath.Join(dir, "coredns.tar"))
			result, err := Once(t.Context(), Options{Client: client, Dir: dir})
			if err == nil || strings.Count(err.Error(), "container image archive") != 1 || !strings.Contains(err.Error(), "coredns.tar") {
				t.Errorf("error %v", err)
			}
			t.Log(err)
			if !slices.Contains(append(result.Imported, result.Present...), pause) {
				t.Errorf("the other images were not imported: %+v", result)
			}
			if im, err := client.GetImage(ctx, coredns); err == nil {
				t.Errorf("the broken image is offered to CRI: %v", im.Name())
			}
		})
	}
}

func TestNoList(t *testing.T) {
	if r, err := Once(t.Context(), Options{Dir: t.TempDir()}); err != nil || len(r.Imported) != 0 {
		t.Errorf("a system without images: %+v, %v", r, err)
	}
}

// TestRunGoesOnUntilContextEnds has nothing at the socket: passes fail until the
// context ends, and the log says the same thing once.
func TestRunGoesOnUntilContextEnds(t *testing.T) {
	client, err := containerd.New(filepath.Join(t.TempDir(), "none.sock"), containerd.WithDefaultNamespace(Namespace))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	dir := t.TempDir()
	edit := []imagelist.Entry{{Ref: pause, File: "pause.tar", Digest: "sha256:" + strings.Repeat("00", 32)}}
	data, err := imagelist.Encode(edit)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, imagelist.FileName), data, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	passes := 0
	err = Run(ctx, Options{Client: client, Dir: dir}, slog.New(slog.NewTextHandler(io.Discard, nil)), func(r Result, err error) {
		if passes++; passes == 2 {
			cancel()
		}
		if err == nil || len(r.Imported) != 0 {
			t.Errorf("pass %d: %+v, %v", passes, r, err)
		}
	})
	if err == nil || passes != 2 {
		t.Errorf("%d passes, then %v", passes, err)
	}
}
