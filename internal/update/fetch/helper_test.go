package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/update/source"
)

func randomBytes(seed byte, size int) []byte {
	data := make([]byte, size)
	if _, err := rand.NewChaCha8([32]byte{seed}).Read(data); err != nil {
		panic(err)
	}
	return data
}

// image gives a target, and a medium that has it.
func image(t *testing.T, data []byte) (Target, source.Directory) {
	t.Helper()
	target := Target{Name: "kubesolo-os-0.2.0-amd64.slot", Length: int64(len(data)), SHA256: sha256.Sum256(data)}
	dir := source.Directory{Medium: t.TempDir(), Dir: "."}
	put(t, filepath.Join(dir.Medium, "targets", target.File()), data)
	return target, dir
}

func put(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// slotFile is a file as large as a slot, with an old image in it.
func slotFile(t *testing.T, size int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "slot")
	put(t, name, randomBytes(99, size))
	return name
}

// wantError checks an error: none for kind nil and an empty text.
func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	switch {
	case kind == nil && text == "":
		if err != nil {
			t.Errorf("error %v, want none", err)
		}
	case err == nil:
		t.Errorf("no error, want %v, %q", kind, text)
	case kind != nil && !errors.Is(err, kind) || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n"):
		t.Errorf("error %q, want %v, %q in one line", err, kind, text)
	}
}

// wantSlot checks that the slot has the image and, behind it, what it had.
func wantSlot(t *testing.T, slot, before, image []byte) {
	t.Helper()
	if len(slot) != len(before) {
		t.Fatalf("the slot has %d bytes, not %d", len(slot), len(before))
	}
	if string(slot[:len(image)]) != string(image) {
		t.Error("the slot does not have the image")
	}
	if string(slot[len(image):]) != string(before[len(image):]) {
		t.Error("what is behind the image was written")
	}
}

// asked is a source that notes the offsets it is asked for, and may do
// something at each first.
type asked struct {
	source.Source
	offsets []int64
	before  func(try int) error
	body    func(io.ReadCloser) io.ReadCloser
}

func (a *asked) Target(ctx context.Context, name string, size, offset int64) (io.ReadCloser, error) {
	a.offsets = append(a.offsets, offset)
	if a.before != nil {
		if err := a.before(len(a.offsets)); err != nil {
			return nil, err
		}
	}
	body, err := a.Source.Target(ctx, name, size, offset)
	if err == nil && a.body != nil {
		body = a.body(body)
	}
	return body, err
}

// cutAfter ends a body with an error after n bytes.
type cutAfter struct {
	io.ReadCloser
	n   int
	err error
}

func (c *cutAfter) Read(p []byte) (int, error) {
	if c.n == 0 {
		return 0, c.err
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.n)])
	c.n -= n
	return n, err
}
